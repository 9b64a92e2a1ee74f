"""How often Python looks for objects that only refer to each other, in processes of qexp's own."""

from __future__ import annotations

import atexit
import gc

ALLOCATIONS = 5_000
"""New containers before a collection; 700 in Python 3.11. With 200,000 commands are no faster."""


def collect_less() -> None:
    """Collect garbage less often, and not once more when the process ends.

    Loading torch makes 250,000 objects that stay; looking at them again and again while it loads, and once more at the
    end, took a quarter of the time of a brief run. Not for other programs that import qexp.
    """
    gc.set_threshold(ALLOCATIONS)
    atexit.register(gc.freeze)  # before others register functions, so that it is called after them

"""Progress of a prediction."""

from __future__ import annotations

from collections.abc import Callable

OnProgress = Callable[[int, float], None]
"""Called after every chunk with the number of rows or frames written and the fraction of the file that was read."""


def no_progress(count: int, share: float) -> None:
    """Ignore the progress."""

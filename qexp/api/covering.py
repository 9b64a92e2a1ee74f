"""Intervals of the held-out estimates of runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qexp.api.run_handle import Run, directory_of

if TYPE_CHECKING:
    from qexp.runs.record.held_out_intervals import HeldOutIntervals


def intervals(run: Run | str, *, trust_code: bool = False, workspace: str | Path | None = None) -> HeldOutIntervals:
    """Intervals of the held-out rows or spectra of a finished run, and how many they cover; see `qexp intervals`.

    They are kept in the run, as training does; no other file changes.

    trust_code  execute the code in `code/extensions.py` of an imported run
    returns     `unit` (what is exchangeable: "row", or the kind of group that is held out), `units`, and `coverages`:
                for each output, interval and group `covered` of `n` rows, its `range`, and `mean_width`
    Raises QexpError for a run without held-out estimates of numbers.
    """
    from qexp.runs.evaluation.intervals import keep_intervals
    from qexp.runs.planning.existing import require_done

    directory = directory_of(run, workspace, trust_code)
    require_done(directory)
    return keep_intervals(directory)

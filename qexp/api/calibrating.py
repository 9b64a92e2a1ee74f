"""Testing the posteriors of finished runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qexp import workspace as workspaces
from qexp.api.run_handle import Run, directory_of
from qexp.api.warn import Report, as_warning

if TYPE_CHECKING:
    from qexp.runs.record.calibration import Calibration


def _unwatched(done: int, observations: int) -> None: ...


def calibrate(
    run: Run | str,
    *,
    draws: int = 2000,
    samples: int = 1000,
    part: str = "all",
    seed: int = 0,
    exact: int = 0,
    refined: bool = False,
    on_observation: Callable[[int, int], None] = _unwatched,
    trust_code: bool = False,
    device: str = "auto",
    warn: Report = as_warning,
    workspace: str | Path | None = None,
) -> Calibration:
    """Test whether the posteriors of a run are as sure as they may be, and keep the result in the run; see
    `qexp calibrate`.

    draws           values drawn from the prior, each for a simulated observation
    samples         from the posterior of each observation
    part            of the distributions: "train", "validation" or "test" as the run divides them, or "all"
    seed            of observations and samples
    exact           observations whose posteriors are also compared with the exact ones: widths, and C2ST
    refined         test the posteriors by the likelihood, instead of those of the network's posterior head
    on_observation  takes the number of observations that are done, and of all
    trust_code      execute the code in `code/extensions.py` of an imported run
    warn            receives a line for each figure that cannot be drawn
    returns         `outputs`: name → `coverage` of intervals, `p_value` of the ranks, `local`, `width`; `density` and
                    `balls`: coverage and `p_value` of regions of all outputs; `exact`; `notices_narrow`,
                    `notices_shift`
    Raises QexpError for a run without posteriors.
    """
    from qexp.analysis.calibration.calibrate import Asked, calibrate

    asked = Asked(draws, samples, part, seed, exact, refined)
    directory, place = directory_of(run, workspace, trust_code), workspaces.find(workspace)
    return calibrate(directory, place, asked, device, on_observation, warn)

"""Judging finished runs: on other data, by their intervals and posteriors, and beside exact posteriors."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qexp.api.runs import Run, directory_of
from qexp.base import workspace as workspaces
from qexp.base.options import takes
from qexp.kinds.options import CalibrateOptions, EvaluateOptions, IntervalsOptions, LimitOptions

if TYPE_CHECKING:
    from qexp.results.calibration import Calibration
    from qexp.results.intervals import HeldOutIntervals
    from qexp.results.limit import Limit
    from qexp.runs.evaluate import Evaluation


@takes(EvaluateOptions)
def evaluate(run: Run | str, options: EvaluateOptions) -> Evaluation:
    """Evaluate a finished run on data other than its own test part, and keep the results in the run; see
    `qexp evaluate`.

    returns     the evaluation: its `directory`, whether it was `made` now, and `record` with `results` (part → output →
                metric → value), `intervals`, `independent` (None if unknown) and `reasons`
    Raises QexpError.
    """
    home = workspaces.find(options.workspace)
    handle = Run(directory_of(run, options.workspace, options.trust_code))
    return handle.evaluate(**vars(replace(options, workspace=home.root)))


@takes(IntervalsOptions)
def intervals(run: Run | str, options: IntervalsOptions) -> HeldOutIntervals:
    """Intervals of the held-out rows or spectra of a finished run, and how many they cover; see `qexp intervals`.

    They are kept in the run, as training does; no other file changes.

    returns     `unit` (what is exchangeable: "row", or the kind of group that is held out), `units`, and `coverages`:
                for each output, interval and group `covered` of `n` rows, its `range`, and `mean_width`
    Raises QexpError for a run without held-out estimates of numbers.
    """
    from qexp.jobs.states import require_done
    from qexp.kinds.held_out import keep_intervals

    directory = directory_of(run, options.workspace, options.trust_code)
    require_done(directory)
    return keep_intervals(directory)


@takes(CalibrateOptions)
def calibrate(run: Run | str, options: CalibrateOptions) -> Calibration:
    """Test whether the posteriors of a run are as sure as they may be, and keep the result in the run; see
    `qexp calibrate`.

    returns         `outputs`: name → `coverage` of intervals, `p_value` of the ranks, `local`, `width`; `density` and
                    `balls`: coverage and `p_value` of regions of all outputs; `exact`; `notices_narrow`,
                    `notices_shift`
    Raises QexpError for a run without posteriors.
    """
    from qexp.kinds.images.calibration import calibrate

    directory = directory_of(run, options.workspace, options.trust_code)
    return calibrate(directory, workspaces.find(options.workspace), options)


@takes(LimitOptions)
def limit(options: LimitOptions) -> Limit:
    """Errors of the exact posteriors of simulated samples, with the dataset's whole distributions as prior; see
    `qexp limit`.

    Over samples of the whole prior they are the least that any method can reach on average; over the test part of a
    dataset that holds intervals out they are not, as a method that knew these could do better.

    returns     `variables`: name → `mae` (of the exact posterior median), `rmse` (of the exact posterior mean), their
                standard errors `mae_error` and `rmse_error`, `unit`, and `difference`, which grids that are half as
                fine make, relative to `mae`; with more than two variables, posteriors are `sampled`: half of the
                draws makes that difference, and `doubted` is the number of those that are not to be trusted; `given`
                are the varying inputs of the network, which are known; `whole`, whether the samples are of the whole
                prior
    Raises QexpError if the dataset's posteriors cannot be computed.
    """
    from qexp.kinds.images.limit import of_dataset, of_run

    home = workspaces.find(options.workspace)
    if options.run is None:
        return of_dataset(home, options)
    return of_run(directory_of(options.run, options.workspace, options.trust_code), home, options)

"""Judging finished runs: on other data, by their intervals and posteriors, and beside exact posteriors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qexp.api.runs import Report, Run, as_warning, directory_of
from qexp.base import workspace as workspaces
from qexp.errors import QexpError

if TYPE_CHECKING:
    from qexp.runs.evaluate import Evaluation
    from qexp.store.results import Calibration, HeldOutIntervals, Limit


def evaluate(
    run: Run | str,
    dataset: str | None = None,
    *,
    input: str | Path | None = None,
    part: str | None = None,
    seed: int = 0,
    name: str | None = None,
    force: bool = False,
    trust_code: bool = False,
    device: str = "auto",
    warn: Report = as_warning,
    workspace: str | Path | None = None,
) -> Evaluation:
    """Evaluate a finished run on data other than its own test part, and keep the results in the run; see
    `qexp evaluate`.

    dataset     name or path of a dataset spec of the kind that the run was trained on
    input       a file or folder in the form of the run's own data; without both it is the run's own dataset
    part        "train", "validation", "test" or "all"; if left out, the test part where the data have one, else all
    seed        of simulated samples, of masks, and of intervals
    name        of the evaluation; that of the data if left out
    force       replace an evaluation of that name that was made with other settings
    trust_code  execute the code in `code/extensions.py` of an imported run
    warn        receives a line for each figure that cannot be drawn
    returns     the evaluation: its `directory`, whether it was `made` now, and `record` with `results` (part → output →
                metric → value), `intervals`, `independent` (None if unknown) and `reasons`
    Raises QexpError.
    """
    opened = Run(directory_of(run, workspace, trust_code))
    return opened.evaluate(
        dataset, input=input, part=part, seed=seed, name=name, force=force, device=device, warn=warn,
        workspace=workspaces.find(workspace).root,
    )  # fmt: skip


# Intervals of the held-out estimates of runs.


def intervals(run: Run | str, *, trust_code: bool = False, workspace: str | Path | None = None) -> HeldOutIntervals:
    """Intervals of the held-out rows or spectra of a finished run, and how many they cover; see `qexp intervals`.

    They are kept in the run, as training does; no other file changes.

    trust_code  execute the code in `code/extensions.py` of an imported run
    returns     `unit` (what is exchangeable: "row", or the kind of group that is held out), `units`, and `coverages`:
                for each output, interval and group `covered` of `n` rows, its `range`, and `mean_width`
    Raises QexpError for a run without held-out estimates of numbers.
    """
    from qexp.jobs.states import require_done
    from qexp.kinds.held_out import keep_intervals

    directory = directory_of(run, workspace, trust_code)
    require_done(directory)
    return keep_intervals(directory)


# Testing the posteriors of finished runs.


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
    from qexp.kinds.images.calibration import Asked, calibrate

    asked = Asked(draws, samples, part, seed, exact, refined)
    directory, place = directory_of(run, workspace, trust_code), workspaces.find(workspace)
    return calibrate(directory, place, asked, device, on_observation, warn)


# Errors of exact posteriors, beside which those of networks stand.


def _unwatched_limit(done: int, samples: int) -> None: ...


def limit(
    dataset: str | None = None,
    *,
    run: Run | str | None = None,
    part: str | None = None,
    seed: int | None = None,
    samples: int | None = None,
    on_sample: Callable[[int, int], None] = _unwatched_limit,
    trust_code: bool = False,
    warn: Report = as_warning,
    workspace: str | Path | None = None,
) -> Limit:
    """Errors of the exact posteriors of simulated samples, with the dataset's whole distributions as prior; see
    `qexp limit`.

    Over samples of the whole prior they are the least that any method can reach on average; over the test part of a
    dataset that holds intervals out they are not, as a method that knew these could do better.

    dataset     name or path of a dataset spec
    run         in place of a dataset: the limit for its test samples and the images that it takes is kept in the run
    part        of the distributions that the samples are drawn from: "test", as for runs, if left out, or "all"
    seed        of the samples, as of a run; 0 if left out
    samples     1,000 if left out; a run with that seed and as many test samples has these
    on_sample   takes the number of samples that are done, and of all
    trust_code  execute the code in `code/extensions.py` of an imported run
    warn        receives a line if the figure of the run's test estimates, to which the limit is added, cannot be drawn
    returns     `variables`: name → `mae` (of the exact posterior median), `rmse` (of the exact posterior mean), their
                standard errors `mae_error` and `rmse_error`, `unit`, and `difference`, which grids that are half as
                fine make, relative to `mae`; with more than three variables, posteriors are `sampled`: half of the
                draws makes that difference, and `doubted` is the number of those that are not to be trusted; `given`
                are the varying inputs of the network, which are known; `whole`, whether the samples are of the whole
                prior
    Raises QexpError if the dataset's posteriors cannot be computed.
    """
    from qexp.kinds.evaluation import TEST
    from qexp.kinds.images.limit import of_dataset, of_run

    if (dataset is None) == (run is None):
        raise QexpError("name a dataset, or a run with --run; not both")
    place = workspaces.find(workspace)
    if run is None:
        return of_dataset(str(dataset), place, TEST if part is None else part, seed or 0, samples, on_sample)
    if part is not None or seed is not None or samples is not None:
        raise QexpError(
            "--part, --seed and --samples do not go with --run: the limit is that of the run's own test samples"
        )
    return of_run(directory_of(run, workspace, trust_code), place, on_sample, warn)

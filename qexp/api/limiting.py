"""Errors of exact posteriors, beside which those of networks stand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qexp import workspace as workspaces
from qexp.api.run_handle import Run, directory_of
from qexp.api.warn import Report, as_warning
from qexp.errors import QexpError

if TYPE_CHECKING:
    from qexp.runs.record.limit import Limit


def _unwatched(done: int, samples: int) -> None: ...


def limit(
    dataset: str | None = None,
    *,
    run: Run | str | None = None,
    part: str | None = None,
    seed: int | None = None,
    samples: int | None = None,
    on_sample: Callable[[int, int], None] = _unwatched,
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
    from qexp.analysis.evaluation.asked import TEST
    from qexp.analysis.limit.limit import of_dataset, of_run

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

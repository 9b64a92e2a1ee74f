"""The model for predicting rows from a finished run: its networks, columns and ranges."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp import assemble
from qexp.analysis.intervals.folds import means_of_folds
from qexp.analysis.intervals.new_rows import NewIntervals, new_intervals
from qexp.analysis.prediction.draws import draws_of
from qexp.analysis.prediction.rows.pieces import Matrix, RowModel
from qexp.analysis.prediction.trained import ranges_of_targets
from qexp.analysis.trained import load_folds
from qexp.limits import limits_of
from qexp.networks.estimator import Ensemble, Inversion, Posterior, mean, spread
from qexp.runs.record.directory import RunDirectory


def row_model(
    directory: RunDirectory, device: str = "auto", interval: float | None = None, draws: int | None = None
) -> RowModel:
    """The model of a run for `predict_rows`.

    interval  coverage of the intervals; see `new_intervals`
    draws     from the posterior of each row, which are written to a file of their own
    Raises QexpError if the run is not done, or if draws are asked for without a posterior head.
    """
    record, spec = directory.record(), directory.training_spec()
    on = assemble.device_of(device)
    folds = load_folds(directory, on)
    intervals = new_intervals(directory, interval, list(folds))
    probabilities = () if intervals is None else intervals.probabilities
    reduce = columns_of(list(folds.values()), intervals)
    ensemble = Ensemble([model for of_fold in folds.values() for model in of_fold])
    widths = [len(spec["dataset"]["inputs"][name]) for name in spec["inputs"]]
    outputs = list(spec["outputs"])

    def samples(rows: Matrix) -> dict[str, Tensor]:
        return dict(zip(spec["inputs"], torch.from_numpy(rows).to(on).split(widths, dim=1), strict=True))

    def estimate(rows: Matrix) -> tuple[NDArray[np.floating], ...]:
        made = ensemble.reduced(samples(rows), reduce, probabilities)
        columns = zip(*(made[name] for name in outputs), strict=True)
        return tuple(torch.cat(column, dim=1).cpu().numpy() for column in columns)

    def posteriors(rows: Matrix) -> list[Posterior]:
        seen = samples(rows)
        return [model.posterior(seen) for model in ensemble.models]

    features = record.features
    return RowModel(
        features=[one.column for one in features],
        ranges=np.array([[one.least, one.greatest] for one in features]),
        outputs={name: record.units.get(name, "") for name in outputs},
        estimate=estimate,
        limits=limits_of(spec),
        trained=ranges_of_targets(record, ensemble.models[0].periods),
        origin={"run": directory.name, "digest": record.digest, "caution": record.caution},
        coverage=None if intervals is None else intervals.coverage,
        interval="" if intervals is None else intervals.words,
        posteriors=posteriors if ensemble.network.heads else None,
        draws=draws_of(ensemble.network, record, draws),
    )


def columns_of(
    folds: Sequence[Sequence[Inversion]], intervals: NewIntervals | None
) -> Callable[[str, Tensor], list[Tensor]]:
    """What an ensemble of the folds' networks is reduced to: mean, spread and, if there are any, ends of intervals."""
    first, sizes = folds[0][0], [len(of_fold) for of_fold in folds]

    def columns(name: str, values: Tensor) -> list[Tensor]:
        estimates = values[..., :1]
        made = [mean(first, name, estimates), spread(first, name, estimates)]
        if intervals is None:
            return made
        ends = intervals.rules[name].ends(means_of_folds(first, name, values, sizes, intervals.probabilities))
        return [*made, *(torch.from_numpy(end).to(values)[:, None] for end in ends)]

    return columns

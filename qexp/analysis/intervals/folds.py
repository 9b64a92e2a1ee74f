"""The estimates of each fold of a run among those of all its networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.networks.estimator import Inversion, mean
from qexp.runs.record.directory import RunDirectory

Values = NDArray[np.floating]


@dataclass(frozen=True)
class OfFolds:
    """What each fold estimates of rows, (fold, row), in the output's unit.

    quantiles  probability → quantile; of outputs of posterior heads
    """

    estimate: Values
    quantiles: Mapping[float, Values]


def means_of_folds(
    model: Inversion, output: str, values: Tensor, sizes: Sequence[int], probabilities: Sequence[float]
) -> OfFolds:
    """The mean over the networks of each fold, as each fold estimated what it held out.

    model   any of the networks
    values  estimates of an output before limits, (network, row, 1), fold by fold; followed by quantiles of these
            probabilities if the output is of a posterior head
    sizes   the number of networks of each fold
    """
    of_folds = values.split(list(sizes))
    columns = [
        torch.stack([mean(model, output, of_fold[..., [place]])[..., 0] for of_fold in of_folds]).cpu().numpy()
        for place in range(values.shape[-1])
    ]
    return OfFolds(columns[0], dict(zip(probabilities, columns[1:], strict=False)))


def networks_of_folds(directory: RunDirectory) -> dict[str, int]:
    """Fold → the number of its networks, in their order; of a run without folds one, under an empty name."""
    folds = {fold.path.name: fold.record().fold for fold in directory.all_folds()}
    return {name: len(fold.networks or ()) for name, fold in folds.items() if fold is not None} or {"": 1}

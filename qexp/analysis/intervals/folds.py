"""The estimates of each fold of a run among those of all its networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.models.ensemble import mean
from qexp.models.inversion import Inversion
from qexp.runs.record.directory import RunDirectory


def means_of_folds(model: Inversion, output: str, values: Tensor, sizes: Sequence[int]) -> NDArray[np.floating]:
    """The mean over the networks of each fold, (fold, row), as each fold estimated what it held out.

    model   any of the networks
    values  estimates of an output before limits, (network, row, 1), fold by fold
    sizes   the number of networks of each fold
    """
    made: NDArray[np.floating] = (
        torch.stack([mean(model, output, of_fold)[..., 0] for of_fold in values.split(list(sizes))]).cpu().numpy()
    )
    return made


def networks_of_folds(directory: RunDirectory) -> dict[str, int]:
    """Fold → the number of its networks, in their order; of a run without folds one, under an empty name."""
    folds = {fold.path.name: fold.record().fold for fold in directory.all_folds()}
    return {name: len(fold.networks or ()) for name, fold in folds.items() if fold is not None} or {"": 1}

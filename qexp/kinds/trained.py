"""The networks of finished runs, ready to estimate."""

from __future__ import annotations

import torch

from qexp.errors import QexpError
from qexp.jobs.states import require_done
from qexp.kinds.networks import trained_model
from qexp.kinds.tables import tables_of
from qexp.networks import checkpoint
from qexp.networks.estimator import Estimator
from qexp.spec.kinds import load_stage
from qexp.store.directory import RunDirectory


def load_model(directory: RunDirectory, device: torch.device) -> Estimator:
    """The model of a finished run with its best weights, ready to predict. Raises QexpError for a run with folds."""
    models = load_models(directory, device)
    if directory.all_folds():
        raise QexpError(
            f"{directory.name} has {len(models)} networks, one or more per fold; this needs a run with one network"
        )
    return models[0]


def load_models(directory: RunDirectory, device: torch.device) -> list[Estimator]:
    """The model of a finished run, or the models of all its folds, ready to predict. Raises QexpError."""
    return [model for of_fold in load_folds(directory, device).values() for model in of_fold]


def load_folds(directory: RunDirectory, device: torch.device) -> dict[str, list[Estimator]]:
    """Fold → its models, ready to predict; of a run without folds its model, under an empty name. Raises QexpError."""
    spec = directory.training_spec()
    if directory.all_folds():
        models = load_stage(spec["dataset"], "folds").load(directory)
    else:
        require_done(directory)
        weights, _ = checkpoint.read(directory.best_weights)
        tables = tables_of(directory)
        models = {"": [trained_model(directory.spec(), tables, weights, directory.best_weights)]}
    return {fold: [model.to(device) for model in of_fold] for fold, of_fold in models.items()}

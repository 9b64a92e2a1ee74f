"""The model for predicting rows from a finished run: its networks, columns and ranges."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from qexp import assemble
from qexp.analysis.prediction.predictor import load_models
from qexp.analysis.prediction.rows import RowModel
from qexp.limits import limits_of
from qexp.models.ensemble import Ensemble
from qexp.runs.record.directory import RunDirectory


def row_model(directory: RunDirectory, device: str = "auto") -> RowModel:
    """The model of a run for `predict_rows`. Raises QexpError if the run is not done."""
    record, spec = directory.record(), directory.training_spec()
    on = assemble.device_of(device)
    ensemble = Ensemble(load_models(directory, on))
    widths = [len(spec["dataset"]["inputs"][name]) for name in spec["inputs"]]
    outputs = list(spec["outputs"])

    def estimate(rows: NDArray[np.float32]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        parts = torch.from_numpy(rows).to(on).split(widths, dim=1)
        made = ensemble.mean_and_spread(dict(zip(spec["inputs"], parts, strict=True)))
        means, spreads = zip(*(made[name] for name in outputs), strict=True)
        return torch.cat(means, dim=1).cpu().numpy(), torch.cat(spreads, dim=1).cpu().numpy()

    features = record.features
    return RowModel(
        features=[one.column for one in features],
        ranges=np.array([[one.least, one.greatest] for one in features]),
        outputs={name: record.units.get(name, "") for name in outputs},
        estimate=estimate,
        limits=limits_of(spec),
        origin={"run": directory.name, "digest": record.digest, "caution": record.caution},
    )

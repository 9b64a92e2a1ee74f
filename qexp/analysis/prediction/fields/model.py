"""The model for predicting fields from a finished run: its network, inputs and cell sizes."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from qexp import assemble
from qexp.analysis.prediction.fields.estimates import FieldModel
from qexp.analysis.prediction.trained import ranges_of_targets
from qexp.analysis.trained import load_model
from qexp.datasets.array_cache import Array
from qexp.limits import limits_of
from qexp.networks.network import refusal
from qexp.runs.record.directory import RunDirectory


def field_model(directory: RunDirectory, device: str = "auto") -> FieldModel:
    """The model of a run for `predict_fields`. Raises QexpError if the run is not done."""
    record, spec = directory.record(), directory.training_spec()
    on = assemble.device_of(device)
    model = load_model(directory, on)
    inputs, outputs = list(model.network.inputs), list(model.network.outputs)

    def estimate(fields: Mapping[str, Array]) -> dict[str, Array]:
        # One frame at a time: in a batch the rounding would depend on the number of frames.
        samples = {name: torch.from_numpy(fields[name]).unsqueeze(1).to(on) for name in inputs}
        made = model.estimate(samples, batch_size=1)
        return {name: made[name].squeeze(1).cpu().numpy() for name in outputs}

    dataset = spec["dataset"]
    return FieldModel(
        inputs=inputs,
        outputs={name: record.units.get(name, "") for name in outputs},
        estimate=estimate,
        limits=limits_of(spec),
        trained=ranges_of_targets(record, model.periods),
        refusal=lambda height, width: refusal(model.network, height, width),
        file=dataset["file"],
        recompute_slopes=dataset.get("recompute_slopes", False),  # a key that few datasets have
        resample=dataset["resample"],
        spacings=dataset.get("spacing", []),
        origin={"run": directory.name, "digest": record.digest, "caution": record.caution},
    )

"""A finished run on gridded fields as what estimates other fields: its network, inputs and width of cells."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from qexp import assemble
from qexp.analysis.prediction.fields import FieldModel
from qexp.analysis.prediction.predictor import load_model
from qexp.datasets.array_cache import Array
from qexp.models.network import refusal
from qexp.runs.record.directory import RunDirectory


def field_model(directory: RunDirectory, device: str = "auto") -> FieldModel:
    """What `predict_fields` needs of a run. Raises QexpError if it is not done."""
    record, spec = directory.record(), directory.spec()
    on = assemble.device_of(device)
    model = load_model(directory, on)
    inputs, outputs = list(model.network.inputs), list(model.network.outputs)

    def estimate(fields: Mapping[str, Array]) -> dict[str, Array]:
        # One by one: of several at a time each would be rounded otherwise, depending on how many there are.
        samples = {name: torch.from_numpy(fields[name]).unsqueeze(1).to(on) for name in inputs}
        made = model.estimate(samples, batch_size=1)
        return {name: made[name].squeeze(1).cpu().numpy() for name in outputs}

    dataset = spec["dataset"]
    return FieldModel(
        inputs=inputs,
        outputs={name: record.units.get(name, "") for name in outputs},
        estimate=estimate,
        refusal=lambda height, width: refusal(model.network, height, width),
        file=dataset["file"],
        resample=dataset["resample"],
        spacings=dataset.get("spacing", []),
        origin={"run": directory.name, "digest": record.digest, "caution": record.caution},
    )

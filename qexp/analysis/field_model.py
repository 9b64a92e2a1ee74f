"""A finished run on gridded fields as what estimates other fields: its network, inputs and width of cells."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.func import functional_call

from qexp import assemble
from qexp.analysis.predict import load_model
from qexp.analysis.predict_fields import FieldModel
from qexp.datasets.gridded.store import Array
from qexp.models.network import Network
from qexp.runs.directory import RunDirectory


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
        outputs={name: record["units"].get(name, "") for name in outputs},
        estimate=estimate,
        refusal=lambda height, width: refusal(model.network, height, width),
        file=dataset["file"],
        resample=dataset["resample"],
        spacings=dataset.get("spacing", []),
        origin={"run": directory.name, "digest": record["digest"], "caution": record["caution"]},
    )


def refusal(network: Network, height: int, width: int) -> str | None:
    """Why a network cannot take frames of some height and width, or None; found out without computing anything."""
    state = {name: tensor.to("meta") for name, tensor in [*network.named_parameters(), *network.named_buffers()]}
    samples = {name: torch.empty(1, shape[0], height, width, device="meta") for name, shape in network.inputs.items()}
    frames = f"frames of {height} x {width} cells"
    try:
        with torch.no_grad():
            made = functional_call(network, state, (samples,))
    except (RuntimeError, ValueError) as error:
        patch = " x ".join(map(str, next(iter(network.inputs.values()))[1:]))
        return f"the network takes patches of {patch} cells, and no {frames}: {str(error).splitlines()[0]}"
    for name, value in made.items():
        if tuple(value.shape[2:]) != (height, width):
            return f"the network makes {' x '.join(map(str, value.shape[2:]))} cells of '{name}' from {frames}"
    return None

"""The file formats of exported networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from qexp.analysis.export.graphs import GRAPH_FORMATS, Named, Sides, capture
from qexp.analysis.export.keras_file import h5_bytes, keras_model
from qexp.networks.shapes import Shape


class Captured(Protocol):
    """A network in the form in which it is written."""

    @property
    def inputs(self) -> Sequence[Sides]: ...
    @property
    def outputs(self) -> Sequence[Sides]: ...


@dataclass(frozen=True)
class NetworkFormat:
    file: str
    capture: Callable[[nn.Module, Sequence[Shape], bool], Captured]
    """Takes a module, the shapes of its inputs, and whether images may have any size; raises GraphError."""
    write: Callable[[Any, Sequence[Named], Sequence[Named], Mapping[str, str]], bytes]
    """Takes what was captured, inputs and outputs, and facts on the run; returns the content of the file."""
    example: str
    """Python code that loads the file beside `network.json` and calls it on `inputs`, a dictionary of arrays."""


FORMATS: dict[str, NetworkFormat] = {
    **{name: NetworkFormat(kind.file, capture, kind.write, kind.example) for name, kind in GRAPH_FORMATS.items()},
    "keras": NetworkFormat(
        "model.h5",
        keras_model,
        h5_bytes,
        """\
import json, keras, numpy
network = json.load(open("network.json"))
model = keras.models.load_model("model.h5", compile=False)
inputs = {{{inputs}}}
made = model.predict(numpy.stack([inputs[one["name"]] for one in network["inputs"]], axis=-1))
outputs = {{one["name"]: made[..., channel] for channel, one in enumerate(network["outputs"])}}
""",
    ),
}

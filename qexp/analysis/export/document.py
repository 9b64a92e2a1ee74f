"""Descriptions of an exported network: `network.json`, a README, and 2Dto2D-DLE's lists of fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any

import torch
from torch import nn

from qexp import assemble
from qexp.analysis.export.formats import FORMATS, Captured
from qexp.analysis.export.graphs import Sides
from qexp.datasets.transforms import Chain
from qexp.datasets.transforms.elementwise import Scale
from qexp.datasets.transforms.transform import Transform
from qexp.estimates import SPREAD, estimate_of
from qexp.limits import Limits
from qexp.networks.estimator import Inversion
from qexp.quantities import of_dataset, quantity
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.trust import tables_of
from qexp.tables import Table

Document = dict[str, Any]

DLE_INPUTS, DLE_OUTPUTS = "fieldin.dat", "fieldout.dat"

EXAMPLE_SIDES = {"batch": 1, "height": 64, "width": 48}
"""Sizes of the arrays in the README's example, for dimensions of any size."""


@dataclass(frozen=True)
class GraphTensor:
    """An input or output tensor of a graph."""

    name: str
    variable: str
    statistic: str | None = None
    limited: bool = False
    """Whether it holds estimates, which lie within the limits of their variable."""


def graph_outputs(models: Sequence[Inversion]) -> list[GraphTensor]:
    """The outputs of the graph of a run's networks, in order."""
    outputs = models[0].network.outputs
    if len(models) == 1:
        return [GraphTensor(output, output, limited=True) for output in outputs]
    kinds = {"": "ensemble mean", SPREAD: "ensemble standard deviation"}
    return [
        GraphTensor(output + end, output, statistic, limited=not end)
        for output in outputs
        for end, statistic in kinds.items()
    ]


def origin_of(directory: RunDirectory, models: Sequence[Inversion], format: str, physical: bool) -> Document:
    """The entries of `network.json` on the network's origin and format."""
    record, spec = directory.record(), directory.training_spec()
    return {
        "run": directory.name,
        "digest": record.digest,
        "seed": record.seed,
        **({"caution": record.caution} if record.caution else {}),
        "qexp": metadata.version("qexp"),
        "torch": torch.__version__,
        "format": format,
        "file": FORMATS[format].file,
        "networks": len(models),
        "transforms_inside": physical,
        "trained_on": {
            **{key: getattr(record, key) for key in ("experience", "dataset", "model")},
            "features": [one.document() for one in record.features],
            # The path of the data file on this machine is private.
            "document": {key: value for key, value in spec["dataset"].items() if key != "found"},
        },
    }


def ports(directory: RunDirectory, models: Sequence[Inversion], graph: Captured) -> Document:
    """The `inputs` and `outputs` of a graph, in its order: shapes, units, columns, transforms."""
    spec, tables = directory.training_spec(), tables_of(directory)
    units = assemble.units_of(spec, tables["quantities"])
    quantities = of_dataset(spec["dataset"], tables["quantities"])
    columns = spec["dataset"].get("inputs")

    def port(made: GraphTensor, sides: Sides) -> Document:
        variable = made.variable
        known = quantity(variable, quantities)
        listed = columns.get(variable) if isinstance(columns, dict) else None
        transforms = [model.transforms[variable] for model in models if variable in model.transforms]
        return {
            "name": made.name,
            "variable": variable,
            **({"statistic": made.statistic} if made.statistic else {}),
            "shape": list(sides),
            "dtype": "float32",
            "unit": units[variable],
            "description": known.description if known.unit and known.unit == units[variable] else "",
            **({"columns": listed} if isinstance(listed, list) else {}),
            "transform": transform_document(spec["transforms"][variable], transforms, tables["transforms"])
            if transforms
            else None,
            **({"limits": spec["limits"][variable]} if made.limited and variable in spec.get("limits", {}) else {}),
        }

    inputs = [GraphTensor(name, name) for name in models[0].network.inputs]
    taken = set(models[0].network.inputs)  # names in a graph are unique, and an output may also be an input
    outputs = [replace(one, name=estimate_of(one.name)) if one.name in taken else one for one in graph_outputs(models)]
    return {
        "inputs": [port(made, sides) for made, sides in zip(inputs, graph.inputs, strict=True)],
        "outputs": [port(made, sides) for made, sides in zip(outputs, graph.outputs, strict=True)],
    }


def transform_document(description: str | Mapping[str, Any], transforms: Sequence[nn.Module], table: Table) -> Document:
    """A transform described so that a reader can apply it: formulas, parameters, and fitted values.

    transforms  the transform of one network, or of several that differ only in their fitted values
    """
    given: Document = {"type": description} if isinstance(description, str) else dict(description)
    first = transforms[0]
    assert isinstance(first, Transform)
    if isinstance(first, Chain):
        steps = zip(*(one.steps for one in transforms if isinstance(one, Chain)), strict=True)
        of = given["parameters"]["of"]
        return {
            "type": given["type"],
            "steps": [transform_document(one, step, table) for one, step in zip(of, steps, strict=True)],
        }
    fitted: Any = {name: tensor.tolist() for name, tensor in first.named_buffers()}
    return {
        "type": given["type"],
        "help": table[given["type"]].help,
        "formula": first.formula,
        "inverse": first.inverse_formula,
        "parameters": {**table[given["type"]].defaults, **given.get("parameters", {})},
        "fitted": fitted if len(transforms) == 1 or not fitted else f"by each of {len(transforms)} networks",
    }


def dle_fields(model: Inversion, physical: bool) -> dict[str, str]:
    """File → names and scales of fields, in the form that 2Dto2D-DLE stores beside a network.

    Inputs are divided by the scales and outputs multiplied; scales are 1 if the graph contains the transforms. Empty
    unless all variables are fields whose transforms are plain scales.
    """
    network = model.network
    contents = {}
    for file, shapes in ((DLE_INPUTS, network.inputs), (DLE_OUTPUTS, network.shapes)):
        lines = []
        for name, shape in shapes.items():
            scale = 1.0 if physical or name not in model.transforms else _scale(model.transforms[name])
            line = f"{name} {scale:.6f} \n"
            is_field = len(shape) == 3 and shape[0] == 1
            kept = abs(float(line.split()[1]) - scale) <= 1e-6 * abs(scale)  # six digits suffice; false for NaN
            if not (is_field and kept):
                return {}
            lines.append(line)
        contents[file] = "".join(lines)
    return contents


def _scale(transform: nn.Module) -> float:
    """The divisor of a transform; NaN if it is not a plain scale."""
    return transform.typical if isinstance(transform, Scale) else float("nan")


def readme(about: Document, divided: bool) -> str:
    """The README: how to load and call the network without qexp, and its inputs and outputs.

    divided  whether the folder has 2Dto2D-DLE's files of scales
    """
    kind = FORMATS[about["format"]]
    inputs = ", ".join(
        f'"{port["name"]}": numpy.ones({_example_shape(port)}, dtype="float32")' for port in about["inputs"]
    )
    parts = [
        f"# The network of {about['run']}",
        f"Trained with qexp {about['qexp']} (seed {about['seed']}) on `{about['trained_on']['dataset']}`; "
        "`network.json` describes the data and everything below.",
        *([f"**Caution:** {about['caution']}."] if "caution" in about else []),
        "In this folder, with your own values in place of ones:",
        f"```python\n{kind.example.format(inputs=inputs)}```",
        *(
            f"{key.capitalize()}:\n\n" + "\n".join(_line(port, about["transforms_inside"]) for port in about[key])
            for key in ("inputs", "outputs")
        ),
        INSIDE if about["transforms_inside"] else OUTSIDE,
        *([DIVIDED] if divided else []),
    ]
    return "\n\n".join(parts) + "\n"


INSIDE = "Inputs and outputs have these units: the transforms are inside the network."

OUTSIDE = """\
The network's inputs and outputs are transformed values. Apply the `formula` of its `transform` in `network.json` to
each input, and the `inverse` to each output; a variable without a transform stays as it is. If an output has
`limits`, clip its estimates to them. Formulas are numpy
expressions of `value`, an array of the shape above, and of the numbers under `parameters` and `fitted`. The first of
several `steps` is applied first and inverted last. `own` in an `inverse` is the input of the same name before that
step."""

DIVIDED = f"""\
`{DLE_INPUTS}` and `{DLE_OUTPUTS}` hold the divisor of each field, in the order of the channels, in the form of
2Dto2D-DLE."""


def words(port: Document, in_units: bool) -> str:
    """One line on an input or output: description, columns and unit."""
    seen_as = "" if in_units or port["transform"] is None else ", transformed by " + _name(port["transform"])
    parts = [
        port.get("statistic"),
        port["description"],
        ", ".join(port.get("columns", [])),
        (f"in {port['unit']}" if port["unit"] else "without a unit") + seen_as,
        f"limited: {Limits(*port['limits'])}" if in_units and "limits" in port else "",
    ]
    return "; ".join(part for part in parts if part)


def _line(port: Document, in_units: bool) -> str:
    return f"- `{port['name']}` ({', '.join(map(str, port['shape']))}): {words(port, in_units)}"


def _name(transform: Document) -> str:
    steps: list[Document] = transform.get("steps", [])
    return ", then ".join(map(_name, steps)) if steps else f"`{transform['type']}`"


def _example_shape(port: Document) -> str:
    return str(tuple(EXAMPLE_SIDES.get(str(side).split("_")[0], side) for side in port["shape"]))

"""What is said of a network that leaves qexp: `network.json`, a README, and 2Dto2D-DLE's lists of fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any

import torch
from torch import nn

from qexp import assemble
from qexp.analysis.export.graphs import FORMATS, Graph, Sides
from qexp.datasets.transforms import Chain
from qexp.datasets.transforms.elementwise import Scale
from qexp.datasets.transforms.transform import Transform
from qexp.models.inversion import Inversion
from qexp.models.portable import SPREAD
from qexp.quantities import quantity
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.trust import tables_of
from qexp.tables import Table

Document = dict[str, Any]

DLE_INPUTS, DLE_OUTPUTS = "fieldin.dat", "fieldout.dat"

EXAMPLE_SIDES = {"batch": 1, "height": 64, "width": 48}
"""Of the arrays in the README's example, where any will do."""


@dataclass(frozen=True)
class Made:
    """One of the tensors that a graph makes."""

    name: str
    variable: str
    statistic: str | None = None


def made_by(models: Sequence[Inversion]) -> list[Made]:
    """What the graph of a run's networks makes, in order."""
    outputs = models[0].network.outputs
    if len(models) == 1:
        return [Made(output, output) for output in outputs]
    kinds = {"": "mean over networks", SPREAD: "standard deviation over networks"}
    return [Made(output + end, output, statistic) for output in outputs for end, statistic in kinds.items()]


def told(directory: RunDirectory, models: Sequence[Inversion], format: str, physical: bool) -> Document:
    """Where a network comes from, and how it is kept."""
    record, spec = directory.record(), directory.spec()
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
            # Where its file lay is nobody's business elsewhere.
            "document": {key: value for key, value in spec["dataset"].items() if key != "found"},
        },
    }


def ports(directory: RunDirectory, models: Sequence[Inversion], graph: Graph) -> Document:
    """The `inputs` and `outputs` of a graph, in its order: shapes, units, columns, transforms."""
    spec, tables = directory.spec(), tables_of(directory)
    units = assemble.units_of(spec, tables["quantities"])
    columns = spec["dataset"].get("inputs")

    def port(made: Made, sides: Sides) -> Document:
        variable = made.variable
        known = quantity(variable, tables["quantities"])
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
            "transform": described(spec["transforms"][variable], transforms, tables["transforms"])
            if transforms
            else None,
        }

    inputs = [Made(name, name) for name in models[0].network.inputs]
    taken = set(models[0].network.inputs)  # a graph has one value of a name, and an output may be an input
    outputs = [replace(one, name=f"{one.name}_estimate") if one.name in taken else one for one in made_by(models)]
    return {
        "inputs": [port(made, sides) for made, sides in zip(inputs, graph.inputs, strict=True)],
        "outputs": [port(made, sides) for made, sides in zip(outputs, graph.outputs, strict=True)],
    }


def described(description: str | Mapping[str, Any], transforms: Sequence[nn.Module], table: Table) -> Document:
    """A transform so that a reader can apply it by hand: formulas, parameters, and the numbers that were fitted.

    transforms  of one network, or of several, which are alike but for what they were fitted to
    """
    given: Document = {"type": description} if isinstance(description, str) else dict(description)
    first = transforms[0]
    assert isinstance(first, Transform)
    if isinstance(first, Chain):
        steps = zip(*(one.steps for one in transforms if isinstance(one, Chain)), strict=True)
        of = given["parameters"]["of"]
        return {
            "type": given["type"],
            "steps": [described(one, step, table) for one, step in zip(of, steps, strict=True)],
        }
    fitted: Any = {name: tensor.tolist() for name, tensor in first.named_buffers()}
    return {
        "type": given["type"],
        "help": table[given["type"]].help,
        "formula": first.formula,
        "inverse": first.inverse_formula,
        "parameters": {**table[given["type"]].defaults(), **given.get("parameters", {})},
        "fitted": fitted if len(transforms) == 1 or not fitted else f"by each of {len(transforms)} networks",
    }


def dle_fields(model: Inversion, physical: bool) -> dict[str, str]:
    """Names and scales of fields as 2Dto2D-DLE keeps them beside a network, file by file.

    Fields are divided by them before, and multiplied after; by 1 where the graph does it itself. There are none for a
    network of anything but fields, and where a transform is none that a scale can say.
    """
    network = model.network
    contents = {}
    for file, shapes in ((DLE_INPUTS, network.inputs), (DLE_OUTPUTS, network.shapes)):
        lines = []
        for name, shape in shapes.items():
            scale = 1.0 if physical or name not in model.transforms else _scale(model.transforms[name])
            line = f"{name} {scale:.6f} \n"
            is_field = len(shape) == 3 and shape[0] == 1
            kept = abs(float(line.split()[1]) - scale) <= 1e-6 * abs(scale)  # by six digits; NaN is not
            if not (is_field and kept):
                return {}
            lines.append(line)
        contents[file] = "".join(lines)
    return contents


def _scale(transform: nn.Module) -> float:
    """What a transform divides by; NaN for one that does something else."""
    return transform.typical if isinstance(transform, Scale) else float("nan")


def readme(about: Document, divided: bool) -> str:
    """How to load and call the network without qexp, and what its inputs and outputs are.

    divided  whether 2Dto2D-DLE's files of scales lie beside it
    """
    kind = FORMATS[about["format"]]
    inputs = ", ".join(
        f'"{port["name"]}": numpy.ones({_example_shape(port)}, dtype="float32")' for port in about["inputs"]
    )
    parts = [
        f"# The network of {about['run']}",
        f"Trained with qexp {about['qexp']} (seed {about['seed']}) on `{about['trained_on']['dataset']}`; "
        "`network.json` says what that is, and all of what follows here.",
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


INSIDE = "Values go in and come out in these units: what scales them is inside the network."

OUTSIDE = """\
The network takes and makes transformed values. Apply to each input the `formula` of its `transform` in `network.json`
before, and to each output its `inverse` afterwards; a variable without a transform is left as it is. Formulas are
numpy's, of `value`, an array of the shape above, and of the numbers under `parameters` and `fitted`; of `steps`, the
first is applied first, and undone last. `own` in an `inverse` is the input of the same name as it was before that
step."""

DIVIDED = f"""\
`{DLE_INPUTS}` and `{DLE_OUTPUTS}` say by what each field is divided, in the order of the channels, as 2Dto2D-DLE
writes them."""


def words(port: Document, in_units: bool) -> str:
    """What an input or output is, in a line."""
    seen_as = "" if in_units or port["transform"] is None else ", transformed by " + _name(port["transform"])
    parts = [
        port.get("statistic"),
        port["description"],
        ", ".join(port.get("columns", [])),
        (f"in {port['unit']}" if port["unit"] else "without a unit") + seen_as,
    ]
    return "; ".join(part for part in parts if part)


def _line(port: Document, in_units: bool) -> str:
    return f"- `{port['name']}` ({', '.join(map(str, port['shape']))}): {words(port, in_units)}"


def _name(transform: Document) -> str:
    steps: list[Document] = transform.get("steps", [])
    return ", then ".join(map(_name, steps)) if steps else f"`{transform['type']}`"


def _example_shape(port: Document) -> str:
    return str(tuple(EXAMPLE_SIDES.get(str(side).split("_")[0], side) for side in port["shape"]))

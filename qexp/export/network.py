"""Export of a finished run's network to a folder, for programs without qexp (and, with ONNX,
without torch).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qexp.base.folders import names_in, write_folder
from qexp.base.formats import json_bytes
from qexp.base.outputs import SPREAD, Limits, estimate_of
from qexp.base.quantities import name_of_view, of_dataset, quantity
from qexp.base.tables import Table
from qexp.errors import QexpError, suggestion
from qexp.export.graphs import FORMATS, Graph, GraphError, NamedTensor, Sides
from qexp.kinds.networks import load_models
from qexp.kinds.tables import tables_of
from qexp.networks import portable
from qexp.networks.estimator import Estimator, StackedEnsemble
from qexp.networks.heads import FlowHead
from qexp.networks.transforms import Chain, Scale, Transform
from qexp.runs.options import ExportOptions
from qexp.spec.experiences import units_of
from qexp.spec.reading import Document
from qexp.store.directory import RunDirectory

# Descriptions of an exported network: `network.json`, a README, and 2Dto2D-DLE's lists of fields.

DLE_INPUTS, DLE_OUTPUTS = "fieldin.dat", "fieldout.dat"

EXAMPLE_SIDES = {"batch": 1, "height": 64, "width": 48}
"""Sizes of the arrays in the README's example, for dimensions of any size."""


@dataclass(frozen=True)
class GraphTensor:
    name: str
    variable: str
    statistic: str | None = None
    limited: bool = False
    """Whether it holds estimates, which lie within the limits of their variable."""


def graph_outputs(models: Sequence[Estimator]) -> list[GraphTensor]:
    """The outputs of the graph of a run's networks, in order."""
    outputs = models[0].network.outputs
    if len(models) == 1:
        return [GraphTensor(output, output, limited=True) for output in outputs]
    tensors = list[GraphTensor]()
    for output in outputs:
        spread = GraphTensor(output + SPREAD, output, "ensemble standard deviation")
        tensors += [GraphTensor(output, output, "ensemble mean", limited=True), spread]
    return tensors


def origin_of(
    directory: RunDirectory, models: Sequence[Estimator], format: str, physical: bool
) -> Document:
    """The entries of `network.json` on the network's origin and format."""
    record = directory.record()
    spec = directory.training_spec()
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
            "features": [feature.document() for feature in record.features],
            # The path of the data file on this machine is private.
            "document": {key: value for key, value in spec["dataset"].items() if key != "found"},
        },
    }


def ports(directory: RunDirectory, models: Sequence[Estimator], graph: Graph) -> Document:
    """The `inputs` and `outputs` of a graph, in its order: shapes, units, columns, transforms."""
    spec = directory.training_spec()
    tables = tables_of(directory)
    units = units_of(spec, tables["quantities"])
    quantities = of_dataset(spec["dataset"], tables["quantities"])
    columns, views = (spec["dataset"].get(key) for key in ("inputs", "views"))
    names_of_views = [view.get("name") or "" for view in views or []]

    def port(tensor: GraphTensor, sides: Sides) -> Document:
        variable = tensor.variable
        meaning = quantity(variable, quantities)
        names = columns.get(variable) if isinstance(columns, dict) else None
        view = name_of_view(variable, names_of_views)
        transforms = [
            model.transforms[variable] for model in models if variable in model.transforms
        ]
        return {
            "name": tensor.name,
            "variable": variable,
            **({"statistic": tensor.statistic} if tensor.statistic else {}),
            "shape": list(sides),
            "dtype": "float32",
            "unit": units[variable],
            "description": (
                meaning.description if meaning.unit and meaning.unit == units[variable] else ""
            ),
            **({"view": view} if view else {}),
            **({"columns": names} if isinstance(names, list) else {}),
            "transform": (
                transform_document(spec["transforms"][variable], transforms, tables["transforms"])
                if transforms
                else None
            ),
            **(
                {"limits": spec["limits"][variable]}
                if tensor.limited and variable in spec.get("limits", {})
                else {}
            ),
        }

    inputs = [GraphTensor(name, name) for name in models[0].takes]
    taken = models[0].takes  # names in a graph are unique, and an output may also be an input
    outputs = graph_outputs(models)
    for index, one in enumerate(outputs):
        if one.name in taken:
            outputs[index] = replace(one, name=estimate_of(one.name))
    ins = zip(inputs, graph.inputs, strict=True)
    outs = zip(outputs, graph.outputs, strict=True)
    return {
        "inputs": [port(tensor, sides) for tensor, sides in ins],
        "outputs": [port(tensor, sides) for tensor, sides in outs],
    }


def transform_document(
    description: str | Mapping[str, Any], transforms: Sequence[Transform], table: Table
) -> Document:
    """A transform described so that a reader can apply it: formulas, parameters, and fitted values.

    transforms  the transform of one network, or of several that differ only in their fitted values
    """
    long_form: Document = {"type": description}
    if not isinstance(description, str):
        long_form = dict(description)
    first = transforms[0]
    if isinstance(first, Chain):
        chains = [chain.steps for chain in transforms if isinstance(chain, Chain)]
        documents = list[Document]()
        for each, *step in zip(long_form["parameters"]["of"], *chains, strict=True):
            documents.append(transform_document(each, step, table))
        return {"type": long_form["type"], "steps": documents}
    fitted: Any = {name: tensor.tolist() for name, tensor in first.named_buffers()}
    return {
        "type": long_form["type"],
        "help": table[long_form["type"]].help,
        "formula": first.formula,
        "inverse": first.inverse_formula,
        "parameters": {**table[long_form["type"]].defaults, **long_form.get("parameters", {})},
        "fitted": (
            fitted
            if len(transforms) == 1 or not fitted
            else f"by each of {len(transforms)} networks"
        ),
    }


def dle_fields(model: Estimator, physical: bool) -> dict[str, str]:
    """File → names and scales of fields, in the form that 2Dto2D-DLE stores beside a network.

    Inputs are divided by the scales and outputs multiplied; scales are 1 if the graph contains the
    transforms. Empty unless all variables are fields whose transforms are plain scales.
    """
    network = model.network
    contents = {}
    for file, shapes in ((DLE_INPUTS, network.inputs), (DLE_OUTPUTS, network.shapes)):
        lines = []
        for name, shape in shapes.items():
            transform = None if physical or name not in model.transforms else model.transforms[name]
            scale = transform.typical if isinstance(transform, Scale) else 1.0
            line = f"{name} {scale:.6f} \n"
            is_field = len(shape) == 3 and shape[0] == 1
            # six digits suffice
            is_exact = abs(float(line.split()[1]) - scale) <= 1e-6 * abs(scale)
            if not (is_field and is_exact and isinstance(transform, Scale | None)):
                return {}
            lines.append(line)
        contents[file] = "".join(lines)
    return contents


def readme(about: Document, divided: bool) -> str:
    """The README: how to load and call the network without qexp, and its inputs and outputs.

    divided  whether the folder has 2Dto2D-DLE's files of scales
    """
    kind = FORMATS[about["format"]]
    inputs = list[str]()
    for port in about["inputs"]:
        words = [str(side).split("_")[0] for side in port["shape"]]
        shape = tuple(map(EXAMPLE_SIDES.get, words, port["shape"]))
        inputs.append(f'"{port["name"]}": numpy.ones({shape}, dtype="float32")')
    parts = [
        f"# The network of {about['run']}",
        (
            f"Trained with qexp {about['qexp']} (seed {about['seed']}) on"
            f" `{about['trained_on']['dataset']}`; `network.json` describes the data and everything"
            " below."
        ),
        *([f"**Caution:** {about['caution']}."] if "caution" in about else []),
        "In this folder, with your own values in place of ones:",
        f"```python\n{kind.example.format(inputs=', '.join(inputs))}```",
        f"Inputs:\n\n{_ports_in_words(about, 'inputs')}",
        f"Outputs:\n\n{_ports_in_words(about, 'outputs')}",
        INSIDE if about["transforms_inside"] else OUTSIDE,
        *([GAPS] if isinstance(about["trained_on"]["document"].get("missing"), dict) else []),
        *([DIVIDED] if divided else []),
    ]
    return "\n\n".join(parts) + "\n"


def _ports_in_words(about: Document, key: str) -> str:
    lines = list[str]()
    for port in about[key]:
        words = port_in_words(port, about["transforms_inside"])
        lines.append(f"- `{port['name']}` ({', '.join(map(str, port['shape']))}): {words}")
    return "\n".join(lines)


INSIDE = "Inputs and outputs have these units: the transforms are inside the network."

OUTSIDE = """\
The network's inputs and outputs are transformed values. Apply the `formula` of its `transform` in `network.json` to
each input, and the `inverse` to each output; a variable without a transform stays as it is. If an output has
`limits`, clip its estimates to them. Formulas are numpy
expressions of `value`, an array of the shape above, and of the numbers under `parameters` and `fitted`. The first of
several `steps` is applied first and inverted last. `own` in an `inverse` is the input of the same name before that
step."""

GAPS = (
    "A missing input is NaN, which the network fills in as in training; a row without any input has"
    " no estimate."
)

DIVIDED = f"""\
`{DLE_INPUTS}` and `{DLE_OUTPUTS}` hold the divisor of each field, in the order of the channels, in the form of
2Dto2D-DLE."""


def port_in_words(port: Document, in_units: bool) -> str:
    """One line on an input or output: description, columns and unit."""
    seen_as = (
        ""
        if in_units or port["transform"] is None
        else ", transformed by " + _name(port["transform"])
    )
    parts = [
        port.get("statistic"),
        port["description"],
        f"view '{port['view']}'" if "view" in port else "",
        ", ".join(port.get("columns", [])),
        (f"in {port['unit']}" if port["unit"] else "without a unit") + seen_as,
        f"limited: {Limits(*port['limits'])}" if in_units and "limits" in port else "",
    ]
    return "; ".join(part for part in parts if part)


def _name(transform: Document) -> str:
    steps: list[Document] = transform.get("steps", [])
    return ", then ".join(map(_name, steps)) if steps else f"`{transform['type']}`"


ABOUT, README = "network.json", "README.md"

OURS = frozenset(
    {ABOUT, README, DLE_INPUTS, DLE_OUTPUTS, *(kind.file for kind in FORMATS.values())}
)
"""All possible files of an exported folder."""

OF_FILES = {
    ".zip", ".tar", ".zst", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".json", ".onnx", ".pt", ".pth",
    ".pt2",
}  # fmt: skip
"""Suffixes of archives, which are not accepted for folders."""


@dataclass(frozen=True)
class Exported:
    folder: Path
    files: dict[str, int]
    """Name → bytes."""
    about: Document
    """The content of `network.json`."""


def export_network(directory: RunDirectory, options: ExportOptions) -> Exported:
    """Write a run's network, its inputs and outputs, and a README to a folder, which appears
    complete or not at all.

    The networks of several folds become one graph with their mean and standard deviation; their
    transforms differ, and must be inside.
    Raises QexpError for a run that is not done, an unknown format, an existing folder, or a network
    with operations that the format cannot hold.
    """
    target = Path(options.to)
    format = options.format or "onnx"
    physical = options.physical
    if format not in FORMATS:
        raise QexpError(f"`format={format}`: no such format; {suggestion(format, FORMATS)}")
    _require_room(target, options.overwrite)
    models = load_models(directory, torch.device("cpu"))
    if not physical and (len(models) > 1 or models[0].imputation is not None):
        what = "gaps in its inputs filled in, before they are transformed"
        if len(models) > 1:
            what = (
                f"{len(models)} networks, one or more per fold, whose transforms were fitted to"
                " different rows"
            )
        raise QexpError(
            f"{directory.name} has {what}; add `physical=True`, which includes the transforms in"
            " the graph"
        )
    for name, module in models[0].network.operations.items():
        if isinstance(module, FlowHead):
            raise QexpError(
                f"{directory.name}: the medians of '{name}', a flow_posterior, need draws, which no"
                " exported network makes; train one with a gaussian_posterior or a"
                " mixture_posterior"
            )
    about, graph = _graph(directory, models, format, physical)
    scales = dle_fields(models[0], physical)
    contents = {
        FORMATS[format].file: graph,
        ABOUT: json_bytes(about),
        README: readme(about, divided=bool(scales)).encode(),
        **{name: text.encode() for name, text in scales.items()},
    }
    write_folder(target, contents)
    return Exported(target, {name: len(content) for name, content in contents.items()}, about)


def _graph(
    directory: RunDirectory, models: Sequence[Estimator], format: str, physical: bool
) -> tuple[Document, bytes]:
    """The content of `network.json`, and of the graph's file."""
    shapes = list(models[0].takes.values())
    origin = origin_of(directory, models, format, physical)
    facts: dict[str, str] = {
        key: str(origin[key]) for key in ("run", "digest", "caution") if key in origin
    }
    troubles = []
    for module in _modules(directory, models, physical):
        # a network that goes by the size of its frame has no graph for any
        for free_frame in (True, False):
            try:
                graph = FORMATS[format].capture(module, shapes, free_frame)
                about = origin | ports(directory, models, graph)
                inputs = [_named_tensor(port, physical) for port in about["inputs"]]
                outputs = [_named_tensor(port, physical) for port in about["outputs"]]
                return about, FORMATS[format].write(graph, inputs, outputs, facts)
            except GraphError as error:
                troubles.append(str(error))
    raise QexpError(f"{directory.name}: its network cannot be written as {format}: {troubles[-1]}")


def _named_tensor(port: Document, physical: bool) -> NamedTensor:
    return NamedTensor(port["name"], tuple(port["shape"]), port_in_words(port, physical))


def _modules(
    directory: RunDirectory, models: Sequence[Estimator], physical: bool
) -> Iterator[nn.Module]:
    """Candidate modules for the graph, those with the shortest graph first."""
    network = models[0].network
    if len(models) == 1:
        module = portable.WithinLimits(models[0]) if physical else network
        yield portable.Positional(module, models[0].takes, network.outputs)
    else:
        # those of one layout, by the hyper-parameters that a fold has chosen
        groups: dict[str, list[Estimator]] = {}
        rest = iter(models)
        for fold in directory.all_folds():
            of_fold = fold.record().fold
            for _ in (of_fold.networks if of_fold else None) or ():
                layout = json.dumps(of_fold.chosen if of_fold else None, sort_keys=True)
                groups.setdefault(layout, []).append(next(rest))
        outputs = [tensor.name for tensor in graph_outputs(models)]
        for parts in (
            map(StackedEnsemble, groups.values()),
            [portable.EnsembleLoop(models)],
        ):
            yield portable.Positional(
                portable.MeanAndSpread(list(parts), models[0]), models[0].takes, outputs
            )


# The folder


def _require_room(target: Path, overwrite: bool) -> None:
    if target.suffix.lower() in OF_FILES:
        raise QexpError(
            f"`to={target}`: a network is written to a folder, whose name does not end in"
            f" {target.suffix}; an archive of the run ends in .zip"
        )
    names = names_in(target)
    if names and not overwrite:
        raise QexpError(
            f"`to={target}`: the folder is not empty; choose another; `overwrite=True` replaces an"
            " earlier export"
        )
    if names and (ABOUT not in names or names - OURS):
        other = min(names - OURS, default="no " + ABOUT)
        raise QexpError(
            f"`to={target}`: `overwrite=True` replaces nothing but earlier exports, and this has"
            f" {other}"
        )

"""From specs to objects: the only file that knows both."""

from __future__ import annotations

import importlib.util
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from qexp.datasets.distributions import DISTRIBUTIONS, Distribution
from qexp.datasets.generated import GeneratedDataset
from qexp.datasets.generators import GENERATORS
from qexp.datasets.noises import NOISES
from qexp.datasets.transforms import TRANSFORMS, Transform
from qexp.errors import NotFoundError, Problem, QexpError, SpecError
from qexp.models.inversion import Inversion
from qexp.models.modules import MODULES, JoiningEntry
from qexp.models.network import Branch, BranchError, Network, Operation, initialise, operations_per_sample
from qexp.models.shapes import Shape, from_spec, written
from qexp.quantities import QUANTITIES, Quantity, declare, quantity
from qexp.seeds import Seeds
from qexp.spec import load, resolve, validate
from qexp.spec.digest import digest
from qexp.spec.resolve import FOLDERS, Override
from qexp.spec.schema import KINDS, whole_schema
from qexp.tables import Entry, Table, Tables, built, suggestion
from qexp.training.callbacks import CALLBACKS
from qexp.training.loop import Data, Recipe
from qexp.training.losses import LOSSES
from qexp.training.metrics import METRICS, asked_for
from qexp.training.optimizers import OPTIMIZERS
from qexp.training.schedules import SCHEDULES
from qexp.workspace import VARIABLE, Workspace, find

Document = dict[str, Any]
Finding = validate.Finding

BUILT_IN: Tables = {
    "generators": GENERATORS,
    "distributions": DISTRIBUTIONS,
    "noises": NOISES,
    "modules": MODULES,
    "transforms": TRANSFORMS,
    "losses": LOSSES,
    "metrics": METRICS,
    "optimizers": OPTIMIZERS,
    "schedules": SCHEDULES,
    "callbacks": CALLBACKS,
}


def tables_with(extensions: Path) -> dict[str, Table]:
    """The built-in tables, and what a workspace's `extensions.py` adds to them, if it is there.

    The file may define `MODULES = {...}`, `GENERATORS = {...}` and so on, dictionaries of `qexp.tables.Entry`,
    and `QUANTITIES`, of `qexp.quantities.Quantity`.
    """
    tables: dict[str, Table] = dict(BUILT_IN)
    declare({})
    if not extensions.is_file():
        return tables
    module_spec = importlib.util.spec_from_file_location("qexp_extensions", extensions)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever a user's own code may raise
        raise QexpError(f"{extensions} cannot be used: {type(error).__name__}: {error}") from error
    for name, table in BUILT_IN.items():
        added = _added(module, name.upper(), table, Entry, extensions)
        for entry_name, entry in added.items():
            try:
                entry.schema()
            except (TypeError, ValueError) as error:
                raise QexpError(
                    f"{extensions}: {name.upper()}['{entry_name}'] has no usable builder: {error}"
                ) from error
        tables[name] = {**table, **added}
    for name, value in vars(module).items():
        of_entries = isinstance(value, dict) and value and all(isinstance(entry, Entry) for entry in value.values())
        if of_entries and name.isupper() and name.lower() not in BUILT_IN:
            raise QexpError(f"{extensions}: no table {name}; {suggestion(name, [key.upper() for key in BUILT_IN])}")
    declare(_added(module, "QUANTITIES", QUANTITIES, Quantity, extensions))
    return tables


def tables_here(named: str | None = None) -> dict[str, Table]:
    """The tables of the workspace named or found; the built-in ones where there is none and none was asked for."""
    try:
        return tables_with(find(named).extensions)
    except NotFoundError:
        if named is not None or VARIABLE in os.environ:
            raise
        return tables_with(Path("no extensions"))


def _added(module: ModuleType, name: str, known: Mapping[str, Any], kind: type, extensions: Path) -> dict[str, Any]:
    """The entries of one of an extension's tables. Raises QexpError where it is no such table."""
    added = getattr(module, name, {})
    if not isinstance(added, dict):
        raise QexpError(f"{extensions}: {name} must be a dictionary")
    for entry_name, entry in added.items():
        if not isinstance(entry_name, str) or not isinstance(entry, kind):
            raise QexpError(f"{extensions}: {name}[{entry_name!r}] must be a {kind.__module__}.{kind.__name__}")
        if entry_name in known:
            raise QexpError(f"{extensions}: {name} has '{entry_name}', which qexp has already; rename it")
    return added


@dataclass(frozen=True)
class Experience:
    """An experience that has been checked: whole, with every default written out."""

    name: str
    document: Document
    dataset_name: str
    model_name: str
    overrides: tuple[str, ...]
    extensions: str
    """The text of the workspace's own table entries."""

    @property
    def digest(self) -> str:
        return digest(self.document, *([self.extensions] if self.extensions else []))


def experience(reference: str, overrides: Iterable[str], workspace: Workspace) -> Experience:
    """Read, complete and check an experience. Raises SpecError with all that is wrong with it."""
    changes = [resolve.override(text) for text in overrides]
    tables = tables_with(workspace.extensions)
    loaded, problems = _checked(reference, changes, workspace, tables)
    if problems or loaded is None:
        raise SpecError(problems)
    schemas = {kind: whole_schema(kind, tables) for kind in KINDS}
    try:
        extensions = workspace.extensions.read_text(encoding="utf-8") if workspace.extensions.is_file() else ""
    except UnicodeDecodeError:
        raise QexpError(f"{workspace.extensions} is not UTF-8 text; save it as that") from None
    return Experience(
        loaded.name,
        resolve.with_defaults(loaded.document, tables, schemas),
        loaded.dataset_name,
        loaded.model_name,
        tuple(change.text for change in changes),
        extensions,
    )


def problems_in(path: Path, workspace: Workspace) -> list[Problem]:
    """Everything wrong with one spec file that can be seen without training."""
    tables = tables_with(workspace.extensions)
    shown = workspace.shown(path)
    try:
        kind = kind_of(path)
        if kind == "experience":
            return _checked(str(path), [], workspace, tables)[1]
        document = load.read(path, shown)
        found = validate.findings(kind, document, tables)
        if not found:
            found = list(_DEEP_CHECKS[kind](document, tables))
    except SpecError as error:
        return error.problems
    return [Problem(shown, where, message) for where, message in found]


def kind_of(path: Path) -> str:
    """dataset, model or experience: by the folder, else by what the document holds."""
    for kind, folder in FOLDERS.items():
        if path.absolute().parent.name == folder:
            return kind
    document = load.read(path)
    if "branches" in document or "operations" in document or "graph" in document:
        return "model"
    return "experience" if "model" in document or "epochs" in document else "dataset"


def dataset_document(reference: str, workspace: Workspace, tables: Tables) -> tuple[str, Document]:
    """Name and checked, completed document of a dataset."""
    path = resolve.locate("dataset", reference, workspace)
    problems = problems_in(path, workspace)
    if problems:
        raise SpecError(problems)
    schema = whole_schema("dataset", tables)
    return path.stem, resolve.dataset_with_defaults(load.read(path), tables, schema)


# Objects


def dataset_of(document: Document, tables: Tables) -> GeneratedDataset:
    """The dataset of a checked document; forms may be short or long."""
    noise = resolve.long_form(document.get("noise_model", "white"), tables["noises"])
    height, width = document.get("size", [64, 64])
    return GeneratedDataset(
        tables["generators"][document["generation_type"]].build(),
        (int(height), int(width)),
        {name: float(value) for name, value in document.get("fixed", {}).items()},
        document["varyings"],
        {name: built(tables["distributions"], document["distributions"][name]) for name in document["varyings"]},
        built(tables["noises"], noise),
    )


def network_of(document: Document, inputs: Iterable[str], outputs: Iterable[str], tables: Tables) -> Network:
    """The network of a checked model document, laid out without memory. Raises BranchError."""
    sizes: dict[str, Shape] = {name: from_spec(document["inputs"][name]["size"]) for name in inputs}
    operations = {name: _operation(value, tables["modules"]) for name, value in document["operations"].items()}
    branches = [
        Branch(
            tuple(branch["x_name"]) if isinstance(branch["x_name"], list) else (branch["x_name"],),
            branch["y_name"],
            tuple(branch["operations"]),
        )
        for branch in document["branches"]
    ]
    return Network(sizes, list(outputs), operations, branches)


def _operation(description: Document, modules: Table) -> Operation:
    entry, parameters = modules[description["module"]], description.get("parameters", {})

    def build(shape: Shape | list[Shape]) -> torch.nn.Module:
        module = entry.build(shape, **parameters)
        assert isinstance(module, torch.nn.Module)
        return module

    return Operation(build, isinstance(entry, JoiningEntry), float(parameters.get("l2", 0.0)))


def model_of(spec: Document, tables: Tables) -> Inversion:
    """The network of a resolved experience and its transforms; weights have no values yet."""
    network = network_of(spec["model"], spec["inputs"], spec["outputs"], tables)
    transforms = {name: built(tables["transforms"], value) for name, value in spec["transforms"].items()}
    return Inversion(network, transforms)


def initial_model(spec: Document, tables: Tables, seeds: Seeds) -> Inversion:
    """A model with its first weights."""
    model = model_of(spec, tables)
    initialise(model.network, seeds)
    return model


def recipe_of(spec: Document, tables: Tables) -> Recipe:
    optimizer = spec["optimizer"]
    build_optimizer: Callable[..., torch.optim.Optimizer] = tables["optimizers"][optimizer["type"]].build
    return Recipe(
        losses={name: built(tables["losses"], spec["losses"][name]) for name in spec["outputs"]},
        metrics={
            name: {metric: tables["metrics"][metric].build() for metric in asked_for(spec["metrics"].get(name, []))}
            for name in spec["outputs"]
        },
        optimizer=partial(build_optimizer, **optimizer["parameters"]),
        learning_rate=float(spec["learning_rate"]),
        schedule=built(tables["schedules"], spec["schedule"]),
        epochs=int(spec["epochs"]),
        batch_size=int(spec["batch_size"]),
        callbacks=[built(tables["callbacks"], value) for value in spec["additional_callbacks"]],
        gradient_clip=spec["gradient_clip"],
        precision=spec["precision"],
    )


SMALL_BATCH = 1e8
"""Operations in the forward pass of a batch below which a second thread costs more than it brings."""


def threads_for(spec: Document, tables: Tables) -> int:
    """How many threads training should use, which depends on the spec and the machine's setting alone.

    Threads meet at the end of every operation. Where operations are short that is most of the time, and on a machine
    that has other work nearly all of it: a small network then trains ten times as fast on one thread.
    `OMP_NUM_THREADS` is obeyed.
    """
    available = torch.get_num_threads()
    if "OMP_NUM_THREADS" in os.environ or available == 1:
        return available
    network = network_of(spec["model"], spec["inputs"], spec["outputs"], tables)
    return 1 if operations_per_sample(network) * spec["batch_size"] < SMALL_BATCH else available


def data_of(spec: Document, dataset: GeneratedDataset, seeds: Seeds, device: torch.device) -> Data:
    """Training samples on demand, validation and test samples drawn once."""
    parts = dataset.parts(spec["split"], seeds)
    train, validation, test = (int(size) for size in spec["sizes"])
    return Data(
        train=lambda epoch: dataset.sample(parts["train"], train, seeds, ("train", epoch), device),
        validation=dataset.sample(parts["validation"], validation, seeds, ("validation",), device),
        test=dataset.sample(parts["test"], test, seeds, ("test",), device),
        train_size=train,
    )


def fit_transforms(model: Inversion, data: Data) -> None:
    """Fit the transforms that adapt, to training samples alone."""
    samples: Mapping[str, torch.Tensor] | None = None
    for name, transform in model.transforms.items():
        assert isinstance(transform, Transform)
        if type(transform).fit is not Transform.fit:
            samples = samples or data.train(0)
            transform.fit(samples[name])


def device_of(name: str) -> torch.device:
    """`auto`, `cpu` or `cuda`. Raises QexpError if there is no such device."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise QexpError(f"--device {name}: no such device; use auto, cpu or cuda")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise QexpError("--device cuda: there is no GPU that torch can use here; try --device cpu")
    if name.startswith("cuda:") and int(name[5:]) >= torch.cuda.device_count():
        raise QexpError(f"--device {name}: there are {torch.cuda.device_count()} GPUs, counted from 0")
    return torch.device(name)


# Checks that need objects


def _checked(
    reference: str, changes: list[Override], workspace: Workspace, tables: Tables
) -> tuple[resolve.Loaded | None, list[Problem]]:
    try:
        loaded = resolve.experience(reference, changes, workspace)
    except SpecError as error:
        return None, error.problems
    document = loaded.document
    alone = {**document, **{kind: loaded.name for kind in ("dataset", "model") if isinstance(document.get(kind), dict)}}
    problems = loaded.problems("experience", validate.findings("experience", alone, tables))
    for kind in ("dataset", "model"):
        inner = document.get(kind)
        if isinstance(inner, dict):
            found = validate.findings(kind, inner, tables) or list(_DEEP_CHECKS[kind](inner, tables))
            problems += loaded.problems(kind, found)
    if not problems:
        problems = loaded.problems("experience", _in_whole(document, tables))
    return loaded, problems


def _deep_in_dataset(document: Document, tables: Tables) -> Iterator[Finding]:
    generator = tables["generators"][document["generation_type"]].build()
    fixed, varyings = document.get("fixed", {}), document["varyings"]
    mentioned = [*fixed, *varyings]
    required = generator.required(mentioned)
    known = {*generator.required([*mentioned, *document["distributions"]]), "noise"}
    for name in required:
        if name not in mentioned:
            yield ("fixed",), f"'{name}' has no value; put it in 'fixed' or in 'varyings' ({_about(name)})"
    for group in ("fixed", "varyings", "distributions"):
        for name in document.get(group, {}):
            if name not in known:
                yield (group, name), validate.unknown_variable(name, known)
    for name in document.get("matrix", {}).get("axes", {}):
        if name not in {*required, "noise"}:
            yield ("matrix", "axes", name), validate.unknown_variable(name, {*required, "noise"})
    for name, description in document["distributions"].items():
        where = ("distributions", name)
        try:
            distribution: Distribution = built(tables["distributions"], description)
        except ValueError as error:
            yield (*where, "parameters"), str(error)
            continue
        if name in varyings:
            yield from _outside_limits(name, distribution, where, description["type"])
    try:
        built(tables["noises"], resolve.long_form(document.get("noise_model", "white"), tables["noises"]))
    except ValueError as error:
        yield ("noise_model", "parameters"), str(error)


def _outside_limits(name: str, distribution: Distribution, where: validate.Path, kind: str) -> Iterator[Finding]:
    low, high = distribution.support()
    limits = quantity(name)
    floor = limits.above if limits.above is not None else limits.at_least
    if floor is not None and low < floor:
        yield (
            where,
            (
                f"'{kind}' reaches down to {low:g}, but {name} {limits.violation(-math.inf)}; "
                "use a log_normal, log_uniform or truncated_normal distribution, or other bounds"
            ),
        )
    if limits.at_most is not None and high > limits.at_most:
        yield where, f"'{kind}' reaches up to {high:g}, but {name} {limits.violation(math.inf)}"


def _about(name: str) -> str:
    known = quantity(name)
    return f"{known.description}, in {known.unit}" if known.unit else known.description


def _deep_in_model(document: Document, tables: Tables) -> Iterator[Finding]:
    try:
        network_of(document, document["inputs"], document["outputs"], tables)
    except BranchError as error:
        yield ("branches", error.branch, "operations", error.position), str(error)
    except KeyError as error:
        yield ("operations",), f"{error.args[0]}; rename that operation"


_DEEP_CHECKS: dict[str, Callable[[Document, Tables], Iterator[Finding]]] = {
    "dataset": _deep_in_dataset,
    "model": _deep_in_model,
}


def _in_whole(document: Document, tables: Tables) -> Iterator[Finding]:
    """Whether experience, dataset and model fit each other; each is right by itself."""
    dataset = dataset_of(document["dataset"], tables)
    model = document["model"]
    shapes = dataset.shapes()
    for index, name in enumerate(document["inputs"]):
        where: validate.Path = ("inputs", index)
        if name not in shapes:
            yield where, f"the dataset makes no '{name}'; {suggestion(name, shapes)}"
        elif name not in model["inputs"]:
            yield where, f"the model has no input '{name}'; {suggestion(name, model['inputs'])}"
        elif (size := from_spec(model["inputs"][name]["size"])) != shapes[name]:
            yield where, f"the dataset makes {written(shapes[name])}, but the model's input is {written(size)}"
    for name in model["inputs"]:
        if name not in document["inputs"]:
            yield ("inputs",), f"the model needs the input '{name}', which is not listed"
    fitting = True
    for index, name in enumerate(document["outputs"]):
        where = ("outputs", index)
        if name not in shapes:
            fitting = False
            yield where, f"the dataset makes no '{name}'; {suggestion(name, shapes)}"
        elif name not in model["outputs"]:
            fitting = False
            yield where, f"the model has no output '{name}'; {suggestion(name, model['outputs'])}"
    if fitting:
        network = network_of(model, model["inputs"], document["outputs"], tables)
        for index, name in enumerate(document["outputs"]):
            if network.shapes[name] != shapes[name]:
                yield (
                    ("outputs", index),
                    (
                        f"the model makes {written(network.shapes[name])} for '{name}', but its values are "
                        f"{written(shapes[name])}; end the branch accordingly"
                    ),
                )
        normalises = any(isinstance(module, torch.nn.BatchNorm1d) for module in network.modules())
        if normalises and document["sizes"][0] % document["batch_size"] == 1:
            yield (
                ("batch_size",),
                f"the last of the batches of {document['sizes'][0]} samples has a single one, which a 'batch_norm' "
                "cannot normalise; choose another size",
            )
    yield from _in_transforms(document, dataset, tables)
    for key, table in (("optimizer", "optimizers"), ("schedule", "schedules")):
        description = resolve.long_form(document.get(key, "constant"), tables[table])
        try:
            built(
                tables[table], description, *(([torch.nn.Parameter(torch.zeros(1))], 0.1) if key == "optimizer" else ())
            )
        except ValueError as error:
            yield (key, "parameters"), str(error)


def _in_transforms(document: Document, dataset: GeneratedDataset, tables: Tables) -> Iterator[Finding]:
    for name, value in document.get("transforms", {}).items():
        where: validate.Path = ("transforms", name)
        try:
            transform: Transform = built(tables["transforms"], resolve.long_form(value, tables["transforms"]))
        except ValueError as error:
            yield (*where, "parameters"), str(error)
            continue
        if name in dataset.fixed:
            low = high = dataset.fixed[name]
        elif name in dataset.distributions:
            low, high = dataset.distributions[name].support()
        else:
            low, high = -math.inf, math.inf
        trouble = transform.domain_error(low, high)
        if trouble:
            yield where, f"{trouble}; use asinh or scale for '{name}'"

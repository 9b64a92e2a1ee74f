"""Experiments: specs read, completed, and checked as far as possible without training."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from qexp.base import machine
from qexp.base.outputs import Classes, output_in
from qexp.base.tables import Tables, built
from qexp.base.workspace import Workspace
from qexp.errors import DatasetError, Problem, QexpError, SpecError, nearest, suggestion
from qexp.kinds import files
from qexp.kinds.classes import in_classes, in_metrics_and_baselines
from qexp.kinds.kind import Dataset, KindData
from qexp.kinds.memory import memory_of_experience, memory_of_model
from qexp.kinds.networks import (
    build_transforms,
    in_heads,
    metrics_of,
    network_of,
    of_several_numbers,
)
from qexp.kinds.objects import data_kind
from qexp.kinds.tables import tables_with
from qexp.networks.network import BranchError, Network, layers_above
from qexp.networks.shapes import Shape, from_spec, written
from qexp.networks.transforms import Transform
from qexp.spec import reading, resolution, validation
from qexp.spec.experiences import type_name, type_of
from qexp.spec.kinds import dataset_with_defaults, filled_in
from qexp.spec.reading import Document, Finding, Where, canonical, digest, follow_dataset, follows
from qexp.spec.resolution import FOLDERS, Override, Written
from qexp.spec.validation import without_unread

MOST_CACHED = 16
"""Number of datasets that a command keeps open, and of models that it keeps in mind."""


class SpecCache:
    """Datasets and models of experiences by their documents, each opened or laid out once however
    many specs name it.

    available  bytes of memory of the machine that will train them; of this machine if left out
    """

    def __init__(self, tables: Tables, workspace: Workspace, available: int | None = None) -> None:
        self.tables, self.workspace = tables, workspace
        self.available = machine.memory() if available is None else available
        remembered = lru_cache(MOST_CACHED)  # by the document's text
        self._opened = remembered(lambda text: self._open(json.loads(text)))
        self._found_in_model = remembered(lambda text: list(self._in_model(json.loads(text))))
        self._read = remembered(
            lambda kind, text, overridden: without_unread(
                kind, json.loads(text), tables, overridden
            )
        )
        self.digests_of_files: dict[str, str | None] = {}
        """Experience → its digest without overrides, None if it is wrong; see `is_unchanged`."""

    def without_unread(
        self, kind: str, document: Document, overridden: Collection[Where] = ()
    ) -> tuple[Document, list[Finding]]:
        """A dataset or model without what nothing reads, and warnings about that; see
        `validation.without_unread`.
        """
        document, warnings = self._read(kind, json.dumps(document), tuple(overridden))
        return copy.deepcopy(document), warnings

    def dataset(self, document: Document) -> tuple[Dataset | None, list[Finding]]:
        """The dataset of a document, None if it cannot be opened, and all problems of the document
        by itself.
        """
        return self._opened(json.dumps(document))

    def findings_in_model(self, document: Document) -> list[Finding]:
        """All problems of a model by itself; shapes are computed only if it matches its schema."""
        return self._found_in_model(json.dumps(document))

    def _in_model(self, document: Document) -> Iterator[Finding]:
        if findings := validation.findings("model", document, self.tables):
            yield from findings
            return
        if follows(document):
            return  # it is laid out with an experience's dataset
        try:
            network = network_of(document, document["inputs"], document["outputs"], self.tables)
        except BranchError as error:
            yield ("branches", error.branch, "operations", error.position), str(error)
            return
        except KeyError as error:
            yield ("operations",), f"{error.args[0]}; rename that operation"
            return
        yield from memory_of_model(network, self.available)

    def _open(self, document: Document) -> tuple[Dataset | None, list[Finding]]:
        if findings := validation.findings("dataset", document, self.tables):
            return None, findings
        try:
            return (
                data_kind(document).checked_dataset(
                    filled_in(document), self.tables, self.workspace
                ),
                [],
            )
        except DatasetError as error:
            return None, list(error.findings)


@dataclass(frozen=True)
class Check:
    """An experience with its dataset and model inserted, and all its problems."""

    loaded: resolution.Loaded | None
    """None if its files cannot be read; resolved if there are no problems."""
    dataset: Dataset | None
    """None if it cannot be opened, or if the experience has none."""
    problems: list[Problem]
    warnings: list[Problem]
    """Warnings about what the documents say; those about data are the dataset's."""
    awaited: list[Problem] = field(default_factory=list)
    """Those of the problems that the command that makes the dataset's folder would solve."""


def _follow(loaded: resolution.Loaded, cache: SpecCache) -> tuple[Dataset | None, list[Problem]]:
    """Open the dataset of an experience, to which its specs adapt; returns problems of both."""
    document = loaded.document.get("dataset")
    if not isinstance(document, dict):
        return None, []
    dataset, findings = cache.dataset(document)
    problems = loaded.problems("dataset", findings)
    if dataset is None:
        return None, problems
    sizes = {name: [*shape[1:], shape[0]] for name, shape in dataset.shapes().items()}
    roles = data_kind(document).roles(filled_in(document), cache.workspace)
    loaded.document, not_followed = follow_dataset(loaded.document, sizes, roles)
    for kind, finding in not_followed:
        problems += loaded.problems(kind, [finding])
    return dataset, problems


def leave_out_unread(
    loaded: resolution.Loaded, changes: list[Override], cache: SpecCache
) -> list[Problem]:
    """Leave out what nothing reads of an experience and its parts; returns warnings."""
    warnings = []
    for kind in resolution.REFERENCES if type_of(loaded.document).trains else ():
        document = loaded.document.get(kind)
        if isinstance(document, dict):
            overridden = [change.path[1:] for change in changes if change.path[0] == kind]
            loaded.document[kind], findings = cache.without_unread(kind, document, overridden)
            warnings += loaded.problems(kind, findings)
    overridden = [change.path for change in changes]
    loaded.document, findings = without_unread(
        "experience", loaded.document, cache.tables, overridden
    )
    return loaded.problems("experience", findings) + warnings


def _in_whole(document: Document, dataset: Dataset, cache: SpecCache) -> Iterator[Finding]:
    """Problems between experience, dataset and model, each of which is valid by itself."""
    kind = data_kind(document["dataset"])
    tables = cache.tables
    model = document["model"]
    shapes = dataset.shapes()
    network: Network | None = None
    yield from _in_names(document, shapes, model)
    for name in model["inputs"]:
        if name not in document["inputs"]:
            yield ("inputs",), f"the model needs the input '{name}', which is not listed"
    fitting = {*document["outputs"]} <= shapes.keys() & {*model["outputs"]}
    transforms, findings = build_transforms(document, tables)
    yield from findings
    yield from of_several_numbers(document, transforms, kind.several_numbers)
    findings = list(in_heads(document, tables, shapes, transforms))
    findings += [*in_classes(document, tables), *in_metrics_and_baselines(document, tables)]
    yield from findings
    fitting &= not findings
    if fitting:
        network = network_of(model, model["inputs"], document["outputs"], tables)
        yield from _in_shapes(document, network, shapes, transforms)
    yield from kind.findings(document, dataset, tables, network, cache.available)
    if network is not None and not any(True for _ in network.parameters()):
        why = "no operation of the model has weights, so that nothing can be trained"
        yield ("model",), f"{why}; add one, as 'denses'"
    called = [one["type"] for one in document["additional_callbacks"]]
    if "test_evaluate" in called and not document.get("test", True):
        where = ("additional_callbacks", called.index("test_evaluate"))
        yield where, "looks at the test part, which 'test' keeps unseen; leave it out"
    yield from _in_pretrain(document, network)
    decays = network is not None and document.get("layer_decay", 1.0) < 1
    if network is not None and decays and not any(layers_above(network).values()):
        why = "no operation of the model has numbered layers, as 'masked_encoder' has"
        yield ("layer_decay",), f"{why}; leave it out"
    weight = torch.nn.Parameter(torch.zeros(1))
    arguments_of: dict[str, tuple[Any, ...]] = {"optimizer": ([weight], 0.1), "schedule": ()}
    for key, arguments in arguments_of.items():
        try:  # whether it can be built with its parameters
            built(tables[f"{key}s"], document[key], *arguments)
        except ValueError as error:
            yield (key, "parameters"), str(error)


def _in_shapes(
    document: Document,
    network: Network,
    shapes: Mapping[str, Shape],
    transforms: Mapping[str, Transform],
) -> Iterator[Finding]:
    """Outputs of which the model makes values of another shape."""
    for index, name in enumerate(document["outputs"]):
        if name in document["transforms"] and name not in transforms:
            continue  # its transform cannot be built, which is reported
        if isinstance(output_in(document, name), Classes):
            continue  # its head was checked
        shape = transforms[name].shape(shapes[name]) if name in transforms else shapes[name]
        if network.shapes[name] == shape:
            continue
        why = f"its values are {written(shape)}; end the branch"
        if shape != shapes[name]:
            values = f"its transform makes {written(shape)} of its values"
            why = f"{values}; give it a branch of its own that ends"
        made = f"the model makes {written(network.shapes[name])} for '{name}'"
        yield ("outputs", index), f"{made}, but {why} with that shape"


def _in_names(
    document: Document, shapes: Mapping[str, Shape] | None, model: Document | None
) -> Iterator[Finding]:
    """Inputs and outputs that the dataset or the model does not have; None stands for one that is
    wrong itself.
    """
    for names in (document.get("inputs"), document.get("outputs")):
        if not isinstance(names, list) or any(not isinstance(name, str) for name in names):
            return
    for key, noun in (("inputs", "input"), ("outputs", "output")):
        for index, name in enumerate(document[key]):
            if shapes is not None and name not in shapes:
                yield (key, index), f"the dataset has no '{name}'; {suggestion(name, shapes)}"
            elif model is not None and name not in model[key]:
                yield (
                    (key, index),
                    f"the model has no {noun} '{name}'; {suggestion(name, model[key])}",
                )
            elif shapes is not None and model is not None and key == "inputs":
                size = from_spec(model[key][name]["size"])
                shape = shapes[name]
                words = f"its shape in the dataset is {written(shape)}"
                if size != shape:
                    yield (key, index), f"{words}, but the model's input is {written(size)}"


def _in_pretrain(document: Document, network: Network | None) -> Iterator[Finding]:
    pretrain = document["pretrain"]
    operations = document["model"]["operations"]
    if pretrain is None:
        return
    for key in ("operations", "freeze"):
        for index, name in enumerate(pretrain[key] or []):
            if name not in operations:
                yield (
                    ("pretrain", key, index),
                    f"the model has no operation '{name}'; {suggestion(name, operations)}",
                )
    if network is None or not pretrain["freeze"]:
        return
    learning = set()
    for name, operation in network.operations.items():
        if next(operation.parameters(), None) is not None:
            learning.add(name)
    if learning <= set(pretrain["freeze"]):
        words = "all operations with weights are frozen, and nothing is left to train; freeze fewer"
        yield ("pretrain", "freeze"), words


# What is still found in an experience in which something is wrong already.
#
# Experience, dataset and model can only be checked together if each is right by itself: otherwise
# the check fails, or repeats in other words what is wrong already. But who corrects a spec wants to
# hear everything at once, not one more thing after each correction. So whatever is wrong is made
# right first where nothing else depends on it: a misspelt input or output gets the name that the
# dataset has, and a key such as `epochs`, if it is wrong, missing or misspelt, a value that is
# right in every experience. If the experience is right then, all of it is checked, and what is
# found about the keys that were made right is left out. If it is not, inputs and outputs alone are
# looked for in dataset and model.


STAND_INS: Document = {
    "epochs": 1,
    "batch_size": 32,
    "learning_rate": 0.001,
    "optimizer": "adam",
    "schedule": "constant",
    "additional_callbacks": [],
    "metrics": {},
    "gradient_clip": None,
    "precision": "float32",
    "keep": "best",
    "pretrain": None,
    "limits": {},
    "description": "",
}
"""Key of an experience that no other depends on → a right value, to check others with."""


def _rightly_named(document: Document, known: Collection[str]) -> Document:
    """The experience with the dataset's names in place of misspelt inputs and outputs, so that
    these are told once.
    """
    right = {}
    for key in ("inputs", "outputs"):
        meant = [name if name in known else nearest(name, known) or name for name in document[key]]
        right[key] = meant if len(set(meant)) == len(meant) else document[key]
    return {**document, **right}


def _in_corrected(
    document: Document, wrong: set[str | int], dataset: Dataset, cache: SpecCache
) -> list[Finding] | None:
    """The problems besides what is wrong, once defaults are filled in; None if the experience
    cannot be made right.

    document  with dataset and model inserted, which are right by themselves
    wrong     its keys that are wrong
    """
    of_type = type_of(document)
    kind = data_kind(document["dataset"])
    schema = of_type.schema()
    keys = schema["properties"]
    given = {
        key: value
        for key, value in document.items()
        if key in keys or nearest(key, keys) not in STAND_INS
    }
    doubted = wrong | {key for key in schema["required"] if key not in given}
    right = given | {key: value for key, value in STAND_INS.items() if key in doubted}
    as_written = {**right, **dict.fromkeys(resolution.REFERENCES, "")}
    if validation.findings("experience", as_written, cache.tables, document["dataset"]["type"]):
        return None
    whole = kind.completed(
        of_type.with_defaults(right, cache.tables), cache.tables, cache.workspace
    )
    return [
        (path, text)
        for path, text in _in_whole(whole, dataset, cache)
        if path and path[0] not in doubted
    ]


# The types of experience, as objects: one line each. See `qexp.spec.experiences` for their
# documents.


class TrainingObjects:
    """What qexp does with checked or resolved experiences that train a network, before they run."""

    def check(self, loaded: resolution.Loaded, warnings: list[Problem], cache: SpecCache) -> Check:
        """All problems of an experience, and its dataset, opened. warnings: those of reading it"""
        tables = cache.tables
        workspace = cache.workspace
        available = cache.available
        dataset, problems = _follow(loaded, cache)
        document = loaded.document
        references = {
            kind: loaded.name
            for kind in resolution.REFERENCES
            if isinstance(document.get(kind), dict)
        }
        dataset_type = document["dataset"].get("type") if "dataset" in references else None
        shapes = None if dataset is None else dataset.shapes()
        misspelt = list(_in_names(document, shapes, None))
        if shapes is not None and misspelt:
            document = _rightly_named(document, shapes)
        findings = validation.findings(
            "experience", {**document, **references}, tables, dataset_type
        )
        problems = loaded.problems("experience", [*misspelt, *findings]) + problems
        in_model = cache.findings_in_model(document["model"]) if "model" in references else []
        problems += loaded.problems("model", in_model)
        if problems or dataset is None:
            model = document["model"] if "model" in references and not in_model else None
            if model is not None and follows(model):
                model = None
            others = None
            if dataset is not None and model is not None and not follows(document):
                wrong = {path[0] if path else "" for path, _ in findings}
                others = _in_corrected(document, wrong, dataset, cache)
            if others is None:
                others = list(_in_names(document, shapes, model))
            others = [finding for finding in others if finding[0] not in dict(misspelt)]
            return Check(
                loaded, dataset, problems + loaded.problems("experience", others), warnings
            )
        kind = data_kind(document["dataset"])
        document = type_of(document).with_defaults(document, tables)
        warnings += loaded.problems("experience", type_of(document).doubts(document))
        problems = loaded.problems("dataset", kind.unread(document, workspace))
        document = loaded.document = kind.completed(document, tables, workspace)
        problems += loaded.problems("experience", _in_whole(document, dataset, cache))
        if problems:
            return Check(loaded, dataset, problems, warnings)
        network = network_of(document["model"], document["inputs"], document["outputs"], tables)
        problems = loaded.problems("model", kind.findings_in_model(dataset, network, tables))
        samples = kind.samples(document, dataset)
        for kind_of_spec, finding in memory_of_experience(
            document, samples, network, tables, available
        ):
            problems += loaded.problems(kind_of_spec, [finding])
        return Check(loaded, dataset, problems, warnings)

    def pinned(self, document: Document, dataset: Dataset | None, workspace: Workspace) -> Document:
        """The whole document with hashes of files, so that the digest depends on their content."""
        pinned = data_kind(document["dataset"]).pinned(document["dataset"], dataset, workspace)
        return {**document, "dataset": pinned}

    def meanings(self, spec: Document, tables: Tables) -> dict[str, dict[str, Any]]:
        """Metric → what its numbers mean: best value, and unit."""
        of_outputs = metrics_of(spec, tables).values()
        return {
            name: metric.meaning.document()
            for metrics in of_outputs
            for name, metric in metrics.items()
        }

    def extensions(self, workspace: Workspace) -> str:
        """The text of the workspace's own table entries, if there are some."""
        if not workspace.extensions.is_file():
            return ""
        try:
            return workspace.extensions.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise QexpError(f"{workspace.extensions} is not UTF-8 text; save it as UTF-8") from None


class CommandObjects:
    """What qexp does with experiences that run a program; extensions have no effect on these."""

    def check(self, loaded: resolution.Loaded, warnings: list[Problem], cache: SpecCache) -> Check:
        doubts: list[Finding] = []
        if not (findings := validation.findings("experience", loaded.document, cache.tables)):
            document = loaded.document = type_of(loaded.document).with_defaults(
                loaded.document, cache.tables
            )
            findings = list(_in_files(document, cache.workspace))
            doubts = [
                *type_of(document).doubts(document),
                *_unlisted_files(document, cache.workspace),
            ]
        warnings += loaded.problems("experience", () if findings else doubts)
        return Check(loaded, None, loaded.problems("experience", findings), warnings)

    def pinned(self, document: Document, dataset: Dataset | None, workspace: Workspace) -> Document:
        names = (*document["files"], *document["data"])
        hashes = {name: files.program_fingerprint(name, workspace.root) for name in names}
        return {**document, "fingerprints": hashes, "found": str(workspace.root.absolute())}

    def meanings(self, spec: Document, tables: Tables) -> dict[str, dict[str, Any]]:
        return dict(spec["metrics"])

    def extensions(self, workspace: Workspace) -> str:
        return ""


TYPES: Mapping[str, TrainingObjects | CommandObjects] = {
    "training": TrainingObjects(),
    "command": CommandObjects(),
}
"""The value of `type` in an experience → its type."""


def objects_of(experience: Mapping[str, Any]) -> TrainingObjects | CommandObjects:
    """The type of an experience, by its document."""
    return TYPES[type_name(experience)]


def data_of(experience: Document) -> KindData[Any] | None:
    """What makes the dataset and the samples of an experience that trains a network; None for one
    of a program.
    """
    return data_kind(experience["dataset"]) if type_of(experience).trains else None


def check(
    reference: str | resolution.Unwritten, changes: list[Override], cache: SpecCache
) -> Check:
    """Read an experience, open its dataset if it has one, and check it."""
    try:
        loaded = resolution.experience(reference, changes, cache.workspace)
    except SpecError as error:
        return Check(None, None, error.problems, [])
    warnings = leave_out_unread(loaded, changes, cache)
    return objects_of(loaded.document).check(loaded, warnings, cache)


def _in_files(document: Document, workspace: Workspace) -> Iterator[Finding]:
    for key in ("files", "data"):
        for index, name in enumerate(document[key]):
            try:
                path = files.program_path(name, workspace.root)
                if key == "files" and path.is_dir():
                    yield (key, index), f"'{name}' is a folder; name its files"
                elif not os.access(path, os.R_OK):
                    yield (key, index), f"'{name}' cannot be read: permission denied"
            except QexpError as error:
                yield (key, index), str(error)


def _unlisted_files(document: Document, workspace: Workspace) -> Iterator[Finding]:
    """Warnings about words of the command that are files of the workspace, but not among those that
    are hashed.
    """
    hashed = {*document["files"], *document["data"]}
    for index, word in enumerate(document["command"]):
        if word in hashed or word.startswith("/"):
            continue
        with suppress(OSError):  # the word is too long to be a path
            if (workspace.root / word).is_file():
                message = (
                    "is a file of the workspace, but not among 'files': later changes of it would"
                    " not be noticed"
                )
                yield ("command", index), f"'{word}' {message}"


@dataclass(frozen=True)
class Experience:
    """A checked experience, with every default filled in."""

    name: str
    document: Document
    dataset_name: str
    model_name: str
    overrides: tuple[str, ...]
    extensions: str
    """The text of the workspace's own table entries, if its runs depend on them."""
    tables: Tables = field(repr=False, compare=False)
    dataset: Dataset | None = field(repr=False, compare=False)
    """The dataset, as opened for the checks; None if it has none."""
    matched: str = field(default="", repr=False, compare=False)
    """The keys that patterns among the overrides have set, in words."""
    warnings: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """Warnings about what the specs say."""

    @property
    def digest(self) -> str:
        return digest(self.document, *([self.extensions] if self.extensions else []))


def experience(
    reference: str | resolution.Unwritten,
    overrides: resolution.Overrides,
    workspace: Workspace,
    cache: SpecCache | None = None,
) -> Experience:
    """Read, complete and check an experience. Raises SpecError with all its problems.

    overrides  dotted key, or a pattern of keys → value; see `expanded`
    cache      of the workspace, if several experiences are read or another machine will train
    """
    cache = cache or spec_cache(workspace)
    given, overrides = overrides, expanded(reference, overrides, cache)
    matched = [key for key in overrides if key not in given]
    changes = [resolution.override(key, value) for key, value in overrides.items()]
    checked = check(reference, changes, cache)
    loaded = checked.loaded
    dataset = checked.dataset
    if checked.problems or loaded is None:
        raise SpecError(_of_setting(problem, overrides) for problem in checked.problems)
    of_type = objects_of(loaded.document)
    return Experience(
        loaded.name,
        of_type.pinned(loaded.document, dataset, workspace),
        loaded.dataset_name,
        loaded.model_name,
        tuple(change.text for change in changes),
        of_type.extensions(workspace),
        cache.tables,
        dataset,
        f"the patterns in `overrides` set {', '.join(matched)}" if matched else "",
        tuple(str(problem) for problem in checked.warnings),
    )


def expanded(
    reference: str | resolution.Unwritten, overrides: resolution.Overrides, cache: SpecCache
) -> resolution.Overrides:
    """Overrides with the keys that patterns stand for in their places.

    These are the keys of the experience with its defaults and the other overrides, so that an
    operation that takes no `l2` is left out. Raises QexpError for a pattern of no key.
    """
    others = {key: value for key, value in overrides.items() if not resolution.is_pattern(key)}
    if len(others) == len(overrides):
        return overrides
    document = experience(reference, others, cache.workspace, cache).document
    plain = dict[str, Any]()
    for key, value in overrides.items():
        keys = [key] if key in others else resolution.keys_like(key, document)
        plain |= dict.fromkeys(keys, value)
    return plain


def setting_of(problem: Problem, keys: Iterable[str]) -> str | None:
    """Which of the dotted keys that were set a problem is about; None for the file."""
    for key in keys:
        first, *rest = way = resolution.steps(key)
        for place in (way, tuple(rest) if first in resolution.REFERENCES else ()):
            unknown = problem.path == place[:1] and problem.message.startswith("unknown key")
            if place and (unknown or problem.path[: len(place)] == place):
                return key
    return None


def _of_setting(problem: Problem, overrides: resolution.Overrides) -> Problem:
    key = setting_of(problem, overrides)
    return problem if key is None else replace(problem, file=f"`overrides[{key}]`")


def is_unchanged(
    first: Experience, reference: str, overrides: resolution.Overrides, cache: SpecCache
) -> bool:
    """Whether an experience is that of its file, because overrides set what it says anyway.

    cache  that with which it was read
    """
    if not overrides:
        return True
    if reference not in cache.digests_of_files:
        overrides = expanded(reference, overrides, cache)
        changes = [resolution.override(key, value) for key, value in overrides.items()]
        # The unchanged dataset may be large, or absent: it is opened only if this is the same one.
        if _dataset_in_meaning(reference, changes, cache) != _dataset_in_meaning(
            reference, [], cache
        ):
            return False
        try:
            cache.digests_of_files[reference] = experience(
                reference, {}, cache.workspace, cache
            ).digest
        except SpecError:  # it is wrong without the overrides
            cache.digests_of_files[reference] = None
    return cache.digests_of_files[reference] == first.digest


def _dataset_in_meaning(reference: str, changes: list[Override], cache: SpecCache) -> str:
    """The dataset of an experience with its defaults, as canonical text; empty if the experience
    cannot be read.
    """
    try:
        loaded = resolution.experience(reference, changes, cache.workspace)
    except SpecError:
        return ""
    leave_out_unread(loaded, changes, cache)
    document = loaded.document.get("dataset")
    if isinstance(document, dict) and not validation.findings("dataset", document, cache.tables):
        document = dataset_with_defaults(document, cache.tables)
    return canonical(document)


def candidates(spec: Document, tables: Tables) -> list[tuple[Document, Document]]:
    """All combinations of the values in `select` of a resolved experience: values, and the
    experience with them.
    """
    return [
        (chosen, type_of(document).with_defaults(document, tables))
        for chosen, document in resolution.candidates(spec)
    ]


def spec_cache(workspace: Workspace, memory: int | None = None) -> SpecCache:
    """Opens the datasets and lays out the models that the specs of a workspace name, each when it
    is first needed.

    memory  of the machine that will train [bytes]; of this machine if left out
    """
    return SpecCache(tables_with(workspace.extensions), workspace, memory)


def examine(path: Path, cache: SpecCache) -> Check:
    """Check one spec file, whatever it contains; warnings are also on rows or fields, where these
    may be mistakes.
    """
    try:
        if (kind := spec_kind(path, cache.workspace)) == "experience":
            return _examine_experience(path, cache)
        written, warnings = _read(path, kind, cache)
    except SpecError as error:
        return Check(None, None, error.problems, [])
    if kind == "model":
        findings = cache.findings_in_model(written.document)
    else:
        dataset, findings = cache.dataset(written.document)
        warnings += _data_warnings(written.document, dataset)
    awaited = _awaited(written.document, cache) if kind == "dataset" else []
    every = []
    for found in (findings, warnings, awaited):
        every.append([written.problem(*finding) for finding in found])
    return Check(None, None, *every)


def _examine_experience(path: Path, cache: SpecCache) -> Check:
    checked = check(str(path), [], cache)
    loaded = checked.loaded
    if loaded is None:
        return checked
    of_data = _data_warnings(loaded.document.get("dataset"), checked.dataset)
    warnings = checked.warnings + loaded.problems("dataset", of_data)
    data = None if checked.problems else data_of(loaded.document)
    if data is not None:
        doubts = data.doubts(loaded.document, checked.dataset, cache.tables, 0)
        warnings += loaded.problems("experience", [(("split",), text) for text in doubts.warnings])
    awaited = loaded.problems("dataset", _awaited(loaded.document.get("dataset"), cache))
    return Check(None, None, checked.problems, warnings, awaited)  # the dataset may be large


def _awaited(document: Any, cache: SpecCache) -> list[Finding]:
    """Problems of a dataset that the command that makes its folder would solve."""
    if not isinstance(document, dict) or validation.findings("dataset", document, cache.tables):
        return []
    return data_kind(document).awaited(filled_in(document), cache.workspace)


def _data_warnings(document: Any, dataset: Dataset | None) -> list[Finding]:
    if dataset is None:
        return []
    return [
        *(((), text) for text in dataset.warnings),
        *data_kind(document).remarks(document, dataset),
    ]


def _read(path: Path, kind: str, cache: SpecCache) -> tuple[Written, list[Finding]]:
    """A dataset or model without what nothing reads, and warnings about that. Raises SpecError."""
    written = resolution.spec_in(kind, path, cache.workspace)
    written.document, warnings = cache.without_unread(kind, written.document)
    return written, list(warnings)


def spec_kind(path: Path, workspace: Workspace) -> str:
    """dataset, model or experience: by the folder, else by the keys of the document."""
    for kind, folder in FOLDERS.items():
        if path.absolute().parent.name == folder:
            return kind
    document = reading.read(path)
    # what it changes may be of any kind
    parent = document.get(resolution.EXTENDS)
    if isinstance(parent, str):
        named = [kind for kind, folder in FOLDERS.items() if Path(parent).parent.name == folder]
        for kind, folder in FOLDERS.items():
            if resolution.is_there(workspace.specs / folder / f"{parent}.json"):
                named.append(kind)
        if len(named) == 1:
            return named[0]
    if type_name(document) == document.get("type"):
        return "experience"
    if "branches" in document or "operations" in document or "graph" in document:
        return "model"
    return "experience" if "model" in document or "epochs" in document else "dataset"


def read_dataset(reference: str, cache: SpecCache) -> tuple[Path, Document]:
    """Path and resolved document of a dataset spec, whose data are not opened. Raises SpecError."""
    path = resolution.locate("dataset", reference, cache.workspace)
    written, _ = _read(path, "dataset", cache)
    if findings := validation.findings("dataset", written.document, cache.tables):
        raise SpecError([written.problem(*finding) for finding in findings])
    return path, dataset_with_defaults(written.document, cache.tables)


def open_dataset(reference: str, cache: SpecCache) -> tuple[str, Document, Dataset]:
    """Name, resolved document and object of a dataset spec. Raises SpecError."""
    path = resolution.locate("dataset", reference, cache.workspace)
    written, _ = _read(path, "dataset", cache)
    dataset, findings = cache.dataset(written.document)
    if dataset is None:
        raise SpecError([written.problem(*finding) for finding in findings])
    return path.stem, dataset_with_defaults(written.document, cache.tables), dataset

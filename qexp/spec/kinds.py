"""The kinds of dataset: one line each; what each stage of a kind needs is loaded when it is asked
for.
"""

from __future__ import annotations

import copy
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar

from qexp.base import formats
from qexp.base.quantities import Quantities
from qexp.base.tables import OpenTable, Tables
from qexp.errors import DamagedError, QexpError
from qexp.spec.reading import Document, Finding, defaults_in

TEST_PREDICTIONS = "test_predictions.nc"
"""File in `results` with the true values and estimates of the test samples."""
TEST_IMAGES = "test_images.nc"
"""True and estimated images of some of them, of networks that estimate images."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What does the work of each stage on a kind of dataset, or where it is, as "module:name".

    What is named is imported when it is needed: listing runs needs no torch. A stage that is None
    is refused in words.
    """

    documents: KindDocuments | str
    """Reads and checks specs, and shows runs."""
    data: Any
    """From specs to datasets and samples: a `KindData`."""
    train: Any
    """(attempt) → results of a run; None if it was interrupted."""
    folds: Any = None
    """What is done with the folds of a run: a `KindFolds`."""
    held_out: Any = None
    """(directory, predictions) → which held-out samples are exchangeable, so that their errors make
    intervals.
    """
    evaluate: Any = None
    """(what is asked) → other data, opened to be evaluated."""
    predict: Any = None
    """Estimates of files: a `FileKind`."""
    invert: Any = None
    """(directory, device) → the network of a run as the inversion of an observation asks it: a
    `TrainedNetwork`.
    """
    emulate: Any = None
    """(directory) → the network of a run in place of the simulator whose images it was trained
    on.
    """
    combine: Any = None
    """(options) → the map that an expression makes of others."""
    distil: Any = None
    """(directory, workspace, options) → the file of an experience of one network that learns what
    the run's estimate, and what keeps the errors of its finished run, (directory).
    """
    simulate: Any = None
    """Draws samples of a dataset once and keeps them in files: a class, as
    `qexp.kinds.images.simulate.Simulator`.
    """
    new: Any = None
    """Writes first specs for files: a module with `takes`, `dataset` and `experience`, as
    `qexp.kinds.rows.new`.
    """
    arrays: Any = None
    """Makes a dataset of simulations in memory: a module, as `qexp.kinds.simulations.arrays`."""
    look: Any = None
    """The class of the view of one part of a dataset."""
    figures: Any = None
    """Name of a figure of a run → the function that draws it."""

    def load(self, stage: str) -> Any:
        """What does the work of a stage; None if there is nothing for it."""
        implementation = getattr(self, stage)
        return resolve_name(implementation) if isinstance(implementation, str) else implementation


class KindDocuments(ABC):
    """What is needed to read and check the documents of a kind of dataset, and to show its runs.

    schemas  JSON file with these keys: `dataset`, the schema of a dataset spec; `experience`, key →
             schema of the keys of experiences that only this kind takes; `shared`, the keys it
             shares with other kinds; `split`, a description of the key `split`; `$defs`, further
             definitions
    """

    file: Path
    """The JSON file of its schemas."""
    split_by_shares: bool = False
    """Whether `split` is a list of shares rather than an entry of the table of splits."""
    split_words: str
    """How `split` is written, for a value of the other form."""
    evaluated_by: str = TEST_PREDICTIONS
    """The file in `results` that shows that a run was evaluated on its test part."""
    untrained: ClassVar[Mapping[str, Any]]
    """Keys that an experience must have on this kind, with values for a network that is not
    trained.
    """
    keeps_hashes: bool = False
    """Whether runs keep hashes of their training samples."""

    @cached_property
    def schemas(self) -> Document:
        content: Document = json.loads(self.file.read_text(encoding="utf-8"))
        return content

    def in_dataset(self, dataset: Document, quantities: Quantities) -> Iterator[Finding]:
        """Problems of a dataset that no schema finds; its schema's defaults are filled in."""
        return iter(())

    def in_experience(self, experience: Document) -> Iterator[Finding]:
        """Problems of an experience that no schema finds; its schema's defaults are filled in."""
        return iter(())

    def unread(self, dataset: Document) -> Iterator[Finding]:
        """A warning for each value of an unchecked dataset that nothing reads."""
        return iter(())

    def doubts_in_dataset(self, dataset: Document) -> Iterator[Finding]:
        """Warnings about values that may not be meant; the document is not checked yet."""
        return iter(())

    def doubts_in_experience(self, experience: Document) -> Iterator[Finding]:
        """Warnings about a valid experience."""
        return iter(())

    def with_defaults(self, dataset: Document, tables: Tables) -> Document:
        """A dataset, already with the defaults of its schema, with short forms expanded."""
        return dataset

    def numbers_among(self, outputs: Iterable[str]) -> list[str]:
        """The outputs of a network whose values are numbers, each with an error."""
        return list(outputs)

    def units(
        self, names: Iterable[str], dataset: Document, quantities: Quantities
    ) -> dict[str, str]:
        """Units of variables of a resolved dataset."""
        return {name: dataset["units"].get(name, "") for name in names}

    def periods(
        self, names: Iterable[str], dataset: Document, quantities: Quantities
    ) -> dict[str, float]:
        """Variables of a dataset whose values repeat, such as angles → period, in their unit."""
        return {}

    def trouble_with(self, evaluation: Path) -> str | None:
        """Why the existing file `evaluated_by` cannot be used; None if it can."""
        try:
            formats.require_hdf5(evaluation)
        except DamagedError as error:
            return f"it {str(error).removeprefix(f'{evaluation} ')}"
        return None

    @abstractmethod
    def summary(self, spec: Document) -> dict[str, str]:
        """The lines of `qexp show` about an experience's data: name of the line → text."""

    def cautions_of_data(self, spec: Document) -> list[str]:
        """Cautions for all numbers from the data, baselines included."""
        return []

    def cautions(self, spec: Document) -> list[str]:
        """Cautions that every table, figure and record of a run must show."""
        return self.cautions_of_data(spec)

    def has_limit(self, dataset: Document) -> bool:
        """Whether there are exact posteriors, whose errors `qexp limit` may compute."""
        return False


def entry_in_words(description: Mapping[str, Any]) -> str:
    """A table's entry with its parameters: `k_fold (folds 5)`."""
    values = {name: value for name, value in description["parameters"].items() if value is not None}
    parameters = ", ".join(f"{name} {json.dumps(value)}" for name, value in values.items())
    kind: str = description["type"]
    return f"{kind} ({parameters})" if parameters else kind


KINDS: OpenTable[Kind | str] = OpenTable("kinds", {
    "generated": "qexp.kinds.images",
    "simulated": "qexp.kinds.simulations",
    "tabular": "qexp.kinds.rows",
    "gridded": "qexp.kinds.fields",
    "spectra": "qexp.kinds.spectra",
}, lambda entry: None if isinstance(entry, Kind) else "is no qexp.extend.Kind")  # fmt: skip
"""Type of the dataset → its kind, or the package that has it as `KIND`; installed packages may add
theirs.
"""


def is_known(dataset: object) -> bool:
    """Whether a dataset, as it is written, is of a kind that is known without code of its own."""
    return not isinstance(dataset, Mapping) or dataset.get("type") in KINDS


def add_kinds(added: Any, origin: str) -> None:
    """Know the kinds of an extension, in place of those of their names that another one had.

    Raises QexpError for what is no kind, or has the name of a built-in one.
    """
    if not isinstance(added, dict):
        raise QexpError(f"{origin}: KINDS must be a dictionary")
    for name, kind in added.items():
        if not isinstance(name, str) or not isinstance(kind, Kind | str):
            raise QexpError(
                f"{origin}: KINDS[{name!r}] must be a qexp.extend.Kind, or the name of a package"
                " that has one"
            )
        if name in KINDS.built_in:
            raise QexpError(f"{origin}: KINDS has '{name}', which qexp has already; rename it")
        try:
            _kind(kind)
        except (ImportError, AttributeError) as error:
            raise QexpError(f"{origin}: KINDS['{name}']: {error}") from error
    KINDS.own.update(added)


def kind_named(name: str) -> Kind:
    """The kind of a name in `KINDS`."""
    return _kind(KINDS[name])


def _kind(kind: Kind | str) -> Kind:
    return import_module(kind).KIND if isinstance(kind, str) else kind


WITHOUT = {
    "folds": "are not trained in folds",
    "held_out": (
        "make no intervals from the errors of held-out samples, as tabular ones and spectra do"
    ),
    "evaluate": "are evaluated on the test part of their run alone",
    "predict": "are not estimated from files",
    "invert": "are no images of deformation, which qexp invert needs",
    "emulate": "are no images that a simulator makes of parameters, which an emulator needs",
    "combine": "are no maps",
    "distil": "have no ensembles that one network could replace, as tabular ones do",
    "simulate": "have no simulator, whose samples could be kept",
    "new": 'get no experience of their own; extend a shipped one, with "extends"',
    "arrays": "are not made of arrays in memory",
    "look": "have no view",
    "figures": "have no figures",
}
"""Stage → what is said of datasets whose kind lacks it."""


def load_stage(dataset: Mapping[str, Any], stage: str) -> Any:
    """What does a stage's work for a kind of dataset. Raises QexpError if it has nothing."""
    implementation = kind_named(dataset["type"]).load(stage)
    if implementation is None:
        raise QexpError(f"datasets of the type '{dataset['type']}' {WITHOUT[stage]}")
    return implementation


def stage_anywhere(stage: str) -> Any:
    """What does the work of a stage that only one of the kinds has."""
    kinds = map(kind_named, KINDS)
    return next(kind for kind in kinds if getattr(kind, stage) is not None).load(stage)


def documents_of(dataset: Mapping[str, Any]) -> KindDocuments:
    """What reads and checks documents of a dataset's kind."""
    return documents_named(dataset["type"])


def documents_named(name: str) -> KindDocuments:
    documents: KindDocuments = kind_named(name).load("documents")
    return documents


def all_documents() -> dict[str, KindDocuments]:
    """Type of the dataset → what reads and checks its documents."""
    return {name: documents_named(name) for name in KINDS}


def caution_of_data(spec: Document) -> str:
    """The cautions for all numbers from the data, baselines included."""
    return "; ".join(documents_of(spec["dataset"]).cautions_of_data(spec))


def filled_in(dataset: Document) -> Document:
    """A dataset with the defaults of its schema; short forms stay."""
    return {**defaults_in(documents_of(dataset).schemas["dataset"]), **dataset}


def dataset_with_defaults(document: Document, tables: Tables) -> Document:
    """A resolved dataset: with every default, and short forms expanded."""
    dataset = filled_in(copy.deepcopy(document))
    dataset.pop("$schema", None)
    return documents_of(document).with_defaults(dataset, tables)

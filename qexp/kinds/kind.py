"""What qexp needs to know about a kind of dataset to read, check and train on it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch

from qexp.base.seeds import Seeds
from qexp.base.tables import Tables
from qexp.base.workspace import Workspace
from qexp.errors import DatasetError
from qexp.kinds.leaks import Exposed
from qexp.kinds.memory import Samples
from qexp.metrics.splits import Column, Rows, Split, SplitError
from qexp.networks.estimator import Estimator
from qexp.networks.modules import MatchedFilters
from qexp.networks.network import Network
from qexp.networks.training import Data
from qexp.spec.reading import Document, Finding
from qexp.store.directory import RunDirectory
from qexp.store.record import Feature


class Dataset(Protocol):
    """A dataset of any kind."""

    warnings: list[str]
    """A warning: something that is allowed, but may be a mistake."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every variable of a sample, and its shape without the batch."""


D = TypeVar("D", bound=Dataset)


@dataclass(frozen=True)
class Doubts:
    """What may be wrong with the parts into which the data of a run are divided.

    caution   shown with every number of the run
    warnings  said before it is trained
    """

    caution: str = ""
    warnings: tuple[str, ...] = ()


class KindData(ABC, Generic[D]):
    """A kind of dataset.

    Documents of datasets have been checked against their schema, and the defaults of the schema are
    filled in; they may be in short or long form. Experiences are resolved.
    """

    pretrainable: bool = True
    """Whether a run can start from the weights of another run."""
    several_networks: bool = False
    """Whether networks are trained, or chunks of files estimated, side by side on threads."""
    several_numbers: bool = False
    """Whether outputs may have transforms that make several numbers of each value."""
    all_samples: ClassVar[Mapping[str, str]] = {}
    """Key of an experience for the number of training samples → its value for all of them."""

    @abstractmethod
    def dataset(self, document: Document, tables: Tables, workspace: Workspace | None) -> D:
        """The dataset of a document.

        workspace  searched for its files, besides the place recorded in the document and
                   `QEXP_DATA`
        Raises DatasetError with all problems of its files.
        """

    def checked_dataset(self, document: Document, tables: Tables, workspace: Workspace | None) -> D:
        """Like `dataset`, of a document that only its schema checked. Raises DatasetError."""
        return self.dataset(document, tables, workspace)

    def remarks(self, document: Document, dataset: D) -> Iterator[Finding]:
        """What is told of a sound dataset where specs are checked, but not where they are run."""
        return iter(())

    def folder(self, document: Document, workspace: Workspace | None) -> Path | None:
        """Where the files of a dataset are, if a command may make them. Raises DatasetError."""
        return None

    def awaited(self, document: Document, workspace: Workspace | None) -> list[Finding]:
        """Problems that the command that makes the dataset's files would solve."""
        if document.get("made_by"):
            try:
                self.folder(document, workspace)
            except DatasetError as error:
                return list(error.findings)
        return []

    def roles(
        self, document: Document, workspace: Workspace | None
    ) -> tuple[list[str], list[str]] | None:
        """Names of inputs and outputs of a dataset; None if it does not tell them apart."""
        inputs = document.get("inputs")
        outputs = document.get("outputs")
        return (
            ([*inputs], [*outputs])
            if isinstance(inputs, dict) and isinstance(outputs, dict)
            else None
        )

    def unread(self, document: Document, workspace: Workspace) -> list[Finding]:
        """Problems of an experience that reads other things than its dataset; paths are there."""
        return []

    def completed(self, document: Document, tables: Tables, workspace: Workspace) -> Document:
        """The experience, with values that follow from its dataset. Raises DatasetError."""
        return document

    def turned(self, document: Document, angle: float) -> dict[str, Any]:
        """Dotted key → new value: the changes of a dataset that turn the looks of its views by an
        angle [rad].

        Raises QexpError if that is not possible.
        """
        return {}

    def pinned(self, document: Document, dataset: D, workspace: Workspace) -> Document:
        """The dataset's document with the hash of its files, for a digest of their content."""
        return document

    @abstractmethod
    def findings(
        self,
        document: Document,
        dataset: D,
        tables: Tables,
        network: Network | None,
        available: int,
    ) -> Iterator[Finding]:
        """All problems of an experience on this dataset, besides transforms that cannot be built.

        network    the network that is trained; None if inputs and outputs do not fit it
        available  bytes of memory of the machine that will train
        """

    def findings_in_model(self, dataset: D, network: Network, tables: Tables) -> Iterator[Finding]:
        """Problems of a model on this dataset; paths are in the model."""
        for name, operation in network.operations.items():
            if isinstance(operation, MatchedFilters):
                message = (
                    "matched filters need a dataset whose images a model makes, and this one has"
                    " none"
                )
                yield ("operations", name), message

    def match_filters(
        self, operation: MatchedFilters, image: str, document: Document, tables: Tables
    ) -> None:
        """Give matched filters of an input their images, of a kind whose models may have them."""
        raise NotImplementedError

    def data(
        self, spec: Document, dataset: D, tables: Tables, seeds: Seeds, device: torch.device
    ) -> Data:
        """Samples of a resolved experience, for a run of one network; training ones on demand."""
        raise NotImplementedError

    def to_fit(
        self, spec: Document, dataset: D, tables: Tables, seeds: Seeds
    ) -> Mapping[str, torch.Tensor]:
        """The samples to which a single network's transforms are fitted: of the training part."""
        return self.data(spec, dataset, tables, seeds, torch.device("cpu")).to_fit()

    def ranges(self, spec: Document, dataset: D) -> tuple[Feature, ...]:
        """Columns of the inputs with their least and greatest value; empty without columns."""
        return ()

    def parts(
        self, dataset: D, spec: Document | None, tables: Tables, seed: int
    ) -> Mapping[str, Any]:
        """Name of a part → its rows, patches or quantile intervals, by which the dataset gives
        samples.

        spec  a resolved experience, whose split divides the dataset; None: the parts that the
              dataset itself has
        Raises SplitError and DatasetError.
        """
        raise NotImplementedError

    @abstractmethod
    def samples(self, document: Document, dataset: D) -> Samples:
        """Number of training samples in an epoch, and memory of the samples that are kept."""

    def sizes(
        self, spec: Document, dataset: D, tables: Tables, seed: int
    ) -> tuple[int, ...] | None:
        """Numbers of training samples of an epoch, of validation and of test samples, for a kind
        whose runs can be stacked; those of the test part may be left out.
        """
        return None

    def exposed(self, spec: Document, dataset: D, tables: Tables, seed: int) -> Exposed | None:
        """The training and test samples of a run, if runs keep their hashes; None if not."""
        return None

    def doubts(self, spec: Document, dataset: D, tables: Tables, seed: int) -> Doubts:
        """What may be wrong with the parts of a run of a resolved experience."""
        return Doubts()

    def training_size(self, spec: Document, dataset: D, tables: Tables, seed: int) -> int:
        """The number of samples in the training part, for kinds with keys in `all_samples`."""
        raise NotImplementedError

    def without_effect(self, spec: Document) -> Collection[str]:
        """Parameters of operations that have no effect in a resolved experience."""
        return ()


@dataclass(frozen=True)
class KindFolds:
    """What is done with the folds of a run."""

    load: Callable[[RunDirectory], dict[str, list[Estimator]]]
    """Fold → its networks. Raises QexpError that names unfinished folds."""
    work: Callable[[RunDirectory, IO[str], IO[str]], bool]
    """(directory, orders, answers) → trains folds in its own process; False if it was stopped."""


def one_fold(
    split: Split, rows: Rows, column: Column, random: np.random.Generator, advice: str
) -> tuple[Rows, Rows]:
    """The rows that a split keeps and those that it holds out. Raises SplitError if it does so more
    than once.

    advice  added to the error if the split makes several parts
    """
    folds = split.folds(rows, column, random)
    if len(folds) != 1:
        raise SplitError(None, f"makes {len(folds)} parts, but {advice}")
    return folds[0].train, folds[0].test


def split_finding(key: str, error: SplitError) -> Finding:
    """The problem of a split that is declared by a key of an experience."""
    return ((key, "parameters", error.parameter) if error.parameter else (key,)), str(error)

"""What qexp needs to know about a kind of dataset to read, check and train on it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch

from qexp.assemble import overlap
from qexp.assemble.memory import Samples
from qexp.datasets.splits import Rows
from qexp.networks.modules import MatchedFilters
from qexp.networks.network import Network
from qexp.networks.training import Data
from qexp.seeds import Seeds
from qexp.spec.finding import Finding
from qexp.tables import Tables
from qexp.workspace import Workspace

Document = dict[str, Any]


class Dataset(Protocol):
    """A dataset of any kind."""

    warnings: list[str]
    """A warning: something that is allowed, but may be a mistake."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every variable of a sample, and its shape without the batch."""
        ...


D = TypeVar("D", bound=Dataset)


@dataclass(frozen=True)
class Exposed:
    """Training and validation samples of a run, and its test samples, as rows of a dataset with their hashes."""

    spectra: overlap.Spectra
    trained: Rows
    test: Rows


@dataclass(frozen=True)
class Doubts:
    """What may be wrong with the parts into which the data of a run are divided.

    caution   shown with every number of the run
    warnings  said before it is trained
    """

    caution: str = ""
    warnings: tuple[str, ...] = ()


class Kind(ABC, Generic[D]):
    """A kind of dataset. Documents have been checked against their schema; they may be in short or long form."""

    pretrainable: bool = True
    """Whether a run can start from the weights of another run."""
    several_networks: bool = False
    """Whether several networks are trained, or several chunks of a file estimated, at a time, with one thread each."""
    several_numbers: bool = False
    """Whether outputs may have transforms that make several numbers of each value."""
    whole: ClassVar[Mapping[str, str]] = {}
    """Key of an experience for the number of training samples → its value for all of them."""

    @abstractmethod
    def dataset(self, document: Document, tables: Tables, workspace: Workspace | None) -> D:
        """The dataset of a document.

        workspace  searched for its files, besides the place recorded in the document and `QEXP_DATA`
        Raises DatasetError with all problems of its files.
        """

    def checked_dataset(self, document: Document, tables: Tables, workspace: Workspace | None) -> D:
        """Like `dataset`, for a document that was only checked against its schema. Raises DatasetError."""
        return self.dataset(document, tables, workspace)

    def awaited(self, document: Document, workspace: Workspace | None) -> list[Finding]:
        """Problems that the command that makes the dataset's files would solve."""
        return []

    def roles(self, document: Document, workspace: Workspace | None) -> tuple[list[str], list[str]] | None:
        """Names of the inputs and of the outputs that a checked dataset lists; None if it does not tell them apart."""
        listed = [document.get(key) for key in ("inputs", "outputs")]
        inputs, outputs = ([*names] if isinstance(names, dict) else None for names in listed)
        return None if inputs is None or outputs is None else (inputs, outputs)

    def unread(self, document: Document, workspace: Workspace) -> list[Finding]:
        """Problems of an experience that does not read what its dataset says is read; places are in the dataset."""
        return []

    def completed(self, document: Document, tables: Tables, workspace: Workspace) -> Document:
        """The experience, with values that follow from its dataset filled in. Raises DatasetError."""
        return document

    def turned(self, document: Document, angle: float) -> dict[str, Any]:
        """Dotted key → new value: the changes of a dataset that turn the looks of its views by an angle [rad].

        Raises QexpError if that is not possible.
        """
        return {}

    def pinned(self, document: Document, dataset: D, workspace: Workspace) -> Document:
        """The dataset's whole document with the hash of its files, so that the digest depends on their content."""
        return document

    @abstractmethod
    def findings(
        self, document: Document, dataset: D, tables: Tables, network: Network | None, available: int
    ) -> Iterator[Finding]:
        """All problems of an experience on this dataset.

        network    the network that is trained; None if inputs and outputs do not fit it
        available  bytes of memory of the machine that will train
        """

    def findings_in_model(self, dataset: D, network: Network, tables: Tables) -> Iterator[Finding]:
        """Problems of a model on this dataset; places are in the model."""
        for name, operation in network.operations.items():
            if isinstance(operation, MatchedFilters):
                yield (
                    ("operations", name),
                    "matched filters need a simulated dataset, but this one is not simulated",
                )

    def data(self, spec: Document, dataset: D, tables: Tables, seeds: Seeds, device: torch.device) -> Data:
        """The samples of a resolved experience, for a run that trains one network."""
        raise NotImplementedError

    def to_fit(self, spec: Document, dataset: D, tables: Tables, seeds: Seeds) -> Mapping[str, torch.Tensor]:
        """The samples to which the transforms of a single network are fitted: those of the training part."""
        return self.data(spec, dataset, tables, seeds, torch.device("cpu")).to_fit()

    def ranges(self, spec: Document, dataset: D) -> list[tuple[str, float, float]]:
        """Columns of the inputs with their least and greatest value; none for kinds whose inputs have no columns."""
        return []

    def parts(self, dataset: D, spec: Document | None, tables: Tables, seed: int) -> Mapping[str, Any]:
        """Name of a part → its rows, patches or quantile intervals, by which the dataset gives samples.

        spec  a resolved experience, whose split divides the dataset; None: the parts that the dataset itself has
        Raises SplitError and DatasetError.
        """
        raise NotImplementedError

    @abstractmethod
    def samples(self, document: Document, dataset: D) -> Samples:
        """The number of training samples in an epoch, and the memory of the samples that are kept."""

    def exposed(self, spec: Document, dataset: D, tables: Tables, seed: int) -> Exposed | None:
        """The training and test samples of a run, if runs keep their hashes; None if not."""
        return None

    def doubts(self, spec: Document, dataset: D, tables: Tables, seed: int) -> Doubts:
        """What may be wrong with the parts of a run of a resolved experience."""
        return Doubts()

    def training_size(self, spec: Document, dataset: D, tables: Tables, seed: int) -> int:
        """The number of samples in the training part, for kinds with keys in `whole`."""
        raise NotImplementedError

    def without_effect(self, spec: Document) -> Collection[str]:
        """Parameters of operations that have no effect in a resolved experience."""
        return ()

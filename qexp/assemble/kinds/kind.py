"""What qexp has to know of a kind of dataset to read, check and train on it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch

from qexp.assemble import overlap
from qexp.assemble.memory import Samples
from qexp.datasets.splits import Rows
from qexp.models.modules.matched_filters import MatchedFilters
from qexp.models.network import Network
from qexp.seeds import Seeds
from qexp.spec.finding import Finding
from qexp.tables import Tables
from qexp.training.recipe import Data
from qexp.workspace import Workspace

Document = dict[str, Any]


class Dataset(Protocol):
    """A dataset of any kind."""

    warnings: list[str]
    """What is allowed, but may be a mistake."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every variable of a sample, and its shape without the batch."""
        ...


D = TypeVar("D", bound=Dataset)


@dataclass(frozen=True)
class Exposed:
    """Which samples a run is trained or validated on, and which it is tested on, as rows of what has their hashes."""

    spectra: overlap.Spectra
    trained: Rows
    test: Rows


class Kind(ABC, Generic[D]):
    """A kind of dataset. Documents have been checked against their schema; forms may be short or long."""

    makes: str = "has"
    """What errors say the dataset does with its variables."""
    pretrainable: bool = True
    """Whether a run can start from the weights of another one."""
    several_networks: bool = False
    """Whether several networks are trained, or chunks of a file estimated, at a time, each with one thread."""
    whole: ClassVar[Mapping[str, str]] = {}
    """Key of an experience that says how many training samples are used → its value for all of them."""

    @abstractmethod
    def dataset(self, document: Document, tables: Tables, workspace: Workspace | None) -> D:
        """The dataset of a document.

        workspace  where its files are looked for, besides where they were when it was prepared and in `QEXP_DATA`
        Raises DatasetError with all that is wrong with its files.
        """

    def checked_dataset(self, document: Document, tables: Tables, workspace: Workspace | None) -> D:
        """The same of a document that was checked against its schema alone. Raises DatasetError."""
        return self.dataset(document, tables, workspace)

    def awaited(self, document: Document, workspace: Workspace | None) -> list[Finding]:
        """What is wrong with the dataset only until the command that makes its files is given."""
        return []

    def completed(self, document: Document, workspace: Workspace) -> Document:
        """The experience, with what follows from its dataset filled in. Raises DatasetError."""
        return document

    def pinned(self, document: Document, dataset: D, workspace: Workspace) -> Document:
        """The dataset's whole document with the content of its files, so that other content has another digest."""
        return document

    @abstractmethod
    def findings(
        self, document: Document, dataset: D, tables: Tables, network: Network | None, available: int
    ) -> Iterator[Finding]:
        """All that is wrong with an experience on this dataset.

        network    what is trained, if inputs and outputs fit it
        available  bytes of memory of the machine that will train
        """

    def findings_in_model(self, dataset: D, network: Network, tables: Tables) -> Iterator[Finding]:
        """What is wrong with a model on this dataset; places are the model's."""
        for name, operation in network.operations.items():
            if isinstance(operation, MatchedFilters):
                yield (
                    ("operations", name),
                    "matched filters need a dataset that is simulated, which this one is not",
                )

    def data(self, spec: Document, dataset: D, tables: Tables, seeds: Seeds, device: torch.device) -> Data:
        """The samples of a resolved experience, for a run that trains one network."""
        raise NotImplementedError

    @abstractmethod
    def samples(self, document: Document, dataset: D) -> Samples:
        """How many training samples an epoch has, and the memory of those that are kept."""

    def exposed(self, spec: Document, dataset: D, tables: Tables, seed: int) -> Exposed | None:
        """What a run is trained and tested on, where runs keep the hashes of that; None where they do not."""
        return None

    def training_size(self, spec: Document, dataset: D, tables: Tables, seed: int) -> int:
        """How many samples the training part has; for kinds with keys in `whole`."""
        raise NotImplementedError

    def without_effect(self, spec: Document) -> Collection[str]:
        """Parameters of operations that change nothing in a resolved experience."""
        return ()

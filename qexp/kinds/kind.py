"""What qexp needs to know about a kind of dataset to read, check and train on it."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from qexp.base import machine
from qexp.base.files import in_bytes
from qexp.base.seeds import Seeds
from qexp.base.tables import Tables, built
from qexp.base.workspace import Workspace
from qexp.errors import DatasetError, some
from qexp.metrics.splits import Column, Rows, Split, SplitError
from qexp.networks.estimator import Estimator
from qexp.networks.modules import MatchedFilters
from qexp.networks.network import Network, bytes_of
from qexp.networks.shapes import features
from qexp.networks.training import Data
from qexp.spec.reading import Document, Finding
from qexp.store.directory import RunDirectory

TOLERANCE = 2
"""Factor by which training may exceed this machine's memory: it may be meant for a larger one."""

WEIGHTS_AND_GRADIENTS = 2

NUMBER = torch.float32.itemsize
"""Bytes of each number in a sample."""

IN_EXPERIENCE, IN_MODEL = "experience", "model"
"""The document that a finding is about."""


@dataclass(frozen=True)
class Samples:
    """The samples of an experience."""

    of_epoch: int
    """Number of training samples, at least those of an epoch."""
    kept: float = 0
    """Bytes of the samples in memory at a time: all of an epoch, or those that are not for training."""
    key: str = "batch_size"
    """Key of the experience for their number."""


def memory_of_model(network: Network, available: int) -> Iterator[Finding]:
    """Problems of a model whose weights could not be trained."""
    copies = dict.fromkeys(network.operations, WEIGHTS_AND_GRADIENTS)
    yield from (finding for _, finding in _too_large(_of_operations(network, copies), Samples(0), available))


def memory_of_experience(
    document: Document, samples: Samples, network: Network, tables: Tables, available: int
) -> Iterator[tuple[str, Finding]]:
    """Problems of an experience that is valid otherwise: in the experience, or in its model."""
    copies = dict.fromkeys(network.operations, WEIGHTS_AND_GRADIENTS + _state(document, tables))
    pretrain = document["pretrain"]
    if pretrain is not None and pretrain["epochs_frozen"] is None:
        copies |= dict.fromkeys(pretrain["freeze"], 1)  # these weights are never trained
    weights = {name: document.get("members", 1) * size for name, size in _of_operations(network, copies).items()}
    batch = min(document["batch_size"], samples.of_epoch)
    of_batch = NUMBER * batch * sum(features(shape) for shape in network.inputs.values())
    if of_batch > samples.kept:
        samples = Samples(samples.of_epoch, of_batch, "batch_size")
    yield from _too_large(weights, samples, available)


def _too_large(weights: Mapping[str, float], samples: Samples, available: int) -> Iterator[tuple[str, Finding]]:
    """Findings if weights and samples, without what is computed of them, are much larger than this machine's memory.

    weights  operation → bytes of its weights, with everything of the same size that training keeps
    """
    of_weights = sum(weights.values())
    total = of_weights + samples.kept
    if total <= TOLERANCE * available:
        return
    has = f"this machine has {in_bytes(available)}" if available < machine.LARGEST else "no machine has as much"
    comparison = f"training takes {in_bytes(total)}, but {has}"
    if of_weights >= samples.kept:
        name = max(weights, key=lambda name: weights[name])
        message = f"{in_bytes(weights[name])} to train its weights: {comparison}; make it smaller"
        yield IN_MODEL, (("operations", name), message)
    else:
        yield IN_EXPERIENCE, ((samples.key,), f"{in_bytes(samples.kept)} for samples: {comparison}; use fewer")


def _of_operations(network: Network, copies: Mapping[str, float]) -> dict[str, float]:
    """Operation → bytes of its weights and of what training keeps beside them.

    copies  numbers that are kept for each weight of an operation
    """
    return {
        name: copies[name] * bytes_of(operation.parameters()) + bytes_of(operation.buffers())
        for name, operation in network.operations.items()
    }


def _state(document: Document, tables: Tables) -> float:
    """Numbers that the optimizer keeps for each weight, found by a step with a small weight."""
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.zeros_like(weight)
    optimizer = built(tables["optimizers"], document["optimizer"], [weight], 0.1)
    optimizer.step()
    values = [value for state in optimizer.state.values() for value in state.values()]
    tensors = [value for value in values if isinstance(value, torch.Tensor) and value.shape == weight.shape]
    return sum(tensor.numel() for tensor in tensors) / weight.numel()


# Test spectra that were used for training, found by the hashes of their counts, whatever their names and files.


CAUTION = "tested on training spectra"
"""Caution of runs that were allowed although some of their test spectra were used for training."""

CAUTION_OF_CORES = "tested on training cores"
"""Caution of runs with spectra of one core in both the training and the test part."""

WAY_OUT = "hold whole cores out, or continue with `allow_leak=True`, which marks every output"


class Spectra(Protocol):
    """The attributes of a dataset that are compared, each (row,)."""

    @property
    def hashes(self) -> NDArray[np.str_]: ...
    @property
    def cores(self) -> NDArray[np.str_]: ...


Seen = Mapping[str, list[str]]
"""Core → hashes of its spectra."""


@dataclass(frozen=True)
class Overlap:
    """The spectra that a test core shares with the training and validation parts."""

    core: str
    tested: int
    """Number of its spectra in the test part."""
    leaked: int
    """Number of these that were trained on, under any name."""
    others: int
    """Number of other spectra of a core of the same name that were trained on."""

    def __str__(self) -> str:
        if self.leaked:
            return f"core {self.core}: {self.leaked} of {self.tested} test spectra"
        return f"core {self.core}: {self.others} other spectra"


def seen_of(spectra: Spectra, rows: Rows) -> dict[str, list[str]]:
    """Core → the sorted hashes of its spectra among some rows, each once."""
    hashes: dict[str, set[str]] = {}
    for core, hash_ in zip(spectra.cores[rows].tolist(), spectra.hashes[rows].tolist(), strict=True):
        hashes.setdefault(core, set()).add(sys.intern(hash_))  # runs with different seeds have the same hashes
    return {core: sorted(hashes[core]) for core in sorted(hashes)}


def overlaps_with(spectra: Spectra, test: Rows, trained_on: Seen) -> list[Overlap]:
    """The test cores of which some spectra were trained on, in order."""
    cores, hashes = spectra.cores[test].tolist(), spectra.hashes[test].tolist()
    hashes_trained_on = {hash_ for of_core in trained_on.values() for hash_ in of_core}
    tested = Counter(cores)
    leaked = Counter(core for core, hash_ in zip(cores, hashes, strict=True) if hash_ in hashes_trained_on)
    of_test = set(hashes)
    others = {core: sum(hash_ not in of_test for hash_ in trained_on.get(core, [])) for core in tested}
    shared = sorted(core for core in tested if leaked[core] or others[core])
    return [Overlap(core, tested[core], leaked[core], others[core]) for core in shared]


def overlaps_within(spectra: Spectra, train: Rows, validation: Rows, test: Rows) -> list[Finding]:
    """Problems of a split: spectra, or spectra of one core, both in the test part and in another one."""
    overlaps = overlaps_with(spectra, test, seen_of(spectra, np.union1d(train, validation)))
    of_spectra = [overlap for overlap in overlaps if overlap.leaked]
    of_cores = [overlap for overlap in overlaps if not overlap.leaked]
    problems = {
        "test spectra are also trained or validated on": of_spectra,
        "each core must be in one part only, but some are tested and trained on": of_cores,
    }
    return [
        (("split",), f"{problem}: {overlap_in_words(leaks)}; {WAY_OUT}") for problem, leaks in problems.items() if leaks
    ]


def overlap_caution(overlaps: Sequence[Overlap]) -> str:
    """The caution of a run that was allowed despite the overlaps; empty if there are none."""
    if not overlaps:
        return ""
    return CAUTION if any(overlap.leaked for overlap in overlaps) else CAUTION_OF_CORES


def overlap_in_words(overlaps: Iterable[Overlap]) -> str:
    """Overlaps as a text that names the first twenty cores."""
    return some([str(overlap) for overlap in overlaps], most=20)


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

    spectra: Spectra
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


class KindData(ABC, Generic[D]):
    """A kind of dataset.

    Documents of datasets have been checked against their schema, and the defaults of the schema are filled in; they may
    be in short or long form. Experiences are resolved.
    """

    pretrainable: bool = True
    """Whether a run can start from the weights of another run."""
    several_networks: bool = False
    """Whether several networks are trained, or several chunks of a file estimated, at a time, with one thread each."""
    several_numbers: bool = False
    """Whether outputs may have transforms that make several numbers of each value."""
    all_samples: ClassVar[Mapping[str, str]] = {}
    """Key of an experience for the number of training samples → its value for all of them."""

    @abstractmethod
    def dataset(self, document: Document, tables: Tables, workspace: Workspace | None) -> D:
        """The dataset of a document.

        workspace  searched for its files, besides the place recorded in the document and `QEXP_DATA`
        Raises DatasetError with all problems of its files.
        """

    def checked_dataset(self, document: Document, tables: Tables, workspace: Workspace | None) -> D:
        """Like `dataset`, for a document that was not checked beyond its schema. Raises DatasetError."""
        return self.dataset(document, tables, workspace)

    def remarks(self, document: Document, dataset: D) -> Iterator[Finding]:
        """What is told of a sound dataset where specs are checked, but not where they are run."""
        return iter(())

    def folder(self, document: Document, workspace: Workspace | None) -> Path | None:
        """Where the files of a dataset are, if it may give the command that makes them. Raises DatasetError."""
        return None

    def awaited(self, document: Document, workspace: Workspace | None) -> list[Finding]:
        """Problems that the command that makes the dataset's files would solve."""
        if document.get("made_by"):
            try:
                self.folder(document, workspace)
            except DatasetError as error:
                return list(error.findings)
        return []

    def roles(self, document: Document, workspace: Workspace | None) -> tuple[list[str], list[str]] | None:
        """Names of the inputs and of the outputs that a checked dataset lists; None if it does not tell them apart."""
        inputs, outputs = document.get("inputs"), document.get("outputs")
        return ([*inputs], [*outputs]) if isinstance(inputs, dict) and isinstance(outputs, dict) else None

    def unread(self, document: Document, workspace: Workspace) -> list[Finding]:
        """Problems of an experience that does not read what its dataset says is read; paths are in the dataset."""
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
        """All problems of an experience on this dataset, besides transforms that cannot be built.

        network    the network that is trained; None if inputs and outputs do not fit it
        available  bytes of memory of the machine that will train
        """

    def findings_in_model(self, dataset: D, network: Network, tables: Tables) -> Iterator[Finding]:
        """Problems of a model on this dataset; paths are in the model."""
        for name, operation in network.operations.items():
            if isinstance(operation, MatchedFilters):
                message = "matched filters need a simulated dataset, but this one is not simulated"
                yield ("operations", name), message

    def match_filters(self, operation: MatchedFilters, image: str, document: Document, tables: Tables) -> None:
        """Give matched filters of an input their images, of a kind in whose models `findings_in_model` allows them."""
        raise NotImplementedError

    def data(self, spec: Document, dataset: D, tables: Tables, seeds: Seeds, device: torch.device) -> Data:
        """The samples of a resolved experience, for a run that trains one network; those for training on demand."""
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
    """(directory, orders, answers) → trains folds in a process of its own; False if it was asked to stop."""


def one_fold(split: Split, rows: Rows, column: Column, random: np.random.Generator, advice: str) -> tuple[Rows, Rows]:
    """The rows that a split keeps and those that it holds out. Raises SplitError if it does so more than once.

    advice  added to the error if the split makes several parts
    """
    folds = split.folds(rows, column, random)
    if len(folds) != 1:
        raise SplitError(None, f"makes {len(folds)} parts, but {advice}")
    return folds[0].train, folds[0].test


def split_finding(key: str, error: SplitError) -> Finding:
    """The problem of a split that is declared by a key of an experience."""
    return ((key, "parameters", error.parameter) if error.parameter else (key,)), str(error)

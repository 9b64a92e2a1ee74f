"""Datasets of spectra of cores: many small files, or a table, read once into one array."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.base.arrays import Texts
from qexp.base.outputs import declared_classes
from qexp.base.seeds import Seeds
from qexp.errors import DatasetError, some, suggestion
from qexp.kinds.classes import few_samples
from qexp.kinds.memory import room_for_data
from qexp.kinds.spectra.files import Findings, columns_like, hash_of, unit_in
from qexp.kinds.spectra.sources import (
    ERROR,
    TEST,
    TRAIN,
    UNDIVIDED,
    VALIDATION,
    FolderOfSpectra,
    SpectrumRows,
    SpectrumSource,
    TableOfSpectra,
    layout_of,
)
from qexp.kinds.spectra.spec import SPECTRUM
from qexp.metrics.splits import Rows, SplitError
from qexp.networks.training import Data, Prepare, Samples
from qexp.rows import array_cache
from qexp.rows.array_cache import MAPPED_AROUND, Array, CachedArray
from qexp.rows.formats import FORMATS
from qexp.rows.table import LIKE_A_CODE, codes
from qexp.rows.unmeasured import WAY_OUT
from qexp.spec.reading import Document

MASK = "mask"

VERSION = 1
"""Version of the cached arrays, to be raised when the same files would give other values."""


class SpectraDataset:
    """Spectra of cores.

    path      holds train/ and perhaps test/, each with spe/, info.csv and, for a target, target/;
              or a table
    document  of the dataset, with the defaults of its schema; where `alone` is true, the folder is
              itself one part, for the test, instead of holding train/
    Raises DatasetError.
    """

    def __init__(self, path: Path, document: Document) -> None:
        self.path = path
        self.target: str | None = document["target"]
        self.classes = declared_classes(document, [self.target] if self.target else [])
        self.channels = int(document["channels"])
        self.patch_size = int(document["patch_size"])
        self.patches = self.channels // self.patch_size
        self.mix = float(document["mix"])
        """Largest fraction of another spectrum that is mixed into one in training (mixup)."""
        energy = document["energy"]
        self.energy: tuple[float, float] | None = energy and tuple(map(float, energy))
        """Of the first channel, and the step between channels, in keV; None if not known."""
        self._core = document["core"]
        self._depth = document["depth"]
        source = self._source(document)
        self._counts, facts = _read(source)
        self._rows = facts.rows
        self.fingerprint = facts.fingerprint
        self.warnings: list[str] = list(facts.warnings)
        """Properties of the data that are allowed but may be mistakes."""
        self.without_spread: list[int] = facts.without_spread
        """Rows whose counts are all equal: they cannot be scaled by their standard deviation."""
        self.left_out = facts.left_out
        """Number of spectra without a target, which are not used."""
        self.names = np.array(self._rows.names)
        self.part = np.array(self._rows.parts)
        self.rows = np.arange(len(self), dtype=np.int64)
        self.hashes: Texts = np.array(facts.hashes)
        """First digits of the SHA-256 of every spectrum, which identify it."""
        targets = np.array(self._rows.targets, dtype=np.float64)
        self.measured = {} if self.target is None else {self.target: targets}
        """The target, if there is one → its values, (row,)."""
        self._units: dict[str, str] = document["units"]
        if "fingerprint" in document and document["fingerprint"] != self.fingerprint:
            raise DatasetError(
                [
                    (
                        ("fingerprint",),
                        f"{path} has changed: the SHA-256 of its spectra is now {self.fingerprint}",
                    )
                ]
            )
        findings = Findings()
        self.cores = self._cores(source, findings)
        self.depths = self._depths(source, findings)
        names = {*self.shapes(), "depth", *self._rows.columns}
        for name in sorted(self._units.keys() - names):
            findings.add(
                f"no variable or column '{name}'; {suggestion(name, names)}", where=("units", name)
            )
        findings.refuse()
        self.warnings += self._doubts()

    def _doubts(self) -> Iterator[str]:
        """Constant spectra, targets that are codes, and cores for training and validation."""
        constant = self.names[self.without_spread].tolist()
        if constant:
            yield (
                f"{len(constant):,} of {len(self):,} spectra have the same counts in all"
                f" channels: {some(constant)}: {WAY_OUT}"
            )
        for name, classes in self.classes.items():
            yield from few_samples(classes, self.measured[name])
        for name, values in self.measured.items() if not self.classes else ():
            for code in codes(values):
                where = some(self.names[values == code].tolist())
                yield f"'{name}' of spectrum {where} is {code:g}, {LIKE_A_CODE}"
        trained, chosen = (set(self.cores[self.part == part]) for part in (TRAIN, VALIDATION))
        shared = sorted(map(str, trained & chosen))
        if shared:
            yield (
                f"{len(shared)} cores have spectra for training and for validation:"
                f" {some(shared)}; neighbouring spectra are similar, so that the validation"
                " loss is too low to choose an epoch by"
            )

    def __len__(self) -> int:
        return len(self.names)

    def read(self, rows: NDArray[np.int64]) -> Array:
        """A copy of some spectra, (row, channels), for which no mapped memory is kept."""
        spectra: Array = self._counts.values[rows]
        self._counts.note_read(len(rows) * max(MAPPED_AROUND, 4 * self.channels))
        return spectra

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every variable and its shape without the batch."""
        shapes = {SPECTRUM: (self.channels,), MASK: (self.patches,)}
        return {**shapes, **dict.fromkeys(self.measured, (1,))}

    @cached_property
    def units(self) -> dict[str, str]:
        """Units of the variables, the depth, and columns with a given unit."""
        depth = self._units.get(self._depth or "", unit_in(self._depth or ""))
        units = {SPECTRUM: "counts", MASK: "", "depth": depth}
        return {**units, **dict.fromkeys(self.measured, ""), **self._units}

    @cached_property
    def metadata(self) -> Mapping[str, Texts]:
        """All columns but core and depth, as texts, (row,)."""
        own = (self._core, self._depth)
        columns = self._rows.columns.items()
        return {name: np.array(texts) for name, texts in columns if name not in own}

    def column(self, name: str) -> Texts:
        """A column to group by: `core`, `part`, `name`, or one of the files. Raises SplitError."""
        cores = {"core": self.cores, self._core: self.cores}
        columns = {**self.metadata, **cores, "part": self.part, "name": self.names}
        if name not in columns:
            raise SplitError("by", f"spectra have no column '{name}'; {suggestion(name, columns)}")
        return columns[name]

    def _source(self, document: Document) -> SpectrumSource:
        """Keys that came later have no default, so that digests stay as they were."""
        lists = document.get("lists", {})
        path = self.path
        rules = document.get("missing", ERROR), document.get("minimum", -math.inf)
        shared = (path, layout_of(document), self.target, *rules)
        classes = self.classes.get(self.target or "")
        if path.is_dir():
            tested = [TEST] if (path / TEST).is_dir() else []
            names = [UNDIVIDED] if document.get("alone", False) else [TRAIN, *tested]
            folder = FolderOfSpectra(*shared, names, lists, classes=classes)
            folder.require()
            return folder
        if lists:
            raise DatasetError(
                [(("lists",), f"{path} is not a folder; a table lists its spectra itself")]
            )
        if path.suffix.lower() in FORMATS and path.is_file():
            return TableOfSpectra(*shared, classes=classes)
        what = "is not there; it must be a folder with train/ or"
        what = "is neither a folder nor" if path.exists() else what
        raise DatasetError([(("path",), f"{path} {what} a table, {', '.join(FORMATS)}")])

    def _cores(self, source: SpectrumSource, findings: Findings) -> Texts:
        texts = self._rows.columns.get(self._core)
        if texts is None:
            similar = suggestion(self._core, self._rows.columns)
            findings.add(f"{source.place} has no column '{self._core}'; {similar}", where=("core",))
            return np.array([], dtype=np.str_)
        for name, text in zip(self.names, texts, strict=True):
            if not text:
                findings.add(f"{source.place} has no core for spectra", name, ("core",))
        return np.array(texts)

    def _depths(self, source: SpectrumSource, findings: Findings) -> NDArray[np.float64]:
        if self._depth is None:
            return np.full(len(self), np.nan)
        texts = self._rows.columns.get(self._depth)
        if texts is None:
            columns = self._rows.columns
            similar = columns_like("depth", columns)
            advice = f"did you mean {similar}" if similar else suggestion(self._depth, columns)
            lack = f"{source.place} has no column '{self._depth}'; {advice}"
            findings.add(f'{lack}; "depth": null if there is none', where=("depth",))
            return np.array([])
        return source.depths(texts, self._rows.names, findings)


@dataclass
class _Facts:
    """Facts found while all spectra were read, cached so that they need not be read again."""

    rows: SpectrumRows
    warnings: list[str] = field(default_factory=list)
    left_out: int = 0
    hashes: list[str] = field(default_factory=list)
    without_spread: list[int] = field(default_factory=list)
    fingerprint: str = ""

    def see(self, block: Array) -> Array:
        start = len(self.hashes)
        same = np.flatnonzero(block.max(axis=1) == block.min(axis=1))
        self.without_spread += (start + same).tolist()
        self.hashes += [hash_of(counts) for counts in block]
        return block

    def end(self) -> None:
        content = json.dumps([self.hashes, vars(self.rows)], sort_keys=True)
        self.fingerprint = hashlib.sha256(content.encode()).hexdigest()
        first: dict[tuple[str, str], str] = {}
        twice: dict[str, list[str]] = {}
        for name, part, counts in zip(self.rows.names, self.rows.parts, self.hashes, strict=True):
            original = first.setdefault((part, counts), name)
            if original is not name:
                twice.setdefault(part, []).append(f"{name} (as {original})")
        self.warnings += [
            f"{len(names)} spectra of the {part} part are duplicates of earlier ones: {some(names)}"
            for part, names in twice.items()
        ]

    def key(self) -> list[Any]:
        """Key of the array: spectra in one order are cached once, whatever their columns."""
        return ["spectra", VERSION, hashlib.sha256("".join(self.hashes).encode()).hexdigest()]


def _read(source: SpectrumSource) -> tuple[CachedArray, _Facts]:
    """The array of all spectra and the facts about them, read anew only if files changed."""
    least = [] if source.minimum == -math.inf else [source.minimum]
    names = () if source.classes is None else source.classes.names
    key = ["facts of spectra", VERSION, *source.state(), *least, *names]
    channels = source.layout.channels
    energy = source.layout.energy
    document = array_cache.note(key)
    if document and document.pop("energy", energy) == energy:
        facts = _Facts(**{**document, "rows": SpectrumRows(**document["rows"])})
        found = array_cache.find(facts.key(), (len(facts.rows), channels))
        if found:
            return found, facts
    facts = _Facts(*source.rows())
    shape = (len(facts.rows), channels)
    blocks = map(facts.see, source.counts(facts.rows))
    array = array_cache.cached_by_content(shape, blocks, facts.key)
    facts.end()
    remarks = source.reader.remarks()
    facts.warnings += remarks
    used = {"energy": energy} if remarks else {}
    array_cache.keep_note(key, {**vars(facts), "rows": vars(facts.rows), **used})
    return array, facts


# Spectra for training: in a new order every epoch, with new random numbers for the masks.


MOST_TO_FIT = 4096
"""Spectra that transforms are fitted to."""


class SpectrumSamples(Data):
    """Spectra of a dataset, with a uniform random number for each of their patches, and with the
    target if it has one.

    train, validation, test  rows of the dataset
    unlabelled               more training spectra, whose targets must not be used; see `to_fit`
    hidden                   random numbers of the patches, (sample, patch) → whether a channel is
                             masked, (sample, channel): if the spectrum is an output, only these are
                             evaluated
    """

    def __init__(
        self,
        dataset: SpectraDataset,
        train: Rows,
        validation: Rows,
        test: Rows,
        unlabelled: Rows,
        seeds: Seeds,
        device: torch.device,
        hidden: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.train_rows, self.test_rows = train, test
        self._dataset, self._unlabelled, self._hidden = dataset, unlabelled, hidden
        self._seeds, self._device = seeds, device
        self.train_size = len(train)
        self.validation = self._samples(validation, "validation")
        self.test = self._samples(test, "test")

    def epoch(self, number: int, batch_size: int, prepared: Prepare) -> Callable[[int], Samples]:
        """Number of a batch of an epoch, counted from 0 → its samples, `prepared` on demand.

        The random numbers of the patches and of the mixing belong to the position in the epoch, so
        that any batch can be made without the others.
        """

        def drawn(purpose: str) -> Rows | Tensor:
            random = self._seeds.numpy("train", number, purpose)
            return self._placed(random.permutation(self.train_rows))

        order = drawn("order")
        mix = self._dataset.mix
        masks = self._tensors({MASK: self._masks(self.train_size, "train", number, "masks")})[MASK]
        if mix:
            # The spectrum of a mixture of two sediments is nearly the mixture of their spectra; so
            # few cores give new samples in every epoch (mixup, Zhang et al. 2018, but with uniform
            # fractions).
            others = drawn("mixed with")
            random = self._seeds.numpy("train", number, "mixed shares")
            shares = random.random((self.train_size, 1), dtype=np.float32) * np.float32(mix)
            shares_on_device = torch.from_numpy(shares).to(self._device)

        def batch(index: int) -> Samples:
            positions = slice(index * batch_size, (index + 1) * batch_size)
            samples = self._measured(order[positions])
            if mix:
                second = self._measured(others[positions])
                share = shares_on_device[positions]
                for name, values in samples.items():
                    samples[name] = torch.lerp(values, second[name], share)
            return prepared({**samples, MASK: masks[positions]})

        return batch

    @cached_property
    def _on_device(self) -> dict[str, Tensor] | None:
        """Training spectra and targets on the device, in the order of rows, if it has room."""
        if 4 * self.train_size * self._dataset.channels > room_for_data(self._device):
            return None
        return self._measured(self.train_rows)

    def _placed(self, rows: Rows) -> Rows | Tensor:
        """Training rows, or their places among those on the device."""
        if self._on_device is None:
            return rows
        order = np.argsort(self.train_rows)
        places = order[np.searchsorted(self.train_rows, rows, sorter=order)]
        return torch.from_numpy(places).to(self._device)

    def to_fit(self) -> Samples:
        """Samples to which transforms are fitted: targets of labelled ones, spectra of all."""
        spectra = self._some(np.union1d(self.train_rows, self._unlabelled))
        labelled = self._some(self.train_rows)
        masks = self._masks(len(labelled), "fit", "masks")
        values = {SPECTRUM: self._dataset.read(spectra), MASK: masks}
        return self._tensors({**values, **self._target(labelled)})

    def _some(self, rows: Rows) -> Rows:
        if len(rows) <= MOST_TO_FIT:
            return rows
        return np.sort(self._seeds.numpy("fit", "spectra").choice(rows, MOST_TO_FIT, replace=False))

    def counted(self, output: str, samples: Samples) -> Tensor | None:
        """Which values of the spectrum are evaluated, (sample, channel); None for all."""
        if output != SPECTRUM or self._hidden is None:
            return None
        return self._hidden(samples[MASK])

    def training_mean(self, output: str) -> float:
        """The mean of the targets that are trained on, in the target's unit; NaN for spectra."""
        values = self._dataset.measured.get(output)
        return math.nan if values is None else float(values[self.train_rows].mean(dtype=np.float64))

    def _masks(self, count: int, *purpose: str | int) -> NDArray[np.float32]:
        return self._seeds.numpy(*purpose).random((count, self._dataset.patches), dtype=np.float32)

    def _samples(self, rows: Rows, part: str) -> dict[str, Tensor]:
        """Variable → (sample, ...)."""
        masks = self._masks(len(rows), part, "masks")
        return {**self._measured(rows), **self._tensors({MASK: masks})}

    def _measured(self, rows: Rows | Tensor) -> dict[str, Tensor]:
        """The spectrum, and the target if there is one, of rows or of places on the device."""
        if isinstance(rows, Tensor):
            return {name: values[rows] for name, values in (self._on_device or {}).items()}
        return self._tensors({SPECTRUM: self._dataset.read(rows), **self._target(rows)})

    def _target(self, rows: Rows) -> dict[str, NDArray[np.float32]]:
        """The target, (sample, 1), if there is one."""
        measured = self._dataset.measured.items()
        return {name: values[rows, None].astype(np.float32) for name, values in measured}

    def _tensors(self, values: Mapping[str, NDArray[np.float32]]) -> dict[str, Tensor]:
        return {name: torch.from_numpy(array).to(self._device) for name, array in values.items()}

"""Test spectra that were used for training, found by the hashes of their counts, whatever their
names and files.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qexp.errors import some
from qexp.metrics.splits import Rows
from qexp.spec.reading import Finding
from qexp.store.provenance import Seen

CAUTION = "tested on training spectra"
"""Caution of runs that were allowed although some of their test spectra were used for training."""

CAUTION_OF_CORES = "tested on other spectra of training cores"
"""Caution of runs of which a core has spectra in the training and others in the test part."""

WAY_OUT = "hold whole cores out, or continue with `allow_leak=True`, which marks every output"


class Spectra(Protocol):
    """The attributes of a dataset that are compared, each (row,)."""

    @property
    def hashes(self) -> NDArray[np.str_]: ...
    @property
    def cores(self) -> NDArray[np.str_]: ...


@dataclass(frozen=True)
class Exposed:
    """Training and validation samples of a run, and its test samples, as rows of a dataset with
    their hashes.
    """

    spectra: Spectra
    trained: Rows
    test: Rows


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
    for core, hash_ in zip(
        spectra.cores[rows].tolist(), spectra.hashes[rows].tolist(), strict=True
    ):
        # runs with different seeds have the same hashes
        hashes.setdefault(core, set()).add(sys.intern(hash_))
    return {core: sorted(hashes[core]) for core in sorted(hashes)}


def overlaps_with(spectra: Spectra, test: Rows, trained_on: Seen) -> list[Overlap]:
    """The test cores of which some spectra were trained on, in order."""
    cores = spectra.cores[test].tolist()
    hashes = spectra.hashes[test].tolist()
    hashes_trained_on = {hash_ for of_core in trained_on.values() for hash_ in of_core}
    tested = Counter(cores)
    leaked = Counter(
        core for core, hash_ in zip(cores, hashes, strict=True) if hash_ in hashes_trained_on
    )
    of_test = set(hashes)
    others = {
        core: sum(hash_ not in of_test for hash_ in trained_on.get(core, [])) for core in tested
    }
    shared = sorted(core for core in tested if leaked[core] or others[core])
    return [Overlap(core, tested[core], leaked[core], others[core]) for core in shared]


def overlaps_within(spectra: Spectra, train: Rows, validation: Rows, test: Rows) -> list[Finding]:
    """Problems of a split: spectra, or spectra of one core, both in the test part and in another
    one.
    """
    overlaps = overlaps_with(spectra, test, seen_of(spectra, np.union1d(train, validation)))
    of_spectra = [overlap for overlap in overlaps if overlap.leaked]
    of_cores = [overlap for overlap in overlaps if not overlap.leaked]
    problems = {
        "test spectra are also trained or validated on": of_spectra,
        "each core must be in one part only, but some are tested and trained on": of_cores,
    }
    return [
        (("split",), f"{problem}: {overlap_in_words(leaks)}; {WAY_OUT}")
        for problem, leaks in problems.items()
        if leaks
    ]


def overlap_caution(overlaps: Sequence[Overlap]) -> str:
    """The caution of a run that was allowed despite the overlaps; empty if there are none."""
    if not overlaps:
        return ""
    return CAUTION if any(overlap.leaked for overlap in overlaps) else CAUTION_OF_CORES


def overlap_in_words(overlaps: Iterable[Overlap]) -> str:
    """Overlaps as a text that names the first twenty cores."""
    return some([str(overlap) for overlap in overlaps], most=20)

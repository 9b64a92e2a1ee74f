"""Test spectra that were used for training, found by the hashes of their counts, whatever their names and files."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qexp.datasets.splits import Rows
from qexp.spec.finding import Finding

CAUTION = "tested on training spectra"
"""Caution of runs that were allowed although some of their test spectra were used for training."""

CAUTION_OF_CORES = "tested on training cores"
"""Caution of runs with spectra of one core in both the training and the test part."""

WAY_OUT = "hold whole cores out, or continue with --allow-leak, which marks every output"

MOST_CORES_NAMED = 20


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
    seen: int
    """Number of these that were trained on, under any name."""
    others: int
    """Number of other spectra of a core of the same name that were trained on."""

    def __str__(self) -> str:
        if self.seen:
            return f"core {self.core}: {self.seen} of {self.tested} test spectra"
        return f"core {self.core}: {self.others} other spectra"


def seen(spectra: Spectra, rows: Rows) -> dict[str, list[str]]:
    """Core → the sorted hashes of its spectra among some rows, each once."""
    found: dict[str, set[str]] = {}
    for core, hash_ in zip(spectra.cores[rows].tolist(), spectra.hashes[rows].tolist(), strict=True):
        found.setdefault(core, set()).add(sys.intern(hash_))  # runs with different seeds have the same hashes
    return {core: sorted(found[core]) for core in sorted(found)}


def overlaps(spectra: Spectra, test: Rows, trained_on: Seen) -> list[Overlap]:
    """The test cores of which some spectra were trained on, in order."""
    cores, hashes = spectra.cores[test].tolist(), spectra.hashes[test].tolist()
    known = {hash_ for of_core in trained_on.values() for hash_ in of_core}
    tested = Counter(cores)
    leaked = Counter(core for core, hash_ in zip(cores, hashes, strict=True) if hash_ in known)
    of_test = set(hashes)
    others = {core: sum(hash_ not in of_test for hash_ in trained_on.get(core, [])) for core in tested}
    return [
        Overlap(core, tested[core], leaked[core], others[core])
        for core in sorted(tested)
        if leaked[core] or others[core]
    ]


def within(spectra: Spectra, train: Rows, validation: Rows, test: Rows) -> list[Finding]:
    """Problems of a split: spectra, or spectra of one core, both in the test part and in another one."""
    found = overlaps(spectra, test, seen(spectra, np.union1d(train, validation)))
    return [
        (("split",), f"{what}: {in_words(some)}; {WAY_OUT}")
        for what, some in (
            ("test spectra are also trained or validated on", [one for one in found if one.seen]),
            (
                "each core must be in one part only, but some are tested and trained on",
                [one for one in found if not one.seen],
            ),
        )
        if some
    ]


def caution_of(found: Iterable[Overlap]) -> str:
    """The caution of a run that was allowed despite the overlaps; empty if there are none."""
    some = list(found)
    if not some:
        return ""
    return CAUTION if any(one.seen for one in some) else CAUTION_OF_CORES


def in_words(found: Iterable[Overlap]) -> str:
    """Overlaps as a text that names the first twenty cores."""
    words = [str(one) for one in found]
    more = [f"and {len(words) - MOST_CORES_NAMED} more"] if len(words) > MOST_CORES_NAMED else []
    return ", ".join([*words[:MOST_CORES_NAMED], *more])

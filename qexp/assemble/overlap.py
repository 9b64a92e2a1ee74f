"""Test spectra that were trained on: by the hashes of their counts, so that another name or place hides nothing."""

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

CAUTION = "tested on spectra that were trained on"
"""What every output says of a run that was let go on although some of its test spectra were."""

CAUTION_OF_CORES = "tested on cores that were trained on"
"""The same where the spectra of cores were divided between the parts."""

WAY_OUT = "hold whole cores out, or go on with --allow-leak, which marks every output"

CORES_TOLD = 20


class Spectra(Protocol):
    """What is looked at of a dataset; (row,) both."""

    @property
    def hashes(self) -> NDArray[np.str_]: ...
    @property
    def cores(self) -> NDArray[np.str_]: ...


Seen = Mapping[str, list[str]]
"""Core → hashes of its spectra."""


@dataclass(frozen=True)
class Overlap:
    """What a core that is tested has in common with what was trained on."""

    core: str
    tested: int
    """Its spectra in the test part."""
    seen: int
    """How many of these were trained on, under whatever name."""
    others: int
    """Spectra of a core of the same name that were trained on, and are not in the test part."""

    def __str__(self) -> str:
        if self.seen:
            return f"core {self.core}: {self.seen} of {self.tested} test spectra"
        return f"core {self.core}: {self.others} other spectra"


def seen(spectra: Spectra, rows: Rows) -> dict[str, list[str]]:
    """The hashes of some rows by core, each once, in order."""
    found: dict[str, set[str]] = {}
    for core, hash_ in zip(spectra.cores[rows].tolist(), spectra.hashes[rows].tolist(), strict=True):
        found.setdefault(core, set()).add(sys.intern(hash_))  # those of many seeds are the same
    return {core: sorted(found[core]) for core in sorted(found)}


def overlaps(spectra: Spectra, test: Rows, trained_on: Seen) -> list[Overlap]:
    """The cores of the test part of which something was trained on, in order."""
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
    """What the parts of a dataset have in common that must not be: spectra, and cores, which are held apart."""
    found = overlaps(spectra, test, seen(spectra, np.union1d(train, validation)))
    return [
        (("split",), f"{what}: {told(some)}; {WAY_OUT}")
        for what, some in (
            ("test spectra are trained or validated on, too", [one for one in found if one.seen]),
            ("cores are held apart, but some are tested and trained on", [one for one in found if not one.seen]),
        )
        if some
    ]


def caution_of(found: Iterable[Overlap]) -> str:
    """What every output must say of a run that was let go on nevertheless; empty if nothing was found."""
    some = list(found)
    if not some:
        return ""
    return CAUTION if any(one.seen for one in some) else CAUTION_OF_CORES


def told(found: Iterable[Overlap]) -> str:
    """Overlaps in words, the first twenty by name."""
    words = [str(one) for one in found]
    more = [f"and {len(words) - CORES_TOLD} more"] if len(words) > CORES_TOLD else []
    return ", ".join([*words[:CORES_TOLD], *more])

"""The spectra that an experience's runs are trained on, and the check of their test spectra for leakage."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from qexp.assemble import Experience, objects_of, overlap
from qexp.assemble.kinds import Exposed
from qexp.errors import QexpError
from qexp.runs.leakage import hashes
from qexp.runs.leakage.hashes import Seen
from qexp.runs.record.directory import RunDirectory

OF_UNKNOWN_TRAINING = "starts from weights that another program trained, on unknown spectra"
"""Caution of runs whose test spectra may have been used for training."""

ITSELF = "itself, in its training or validation part"


@dataclass(frozen=True)
class Exposure:
    """The spectra that one run is trained on, with the messages about leakage."""

    own: Seen | None = None
    """None for a run that is not trained on spectra."""
    caution: str = ""
    warnings: tuple[str, ...] = ()


class Exposures:
    """The spectra that an experience's runs are trained on, for each seed.

    A split can depend on the seed, so it is made for every seed; equal splits are compared only once.
    parent  the pretraining run; spectra that it or its ancestors were trained on may not be tested on
    """

    def __init__(self, experience: Experience, parent: RunDirectory | None) -> None:
        self._experience = experience
        self._before = hashes.read(parent) if parent else {}
        self._unknown = parent is not None and _trained_on_unknown(parent)
        self._known: dict[bytes, Exposure] = {}

    def of_seed(self, seed: int) -> Exposure:
        """The spectra of one seed. Raises QexpError if test spectra were used for training without permission."""
        one = self._experience
        exposed = objects_of(one.document).exposed(one.document, one.dataset, one.tables, seed)
        if exposed is None:
            doubts = objects_of(one.document).doubts(one.document, one.dataset, one.tables, seed)
            return Exposure(caution=doubts.caution, warnings=doubts.warnings)
        key = hashlib.sha256(b"|".join((exposed.trained.tobytes(), exposed.test.tobytes()))).digest()
        if key not in self._known:
            self._known[key] = self._compared(exposed, seed)
        return self._known[key]

    def _compared(self, exposed: Exposed, seed: int) -> Exposure:
        own = overlap.seen(exposed.spectra, exposed.trained)
        leaked: dict[str, list[overlap.Overlap]] = {}
        alike: dict[str, list[overlap.Overlap]] = {}
        for run, of_run in {ITSELF: own, **self._before}.items():
            for one in overlap.overlaps(exposed.spectra, exposed.test, of_run):
                (leaked if one.seen or run == ITSELF else alike).setdefault(run, []).append(one)
        if leaked and not self._experience.document.get("allow_leak"):
            parts = "\n".join(f"  {run}: {overlap.in_words(found)}" for run, found in leaked.items())
            raise QexpError(
                f"{self._experience.name} with seed {seed} would be tested on spectra that were used for training by\n"
                f"{parts}\n"
                "hold other cores out, start from another run, or continue with --allow-leak, which marks every output"
            )
        warnings = [
            f"{run} was trained on other spectra of cores that have the name of a test core: {overlap.in_words(found)}"
            for run, found in alike.items()
        ]
        cautions = [overlap.caution_of(one for found in leaked.values() for one in found)]
        cautions += [OF_UNKNOWN_TRAINING] if self._unknown else []
        return Exposure(own, "; ".join(one for one in cautions if one), tuple(warnings))


def _trained_on_unknown(parent: RunDirectory) -> bool:
    """Whether another program trained the weights of a run, or those that it started from."""
    record = parent.record()
    return record.foreign_weights is not None or OF_UNKNOWN_TRAINING in record.caution

"""Documents of datasets of spectra of cores, and of experiences on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from qexp.base.quantities import Quantities
from qexp.spec.kinds import KindDocuments, entry_in_words
from qexp.spec.reading import Document, Finding

SPECTRUM = "spectrum"
"""The variable with the counts of all channels."""

RESERVED = (SPECTRUM, "mask", "name", "part", "core", "depth", "hidden_rmse")
"""Names that a target cannot have: variables of spectra, and columns of their tables."""


class SpectraSpecs(KindDocuments):
    keeps_hashes = True
    file = Path(__file__).with_suffix(".json")
    untrained: ClassVar[Mapping[str, Any]] = {"split": "parts"}
    split_words = (
        'spectra are held out by core: "parts" for the test part of the dataset itself, or for'
        ' example {"type": "held_out", "parameters": {"by": "core", "values": ["A", "B"]}}'
    )

    def numbers_among(self, outputs: Iterable[str]) -> list[str]:
        return [name for name in outputs if name != SPECTRUM]

    def in_dataset(self, dataset: Document, quantities: Quantities) -> Iterator[Finding]:
        channels = dataset["channels"]
        patch_size = dataset["patch_size"]
        if channels % patch_size:
            sizes = (
                size
                for distance in range(patch_size)
                for size in (patch_size - distance, patch_size + distance)
            )
            nearest = next(size for size in sizes if channels % size == 0)
            yield (
                ("patch_size",),
                (
                    f"patches of {patch_size} channels do not divide a spectrum of {channels};"
                    f" {nearest} would"
                ),
            )
        if (target := dataset["target"]) in RESERVED:
            yield (
                ("target",),
                f"'{target}' is the name of another property of a spectrum; choose another name",
            )
        if {"missing", "minimum"} & dataset.keys() and target is None:
            yield (("target",), "there is no target; name it, or leave out 'missing' and 'minimum'")
        for name in dataset.get("classes", {}):
            if name != target:
                yield ("classes", name), f"the target is '{target}'; only its classes can be given"
            for key in ("mix", "minimum"):
                if dataset.get(key):
                    yield (key,), f"'{name}' is a class, which has no sums or order; leave it out"
        energy = dataset["energy"]
        if energy is not None and not energy[1] > 0:
            yield (
                ("energy", 1),
                (
                    "the energy step between channels must be greater than 0, but is"
                    f" {energy[1]:g} keV"
                ),
            )

    def in_experience(self, experience: Document) -> Iterator[Finding]:
        for index, name in enumerate(experience["outputs"]):
            if name in experience["inputs"] and name != SPECTRUM:
                yield (
                    ("outputs", index),
                    f"'{name}' is also an input: the network would see the answer",
                )
        if SPECTRUM in experience["outputs"] and "mask" not in experience["inputs"]:
            yield (
                ("outputs",),
                (
                    "a network that sees a whole spectrum can copy it; add the input 'mask',"
                    " which hides patches from it"
                ),
            )
        if experience["baselines"] and SPECTRUM in experience["outputs"]:
            yield ("baselines",), "baselines estimate numbers, not spectra; leave them out"

    def summary(self, spec: Document) -> dict[str, str]:
        dataset = spec["dataset"]
        return {
            "spectra": f"{dataset['path']}, SHA-256 {dataset['fingerprint'][:16]}…",
            "channels": f"{dataset['channels']} in patches of {dataset['patch_size']}",
            "tested": entry_in_words(spec["split"]),
            "validation": (
                entry_in_words(spec["inner"]) if spec["inner"] else "the dataset's own part"
            ),
            "labelled": str(spec["labelled"]),
            **({"mixed": f"with up to {dataset['mix']:.0%} of another"} if dataset["mix"] else {}),
        }


DOCUMENTS = SpectraSpecs()

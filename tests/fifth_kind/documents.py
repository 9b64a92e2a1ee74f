"""The documents of datasets of images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from qexp.base.quantities import Quantities
from qexp.spec.kind import SpecKind
from qexp.spec.reading import Finding
from qexp.store.documents import Part
from qexp.store.resolved import ExperienceSpec


class ImageSpecs(SpecKind):
    evaluated_by = "estimates.csv"

    file = Path(__file__).with_suffix(".json")
    split_by_shares = True
    untrained: ClassVar[Mapping[str, Any]] = {"split": [0.8, 0.2]}
    split_words = "images are divided by shares, for example [0.8, 0.2]"

    def in_dataset(self, dataset: dict[str, Any], quantities: Quantities) -> Iterator[Finding]:
        for index, name in enumerate(dataset["labels"]):
            if name == "image":
                yield ("labels", index), "'image' is the image itself; rename the column"

    def trouble_with(self, evaluation: Path) -> str | None:
        return None if evaluation.stat().st_size else "it is empty"

    def summary(self, spec: dict[str, Any]) -> dict[str, str]:
        return {"images": f"{spec['dataset']['path']}, SHA-256 {spec['dataset']['fingerprint'][:16]}…"}


@dataclass(frozen=True, kw_only=True)
class Images(Part):
    path: str
    labels: tuple[str, ...]
    units: Mapping[str, str]
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class OnImages(ExperienceSpec):
    dataset: Images
    split: tuple[float, float]
    turn: bool

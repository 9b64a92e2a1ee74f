"""The parts of a run's resolved spec, `spec.json`, that commands on finished runs depend on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from qexp.spec.experiences import TRAINING
from qexp.spec.kinds import KINDS, kind_named
from qexp.store.documents import MisfitError, Part


@dataclass(frozen=True, kw_only=True)
class NamedEntry(Part):
    """An entry of a table, with its parameters."""

    type: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class OperationSpec(Part):
    module: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class BranchSpec(Part):
    x_name: str | tuple[str, ...]
    y_name: str | tuple[str, ...]
    operations: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ModelSpec(Part):
    inputs: Mapping[str, Mapping[str, Any]]
    outputs: tuple[str, ...]
    operations: Mapping[str, OperationSpec]
    branches: tuple[BranchSpec, ...]


@dataclass(frozen=True, kw_only=True)
class PretrainingSpec(Part):
    run: str
    operations: tuple[str, ...] | None
    freeze: tuple[str, ...]
    epochs_frozen: int | None


@dataclass(frozen=True, kw_only=True)
class ExperienceSpec(Part):
    """The keys that experiences on all kinds of datasets share."""

    model: ModelSpec
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    epochs: int
    batch_size: int
    optimizer: NamedEntry
    learning_rate: float
    schedule: NamedEntry
    losses: Mapping[str, NamedEntry]
    metrics: Mapping[str, tuple[str, ...]]
    transforms: Mapping[str, NamedEntry]
    additional_callbacks: tuple[NamedEntry, ...]
    gradient_clip: float | None
    precision: str
    keep: str
    pretrain: PretrainingSpec | None


@dataclass(frozen=True, kw_only=True)
class SourceSpec(NamedEntry):
    LEFT_OUT = ("name",)

    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class NoiseComponent(NamedEntry):
    LEFT_OUT = ("views",)

    views: tuple[int | str, ...] | None = None
    """By number from 0, or by name; None for all."""


@dataclass(frozen=True, kw_only=True)
class Generated(Part):
    generation_type: str | None = None
    sources: tuple[SourceSpec, ...] = ()
    angles: str | None = None
    views: tuple[Mapping[str, Any], ...] = ()
    size: tuple[int, int]
    fixed: Mapping[str, float]
    varyings: Mapping[str, tuple[tuple[float, float], ...]]
    distributions: Mapping[str, NamedEntry]
    noise_model: NoiseComponent | tuple[NoiseComponent, ...]

    def __post_init__(self) -> None:
        if (self.generation_type is None) == (not self.sources):
            raise MisfitError(
                "is missing" if not self.sources else "cannot be combined with sources", "generation_type"
            )


@dataclass(frozen=True, kw_only=True)
class OnGenerated(ExperienceSpec):
    dataset: Generated
    split: tuple[float, float]
    sizes: tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Tabular(Part):
    path: str
    stand_in: str | None = None
    stood_in: bool = False
    fingerprint: str
    inputs: Mapping[str, str | tuple[str, ...]]
    outputs: Mapping[str, str | tuple[str, ...]]
    units: Mapping[str, str]
    identifiers: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.stood_in and self.stand_in is None:
            raise MisfitError("is missing, although the run was made with it", "stand_in")


@dataclass(frozen=True, kw_only=True)
class OnTabular(ExperienceSpec):
    dataset: Tabular
    split: NamedEntry
    inner: NamedEntry | None
    select: Mapping[str, tuple[Any, ...]]
    members: int
    protocol: str
    baselines: tuple[str | NamedEntry, ...]


@dataclass(frozen=True, kw_only=True)
class Gridded(Part):
    path: str
    fingerprint: str
    inputs: Mapping[str, float]
    outputs: Mapping[str, float]
    units: Mapping[str, str]
    vectors: tuple[tuple[str, str], ...] | None = None
    patch_size: int
    threshold: float | None
    stepping: int
    resample: float
    augment: bool
    include_test_in_train: bool
    spacing: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class OnGridded(ExperienceSpec):
    dataset: Gridded
    split: NamedEntry
    patches: tuple[int, int] | None


@dataclass(frozen=True, kw_only=True)
class SpectraSpec(Part):
    path: str
    fingerprint: str
    channels: int
    patch_size: int
    target: str | None
    units: Mapping[str, str]
    mix: float


@dataclass(frozen=True, kw_only=True)
class OnSpectra(ExperienceSpec):
    dataset: SpectraSpec
    split: NamedEntry
    inner: NamedEntry | None
    labelled: str | int
    allow_leak: bool
    baselines: tuple[str | NamedEntry, ...]


@dataclass(frozen=True, kw_only=True)
class CommandSpec(Part):
    """An experience that runs a program."""

    command: tuple[str, ...]
    resume: tuple[str, ...] | None
    parameters: Mapping[str, Any]
    results: str | None
    folder: str
    env: Mapping[str, str]
    files: tuple[str, ...]
    data: tuple[str, ...]
    fingerprints: Mapping[str, str]
    found: str
    dataset: str
    model: str
    units: Mapping[str, str]
    metrics: Mapping[str, Mapping[str, str]]
    environment: tuple[str, ...] | None
    grace: float

    def __post_init__(self) -> None:
        if not self.command:
            raise MisfitError("is empty", "command")
        for key in ("files", "data"):
            for index, name in enumerate(getattr(self, key)):
                if name not in self.fingerprints:
                    raise MisfitError(f"{name} has no fingerprint", key, index)


def _check_training(spec: Mapping[str, Any]) -> None:
    dataset = spec.get("dataset")
    if not isinstance(dataset, dict):
        raise MisfitError("is missing" if "dataset" not in spec else "is not an object", "dataset")
    kind = dataset.get("type")
    if not isinstance(kind, str) or kind not in KINDS:
        raise MisfitError(f"is not one of {', '.join(KINDS)}", "dataset", "type")
    form: type[ExperienceSpec] = kind_named(kind).part("resolved")
    form.from_document(spec)


TYPES: Mapping[str, Callable[[Mapping[str, Any]], object]] = {
    "training": _check_training,
    "command": CommandSpec.from_document,
}
"""The value of `type` in an experience → raises MisfitError unless a resolved spec has the form that runs write."""


def check(spec: Mapping[str, Any]) -> None:
    """Raise MisfitError unless a resolved spec has the form that runs write."""
    named = spec.get("type", TRAINING)
    if not isinstance(named, str) or named not in TYPES:
        raise MisfitError(f"is not one of {', '.join(TYPES)}", "type")
    TYPES[named](spec)

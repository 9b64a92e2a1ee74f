"""The fields of a run's `environment.json` that other commands read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qexp.runs.record.parts import Part


@dataclass(frozen=True, kw_only=True)
class OwnCode(Part):
    """qexp's own source."""

    commit: str | None = None
    source: str | None = None


@dataclass(frozen=True, kw_only=True)
class Environment(Part):
    """Versions and machine of an attempt; older runs lack some of the fields."""

    qexp: OwnCode | None = None
    python: str | None = None
    packages: Mapping[str, str] | None = None
    host: str | None = None
    platform: str | None = None
    machine: str | None = None
    processor: str | None = None
    instructions: str | None = None
    cores: int | None = None
    usable_cores: int | None = None
    device: str | None = None
    accelerator: Mapping[str, Any] | None = None
    threads: int | None = None
    variables: Mapping[str, str] | None = None

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
    """Commit of qexp's own checkout; null for an installed package."""
    source: str | None = None
    """SHA-256 over its source files."""


@dataclass(frozen=True, kw_only=True)
class Environment(Part):
    """Versions and machine of an attempt; older runs lack some of the fields."""

    qexp: OwnCode | None = None
    """qexp's own code."""
    python: str | None = None
    """Version of Python."""
    packages: Mapping[str, str] | None = None
    """Package → version."""
    host: str | None = None
    """Name of the machine."""
    platform: str | None = None
    """Operating system."""
    machine: str | None = None
    """Processor architecture."""
    processor: str | None = None
    """Model of the processor."""
    instructions: str | None = None
    """Vector instructions that torch uses; others give other last bits."""
    cores: int | None = None
    """Number of cores of the machine."""
    usable_cores: int | None = None
    """Number of cores that the process may use."""
    device: str | None = None
    """Where the network was trained."""
    accelerator: Mapping[str, Any] | None = None
    """Versions of CUDA, cuDNN and driver."""
    threads: int | None = None
    """Number of threads of torch."""
    variables: Mapping[str, str] | None = None
    """Environment variables that change results or speed."""

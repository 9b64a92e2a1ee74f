"""The types of experience, as documents: one line and one module each. Nothing here loads torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qexp.quantities import Quantities
from qexp.spec.experiences.command import Command
from qexp.spec.experiences.experience_type import ExperienceType
from qexp.spec.experiences.training import Training

__all__ = ["TRAINING", "TYPES", "ExperienceType", "caution", "type_name", "type_of", "units_of"]

TRAINING = "training"
"""The type of an experience that does not name one."""

TYPES: Mapping[str, ExperienceType] = {TRAINING: Training(), "command": Command()}
"""The value of `type` in an experience → its type."""


def type_name(experience: Mapping[str, Any]) -> str:
    """The name of an experience's type; that of training for a type that does not exist, which is a finding."""
    named = experience.get("type", TRAINING)
    return named if isinstance(named, str) and named in TYPES else TRAINING


def type_of(experience: Mapping[str, Any]) -> ExperienceType:
    """The type of an experience, by its document."""
    return TYPES[type_name(experience)]


def caution(spec: dict[str, Any]) -> str:
    """The cautions that every table, figure and record of a run must show; empty if there are none."""
    return "; ".join(type_of(spec).cautions(spec))


def units_of(spec: dict[str, Any], quantities: Quantities) -> dict[str, str]:
    """Units of a resolved experience's variables."""
    return type_of(spec).units(spec, quantities)

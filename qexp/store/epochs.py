"""The metrics of a run, `metrics.jsonl`: one line per epoch, of which a torn last one is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

from qexp.base import files, formats
from qexp.errors import DamagedError
from qexp.store.documents import MisfitError, Part

Line = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Losses(Part):
    """The loss on one part of the data; the other keys are outputs with their metrics."""

    loss: float | None
    """The total loss, which is minimised."""
    losses: Mapping[str, float | None] = field(default_factory=dict)
    """Output → its loss."""

    def __post_init__(self) -> None:
        for output, metrics in self.others.items():
            if not isinstance(metrics, dict) or not {*map(type, metrics.values())} <= {int, float, NoneType}:
                raise MisfitError("is not an object of numbers", output)


@dataclass(frozen=True, kw_only=True)
class EpochLine(Part):
    epoch: int
    """1 for the first epoch."""
    step: float | None = None
    """Its number in a program that counts otherwise."""
    learning_rate: float | None = None
    """Learning rate at the end of the epoch."""
    train: Losses
    """Loss and metrics on the training samples."""
    validation: Losses
    """Loss and metrics on the validation samples."""
    best: bool
    """Whether its validation loss is the lowest so far."""


def read_epochs(file: Path) -> list[Line]:
    """All epochs; empty if there is no file yet. An incomplete last line is left out.

    Raises DamagedError for any other line that is not valid.
    """
    try:
        written = files.read_bytes(file).splitlines(keepends=True)
    except FileNotFoundError:
        return []
    lines = []
    for number, text in enumerate(written, start=1):
        line = formats.whole_line(text)
        if line is None and number == len(written):
            break
        try:
            EpochLine.from_document(line)
        except MisfitError as misfit:
            problem = "is not a JSON object" if line is None else misfit
            raise DamagedError(f"{file} is damaged: line {number}: {problem}") from None
        assert line is not None
        lines.append(line)
    return lines

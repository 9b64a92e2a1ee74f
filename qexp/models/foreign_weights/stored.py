"""Tensors in a file of another program: their names and shapes, and their values when they are wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from qexp.errors import QexpError
from qexp.models.shapes import Shape

MOST_TENSORS = 100_000
"""Largest number of tensors, or of entries, that are looked at in a file; the largest networks have some thousand."""

DEEPEST = 32
"""Largest nesting of dictionaries or groups in a file."""


class WeightsFileError(QexpError):
    """A file of weights cannot be read, or holds something other than tensors."""

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"{file}: {why}")


@dataclass(frozen=True)
class Stored:
    """A tensor in a file, not read yet."""

    shape: Shape
    read: Callable[[], Tensor]
    """Its values, in single precision unless they are whole numbers. Raises WeightsFileError."""


@dataclass(frozen=True)
class Contents:
    """The tensors of a file that is open."""

    tensors: Mapping[str, Stored]
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Layer → its settings, if the file describes its network, as Keras' files do."""

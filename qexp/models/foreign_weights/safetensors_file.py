"""Files of safetensors, which hold nothing but tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from qexp.models.foreign_weights.pytorch import plain
from qexp.models.foreign_weights.stored import Contents, Stored, WeightsFileError


@contextmanager
def opened(file: Path) -> Iterator[Contents]:
    """The tensors of a file. Raises WeightsFileError."""
    try:
        with safe_open(file, framework="pt") as content:
            found = {name: tuple(content.get_slice(name).get_shape()) for name in content.keys()}  # noqa: SIM118 - not a dict
            yield Contents({name: Stored(shape, partial(_read, content, name, file)) for name, shape in found.items()})
    except (SafetensorError, OSError) as error:
        raise WeightsFileError(file, f"is damaged, or not a file of safetensors: {error}") from None


def _read(content: Any, name: str, file: Path) -> Tensor:
    tensor = content.get_tensor(name)
    if tensor.is_complex():
        raise WeightsFileError(file, f"'{name}' holds complex numbers")
    return plain(tensor)

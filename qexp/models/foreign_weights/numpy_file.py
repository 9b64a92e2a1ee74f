"""A single array in a file of NumPy's, such as the means of a scaler."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError

import numpy as np
import torch

from qexp.models.foreign_weights.pytorch import plain
from qexp.models.foreign_weights.stored import Contents, Stored, WeightsFileError


@contextmanager
def opened(file: Path) -> Iterator[Contents]:
    """The array of a file, without a name. Raises WeightsFileError; pickled objects are refused."""
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)  # the header cannot ask for more than the file has
    except (ValueError, OSError, EOFError, SyntaxError, TokenError, OverflowError, MemoryError) as error:
        raise WeightsFileError(file, f"is damaged, or not a file of NumPy: {error}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise WeightsFileError(file, "must hold a single array of numbers (.npy)")
    numbers = np.float32 if array.dtype.kind == "f" else np.int64

    def values() -> torch.Tensor:
        with np.errstate(over="ignore"):  # what is too large for single precision is infinite, which is refused later
            return plain(torch.from_numpy(array.astype(numbers)))

    yield Contents({"": Stored(array.shape, values)})

"""The number of rows, frames or spectra that are estimated at a time."""

from __future__ import annotations

from qexp.errors import QexpError


def require_chunk(chunk: int | None) -> None:
    """Raise QexpError unless a chunk has at least one sample; None stands for the usual number."""
    if chunk is not None and chunk < 1:
        raise QexpError(f"--chunk {chunk}: at least 1")

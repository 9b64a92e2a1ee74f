"""Data files that a spec names: where they are, and the fingerprint of their content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from qexp.did_you_mean import hint
from qexp.rows.table import TableError


def find(path: str, folders: Iterable[Path]) -> Path:
    """The file of a relative path, from the first folder that has it. Raises TableError, listing these folders."""
    if Path(path).is_absolute():
        if Path(path).is_file():
            return Path(path)
        raise TableError(f"there is no file {path}{_nearest_neighbour([Path(path)])}")
    candidates = [folder / path for folder in folders]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    near = _nearest_neighbour(candidates)
    places = ", ".join(str(candidate) for candidate in candidates) or "nowhere"
    raise TableError(
        f"there is no file '{path}'{near}; looked for {places}; put the file there, or add its folder to QEXP_DATA"
    )


def _nearest_neighbour(paths: Sequence[Path]) -> str:
    """A file with a similar name, in the folders that were searched."""
    names: list[str] = []
    for path in paths:
        with suppress(OSError):
            names += [entry.name for entry in os.scandir(path.parent) if entry.is_file()]
    return hint(paths[0].name, names) if paths else ""


def fingerprint(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal. Raises TableError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror or error}") from None

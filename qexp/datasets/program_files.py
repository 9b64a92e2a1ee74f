"""The files and data that a program names: where they are, and hashes of their content. Loads no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from qexp.datasets.array_cache import content_hash
from qexp.did_you_mean import hint
from qexp.errors import QexpError


def place_of(name: str, root: Path) -> Path:
    """A file or folder below the workspace `root`, or anywhere if its path is absolute. Raises QexpError."""
    place = root / name
    if place.exists():
        return place
    beside = [path.name for path in place.parent.iterdir()] if place.parent.is_dir() else []
    raise QexpError(f"there is no file '{name}' in {root}{hint(place.name, beside)}")


def fingerprint(name: str, root: Path) -> str:
    """SHA-256 of a file's content in hexadecimal; of a folder, of the names and contents of all files below it.

    Raises QexpError. Hashes of files that have not changed since are kept in the cache.
    """
    place = place_of(name, root)
    try:
        if not place.is_dir():
            return content_hash(place)
        whole = hashlib.sha256()
        for path in sorted(one for one in place.rglob("*") if one.is_file()):
            whole.update(f"{path.relative_to(place).as_posix()}\0{content_hash(path)}\0".encode())
    except OSError as error:
        raise QexpError(f"'{name}' cannot be read: {error.strerror or error}") from None
    return whole.hexdigest()


def changed(names: Iterable[tuple[str, str]], root: Path) -> Iterator[str]:
    """What is wrong with files since their fingerprints were taken, in words.

    names  name and fingerprint of each file
    """
    for name, before in names:
        try:
            if fingerprint(name, root) != before:
                yield f"'{name}' has changed since the run was prepared"
        except QexpError as error:
            yield str(error)

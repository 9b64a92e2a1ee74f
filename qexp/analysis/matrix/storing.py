"""Matrices in the folder of a run: under a name each, written as drafts, replaced only on request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qexp import files, folders
from qexp.errors import QexpError
from qexp.locks import locked
from qexp.runs.record.directory import MATRIX, MATRIX_RECORD

LOCK_SECONDS = 10.0

SETTINGS = {
    "dataset": "dataset",
    "axes": "axes",
    "fixed": "fixed values",
    "repeats": "repeats",
    "seed": "seed",
    "refined": "--refine",
    "bound": "--bound",
}
"""Key of a matrix' record → how a message calls it."""


def exists(place: Path, record: Mapping[str, Any]) -> bool:
    """Whether a folder holds the matrix with the digest of a record. Raises QexpError if it holds another one."""
    try:
        found = files.read_json(place / MATRIX_RECORD)
    except FileNotFoundError:
        return False
    if found.get("digest") != record["digest"]:
        raise QexpError(
            f"{record['run']} has a matrix '{place.name}' {_difference(found, record)}; choose another --name, or "
            "replace it with --force"
        )
    return (place / MATRIX).is_file()


def _difference(found: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    words = [word for key, word in SETTINGS.items() if key in found and found[key] != record[key]]
    if words:
        return f"with other settings ({', '.join(words)})"
    if "digest" not in found:
        return "of an earlier version of qexp, which did not record all that it was made from"
    return "of other data or other weights"


def store(place: Path, record: Mapping[str, Any], force: bool, write: Callable[[Path], None]) -> bool:
    """Write a matrix in a draft, and give that its name; False if another process has meanwhile stored the same one.

    write  fills the folder that it is given
    Raises QexpError if there is another matrix of that name, unless it is to be replaced.
    """
    files.make_folder(place.parent)
    try:
        folders.clear(place)
        with folders.drafted(place) as draft:
            write(draft)
            with locked(place.parent, LOCK_SECONDS):
                if not force and exists(place, record):
                    return False
                folders.put(draft, place)
    except OSError as error:
        raise QexpError(f"cannot write {place}: {error.strerror or error}") from error
    return True

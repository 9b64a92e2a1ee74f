"""Annotations of a run (tags and a note) by its users, kept apart from the record, which its process writes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from qexp import files
from qexp.errors import DamagedError, QexpError
from qexp.locks import locked
from qexp.runs.record import upgrade

FILE = "labels.json"

TAG = re.compile(r"[A-Za-z0-9._-]+")

LOCK_SECONDS = 10.0

Annotations = dict[str, Any]


def read(folder: Path) -> Annotations:
    """The annotations of the run in a folder: `tags` and `note`, those of the two that were ever set."""
    file = folder / FILE
    try:
        annotations = files.read_json(file)
    except FileNotFoundError:
        return {}
    if not isinstance(annotations, dict) or not all(
        key in _VALID and _VALID[key](value) for key, value in annotations.items()
    ):
        raise DamagedError(f"{file} does not hold tags and a note; repair it, or delete it and set them again")
    return annotations


def require_valid(tags: Iterable[str], note: str) -> None:
    """Raise QexpError for a word that is not a valid tag, and for a note that is not text."""
    for word in tags:
        _tag(word)
    _require_text(note)


def add(folder: Path, tags: Iterable[str], note: str) -> None:
    """Add tags, and replace the note unless it is empty."""
    if words := tuple(tags):
        retag(folder, words)
    if note:
        annotate(folder, note)


def retag(folder: Path, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
    """Add and remove tags. Raises QexpError for a word that is not a valid tag, or that is in both lists."""
    added, removed = list(dict.fromkeys(map(_tag, add))), {_tag(word) for word in remove}
    for word in added:
        if word in removed:
            raise QexpError(f"'{word}' cannot be added and removed at once")

    def changed(tags: list[str]) -> list[str]:
        return [tag for tag in dict.fromkeys([*tags, *added]) if tag not in removed]

    _change(folder, lambda annotations: {**annotations, "tags": changed(annotations["tags"])})


def annotate(folder: Path, text: str) -> None:
    """Replace the note; an empty text removes it."""
    _require_text(text)
    _change(folder, lambda annotations: {**annotations, "note": text})


def _require_text(note: str) -> None:
    try:
        note.encode()
    except UnicodeEncodeError:
        raise QexpError(f"a note must be text: {note!r} holds bytes that are not") from None


def _is_tags(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(tag, str) for tag in value)


_VALID: dict[str, Callable[[Any], bool]] = {"tags": _is_tags, "note": lambda value: isinstance(value, str)}


def _tag(word: str) -> str:
    if not TAG.fullmatch(word):
        raise QexpError(f"{word!r} is not a valid tag; use letters, digits, '.', '_' and '-'")
    return word


def _change(folder: Path, changed: Callable[[Annotations], Annotations]) -> None:
    """Read, change and replace the annotations under a lock, so that no process undoes another's change."""
    file = folder / FILE
    of_record = _of_record(folder / "run.json")
    try:
        with locked(file, LOCK_SECONDS):
            files.write_json(file, changed({**of_record, **read(folder)}))
    except OSError as error:
        raise QexpError(f"cannot write {file}: {error.strerror or error}") from error


def _of_record(file: Path) -> Annotations:
    """The annotations in the record itself, which hold until others are set."""
    record = upgrade.read_record(file)
    return {"tags": list(record.tags), "note": record.note}

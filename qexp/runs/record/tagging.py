"""Tags and the note of a run: what people say about it, kept apart from the record that its process writes."""

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

Labels = dict[str, Any]


def read(folder: Path) -> Labels:
    """The labels of the run in a folder: `tags` and `note`, as far as somebody has set them."""
    file = folder / FILE
    try:
        labels = files.read_json(file)
    except FileNotFoundError:
        return {}
    if not isinstance(labels, dict) or not all(key in _SOUND and _SOUND[key](value) for key, value in labels.items()):
        raise DamagedError(f"{file} holds no tags and note; mend it, or delete it and set them again")
    return labels


def retag(folder: Path, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
    """Add and remove tags. Raises QexpError for a word that cannot be one, or that is to be both added and removed."""
    added, removed = list(dict.fromkeys(map(_tag, add))), {_tag(word) for word in remove}
    for word in added:
        if word in removed:
            raise QexpError(f"'{word}' cannot be added and removed at once")

    def changed(tags: list[str]) -> list[str]:
        return [tag for tag in dict.fromkeys([*tags, *added]) if tag not in removed]

    _change(folder, lambda labels: {**labels, "tags": changed(labels["tags"])})


def annotate(folder: Path, text: str) -> None:
    """Replace the note; an empty text takes it away."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise QexpError(f"a note must be text: {text!r} holds bytes that are none") from None
    _change(folder, lambda labels: {**labels, "note": text})


def _is_tags(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(tag, str) for tag in value)


_SOUND: dict[str, Callable[[Any], bool]] = {"tags": _is_tags, "note": lambda value: isinstance(value, str)}


def _tag(word: str) -> str:
    if not TAG.fullmatch(word):
        raise QexpError(f"{word!r} cannot be a tag; use letters, digits, '.', '_' and '-'")
    return word


def _change(folder: Path, changed: Callable[[Labels], Labels]) -> None:
    """Read, change and replace the labels, so that of several processes none undoes another's change."""
    file = folder / FILE
    of_record = _of_record(folder / "run.json")
    try:
        with locked(file, LOCK_SECONDS):
            files.write_json(file, changed({**of_record, **read(folder)}))
    except OSError as error:
        raise QexpError(f"cannot write {file}: {error.strerror or error}") from error


def _of_record(file: Path) -> Labels:
    """What a record itself says, which holds until somebody sets labels."""
    record = upgrade.read_record(file)
    return {"tags": list(record.tags), "note": record.note}

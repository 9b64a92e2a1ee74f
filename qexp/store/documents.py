"""Parts of JSON documents as frozen dataclasses.

The annotations of the fields declare what a document may hold. Every field is checked when a
document is read; unknown keys, which a newer version of qexp wrote, are kept and written again.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field
from enum import StrEnum
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, Self, Union, get_args, get_origin, get_type_hints

from qexp.base import formats
from qexp.base.options import own_first
from qexp.base.text import without_end
from qexp.errors import DamagedError, pointer

Read = Callable[[Any], Any]

LONGEST_VALUE = 40
"""Largest number of characters of a wrong value in a message."""


class MisfitError(DamagedError):
    """A document does not have the expected form; says where and why."""

    def __init__(self, why: str, *path: str | int) -> None:
        self.path, self.why = path, why
        super().__init__(f"{pointer(path)} {why}")

    def in_step(self, step: str | int) -> MisfitError:
        """An error like this, with its place seen from one level above."""
        return MisfitError(self.why, step, *self.path)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A JSON object with declared keys."""

    LEFT_OUT: ClassVar[tuple[str, ...]] = ()
    """Fields that are left out of the document if they are None."""

    others: Mapping[str, Any] = field(default_factory=dict)
    """Keys that this version does not know, with their values."""

    @classmethod
    def from_document(cls, document: Any) -> Self:
        """Read a document. Raises MisfitError where it contradicts the annotations."""
        if not isinstance(document, dict):
            raise MisfitError(_instead(document, "an object"))
        readers, required = _layout(cls)  # type: ignore[arg-type]
        declared = {key: value for key, value in document.items() if key in readers}
        values = _read_entries((key, readers[key], value) for key, value in declared.items())
        for key in required:
            if key not in declared:
                raise MisfitError("is missing", key)
        others = {key: value for key, value in document.items() if key not in readers}
        return cls(**values, others=others)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a file. Raises FileNotFoundError, or DamagedError with the place in it."""
        try:
            return cls.from_document(formats.read_json(file))
        except MisfitError as misfit:
            raise DamagedError(f"{file} is damaged: {misfit}") from None

    def document(self) -> dict[str, Any]:
        """The JSON document: plain dictionaries, lists, texts and numbers."""
        document = dict[str, Any]()
        for key in _layout(type(self))[0]:  # type: ignore[arg-type]
            value = getattr(self, key)
            if value is not None or key not in self.LEFT_OUT:
                document[key] = _plain(value)
        return document | {key: _plain(value) for key, value in self.others.items()}


@cache
def _layout(cls: type[Part]) -> tuple[dict[str, Read], list[str]]:
    """The reader of each key, and the required keys."""
    hints = get_type_hints(cls)
    declared = [field for field in own_first(cls) if field.name != "others"]
    required = list[str]()
    for one in declared:
        if one.default is MISSING and one.default_factory is MISSING:
            required.append(one.name)
    return {field.name: _reader(hints[field.name]) for field in declared}, required


_SCALARS = frozenset({str, int, float, bool, types.NoneType})


def _plain(value: Any) -> Any:
    if type(value) in _SCALARS:  # nearly all are, and abstract classes take long to ask
        return value
    if isinstance(value, Part):
        return value.document()
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value.value if isinstance(value, StrEnum) else value


# The reader of a value, chosen by its annotation


def _reader(kind: Any) -> Read:
    if kind is Any:
        return lambda value: value
    origin = get_origin(kind)
    inner = get_args(kind)
    if origin in (Union, types.UnionType):
        (read,) = (_reader(choice) for choice in inner if choice is not types.NoneType)
        return lambda value: None if value is None else read(value)
    if origin is tuple:
        several = inner[-1] is Ellipsis
        return partial(
            _read_list, [_reader(item) for item in inner[: 1 if several else None]], several
        )
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return partial(_read_mapping, _reader(inner[1]))
    if issubclass(kind, Part):
        from_document: Read = kind.from_document
        return from_document
    if issubclass(kind, StrEnum):
        return partial(_read_word, {word.value: word for word in kind})
    return partial(_read_plain, kind)


_PLAIN: dict[Any, tuple[Any, str]] = {
    str: (str, "a text"),
    int: (int, "a whole number"),
    float: (int | float, "a number"),
    bool: (bool, "true or false"),
}
"""Annotation → accepted types, and what they are in words. In Python, true and false are whole
numbers; here not.
"""


def _read_plain(kind: Any, value: Any) -> Any:
    accepted, expected = _PLAIN[kind]
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise MisfitError(_instead(value, expected))
    return value


def _read_word(words: Mapping[str, StrEnum], value: Any) -> StrEnum:
    if not isinstance(value, str) or value not in words:
        raise MisfitError(_instead(value, f"one of {', '.join(words)}"))
    return words[value]


def _read_list(reads: list[Read], several: bool, value: Any) -> tuple[Any, ...]:
    """A list of any length with equal items, if there may be several; else of this one."""
    wanted = "a list" if several else f"a list of {len(reads)}"
    if not isinstance(value, list | tuple):
        raise MisfitError(_instead(value, wanted))
    if not several and len(value) != len(reads):
        raise MisfitError(_instead(value, wanted))
    each = reads * len(value) if several else reads
    entries = zip(range(len(value)), each, value, strict=True)
    return tuple(_read_entries(entries).values())


def _read_mapping(read: Read, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise MisfitError(_instead(value, "an object"))
    return _read_entries((key, read, item) for key, item in value.items())


def _read_entries(entries: Iterable[tuple[Any, Read, Any]]) -> dict[Any, Any]:
    """Key → what its reader makes of its value; an error gets the key."""
    values = {}
    for key, read, value in entries:
        try:
            values[key] = read(value)
        except MisfitError as misfit:
            raise misfit.in_step(key) from None
    return values


def _instead(value: Any, expected: str) -> str:
    """`is "yes", not a number`."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except TypeError:
        text = repr(value)
    return f"is {without_end(text, LONGEST_VALUE)}, not {expected}"

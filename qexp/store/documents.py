"""Parts of JSON documents as frozen dataclasses.

The annotations of the fields declare what a document may hold. Every field is checked when a document is read; unknown
keys, which a newer version of qexp wrote, are kept and written again.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Self, Union, get_args, get_origin, get_type_hints

from qexp.base import files
from qexp.errors import DamagedError, pointer

Read = Callable[[Any], Any]

LONGEST = 40
"""Largest number of characters of a wrong value in a message."""


class MisfitError(DamagedError):
    """A document does not have the expected form; says where and why."""

    def __init__(self, why: str, *path: str | int) -> None:
        self.path, self.why = path, why
        super().__init__(f"{pointer(path)} {why}")

    def below(self, step: str | int) -> MisfitError:
        """The same error, with its place seen from one level above."""
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
        readers, required = _layout(cls)
        values: dict[str, Any] = {}
        others: dict[str, Any] = {}
        for key, value in document.items():
            read = readers.get(key)
            if read is None:
                others[key] = value
                continue
            try:
                values[key] = read(value)
            except MisfitError as misfit:
                raise misfit.below(key) from None
        for key in required:
            if key not in values:
                raise MisfitError("is missing", key)
        return cls(**values, others=others)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a file. Raises FileNotFoundError, or DamagedError with the file and the place in it."""
        try:
            return cls.from_document(files.read_json(file))
        except MisfitError as misfit:
            raise DamagedError(f"{file} is damaged: {misfit}") from None

    def document(self) -> dict[str, Any]:
        """The JSON document: plain dictionaries, lists, texts and numbers."""
        made = {}
        for key in _layout(type(self))[0]:
            value = getattr(self, key)
            if value is not None or key not in self.LEFT_OUT:
                made[key] = _plain(value)
        return {**made, **_plain(self.others)}


_LAYOUTS: dict[type[Part], tuple[dict[str, Read], list[str]]] = {}


def _layout(cls: type[Part]) -> tuple[dict[str, Read], list[str]]:
    """The reader of each key, and the required keys."""
    if cls not in _LAYOUTS:
        _LAYOUTS[cls] = _new_layout(cls)
    return _LAYOUTS[cls]


def _new_layout(cls: type[Part]) -> tuple[dict[str, Read], list[str]]:
    hints = get_type_hints(cls)
    own = [one for one in fields(cls) if one.name != "others"]
    required = [one.name for one in own if one.default is MISSING and one.default_factory is MISSING]
    return {one.name: _reader(hints[one.name]) for one in own}, required


_SCALARS = frozenset({str, int, float, bool, types.NoneType})


def _plain(value: Any) -> Any:
    if type(value) in _SCALARS:  # nearly all are, and abstract classes take long to ask
        return value
    if isinstance(value, Part):
        return value.document()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, StrEnum) else value


# The reader of a value, chosen by its annotation


def _reader(kind: Any) -> Read:
    if kind is Any:
        return lambda value: value
    origin, of = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        reads = [_reader(one) for one in of if one is not types.NoneType]
        read = reads[0] if len(reads) == 1 else _first_of(reads)
        return _optional(read) if types.NoneType in of else read
    if origin is tuple:
        return _list_of(_reader(of[0])) if of[-1] is Ellipsis else _row_of([_reader(one) for one in of])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping_of(_reader(of[1]))
    if issubclass(kind, Part):
        from_document: Read = kind.from_document
        return from_document
    return _word_of(kind) if issubclass(kind, StrEnum) else _PLAIN[kind]


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        raise MisfitError(_instead(value, "a text"))
    return value


def _whole_number(value: Any) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        raise MisfitError(_instead(value, "a whole number"))
    return value


def _number(value: Any) -> Any:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise MisfitError(_instead(value, "a number"))
    return value


def _yes_or_no(value: Any) -> Any:
    if not isinstance(value, bool):
        raise MisfitError(_instead(value, "true or false"))
    return value


_PLAIN: dict[Any, Read] = {str: _text, int: _whole_number, float: _number, bool: _yes_or_no}


def _optional(read: Read) -> Read:
    def checked(value: Any) -> Any:
        return None if value is None else read(value)

    return checked


def _first_of(reads: list[Read]) -> Read:
    """A reader that tries several forms in turn; the error of the last one is reported."""

    def checked(value: Any) -> Any:
        for read in reads[:-1]:
            with suppress(MisfitError):
                return read(value)
        return reads[-1](value)

    return checked


def _word_of(kind: type[StrEnum]) -> Read:
    words = {one.value: one for one in kind}

    def checked(value: Any) -> Any:
        if not isinstance(value, str) or value not in words:
            raise MisfitError(_instead(value, f"one of {', '.join(words)}"))
        return words[value]

    return checked


def _list_of(read: Read) -> Read:
    def checked(value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise MisfitError(_instead(value, "a list"))
        return tuple(_each(read, value))

    return checked


def _row_of(reads: list[Read]) -> Read:
    def checked(value: Any) -> Any:
        if not isinstance(value, list | tuple) or len(value) != len(reads):
            raise MisfitError(_instead(value, f"a list of {len(reads)}"))
        made = []
        for index, (read, item) in enumerate(zip(reads, value, strict=True)):
            try:
                made.append(read(item))
            except MisfitError as misfit:
                raise misfit.below(index) from None
        return tuple(made)

    return checked


def _each(read: Read, values: list[Any] | tuple[Any, ...]) -> list[Any]:
    made = []
    for index, value in enumerate(values):
        try:
            made.append(read(value))
        except MisfitError as misfit:
            raise misfit.below(index) from None
    return made


def _mapping_of(read: Read) -> Read:
    def checked(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise MisfitError(_instead(value, "an object"))
        made = {}
        for key, item in value.items():
            try:
                made[key] = read(item)
            except MisfitError as misfit:
                raise misfit.below(key) from None
        return made

    return checked


def _instead(value: Any, expected: str) -> str:
    """`is "yes", not a number`."""
    try:
        shown = json.dumps(value, ensure_ascii=False)
    except TypeError:
        shown = repr(value)
    return f"is {shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + '…'}, not {expected}"

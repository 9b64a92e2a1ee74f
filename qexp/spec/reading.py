"""Documents read strictly, their digests, and what they leave to defaults and to the dataset."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import reduce
from operator import getitem
from pathlib import Path, PurePath
from typing import Any

from qexp.base.files import read_bytes
from qexp.errors import DamagedError, Problem, SpecError, suggestion

Where = tuple[str | int, ...]
"""Keys and indices from the top of a document."""

Finding = tuple[Where, str]
"""Where in the document, and what the problem is."""
Findings = Iterator[Finding]

Document = dict[str, Any]
"""A spec, or an object in one."""

# Reading a spec strictly: no duplicate keys, no NaN, and an error that says where.


LARGEST_INTEGER = 2**63

MOST_LEVELS = 50
"""Largest nesting of objects and lists; a spec has about ten levels, and the schema check recurses
as deep.
"""

LARGEST_FILE_SIZE = 1_000_000
"""Largest size [bytes] of a spec, and of a program's results; the largest that people write have
about ten thousand.
"""

_TOO_DEEP = f"nested too deeply to be a spec; at most {MOST_LEVELS} levels of objects and lists"


class _Object(dict[str, Any]):
    """A JSON object that remembers keys given twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        counts = Counter(key for key, _ in pairs)
        self.duplicates = [key for key, count in counts.items() if count > 1]


def read(path: Path, label: str | None = None) -> Document:
    """The JSON object in a file. Raises SpecError with everything that is not valid in it as JSON.

    label  name of the file in errors; the path if left out
    """
    name = label or str(path)
    try:
        text = read_bytes(path, LARGEST_FILE_SIZE).decode("utf-8-sig")
    except FileNotFoundError:
        raise SpecError([Problem(name, (), "there is no such file")]) from None
    except UnicodeDecodeError as error:
        raise SpecError([Problem(name, (), "cannot be read: it is not UTF-8 text")]) from error
    except DamagedError as error:
        raise SpecError([Problem(name, (), str(error).removeprefix(f"{path} "))]) from error
    return parse(text, name)


def parse(text: str, name: str) -> Document:
    """Like `read`, for the text of a file called `name`."""
    value = parse_value(text, name)
    if not isinstance(value, dict):
        raise SpecError([Problem(name, (), f"must be an object {{…}}, but is {describe(value)}")])
    return value


def parse_value(text: str, name: str) -> Any:
    """Any JSON value. Raises SpecError with the place and message of a json.JSONDecodeError."""
    problems: list[Problem] = []
    try:
        value = _plain(json.loads(text, object_pairs_hook=_Object), (), name, problems)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        character = text[error.pos : error.pos + 1]
        previous = text[: error.pos].rstrip()[-1:]
        # from Python 3.13 on the error is at the comma
        end = text[error.pos :].removeprefix(",").lstrip()[:1]
        hint = ""
        if character in ("/", "#"):
            hint = "; JSON has no comments"
        elif "," in (character, previous) and end in ("}", "]"):
            hint = "; leave out the comma before it"
        words = f"not valid JSON at {where}: {error.msg}{hint}"
        raise SpecError([Problem(name, (), words)]) from None
    except RecursionError:
        raise SpecError([Problem(name, (), _TOO_DEEP)]) from None
    except ValueError as error:  # a number with more digits than Python reads
        raise SpecError([Problem(name, (), f"not a number of sensible size: {error}")]) from None
    if problems:
        raise SpecError(problems)
    return value


def is_json(text: str) -> bool:
    """Whether a text is JSON, also of a kind that `parse_value` refuses; others are texts."""
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    except (ValueError, RecursionError):
        pass
    return True


def plain(value: Any, name: str) -> Any:
    """A Python value as JSON holds it: tuples become lists, NumPy numbers plain ones, objects what
    they consist of.

    Raises SpecError for values that JSON cannot hold, and for numbers and texts that no spec may
    contain.
    """
    try:
        text = json.dumps(value, default=_as_json, check_circular=False)
    except (TypeError, ValueError) as error:
        raise SpecError([Problem(name, (), str(error))]) from None
    except RecursionError:
        raise SpecError([Problem(name, (), _TOO_DEEP)]) from None
    return parse_value(text, name)


def _as_json(value: Any) -> Any:
    if hasattr(value, "tolist"):  # NumPy numbers and arrays
        return value.tolist()
    if isinstance(value, PurePath | Enum):
        return str(value) if isinstance(value, PurePath) else value.value
    # such as a range
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return list(value)
    if not callable(value):  # functions, classes and networks have attributes, too
        if hasattr(value, "keys"):  # also mappings of libraries that do not say so
            return {key: value[key] for key in value.keys()}  # noqa: SIM118 - what it iterates over may be anything
        if is_dataclass(value):
            return {field.name: getattr(value, field.name) for field in fields(value)}
        attributes = getattr(value, "__dict__", {}).items()
        public = {name: one for name, one in attributes if not name.startswith("_")}
        if public or "Namespace" in type(value).__name__:  # as argparse makes it
            return public
    raise TypeError(
        f"{type(value).__name__} is not a type of JSON; give a number, a text, a list or a dict"
    )


def _plain(value: Any, path: Where, name: str, problems: list[Problem]) -> Any:
    """Plain dictionaries, and whole numbers as integers: JSON has a single type of number."""
    if len(path) > MOST_LEVELS:
        raise SpecError([Problem(name, (), _TOO_DEEP)])
    if isinstance(value, _Object):
        for trouble in filter(None, map(_unwritable, value)):
            problems.append(Problem(name, path, f"a key {trouble}"))
        for key in value.duplicates:
            problems.append(Problem(name, (*path, key), "this key is given twice; keep one"))
        return {key: _plain(item, (*path, key), name, problems) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, (*path, index), name, problems) for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        problems.append(Problem(name, path, f"{value} is not a number in JSON; give a finite one"))
    elif isinstance(value, int) and abs(value) >= LARGEST_INTEGER:
        problems.append(Problem(name, path, "a whole number must be less than 2^63"))
    elif isinstance(value, str):
        unwritable = _unwritable(value)
        if unwritable:
            problems.append(Problem(name, path, unwritable))
    elif isinstance(value, float) and value.is_integer() and abs(value) < LARGEST_INTEGER:
        return int(value)
    return value


def _unwritable(text: str) -> str | None:
    """Why a text cannot be written to a file, or None: JSON can escape what is no character."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start].encode("unicode_escape").decode()
        return (
            f"holds {half}, half of a surrogate pair, which is not a character; write the whole"
            " character"
        )
    return None


def describe(value: Any) -> str:
    """A value as an error message shows it: its type and its content."""
    kinds = {dict: "an object", list: "a list", str: "the text", bool: "", type(None): ""}
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > 60:
        text = text[:57] + "…"
    return f"{kinds.get(type(value), 'the number')} {text}".strip()


# Digests of resolved specs: specs of the same meaning have the same digest, however they are
# written.


COMMENTARY = ("description", "found", "found_parameters", "found_emulator", "middles", "made_by")
"""Keys that do not change what is computed: descriptions, where a file came from, and what follows
from its hash.
"""


def listed(names: str | list[str]) -> list[str]:
    """What may be written as a list of names, or as a single one."""
    return [names] if isinstance(names, str) else names


def canonical(document: Any) -> str:
    """JSON with sorted keys, without commentary, and with 1 for 1.0."""
    plain = _canonical(document, is_spec=True)
    return json.dumps(
        plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(document: Any, *texts: str) -> str:
    """SHA-256 of the canonical document and of the texts that belong to it, in hexadecimal."""
    content = hashlib.sha256(canonical(document).encode())
    for text in texts:
        content.update(b"\0" + text.encode())
    return content.hexdigest()


def _canonical(value: Any, is_spec: bool = False) -> Any:
    """The spec and the specs in it without commentary; other objects have a user's own names."""
    if isinstance(value, dict):
        plain = dict[str, Any]()
        for key, item in value.items():
            if not (is_spec and key in COMMENTARY):
                plain[key] = _canonical(item, is_spec and key in ("dataset", "model"))
        return plain
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def defaults_in(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Key → default, for the properties of a schema that have one."""
    having = {name: one for name, one in schema["properties"].items() if "default" in one}
    return {name: copy.deepcopy(one["default"]) for name, one in having.items()}


# Specs that follow their dataset: what says "from dataset" is filled in from the one that is used.


FROM_DATASET = "from dataset"
"""Stands for what the dataset decides: inputs and outputs, their sizes, names and channels."""

CHANNELS = "outputs"
"""The parameter of operations that is the number of channels, or values, of all outputs."""


def follows(document: Document) -> bool:
    """Whether a model, or an experience's own keys, need the dataset for their check."""
    return any(True for _ in _followers(document))


def follow_dataset(
    experience: Document,
    sizes: Mapping[str, Sequence[int]],
    roles: tuple[Sequence[str], Sequence[str]] | None,
) -> tuple[Document, list[tuple[str, Finding]]]:
    """An experience with dataset and model inserted; a single loss becomes that of every output.

    sizes  variable → its size as specs write it, channels last
    roles  names of inputs and of outputs; None if the dataset does not tell them apart
    Returns also the problems, each with the kind of spec that it is in. The document is not checked
    yet.
    """
    following = copy.deepcopy(experience)
    problems: list[tuple[str, Finding]] = []
    for key, position in (("inputs", 0), ("outputs", 1)):
        if following.get(key) != FROM_DATASET:
            continue
        if roles is None:
            words = f"this dataset does not say which variables are {key}; list them"
            problems.append(("experience", ((key,), words)))
        else:
            following[key] = list(roles[position])
    inputs, outputs = (_names(following.get(key)) for key in ("inputs", "outputs"))
    if isinstance(following.get("losses"), str) and outputs is not None:
        following["losses"] = dict.fromkeys(outputs, following["losses"])
    if isinstance(following.get("model"), dict) and inputs is not None and outputs is not None:
        for finding in _follow(following["model"], inputs, outputs, sizes):
            problems.append(("model", finding))
    return following, problems


def _follow(
    model: Any, inputs: list[str], outputs: list[str], sizes: Mapping[str, Sequence[int]]
) -> Iterator[Finding]:
    """Fill in a model, in place; yields what the dataset cannot decide."""
    if model.get("inputs") == FROM_DATASET:
        model["inputs"] = {name: {"size": FROM_DATASET} for name in inputs}
    for where in list(_followers(model)):
        *way, last = where
        parent = reduce(getitem, way, model)
        if where[0] == "operations":
            parent[last] = sum(sizes[name][-1] for name in outputs if name in sizes)
            continue
        if where[0] != "inputs":
            parent[last] = list(inputs) if last == "x_name" else list(outputs)
            continue
        name = str(where[1])
        if name in sizes:
            parent[last] = list(sizes[name])
        else:
            yield where, f"the dataset has no '{name}'; {suggestion(name, sizes)}"


def _followers(document: Document) -> Iterator[Where]:
    """Where a model, or the inputs and outputs of an experience, say "from dataset"."""
    for key in ("inputs", "outputs"):
        if document.get(key) == FROM_DATASET:
            yield (key,)
    for name, entry in _items(document.get("inputs")):
        if isinstance(entry, dict) and entry.get("size") == FROM_DATASET:
            yield "inputs", name, "size"
    for name, operation in _items(document.get("operations")):
        parameters = operation.get("parameters") if isinstance(operation, dict) else None
        if isinstance(parameters, dict) and parameters.get(CHANNELS) == FROM_DATASET:
            yield "operations", name, "parameters", CHANNELS
    for index, branch in enumerate(
        document["branches"] if isinstance(document.get("branches"), list) else []
    ):
        for key in ("x_name", "y_name"):
            if isinstance(branch, dict) and branch.get(key) == FROM_DATASET:
                yield "branches", index, key


def _items(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _names(value: Any) -> list[str] | None:
    """A list of names; None if it is none."""
    return (
        value if isinstance(value, list) and all(isinstance(name, str) for name in value) else None
    )

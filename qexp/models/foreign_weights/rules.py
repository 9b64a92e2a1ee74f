"""Rules that say which tensor of another program's file is which weight of a network: JSON documents.

`rules/` has those of known programs; `rules.schema.json` says what a document may hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from qexp.did_you_mean import suggestion
from qexp.errors import NotFoundError, Problem, SpecError

LARGEST_FILE = 1_000_000
"""Largest document of rules [bytes]."""

PLACE = re.compile(r"\{(?:(\d+)\*)?([a-z_]+)(?:\+(\d+))?\}")
"""In the name of a weight: `{layer}`, `{2*layer}` or `{2*layer+1}`, of a named group of the pattern.

`{last}` is the number of the operation's last layer. With a group `number`, `{rank}` is its place among the numbers of
all names that match, counted from 0, since Keras counts layers through a session, and `{weighted}` the layer of that
rank among those of the operation that have weights.
"""

RANKED = ("rank", "weighted")


@dataclass(frozen=True)
class Rule:
    """Where tensors whose names match a pattern go."""

    pattern: re.Pattern[str]
    """Of the whole name. A group `operation`, if there is one, names the operation of the model."""
    module: str | None = None
    """The module of the operation that has the weight; of the only such operation if the pattern does not name it."""
    variable: str | None = None
    """The variable whose fitted transform has the number, instead of an operation; `$output` for the only output."""
    to: str | None = None
    """The weight, by its name in the operation or the transform."""
    equals: str | float | None = None
    """Instead of `to`: what the tensor must be equal to; a constant of the operation, by name, or a number."""
    steps: tuple[Mapping[str, Any], ...] = ()
    """How the tensor is rearranged, in order; see `rearranged`."""


@dataclass(frozen=True)
class LeftOut:
    """Tensors that a network does not need, and why."""

    pattern: re.Pattern[str]
    because: str


@dataclass(frozen=True)
class Rules:
    """The rules for the files of one program."""

    name: str
    description: str
    document: Mapping[str, Any]
    within: tuple[str, ...]
    """Keys under which the tensors may stand, such as `state_dict`."""
    tensors: tuple[Rule, ...]
    left_out: tuple[LeftOut, ...]
    population: bool
    """Whether standard deviations of its scalers are those of the population (divided by n, as scikit-learn does)."""


def read(file: Path) -> Rules:
    """The rules in a user's file. Raises NotFoundError, and SpecError with all problems."""
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise SpecError([Problem(str(file), (), f"is too large for rules; at most {LARGEST_FILE:,} bytes")])
        document = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFoundError(f"{file}: there is no such file") from None
    except OSError as error:
        raise SpecError([Problem(str(file), (), f"cannot be read: {error.strerror}")]) from None
    except (ValueError, RecursionError) as error:
        raise SpecError([Problem(str(file), (), f"is not valid JSON: {error}")]) from None
    return parsed(document, file.stem, str(file))


@cache
def shipped() -> Mapping[str, Rules]:
    """The rules that come with qexp, by name."""
    folder = files("qexp.models.foreign_weights") / "rules"
    found = sorted((one for one in folder.iterdir() if one.name.endswith(".json")), key=lambda one: one.name)
    names = [one.name.removesuffix(".json") for one in found]
    return {
        name: parsed(json.loads(one.read_text(encoding="utf-8")), name, one.name)
        for name, one in zip(names, found, strict=True)
    }


def named(reference: str) -> Rules:
    """Rules by name, or those of a file. Raises NotFoundError, SpecError."""
    known = shipped()
    if reference in known:
        return known[reference]
    if reference.endswith(".json") or "/" in reference:
        return read(Path(reference))
    raise NotFoundError(f"no rules '{reference}'; {suggestion(reference, known)}; or name a file of rules, FILE.json")


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema of rules."""
    text = (files("qexp.models.foreign_weights") / "rules.schema.json").read_text(encoding="utf-8")
    made: dict[str, Any] = json.loads(text)
    return made


def parsed(document: Any, name: str, file: str) -> Rules:
    """The rules of a document; `file` is its name in errors. Raises SpecError with all problems."""
    problems = [
        Problem(file, tuple(error.absolute_path), error.message[:200])
        for error in Draft202012Validator(schema()).iter_errors(document)
    ]
    if not problems:
        problems = _in_patterns(document, file)
    if problems:
        raise SpecError(problems)
    return Rules(
        name,
        document["description"],
        document,
        tuple(document.get("within", ())),
        tuple(_rule(one) for one in document["tensors"]),
        tuple(LeftOut(re.compile(one["from"]), one["because"]) for one in document.get("left_out", ())),
        document.get("deviation") == "population",
    )


def _rule(one: Mapping[str, Any]) -> Rule:
    more = {key: one.get(key) for key in ("module", "variable", "to", "equals")}
    return Rule(re.compile(one["from"]), steps=tuple(one.get("steps", ())), **more)


def _in_patterns(document: Mapping[str, Any], file: str) -> list[Problem]:
    problems = []
    for key in ("tensors", "left_out"):
        for index, one in enumerate(document.get(key, ())):
            try:
                groups = set(re.compile(one["from"]).groupindex)
            except (re.error, RecursionError, OverflowError) as error:
                problems.append(Problem(file, (key, index, "from"), f"is not a regular expression: {error}"))
                continue
            groups |= {"last", *(RANKED if "number" in groups else ())}
            wanted = {found[2] for found in PLACE.finditer(one.get("to", ""))}
            problems += [
                Problem(file, (key, index, "to"), f"'{{{name}}}' is not a group of 'from'; write (?P<{name}>…) there")
                for name in sorted(wanted - groups)
            ]
    return problems

"""Reference of the files of a run, field by field, from the types that read and write them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

from _generate.attributes import text_of
from _generate.markdown import code, prose, table
from qexp.base.options import own_first
from qexp.jobs.launchers import LaunchRecord
from qexp.results.calibration import Calibration
from qexp.results.distilled import DistilledErrors
from qexp.results.intervals import HeldOutIntervals
from qexp.results.limit import Limit
from qexp.store.directory import Environment
from qexp.store.documents import Part
from qexp.store.evaluations import EvaluationRecord
from qexp.store.record import EpochLine, Record, State

DOCUMENTS: dict[str, tuple[type[Part], str]] = {
    "run.json": (Record, "The record of a run: its settings, its history and its results."),
    "metrics.jsonl": (
        EpochLine,
        (
            "One such object per epoch, in a line. Outputs with their metrics stand beside `loss`."
            " Those of a program that writes a file of this name itself are in"
            " `results/epochs.jsonl`."
        ),
    ),
    "environment.json": (Environment, "Versions and machine, written when an attempt starts."),
    "evaluations/NAME/record.json": (EvaluationRecord, "An evaluation of the run on other data."),
    "results/intervals.json": (
        HeldOutIntervals,
        "How many held-out rows or spectra lie in intervals from the errors of the others.",
    ),
    "results/calibration.json": (
        Calibration,
        (
            "How sure its posteriors may be, by `qexp calibrate`; other kinds:"
            " `calibration_refined.json` and so on."
        ),
    ),
    "results/limit.json": (
        Limit,
        "The errors of the exact posteriors of its test samples, by `qexp limit`.",
    ),
    "results/distilled.json": (
        DistilledErrors,
        "The errors of a network that was trained by `qexp distil`.",
    ),
    "runs/.launches/ID/launch.json": (LaunchRecord, "A launch: the runs that one command started."),
}
"""File → the type of its document, and what it is for."""

HEAD = """# Records, field by field

[The run directory](../explanation/run-directory.md) lists the files of a run; this page says what the JSON files hold.
Times are in UTC, numbers in the units of their outputs. NaN and infinity are `null`. Fields of newer versions are kept
when an older version changes a record."""


def page() -> str:
    described: set[type[Part]] = set()
    parts = [HEAD]
    for file, (kind, text) in DOCUMENTS.items():
        parts += [f"## {file}", text, _fields(kind)]
        described.add(kind)
        for inner in _inner_types(kind):
            if inner not in described:
                described.add(inner)
                parts += [f"### {inner.__name__}", prose(_docstring(inner)), _fields(inner)]
    return "\n\n".join([*parts, "## States", "`state` is one of these.", _states()]) + "\n"


def _docstring(kind: type[Part]) -> str:
    """In one line. Raises LookupError where it is the one that `dataclass` makes."""
    text = " ".join((kind.__doc__ or "").split())
    if not text or text.startswith(f"{kind.__name__}("):
        raise LookupError(f"{kind.__name__} has no docstring")
    return text


def _fields(kind: type[Part]) -> str:
    hints = get_type_hints(kind)
    rows = []
    for field in own_first(kind):
        if field.name == "others":
            continue
        rows.append([code(field.name), _type(hints[field.name]), prose(text_of(kind, field.name))])
    return table(["field", "type", "meaning"], rows)


def _inner_types(kind: type[Part]) -> Iterator[type[Part]]:
    """The types of objects inside a document, each below that which holds it."""
    for hint in get_type_hints(kind).values():
        for part in _parts_in(hint):
            yield part
            yield from _inner_types(part)


def _parts_in(hint: Any) -> Iterator[type[Part]]:
    if isinstance(hint, type) and issubclass(hint, Part):
        yield hint
    for argument in get_args(hint):
        yield from _parts_in(argument)


def _type(hint: Any) -> str:
    """A type in the words of JSON."""
    if isinstance(hint, type) and issubclass(hint, Part):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    words = {
        str: "text",
        int: "whole number",
        float: "number",
        bool: "true or false",
        type(None): "null",
    }
    if hint in words:
        return words[hint]
    arguments = get_args(hint)
    origin = getattr(hint, "__origin__", None)
    if arguments and origin is None:
        return " or ".join(_type(argument) for argument in arguments)
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    return "object" if arguments else ("state" if hint is State else "any")


def _states() -> str:
    rows = [[code(state.value), prose(text_of(State, state.name))] for state in State]
    return table(["state", "meaning"], rows)

"""Cells of listings of runs, as texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from qexp.analysis.comparison.rounding import NONE, number
from qexp.files import in_bytes

Run = dict[str, Any]
"""A summary, as the catalog gives it."""


@dataclass(frozen=True)
class Column:
    """One of the columns that a listing has if none are chosen."""

    title: str
    field: str
    """The field that it shows, by which runs can be sorted."""
    text: Callable[[Run], str]
    numeric: bool = False


def usual_columns(runs: Sequence[Run]) -> list[Column]:
    """Name, state and progress, the mean absolute test error of each output, and labels if a run has any."""
    errors = dict.fromkeys(output for one in runs for output in one["results"].get("test", {}))
    units = units_of(runs)
    optional = [key for key in ("overrides", "tags", "caution") if any(one[key] for one in runs)]
    return [
        Column("name", "name", lambda one: str(one["name"])),
        Column("state", "state", lambda one: str(one["state"])),
        Column("seed", "seed", lambda one: NONE if one["seed"] is None else str(one["seed"]), numeric=True),
        Column("epochs", "epochs.done", progress, numeric=True),
        *(_of_error(output, units) for output in errors),
        Column("created", "created", lambda one: time(one["created"])),
        *(_of_labels(key) for key in optional),
    ]


def _of_error(output: str, units: dict[str, str]) -> Column:
    field = f"test.{output}.mae"

    def text(run: Run) -> str:
        return number(run["results"].get("test", {}).get(output, {}).get("mae"))

    return Column(error_title(output, units), field, text, numeric=True)


def _of_labels(key: str) -> Column:
    def text(run: Run) -> str:
        return str(run[key]) if key == "caution" else " ".join(run[key])

    return Column("set" if key == "overrides" else key, key, text)


def cell(column: str, value: Any) -> str:
    """The value of a field as a reader wants it, in one line."""
    if value is None:
        return NONE
    if column in ("created", "started", "ended"):
        return time(value)
    if column == "epochs":
        return _epochs(value)
    if column == "size":
        return in_bytes(value)
    if is_number(value):
        return number(value)
    return value if isinstance(value, str) else str(in_csv(value))


def in_csv(value: Any) -> Any:
    """Numbers and texts as they are; lists of words as words; all else as JSON."""
    if value is None or isinstance(value, str) or is_number(value):
        return value
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return " ".join(value)
    import json

    return json.dumps(value, ensure_ascii=False)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def time(stamp: str | None) -> str:
    return (stamp or "")[:16].replace("T", " ")


def progress(run: Run) -> str:
    """Epochs, or folds, that are done, and their total number."""
    return f"{_epochs(run['folds'])} folds" if run["folds"] else _epochs(run["epochs"])


def _epochs(epochs: Run | None) -> str:
    return f"{epochs['done']}/{epochs['of']}" if epochs and epochs["of"] else NONE


def units_of(runs: Sequence[Run]) -> dict[str, str]:
    """Output → unit."""
    return {output: unit for one in runs for output, unit in one["units"].items()}


def error_title(output: str, units: dict[str, str]) -> str:
    unit = units.get(output)
    return f"{output} mae" + (f" ({unit})" if unit else "")

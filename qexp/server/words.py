"""Words that complete conditions, columns and groups: the fields of runs, and the values that some of them have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qexp.errors import QexpError
from qexp.runs.catalog.catalog import KEPT
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.state import LISTED

Run = dict[str, Any]

OF_FEW_VALUES = ("experience", "dataset", "model", "launch", "kind")

MOST_VALUES = 200


def words(runs: Sequence[Run]) -> dict[str, Any]:
    """`fields`, `values` (field → its values) and `tags` of runs.

    Keys of specs are those of the newest run of each experience.
    """
    fields = dict.fromkeys([*sorted({*KEPT, "size"} - {"results", "units"})])
    for results in {_shape(one["results"]): one["results"] for one in runs if one["results"]}.values():
        fields |= dict.fromkeys(_leaves(results))
    newest = {one["experience"]: one for one in sorted(runs, key=lambda one: one["created"] or "")}
    for run in list(newest.values())[-MOST_VALUES:]:
        fields |= dict.fromkeys(_of_spec(run))
    values = {name: sorted({one[name] for one in runs if one[name]})[:MOST_VALUES] for name in OF_FEW_VALUES}
    tags = sorted({tag for one in runs for tag in one["tags"]})
    return {"fields": list(fields), "values": {"state": list(LISTED), **values}, "tags": tags}


def _shape(results: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple((part, output, *metrics) for part, of in results.items() for output, metrics in of.items())


def _of_spec(run: Run) -> Iterable[str]:
    try:
        spec = RunDirectory(Path(run["path"])).spec()
    except QexpError:
        return []
    return _leaves({key: value for key, value in spec.items() if key != "model"})


def _leaves(document: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """The dotted paths of a document's values, as the where language takes them."""
    for key, value in document.items():
        step = f"{before}.{key}" if before and key.isidentifier() else key if not before else f'{before}["{key}"]'
        if isinstance(value, Mapping):
            yield from _leaves(value, step)
        else:
            yield step

"""A table of runs with the keys in which they differ and their results, and the same for drawings."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qexp.analysis.comparison.comparison_tables import differing_specs
from qexp.analysis.comparison.rounding import number
from qexp.analysis.comparison.seed_comparison import SeedComparison
from qexp.analysis.comparison.seed_groups import ComparedRun
from qexp.metrics.meaning import UNKNOWN, Meaning
from qexp.pages.comparison_parts import main_metric, short_names
from qexp.quantities import in_words
from qexp.runs.record.state import State

MOST_KEYS = 12
"""Keys of the specs that get a column; the others are in the table of differences."""

Value = float | str | None


@dataclass(frozen=True)
class Column:
    """A value per run."""

    words: str
    values: Sequence[Value]
    key: bool
    """Whether it is a key of the specs that was changed, and no result."""
    unit: str = ""
    meaning: Meaning = UNKNOWN
    main: bool = False
    """Whether it is the one result by which an output is judged at a glance."""

    @property
    def title(self) -> str:
        return f"{self.words} ({self.unit})" if self.unit else self.words

    @property
    def numeric(self) -> bool:
        return all(value is None or isinstance(value, float) for value in self.values)

    def cells(self) -> list[str]:
        return [
            number(value, self.meaning) if isinstance(value, float) else ("" if value is None else value)
            for value in self.values
        ]


def columns(runs: Sequence[ComparedRun], comparison: SeedComparison) -> list[Column]:
    """Seeds, the keys in which the groups differ, and the results on the test part."""
    groups = {one.name: index for index, group in enumerate(comparison.groups) for one in group.runs}
    made = [Column("seed", [float(one.seed) for one in runs], key=True)]
    specs = differing_specs(comparison)
    for path, *texts in (specs.rows if specs else [])[:MOST_KEYS]:
        values = [_value(text) for text in texts]
        if not all(isinstance(value, float) for value in values):
            values = [text.strip('"') for text in texts]
        made.append(Column(path, [values[groups[one.name]] for one in runs], key=True))
    done = [one.test if State(one.summary["state"]) is State.DONE else {} for one in runs]
    for output, metric in dict.fromkeys((row.output, row.metric) for row in comparison.results):
        row = next(row for row in comparison.results if (row.output, row.metric) == (output, metric))
        values = [_finite(test.get(output, {}).get(metric)) for test in done]
        main = metric == main_metric(one.metric for one in comparison.results if one.output == output)
        made.append(Column(f"{in_words(output)} {metric}", values, False, row.unit, row.meaning, main))
    return made


def _value(text: str) -> Value:
    """A number, where the text is one that a drawing can show; else the text."""
    try:
        read = json.loads(text)
        value = float(read) if isinstance(read, int | float) and not isinstance(read, bool) else math.nan
    except (ValueError, OverflowError, RecursionError):  # a text may have hundreds of digits, or of brackets
        return text
    return value if math.isfinite(value) else text


def _finite(value: float | None) -> float | None:
    return None if value is None else float(value)


def sweep(runs: Sequence[ComparedRun], comparison: SeedComparison, of_runs: Sequence[Column]) -> dict[str, Any]:
    """What the drawing of a sweep needs: two values of each run against each other, and all of them as parallel lines.

    of_runs  its columns; those that have one value for all runs are not drawn
    """
    groups = {one.name: index for index, group in enumerate(comparison.groups) for one in group.runs}
    drawn = [one for one in of_runs if len({value for value in one.values if value is not None}) > 1]
    return {
        "runs": [one.name for one in runs],
        "groups": [groups[one.name] for one in runs],
        "names": list(short_names(comparison).values()),
        "columns": [_of_column(one) for one in drawn],
    }


def _of_column(column: Column) -> Mapping[str, Any]:
    return {
        "words": column.title,
        "unit": column.unit,
        "numeric": column.numeric,
        "key": column.key,
        "main": column.main,
        "best": column.meaning.best,
        "values": column.values,
    }

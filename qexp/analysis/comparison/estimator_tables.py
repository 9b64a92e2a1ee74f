"""Tables of a network and its baselines: rounded texts for readers, and plain numbers for programs.

rows  results of `qexp.baselines.comparison.compared`, possibly read from JSON
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from qexp.analysis.comparison.rounding import number, rounding
from qexp.analysis.comparison.typesetting import Table
from qexp.baselines.comparison import NETWORK, SHOWN, best
from qexp.metrics.recorded import meaning_of

Row = Mapping[str, Any]

SKEWED = 20
"""Least share of an interval's width, 1 to this, that numbers are rounded by: its shorter side may be nothing."""


def estimator_tables(rows: Sequence[Row]) -> list[Table]:
    """A table per output, sorted by RMSE; the smallest is highlighted."""
    return [_of_output(output, list(of)) for output, of in groupby(rows, lambda row: str(row["output"]))]


def remarks(rows: Sequence[Row]) -> list[str]:
    """Remarks that a reader of the tables needs."""
    noted: dict[str, list[str]] = {}
    for name, note in dict.fromkeys((row["estimator"], row["note"]) for row in rows):
        noted.setdefault(note, []).append(name)
    said = [f"{', '.join(names)}: {note}" for note, names in noted.items() if note]
    if any(row["rmse_interval"] for row in rows):
        counts = sorted({row["groups"] for row in rows if row["groups"]})
        left_out = f"{' or '.join(map(str, counts))} groups of held-out rows" if counts else "held-out rows"
        said.append(f"in brackets: 95 % intervals over {left_out}, by the jackknife")
    if any(row["difference"] is not None for row in rows):
        said.append(
            f"against the {NETWORK}: difference of the RMSE over the same rows, positive if the {NETWORK} is better; "
            "not significant if the interval in brackets includes 0"
        )
    for name in dict.fromkeys(row["estimator"] for row in rows if row["rmse"] is None):
        said.append(f"{name}: not evaluated, because some of its estimates are not finite")
    return said


def plain_rows(rows: Sequence[Row]) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows for programs, with all digits."""
    numbers = (*SHOWN, "difference")
    columns = ["output", "unit", "estimator", "note", "n", "groups"]
    columns += [f"{name}{end}" for name in numbers for end in ("", "_low", "_high")]
    return columns, [
        [
            *("" if row[key] is None else row[key] for key in columns[:6]),
            *(value for name in numbers for value in _plain(row, name)),
        ]
        for row in rows
    ]


def _of_output(output: str, rows: Sequence[Row]) -> Table:
    unit = f" ({rows[0]['unit']})" if rows[0]["unit"] else ""
    ordered = sorted(rows, key=lambda row: float("inf") if row["rmse"] is None else row["rmse"])
    columns = ["estimator", f"RMSE{unit}", f"MAE{unit}", "R²", f"bias{unit}", f"against the {NETWORK}{unit}"]
    texts = [
        [
            f"{row['estimator']} ({row['note']})" if row["note"] else str(row["estimator"]),
            _with_interval(row, "rmse"),
            *(_rounded(row, metric) for metric in ("mae", "r2", "bias")),
            _with_interval(row, "difference"),
        ]
        for row in ordered
    ]
    strong = frozenset({(0, 1)} if best(ordered) else ())
    count = rows[0]["groups"]
    groups = f" in {count} group{'s' * (count != 1)}" if count else ""
    title = f"{output}, {rows[0]['n']} held-out rows{groups}"
    return Table(title, columns, texts, frozenset(columns[1:]), strong)


def _with_interval(row: Row, name: str) -> str:
    half_width = _half_width(row, name)
    if half_width is None:
        return _rounded(row, name)
    return f"{_rounded(row, name)} {rounding(row[name], half_width).interval(*row[f'{name}_interval'])}"


def _rounded(row: Row, name: str) -> str:
    """A value and its interval, rounded to the digits that are significant given the interval."""
    half_width = _half_width(row, name)
    return (
        number(row[name], meaning_of(name, ()))
        if half_width is None
        else rounding(row[name], half_width).number(row[name])
    )


def _half_width(row: Row, name: str) -> float | None:
    """The shorter side of an interval, by which numbers are rounded, if it is wider than floating-point errors."""
    ends = row[f"{name}_interval"]
    if row[name] is None or ends is None:
        return None
    half_width = max(min(row[name] - ends[0], ends[1] - row[name]), float(ends[1] - ends[0]) / SKEWED)
    return half_width if half_width > 1e-9 * (1 if name == "r2" else row["rmse"]) else None


def _plain(row: Row, name: str) -> list[Any]:
    ends = row[f"{name}_interval"] or ("", "")
    return ["" if row[name] is None else row[name], *ends]

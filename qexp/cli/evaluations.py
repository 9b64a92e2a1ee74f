"""Evaluations of runs on other data, as text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qexp.analysis.comparison.rounding import NONE, number
from qexp.cli.console import in_one_line, print_table, result

if TYPE_CHECKING:
    from qexp.runs.record.evaluations import EvaluationRecord


def print_evaluation(record: EvaluationRecord, doubted: Callable[[str], None] = result) -> None:
    """What was evaluated, whether the data are independent, and all metrics with their intervals.

    doubted  receives why the data are not independent, or what is unknown
    """
    result(in_one_line(f"evaluation {record.name}: {in_words(record)}"))
    if record.independent is True:
        result(in_one_line(f"independent of the training data: {'; '.join(record.reasons)}"))
    else:
        doubted(f"{doubt(record)}: {'; '.join(record.reasons)}")
    print_metrics(record)
    if record.caution:
        result(record.caution)


def doubt(record: EvaluationRecord) -> str:
    """Why the results may not say how the run does on new data."""
    if record.independent is False:
        return "the data are not independent of those that the run was trained on"
    return "it is unknown whether the data are independent of those that the run was trained on"


def in_words(record: EvaluationRecord) -> str:
    """`the part 'test' of mogi_test, 100 samples, seed 0`."""
    words = [f"the part '{record.part}' of {record.dataset}", f"{record.samples:,} samples"]
    words += [f"{record.left_out:,} without truth left out"] if record.left_out else []
    words += [f"mean of {record.networks} networks"] if record.networks > 1 else []
    return ", ".join([*words, f"seed {record.seed}"])


def print_metrics(record: EvaluationRecord) -> None:
    """A row per output and metric, with the 95 % interval where there is one."""
    from qexp.metrics.recorded import meaning_of

    rows = []
    for part, outputs in record.results.items():
        for output, metrics in outputs.items():
            intervals = record.intervals.get(part, {}).get(output, {})
            for metric, value in metrics.items():
                of, ends = meaning_of(metric, [record.metrics]), intervals.get(metric)
                shown = NONE if value is None else number(value, of)
                between = NONE if ends is None else f"[{number(ends[0], of)}, {number(ends[1], of)}]"
                rows.append([output, metric, shown, between, of.in_unit(record.units.get(output, ""))])
    columns = ["output", "metric", "value", "95 % interval", "unit"]
    print_table(columns, rows, right=columns[2:4])

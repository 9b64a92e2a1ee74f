"""Evaluations of runs on other data, as text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qexp.cli.console import print_parts, result
from qexp.fragments.plain import in_one_line

if TYPE_CHECKING:
    from qexp.runs.record.evaluations import EvaluationRecord
    from qexp.runs.record.held_out_intervals import HeldOutIntervals


def print_evaluation(
    record: EvaluationRecord, covered: HeldOutIntervals | None, doubted: Callable[[str], None] = result
) -> None:
    """What was evaluated, whether the data are independent, all metrics with their intervals, and errors by group.

    covered  how many rows lie in the intervals that the run's held-out errors promise, if that is known
    doubted  receives why the data are not independent, or what is unknown
    """
    from qexp.analysis.comparison.interval_tables import evaluated_intervals
    from qexp.analysis.comparison.result_tables import field_errors, group_errors, results_with_intervals

    result(in_one_line(f"evaluation {record.name}: {in_words(record)}"))
    if record.independent is True:
        result(in_one_line(f"independent of the training data: {'; '.join(record.reasons)}"))
    else:
        doubted(f"{doubt(record)}: {'; '.join(record.reasons)}")
    print_parts(results_with_intervals(record))
    print_parts(field_errors(record), apart=True)
    print_parts(group_errors(record), apart=True)
    print_parts(evaluated_intervals(covered, record.units), apart=True)


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

"""Metrics in existing results: their meaning, from the records of the runs, and which estimator is best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qexp.metrics.meaning import BEST, UNKNOWN, Meaning

NETWORK = "network"
"""The estimator that the others are compared with."""

SHOWN = ("rmse", "mae", "r2", "bias")
"""Metrics of an estimator on held-out rows, as they are listed."""


def meaning_of(name: str, recorded: Iterable[Mapping[str, Any]]) -> Meaning:
    """The meaning of a metric of several runs: from their records, else that of qexp's own metric.

    Unknown if the records contradict each other: two extensions may use the same name for different metrics.
    recorded  the `metrics` of each record
    """
    meanings = set()
    for metrics in recorded:
        if isinstance(record := metrics.get(name), dict):  # older records have none, and invalid ones anything
            best, unit = record.get("best"), record.get("unit")
            meanings.add(Meaning(best if best in BEST else None, unit if isinstance(unit, str) else ""))
    if meanings:
        return meanings.pop() if len(meanings) == 1 else UNKNOWN
    from qexp.metrics.built_in import METRICS  # loads numpy, which listing many runs does not need

    return METRICS[name].build().meaning if name in METRICS else UNKNOWN


def best(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The row with the lowest RMSE, or None if no row has one."""
    return min((row for row in rows if row["rmse"] is not None), key=lambda row: float(row["rmse"]), default=None)

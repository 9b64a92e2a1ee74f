"""Differences of the groups of a comparison from one of them that a reader chooses, seed by seed."""

from __future__ import annotations

from typing import Any

from qexp.analysis.comparison.seed_comparison import SeedComparison, same_samples
from qexp.metrics.intervals import LEVEL, quantile
from qexp.pages.comparison_parts import main_metric, short_names
from qexp.quantities import in_words


def paired(comparison: SeedComparison) -> dict[str, Any] | None:
    """The values of each seed, and the quantiles that intervals need; None without a metric.

    Intervals that hold for m comparisons at once have a level of 1 − (1 − LEVEL) / m each (Bonferroni; Dunn 1961, J.
    Am. Stat. Assoc. 56, 52-64).
    """
    names = comparison.names
    found = dict.fromkeys((row.output, row.metric) for row in comparison.results)
    if not found or len(names) < 2:
        return None
    metrics = []
    for output, metric in found:
        rows = [row for row in comparison.results if (row.output, row.metric) == (output, metric)]
        values = {row.group: {str(seed): value for seed, value in row.values.items()} for row in rows}
        metrics.append(
            {
                "words": f"{in_words(output)} {metric}",
                "unit": rows[0].unit,
                "best": rows[0].meaning.best,
                "main": metric == main_metric(name for other, name in found if other == output),
                "values": [values.get(name, {}) for name in names],
            }
        )
    most = max(len(group.counted) for group in comparison.groups)
    risks = [(1 - LEVEL) / comparisons for comparisons in range(1, len(names))]
    return {
        "groups": list(short_names(comparison).values()),
        "samples": same_samples(comparison.groups),
        "metrics": metrics,
        "quantiles": {str(n): [quantile(1 - risk / 2, n - 1) for risk in risks] for n in range(2, most + 1)},
        "level": round(100 * LEVEL),
    }

"""Metrics of experiences: those that are reported, and whether they can be computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from qexp.assemble.transforms import periods_of, transforms_of
from qexp.did_you_mean import suggestion
from qexp.metrics.built_in import asked_for
from qexp.metrics.metric import Metric, Metrics, with_period
from qexp.spec.finding import Finding
from qexp.spec.kinds import kind_of
from qexp.tables import Tables

Document = dict[str, Any]


def metrics_of(spec: Document, tables: Tables) -> dict[str, Metrics]:
    """output → the metrics that are reported of it; errors of angles are taken by the shorter way round."""
    periods = periods_of_outputs(spec, tables)
    return {
        output: with_period(
            {name: tables["metrics"][name].build() for name in asked_for(spec["metrics"].get(output, []))},
            periods.get(output),
        )
        for output in spec["outputs"]
    }


def periods_of_outputs(spec: Document, tables: Tables) -> dict[str, float]:
    """output → the period after which its values repeat, in its own unit: of its transform, or else of its quantity."""
    periods = kind_of(spec["dataset"]).periods(spec["outputs"], spec["dataset"], tables["quantities"])
    return periods | periods_of(transforms_of(spec, tables))


def meanings_of(spec: Document, tables: Tables) -> dict[str, dict[str, Any]]:
    """What the numbers of all metrics of an experience mean (best value, unit), as its runs record it."""
    metrics = metrics_of(spec, tables)
    return {name: metric.meaning.document() for output in metrics.values() for name, metric in output.items()}


def of_training_mean(document: Document, outputs: Sequence[str], why: str, tables: Tables) -> Iterator[Finding]:
    """Problems of metrics of outputs whose training targets have no mean: the metrics must not depend on it.

    why  why there is none, for the message
    """
    for output, names in document.get("metrics", {}).items():
        for name in names if isinstance(names, list) else [names]:
            metric = tables["metrics"][name].build()
            if output in outputs and isinstance(metric, Metric) and metric.against is not None:
                yield (
                    ("metrics", output),
                    f"'{name}' compares with the mean of the training targets, but {why}; use 'r2'",
                )


def of_sums_only(document: Document, outputs: Sequence[str], pieces: str, tables: Tables) -> Iterator[Finding]:
    """Problems of metrics of outputs that are evaluated piece by piece: the metrics must be additive.

    pieces  what errors call the pieces, in the plural
    """
    of_sums = [
        name
        for name, entry in tables["metrics"].items()
        if isinstance(metric := entry.build(), Metric) and metric.additive is not None
    ]
    for output, names in document.get("metrics", {}).items():
        if output not in outputs:
            continue
        for name in names if isinstance(names, list) else [names]:
            if name not in of_sums:
                yield (
                    ("metrics", output),
                    f"'{name}' needs all values at once, but {pieces} are evaluated one by one; "
                    f"{suggestion(name, of_sums)}",
                )

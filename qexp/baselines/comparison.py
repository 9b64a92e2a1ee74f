"""The network and its baselines compared on the same held-out rows: errors of each, and their differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qexp.metrics.built_in import METRICS
from qexp.metrics.intervals import difference, interval
from qexp.metrics.metric import Metric, Metrics, evaluate, with_period

Array = NDArray[np.float64]

NETWORK = "network"
"""The estimator that the others are compared with."""

SHOWN = ("rmse", "mae", "r2", "bias")


def compared(
    estimators: Mapping[str, ArrayLike],
    truth: ArrayLike,
    units: Mapping[str, str],
    groups: ArrayLike | None = None,
    notes: Mapping[str, str] | None = None,
    periods: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """A row per output and estimator, of plain values that go into a JSON file.

    estimators  name → (row, output) in the outputs' own units, NaN for rows that no fold held out; `NETWORK` among them
    truth       (row, output)
    units       output → unit, in the order of the columns
    groups      (row,) the group of each row, such as a sample that was measured several times
    notes       name → a remark that is shown with the estimator's numbers: "selected on the test data"
    periods     output → the period after which its values repeat, for those whose values do

    Keys: `output`, `unit`, `estimator`, `note`, `n` (rows), `groups` (their number, None where rows are drawn); `rmse`,
    `mae`, `r2`, `bias`, each with `…_interval`; `difference`, the RMSE less that of the network, and
    `difference_interval`. Numbers are None for an estimator without a finite estimate of some row that another one has
    an estimate of; differences are None for the network itself.
    """
    true = np.asarray(truth, dtype=np.float64)
    estimated = {name: np.asarray(values, dtype=np.float64) for name, values in estimators.items()}
    for name, values in estimated.items():
        if values.shape != true.shape or true.ndim != 2 or true.shape[1] != len(units):
            raise ValueError(
                f"{name}: estimates {values.shape} and truth {true.shape} must be (row, output), with "
                f"{len(units)} outputs"
            )
    if NETWORK not in estimated:
        raise ValueError(f"no '{NETWORK}' among the estimators {', '.join(estimated)}")
    of_rows = None if groups is None else np.asarray(groups)
    return list(_rows(estimated, true, units, of_rows, notes or {}, periods or {}))


def _rows(
    estimated: Mapping[str, Array],
    true: Array,
    units: Mapping[str, str],
    groups: NDArray[Any] | None,
    notes: Mapping[str, str],
    periods: Mapping[str, float],
) -> Iterator[dict[str, Any]]:
    held_out = ~np.all([np.isnan(values).all(axis=1) for values in estimated.values()], axis=0)
    of_rows = None if groups is None else groups[held_out]
    for column, (output, unit) in enumerate(units.items()):
        metrics = with_period({metric: METRICS[metric].build() for metric in SHOWN}, periods.get(output))
        truth = true[held_out, column]
        network = estimated[NETWORK][held_out, column]
        for name, values in estimated.items():
            estimate = values[held_out, column]
            head: dict[str, Any] = {"output": output, "unit": unit, "estimator": name, "note": notes.get(name, "")}
            head |= {"n": len(truth), "groups": None if of_rows is None else len(np.unique(of_rows))}
            against = None if name == NETWORK else network
            yield {
                **head,
                **_numbers(metrics, estimate, truth, of_rows),
                **_against(metrics["rmse"], against, estimate, truth, of_rows),
            }


def _numbers(metrics: Metrics, estimate: Array, truth: Array, groups: NDArray[Any] | None) -> dict[str, Any]:
    if not _usable(estimate, truth):
        return {key: None for metric in SHOWN for key in (metric, f"{metric}_interval")}
    numbers: dict[str, Any] = {}
    for metric, value in evaluate(metrics, estimate, truth).items():
        ends = interval(metrics[metric], estimate, truth, groups)
        numbers[metric] = value if np.isfinite(value) else None
        numbers[f"{metric}_interval"] = list(ends) if ends else None
    return numbers


def _against(
    rmse: Metric, network: Array | None, estimate: Array, truth: Array, groups: NDArray[Any] | None
) -> dict[str, Any]:
    if network is None or not (_usable(estimate, truth) and _usable(network, truth)):
        return {"difference": None, "difference_interval": None}
    of = difference(rmse, estimate, network, truth, groups)
    return {"difference": of.value, "difference_interval": list(of.interval) if of.interval else None}


def _usable(estimate: Array, truth: Array) -> bool:
    return len(truth) > 0 and bool(np.isfinite(estimate).all() and np.isfinite(truth).all())


def best(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The row with the lowest RMSE, or None if no row has one."""
    return min((row for row in rows if row["rmse"] is not None), key=lambda row: float(row["rmse"]), default=None)

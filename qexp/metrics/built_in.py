"""qexp's own metrics. They need numpy alone, so that reading results does not load torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qexp.base.arrays import Array
from qexp.base.outputs import output_in
from qexp.base.tables import Entry
from qexp.metrics import classes
from qexp.metrics.meaning import CLASSES
from qexp.metrics.metric import Additive, Metric


def _mean(sums: Sequence[Any], count: Any) -> Any:
    return sums[0] / count


def _share_explained(squared_errors: Any, variation: Any) -> Any:
    return 1 - squared_errors / np.where(variation > 0, variation, np.nan)


def _relative_errors(estimate: Array, truth: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(100 * np.abs(estimate - truth) / np.abs(truth))


mean_absolute_error = Additive(lambda estimate, truth, centre: [np.abs(estimate - truth)], _mean)

mean_squared_error = Additive(lambda estimate, truth, centre: [np.square(estimate - truth)], _mean)

root_mean_squared_error = Additive(
    mean_squared_error.terms, lambda sums, count: np.sqrt(sums[0] / count)
)

bias = Additive(lambda estimate, truth, centre: [estimate - truth], _mean)
"""Mean of estimate − truth."""

coefficient_of_determination = Additive(
    lambda estimate, truth, centre: [
        np.square(estimate - truth),
        truth - centre,
        np.square(truth - centre),
    ],
    lambda sums, count: _share_explained(sums[0], sums[2] - sums[1] ** 2 / count),
)
"""1 − residual sum of squares / total sum of squares; NaN if the truth is constant."""


def determination_against(training_mean: ArrayLike) -> Additive:
    """1 − residual sum of squares / sum of squared deviations of the truth from the mean of the
    training targets.

    The share of the error of that mean, the best constant guess from the training data, that a
    model removes. Test data with another mean make it larger than the coefficient of determination,
    which compares with the mean of the test data. NaN if the training mean is unknown, or if all
    truths equal it.

    training_mean  a number, or one per sample, (sample,)
    """
    mean = np.asarray(training_mean, dtype=np.float64)
    return Additive(
        lambda estimate, truth, centre: [np.square(estimate - truth), np.square(truth - mean)],
        lambda sums, count: _share_explained(*sums),
    )


mean_relative_error = Additive(
    lambda estimate, truth, centre: [_relative_errors(estimate, truth)], _mean
)
"""Mean of |estimate − truth| / |truth|, in percent."""


def _of_classes(compute: Any, **words: Any) -> Metric:
    return Metric(compute, unit="", least=0.0, outputs=CLASSES, **words)


def _entry(name: str, help: str, metric: Metric) -> Entry:
    return Entry(build=lambda: metric, parameters={}, help=help, example={"type": name})


METRICS: dict[str, Entry] = {
    "mae": _entry(
        "mae",
        "Mean absolute error.",
        Metric(mean_absolute_error, name="MAE", best="lowest", unit="{unit}"),
    ),
    "rmse": _entry(
        "rmse",
        "Root of the mean squared error.",
        Metric(root_mean_squared_error, name="RMSE", best="lowest", unit="{unit}"),
    ),
    "mse": _entry(
        "mse",
        "Mean squared error.",
        Metric(mean_squared_error, name="MSE", best="lowest", unit="({unit})²"),
    ),
    "bias": _entry(
        "bias", "Mean of estimate − truth.", Metric(bias, name="bias", best="zero", unit="{unit}")
    ),
    "r2": _entry(
        "r2",
        "Coefficient of determination R²: 1 is perfect, 0 as good as the mean of the true values,"
        " below 0 worse.",
        Metric(coefficient_of_determination, name="R²", best="highest", unit=""),
    ),
    "r2_training_mean": _entry(
        "r2_training_mean",
        "R² against the mean of the training targets instead of that of the test data.",
        Metric(
            determination_against(np.nan),
            against=determination_against,
            name="R² against the training mean",
            best="highest",
            unit="",
        ),
    ),
    "mre": _entry(
        "mre",
        "Mean relative error, in percent.",
        Metric(mean_relative_error, name="mean relative error", best="lowest", unit="%"),
    ),
    "median_relative_error": _entry(
        "median_relative_error",
        "Median relative error, in percent.",
        Metric(
            lambda estimate, truth: float(np.median(_relative_errors(estimate, truth))),
            name="median relative error",
            best="lowest",
            unit="%",
        ),
    ),
    "accuracy": _entry(
        "accuracy",
        "Share of samples whose likeliest class is the true one.",
        _of_classes(classes.accuracy, best="highest"),
    ),
    "balanced_accuracy": _entry(
        "balanced_accuracy",
        "Mean over the true classes of the share of their samples that are recognised.",
        _of_classes(classes.balanced_accuracy, best="highest"),
    ),
    "log_score": _entry(
        "log_score",
        "Mean negative natural logarithm of the probability of the true class.",
        _of_classes(classes.log_score, best="lowest"),
    ),
    "brier": _entry(
        "brier",
        "Brier score: mean of the sum over classes of squared errors of probabilities, 0 to 2.",
        _of_classes(classes.brier, name="Brier score", best="lowest"),
    ),
    "calibration_error": _entry(
        "calibration_error",
        "Expected calibration error: mean difference between the confidence in the likeliest class"
        " and how often it is true, less what chance adds.",
        _of_classes(classes.calibration_error, best="lowest", corrected=True),
    ),
    "auc": _entry(
        "auc",
        "Area under the ROC curve of each class against the rest, averaged: 0.5 is chance.",
        _of_classes(
            classes.area_under_curve,
            to_first_order=classes.area_to_first_order,
            name="AUC",
            best="highest",
        ),
    ),
}


def metric_in_words(key: str) -> str:
    """A metric for readers: `R²` for `r2`; of an extension, and of other columns, in words."""
    name = METRICS[key].build().name if key in METRICS else ""
    return name or key.replace("_", " ").replace(".", ", ")


def asked_for(spec: Mapping[str, Any], output: str) -> list[str]:
    """The metrics to report of an output: of every one of its type, and of the experience."""
    always = output_in(spec, output).always
    return list(dict.fromkeys([*always, *spec["metrics"].get(output, [])]))

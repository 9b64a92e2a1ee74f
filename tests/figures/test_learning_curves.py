"""Learning curves are seen whole, whatever the sign of the losses."""

import numpy as np
import pytest

from qexp.figures.curves import learning_curves


def lines(shift):
    return [
        {
            "epoch": epoch,
            "train": {"loss": 5 / epoch + shift},
            "validation": {"loss": 6 / epoch + shift, "depth": {"mae": 1 / epoch}},
            "best": epoch in (3, 18),
        }
        for epoch in range(1, 21)
    ]


@pytest.mark.parametrize(("shift", "scale"), [(0.0, "log"), (-4.0, "linear"), (-10.0, "linear")])
@pytest.mark.parametrize("names", [["one"], ["one", "other"]])
def test_losses_of_any_sign_are_drawn_and_positive_ones_on_a_logarithmic_scale(shift, scale, names):
    figure = learning_curves({name: lines(shift) for name in names}, {"depth": "km"})
    loss, error = figure.axes
    assert (loss.get_yscale(), error.get_yscale()) == (scale, "log")
    assert error.get_ylabel().endswith("log scale)") == (scale == "linear")
    low, high = loss.get_ylim()
    curves = [line.get_ydata() for line in loss.get_lines() if len(line.get_ydata()) == 20]
    assert len(curves) == 2 * len(names)
    assert all(low <= np.min(curve) and np.max(curve) <= high for curve in curves)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert ("kept: epoch 18" in labels) == (len(names) == 1)

"""Corner plots: a panel for each parameter and each pair, over the same ranges."""

import numpy as np
import pytest

from qexp.figures.canvas import encode, use_style
from qexp.figures.distributions import Drawn, corner


@pytest.mark.heavy
def test_each_pair_has_a_panel_that_shares_its_axes_with_the_histograms():
    random = np.random.default_rng(0)
    draws = random.multivariate_normal([4.519e6, 3.0, 6.0], [[1e4, 3, 0], [3, 0.01, 0.02], [0, 0.02, 0.25]], 2000)
    names = {"north": "m", "depth": "km", "delta_volume": "10⁶ m³"}
    made = corner([Drawn(name, unit, of) for (name, unit), of in zip(names.items(), draws.T, strict=True)], "drawn")
    assert len(made.axes) == 6
    first, pair = made.axes[0], made.axes[1]
    assert pair.get_xlim() == first.get_xlim()
    assert pair.get_ylim() == made.axes[2].get_xlim()
    assert pair.get_ylabel() == "depth (km)"
    assert made.axes[5].get_xlabel().startswith("ΔV (")
    assert made.axes[3].get_xlabel() == "north from\n4,519,000 (m)"
    assert [text.get_text() for text in made.texts] == ["drawn"]
    offsets = draws[:, 0] - 4.519e6
    assert np.mean((offsets > first.get_xlim()[0]) & (offsets < first.get_xlim()[1])) > 0.995
    assert encode(made, "png").startswith(b"\x89PNG")


def test_draws_that_are_all_alike_are_drawn_too():
    made = corner([Drawn("depth", "km", np.full(100, 2.0)), Drawn("x", "km", np.arange(100.0))], "alike")
    assert made.axes[0].get_xlim() == (1.5, 2.5)
    assert encode(made, "png").startswith(b"\x89PNG")


def test_a_narrow_figure_has_two_numbers_on_each_axis():
    random = np.random.default_rng(0)
    drawn = [Drawn(name, "m", random.normal(middle, 100, 2000)) for name, middle in (("x", 500), ("y", 4e6), ("z", 0))]
    with use_style(None, "single"):
        made = corner(drawn, "narrow")
        assert {len(axis.get_xticks()) for axis in made.axes} == {2}

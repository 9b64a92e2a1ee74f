"""Corner plots: a panel for each parameter and each pair, over the same ranges."""

import numpy as np
import pytest
import xarray

from qexp.figures.canvas import use_style
from qexp.figures.distributions import Drawn, corner
from qexp.figures.writing import encode
from tests.conftest import call


@pytest.mark.heavy
def test_each_pair_has_a_panel_that_shares_its_axes_with_the_histograms():
    random = np.random.default_rng(0)
    draws = random.multivariate_normal(
        [4.519e6, 3.0, 6.0], [[1e4, 3, 0], [3, 0.01, 0.02], [0, 0.02, 0.25]], 2000
    )
    names = {"north": "m", "depth": "km", "delta_volume": "10⁶ m³"}
    made = corner(
        [
            Drawn(name, unit, {"": of})
            for (name, unit), of in zip(names.items(), draws.T, strict=True)
        ],
        "drawn",
    )
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
    made = corner(
        [Drawn("depth", "km", {"": np.full(100, 2.0)}), Drawn("x", "km", {"": np.arange(100.0)})],
        "alike",
    )
    assert made.axes[0].get_xlim() == (1.5, 2.5)
    assert encode(made, "png").startswith(b"\x89PNG")


def test_a_narrow_figure_has_two_numbers_on_each_axis():
    random = np.random.default_rng(0)
    middles = {"x": 500, "y": 4e6, "z": 0}
    drawn = [
        Drawn(name, "m", {"": random.normal(middle, 100, 2000)}) for name, middle in middles.items()
    ]
    with use_style(None, "single"):
        made = corner(drawn, "narrow")
        assert {len(axis.get_xticks()) for axis in made.axes} == {2}


def test_posteriors_over_each_other_have_densities_of_equal_area_and_lines_that_print_without_colours_shows():
    random = np.random.default_rng(0)
    posteriors = {
        name: random.normal(0, width, count)
        for name, width, count in (("a", 1, 4000), ("b", 0.1, 500))
    }
    made = corner([Drawn("x", "m", posteriors, 9.0), Drawn("y", "m", posteriors)], "two", "truth")
    outlines = [curve for curve in made.axes[0].patches if not curve.get_fill()]
    assert len({str(curve.get_linestyle()) for curve in outlines}) == 2
    areas = [
        np.sum(curve.get_data().values * np.diff(curve.get_data().edges)) for curve in outlines
    ]
    assert areas == pytest.approx([1, 1])
    assert [text.get_text() for text in made.legends[0].get_texts()] == ["a", "b", "truth"]
    assert made.axes[0].get_xlim()[1] > 9.0
    assert made.texts[0].get_text() == "lines around 50 % and 95 % of the draws"


def test_contours_are_closed_and_what_they_hold_stands_in_the_legend():
    draws = {
        name: {"": of}
        for name, of in zip("xy", np.random.default_rng(0).normal(size=(2, 2000)), strict=True)
    }
    made = corner([Drawn(name, "m", of, 0.1) for name, of in draws.items()], "one")
    assert not made.axes[1].texts
    lines = [path for drawn in made.axes[1].collections[1:] for path in drawn.get_paths()]
    assert len(lines) == 2
    assert all((path.vertices[0] == path.vertices[-1]).all() for path in lines)
    words = [
        "median",
        "95 % interval",
        "best fit",
        "around 95 % of the draws",
        "around 50 % of the draws",
    ]
    assert [text.get_text() for text in made.legends[0].get_texts()] == words


@pytest.mark.parametrize(("count", "contours"), [(200, False), (2000, True)])
def test_few_draws_are_points_instead_of_islands(count, contours):
    pair = np.random.default_rng(0).normal(size=(2, count))
    made = corner([Drawn(name, "m", {"": of}) for name, of in zip("xy", pair, strict=True)], "few")
    assert bool(made.axes[1].collections) == contours
    assert (len(made.axes[1].lines[0].get_xdata()) == count) != contours
    assert ("draw" in [text.get_text() for text in made.legends[0].get_texts()]) != contours


def draws_file(path, scale=1.0, unit="km", name="depth", **about):
    values = np.random.default_rng(1).normal(2.0, 0.1, (1, 200, 2)) * scale
    values[..., 0] = np.nan
    table = xarray.Dataset(
        {name: (("chain", "draw", "sample"), values, {"units": unit})}, {"sample": ["none", "a/b"]}
    )
    xarray.DataTree.from_dict({"/": xarray.Dataset(attrs=about), "/posterior": table}).to_netcdf(
        path, engine="h5netcdf"
    )


def test_files_of_draws_are_drawn_over_each_other_in_the_units_of_the_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draws_file("one_posterior.nc", run="mogi_1", caution="tested on training data")
    draws_file("two_posterior.nc", 1000.0, "m")
    draws_file("other.nc", unit="kg")
    xarray.Dataset(
        {"depth": ("row", [1.0, 2.5], {"units": "m"}), "depth_estimate": ("row", [1.0, 2.5])}
    ).to_netcdf("one.nc")
    names = "one_posterior.nc", "two_posterior.nc"
    assert call("figures", *names).quiet().splitlines() == ["one_posterior_and_two_posterior.png"]
    asked = call("figures", *names, "--only", "a/b", "--format", "svg", "--to", "pictures").quiet()
    assert asked.splitlines() == ["pictures/one_posterior_and_two_posterior_a_b.svg"]
    alone = xarray.Dataset(
        {"depth": (("chain", "draw"), np.random.default_rng(2).normal(2, 0.1, (2, 50)))}
    )
    alone["depth"].attrs["units"] = "km"
    alone.to_netcdf("of_python.nc", engine="h5netcdf", group="posterior")
    assert call("figures", names[0], "of_python.nc").quiet() == "one_posterior_and_of_python.png\n"
    assert "no draws of sample 'none'" in call("figures", names[0], "--only", "none").refused()
    assert "did you mean 'none'" in call("figures", names[0], "--only", "nine").refused()
    assert "no parameter" in call("figures", names[0], "other.nc").refused()
    assert "has no draws" in call("figures", "one.nc").refused()
    assert "no such file" in call("figures", "missing_posterior.nc").refused(3)
    assert "leave it out" in call("figures", names[0], "--evaluation", "other").refused()

"""Figures of spectra and of the cores that they are from."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from qexp.figures.canvas import panel_grid
from qexp.figures.writing import DPI, save
from qexp.kinds.spectra import figures
from qexp.kinds.spectra.figures import (
    Estimates,
    down_core,
    energies,
    errors_by_energy,
    estimates_by_core,
    reconstructions,
    saliency,
)
from qexp.physics.xrf import lines
from tests.figures.drawings import WHERE, of_channels, of_cores, of_saliency, spectrum
from tests.kinds.test_held_out_figures import FIGURES as OF_ROWS, pixels

NOTE = "tested on training spectra"

FIGURES = {
    "by core": lambda note: estimates_by_core(of_cores(), note),
    "down core": lambda note: down_core(of_cores(9), note),
    "reconstructions": lambda note: reconstructions([spectrum(0), spectrum(1)], WHERE, note),
    "saliency": lambda note: saliency(of_saliency(), "toc", note),
    "errors by energy": lambda note: errors_by_energy(of_channels(), WHERE, note),
    **OF_ROWS,
}


@pytest.mark.heavy
@pytest.mark.parametrize("name", FIGURES)
def test_a_note_is_written_above_all_panels_and_the_same_call_draws_the_same(name, tmp_path):
    images = {}
    for file, note in (("plain", ""), ("noted", NOTE), ("again", NOTE)):
        save(FIGURES[name](note), tmp_path / f"{file}.png")
        images[file] = pixels(tmp_path / f"{file}.png")
    assert (
        0 < np.flatnonzero((images["plain"] != images["noted"]).any(axis=(1, 2))).max() < 0.45 * DPI
    )
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "noted.png").read_bytes()


# Errors by energy


def symbols(figure):
    (axis,) = figure.axes
    return {text.get_text(): text for text in axis.texts}


@pytest.mark.parametrize("highest", [3.0, 10.0, 41.0])
def test_elements_stand_where_their_k_alpha_line_is_and_only_those_within_the_spectrum(highest):
    figure = errors_by_energy(of_channels(), np.linspace(0.0, highest, 2048), "")
    places = {element: text.get_position()[0] for element, text in symbols(figure).items()}
    expected = {
        element: next(line.energy for line in lines(element, 0.0) if line.name == "Ka1") / 1000
        for element in figures.MARKED
    }
    within = {element: energy for element, energy in expected.items() if energy <= highest}
    assert places == pytest.approx({element: within[element] for element in places})
    assert {"Al", "Si", "S", "Cl"} <= places.keys()
    assert len(places) >= len(within) - 2  # in two rows there is no place for all


@pytest.mark.slow
def test_symbols_for_which_there_is_no_place_are_left_out():
    figure = errors_by_energy(of_channels(), np.linspace(0.0, 600.0, 2048), "")
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in symbols(figure).values()]
    assert 2 <= len(boxes) < len(figures.MARKED)
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)


def test_without_energies_there_are_channels_and_no_elements():
    figure = errors_by_energy(of_channels(), None, "")
    (axis,) = figure.axes
    assert axis.get_xlabel() == "channel"
    assert axis.get_xlim() == (0, 2047)
    assert symbols(figure) == {}


# Reconstructions


def test_what_a_network_does_not_see_is_left_out_in_the_middle_and_is_all_that_is_told_as_hidden():
    *_, hidden = spectrum()
    _, visible, reconstructed = reconstructions([spectrum()], WHERE, "").axes
    np.testing.assert_array_equal(np.isnan(visible.lines[0].get_ydata()), hidden)
    curves = {line.get_label(): line.get_ydata() for line in reconstructed.lines}
    np.testing.assert_array_equal(np.isnan(curves["of what was hidden"]), ~hidden)
    grey = [patch.get_xy()[0] + np.array([0, patch.get_width()]) for patch in visible.patches]
    shaded = [any(left < x < right for left, right in grey) for x in WHERE]
    np.testing.assert_array_equal(shaded, hidden)


def test_one_estimate_beyond_all_bounds_does_not_squeeze_a_spectrum():
    one = _, _, reconstructed, hidden = spectrum()
    reconstructed[np.flatnonzero(hidden)[0]] = 1e30
    assert reconstructions([one], WHERE, "").axes[0].get_ylim()[1] < 1e5


# Cores


def test_profiles_go_downwards_whatever_the_order_of_the_rows():
    cores = of_cores(3)
    order = np.random.default_rng(1).permutation(len(cores.cores))
    shuffled = Estimates(
        "toc", "wt%", [cores.cores[row] for row in order],
        *(np.asarray(values)[order] for values in (cores.depths, cores.estimated, cores.measured)),
    )  # fmt: skip
    first, second = (down_core(estimates, "") for estimates in (cores, shuffled))
    for one, other in zip(first.axes, second.axes, strict=True):
        assert one.get_ylim()[0] > one.get_ylim()[1]
        assert one.get_title() == other.get_title()
        for line, same in zip(one.lines, other.lines, strict=True):
            assert (np.diff(line.get_ydata()) > 0).all()
            np.testing.assert_array_equal(line.get_xdata(), same.get_xdata())


def test_a_baseline_that_is_far_off_squeezes_nothing_and_a_single_spectrum_of_a_core_is_seen():
    cores = of_cores(2)
    lone = replace(cores, cores=["a"] * 23 + ["b"])
    near = np.asarray(cores.measured)
    figure = down_core(replace(lone, baselines={"ridge": near, "svr": 1e6 * near}), "")
    alone = down_core(lone, "")
    for axis, before in zip(figure.axes, alone.axes, strict=True):
        low, high = before.get_xlim()
        assert axis.get_xlim()[1] == pytest.approx(high + (high - low))
        assert axis.get_ylim() == before.get_ylim()
    assert figure.axes[1].lines[-2].get_marker() == "."
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "network",
        "measured",
        "ridge",
        "svr",
    ]
    assert any(text.get_text().endswith("not in the frame: svr") for text in figure.texts)


@pytest.mark.heavy
def test_of_many_cores_some_have_a_profile_and_the_title_says_how_many():
    figure = down_core(of_cores(70, 3), "")
    titles = [axis.get_title() for axis in figure.axes]
    assert len(titles) == 32
    assert titles[0] == "core_000"
    assert titles[-1] == "core_069"
    assert "32 of 70 cores" in figure.texts[-1].get_text()  # behind the caption


def test_rows_whose_depth_is_not_known_are_left_out_unless_that_is_so_of_all():
    cores = of_cores(1)
    some = replace(cores, depths=np.where(np.arange(12) < 4, np.nan, cores.depths))
    figure, without = (
        down_core(replace(cores, depths=depths), "")
        for depths in (some.depths, np.full(12, np.nan))
    )
    assert len(figure.axes[0].lines[0].get_ydata()) == 8
    assert figure.axes[0].get_ylabel() == "depth (mm)"
    unknown = down_core(replace(cores, depth_unit=""), "")
    assert unknown.axes[0].get_ylabel() == "depth", "without a unit that nobody gave"
    np.testing.assert_array_equal(without.axes[0].lines[0].get_ydata(), np.arange(1, 13))
    assert without.axes[0].get_ylabel() == "spectrum"


@pytest.mark.parametrize(("count", "named"), [(1, 0), (2, 2), (42, 42), (43, 0)])
def test_cores_are_named_as_long_as_they_can_be_told_apart(count, named):
    (axis,) = estimates_by_core(of_cores(count, 2), "").axes
    legend = axis.get_legend()
    assert (0 if legend is None else len(legend.get_texts())) == named
    styles = {(line.get_color(), line.get_marker()) for line in axis.lines[1:]}
    assert len(styles) == max(named, 1)


@pytest.mark.heavy
def test_what_is_not_there_of_spectra_and_cores_stops_nothing(tmp_path):
    cores = of_cores(2)
    nothing = np.full(len(cores.cores), np.nan)
    cases = {
        "nothing estimated": replace(cores, estimated=nothing),
        "beyond all bounds": replace(
            cores, estimated=np.where(np.arange(24) == 3, np.inf, cores.estimated)
        ),
        "not measured": replace(cores, measured=nothing),
        "one row": Estimates("toc", "", ["a"], [np.nan], [1.0], [1.0]),
        "no row": Estimates("toc", "", [], [], [], []),
        "names as formulas": replace(cores, cores=["$x_" + "y" * 60] * 12 + ["$10_{\\bad"] * 12),
    }
    for name, case in cases.items():
        save(estimates_by_core(case, ""), tmp_path / f"{name}.png")
        save(down_core(case, ""), tmp_path / f"{name} down.png")
    save(down_core(replace(cores, measured=None), ""), tmp_path / "only estimated.png")
    zeros = np.zeros(2048)
    empty = [("$a_{", zeros, zeros, np.full(2048, hidden)) for hidden in (False, True)]
    save(reconstructions(empty, None, ""), tmp_path / "zeros.png")
    title, counts, _, hidden = spectrum()
    wild = np.where(
        np.arange(2048) % 3 == 0, np.inf, np.where(np.arange(2048) % 3 == 1, np.nan, -1e9)
    )
    save(reconstructions([(title, counts, wild, hidden)], WHERE, ""), tmp_path / "wild.png")
    save(
        errors_by_energy({"network": wild, "other": -wild}, WHERE, ""), tmp_path / "wild errors.png"
    )
    save(
        errors_by_energy({"network": np.full(2048, np.nan), "mean": zeros}, WHERE, ""),
        tmp_path / "nan.png",
    )
    save(
        errors_by_energy({"network": np.ones(1)}, energies([1.0, 0.1], 1), ""),
        tmp_path / "one channel.png",
    )
    assert len(list(tmp_path.iterdir())) == 2 * len(cases) + 6


def test_panels_of_a_grid_have_the_size_that_was_asked_for():
    figure, axes = panel_grid(7, 3, 2.0, 1.5, column_gap=0.4, row_gap=0.6)
    assert len(axes) == 7
    for axis in axes:
        box = axis.get_window_extent().transformed(figure.dpi_scale_trans.inverted())
        assert (box.width, box.height) == pytest.approx((2.0, 1.5))

import itertools
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
from matplotlib.patches import StepPatch
from matplotlib.text import Text

from qexp.figures.canvas import COLOURS, add_title, legend_below, panels, whole_numbers
from qexp.figures.curves import fold_curves
from qexp.figures.distributions import Histogram, histograms
from qexp.figures.estimates import name_points
from qexp.figures.writing import DPI, save
from qexp.kinds.figures import coverage_by_group
from qexp.kinds.rows.figures import HeldOut, estimates_against_measured, residuals_by_group
from tests.figures.drawings import COVERED, rows

NOTE = "selected on the test data"


def curve(epochs, chosen, seed=0):
    losses = np.exp(-np.arange(epochs) / 20) + 0.1 * np.random.default_rng(seed).uniform(
        0.5, 1.5, (2, epochs)
    )
    return lines(*losses), chosen


def lines(training, validation):
    return [
        {"epoch": epoch, "train": {"loss": loss}, "validation": {"loss": of_validation}}
        for epoch, (loss, of_validation) in enumerate(
            zip(training, validation, strict=True), start=1
        )
    ]


def folds(*curves):
    return fold_curves([of_fold for of_fold, _ in curves], [chosen for _, chosen in curves], NOTE)


def pixels(path):
    """A drawn figure, (row, column, colour)."""
    image = matplotlib.image.imread(path)
    assert image.std() > 0.01
    return image


FIGURES = {
    "coverage": lambda note: coverage_by_group(COVERED, "wt%", "tio2", note),
    "against measured": lambda note: estimates_against_measured(
        {"tio2": rows()}, "10 networks", note
    ),
    "by group": lambda note: residuals_by_group({"tio2": rows()}, note),
    "fold curves": lambda note: fold_curves([curve(40, 30)[0]] * 3, [30] * 3, note),
}
"""Of rows; test_spectrum_figures draws them with a note, as it does its own."""


SIZES = [
    (1, 1.5),
    (1, 800),
    (1e-3, 0.5),
    (1e-3, 2),
    (1e-4, 2e-4),
    (3e-7, 1e-5),
    (3e4, 1e5),
    (1e-12, 1),
    (1e-3, 1e12),
]


@pytest.mark.heavy
@pytest.mark.parametrize(("least", "greatest"), SIZES)
def test_losses_of_any_size_leave_room_for_the_label_of_their_axis(tmp_path, least, greatest):
    losses = np.geomspace(greatest, least, 3)
    save(folds(*[(lines(losses, losses), 3)] * 2), tmp_path / "figure.png")
    assert (pixels(tmp_path / "figure.png")[:, :3] == 1).all()


def test_epochs_are_whole_numbers_on_their_axis_and_a_single_epoch_is_its_only_label():
    _, axes = panels(2, 4, 4)
    for axis, epochs in zip(axes, ([1, 2, 3], [1]), strict=True):
        axis.plot(epochs, epochs, ".")
        whole_numbers(axis.xaxis)
        assert all(float(tick).is_integer() for tick in axis.get_xticks())
    low, high = axes[1].get_xlim()
    assert [tick for tick in axes[1].get_xticks() if low <= tick <= high] == [1]


def test_long_names_of_runs_get_several_lines_in_a_legend_below_the_panel():
    figure, (axis,) = panels(1, 4, 4)
    for number in range(3):
        axis.plot(
            [1, 2], [number, 1], label=f"lunar_tio2_as_published_{number} ({NOTE}), validation"
        )
    before = axis.bbox.height
    legend_below(figure, axis)
    figure.canvas.draw()
    (box,) = (legend.get_window_extent() for legend in figure.legends)
    assert (box.x0, box.y0) >= (0, 0)
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= axis.xaxis.get_tightbbox().y0
    assert axis.bbox.height == pytest.approx(before)


def named(names, points, others, taken=()):
    figure, (axis,) = panels(1, 4, 4)
    figure.set_dpi(DPI)
    axis.set_xlim(0, 10)
    axis.set_ylim(0, 10)
    texts = [axis.text(*place, text) for place, text in taken]
    name_points(axis, names, np.array(points, dtype=float), np.array(others, dtype=float), texts)
    renderer = figure.canvas.get_renderer()
    frame = axis.get_window_extent(renderer)
    boxes = {
        text.get_text(): text.get_window_extent(renderer)
        for text in axis.findobj(Text)
        if text.get_text()
    }
    written = {
        name: box
        for name, box in boxes.items()
        if name in names or any(name == text for _, text in taken)
    }
    return written, frame, axis.transData.transform(others)


@pytest.mark.parametrize("at", [(5, 5), (0.1, 0.3), (9.5, 10), (0.2, 9.9)])
def test_names_of_points_in_a_heap_cover_neither_each_other_nor_the_edge(at):
    names = [f"Apollo17-Station{row}" for row in range(5)]
    points = [(at[0] + 0.1 * row, at[1] - 0.05 * row) for row in range(5)]
    written, frame, _ = named(names, points, points, [((3.5, 5.3), "RMSE = 1.0")])
    assert {names[0], "RMSE = 1.0"} <= set(written)
    assert len(written) > 3 or at != (5, 5)
    for one, other in itertools.combinations(written.values(), 2):
        assert not one.overlaps(other)
    for name, box in written.items():
        assert name == "RMSE = 1.0" or (
            frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0
        )


def test_a_name_covers_no_point_where_there_is_room():
    others = [(x, 5) for x in range(11)] + [(5, y) for y in range(11)]
    written, _, points = named(["Luna 24"], [(5, 5)], others)
    assert not any(written["Luna 24"].contains(*point) for point in points)


@pytest.mark.heavy
def test_what_is_not_there_is_not_drawn_and_stops_nothing(tmp_path):
    whole = rows(8)
    without = replace(
        whole, spread=None, estimated=np.where(np.arange(8) == 2, np.nan, whole.estimated)
    )
    cases = {
        "nothing estimated": replace(whole, estimated=np.full(8, np.nan), spread=None),
        "a row without an estimate": without,
        "one row": HeldOut(np.array([1.0]), np.array([1.0]), ["a"], groups=["g"]),
        "names as formulas": replace(
            whole, names=["$x_" + "y" * 60] * 8, groups=["$10_{\\bad"] * 8
        ),
    }
    for name, case in cases.items():
        save(
            estimates_against_measured({"depth": case, "tio2": case}, "10 networks", ""),
            tmp_path / f"{name}.png",
        )
        save(
            residuals_by_group({"depth": case, "tio2": case}, ""), tmp_path / f"{name} by group.png"
        )
    assert len(list(tmp_path.iterdir())) == 2 * len(cases)


@pytest.mark.heavy
def test_folds_may_end_after_different_epochs_or_have_no_finite_loss(tmp_path):
    without = lines([None] * 5, [None] * 5), None
    save(folds(curve(40, 40), curve(10, 3), curve(1, 1), without), tmp_path / "some.png")
    save(folds(without), tmp_path / "none.png")
    save(folds(curve(1, 1)), tmp_path / "one.png")
    assert all(pixels(path).size for path in tmp_path.iterdir())


def test_a_long_title_becomes_smaller_rather_than_being_cut():
    figure, _ = panels(1, 4, 4)
    add_title(figure, "held-out rows; lines: " + "standard deviation over many networks " * 3, NOTE)
    title, note = figure.texts
    renderer = figure.canvas.get_renderer()
    for text in (title, note):
        box = text.get_window_extent(renderer)
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
    assert not title.get_window_extent(renderer).overlaps(note.get_window_extent(renderer))


@pytest.mark.parametrize(("factor", "whole"), [(1.3, True), (5, False)])
def test_intervals_are_drawn_instead_of_the_spread_and_set_the_limits_of_the_axes_but_for_very_long_ones(
    factor, whole
):
    wide = replace(rows(), interval=(0.5 * rows().estimated, factor * rows().estimated))
    figure = estimates_against_measured(
        {"tio2": wide}, "10 networks", "", interval="90 % intervals"
    )
    (lines,) = figure.axes[0].collections[:1]
    ends = np.array([segment[:, 1] for segment in lines.get_segments()])
    assert ends == pytest.approx(np.stack(wide.interval, axis=1))
    top = figure.axes[0].get_ylim()[1]
    assert (top > ends.max()) == whole
    assert top < 1.7 * wide.estimated.max(), "the points fill most of the panel"
    assert [text.get_text() for text in figure.texts] == ["lines: 90 % intervals", "held-out rows"]


def test_of_hundreds_of_rows_the_intervals_that_miss_stand_out_and_names_are_beside_their_points():
    many = rows(250)
    many = replace(many, spread=None, interval=(0.6 * many.estimated, 1.4 * many.estimated))
    figure = estimates_against_measured({"tio2": many}, "", "", interval="90 % intervals")
    (axis,), (bars, missing) = figure.axes, figure.axes[0].collections[:2]
    missed = (many.measured < many.interval[0]) | (many.measured > many.interval[1])
    assert (len(bars.get_segments()), len(missing.get_segments())) == (250, missed.sum())
    assert bars.get_alpha() < 0.2 < missing.get_alpha()
    names = [text for text in axis.texts if text.get_text() in many.names]
    assert len(names) == 5
    figure.canvas.draw()
    for text in names:
        box, point = text.get_window_extent(), axis.transData.transform(text.xy)
        away = np.hypot(*(np.clip(point, box.min, box.max) - point)) * 72 / figure.dpi
        assert away <= 18, text.get_text()


def test_shares_that_intervals_of_the_right_coverage_would_hardly_have_stand_out():
    shares, widths = coverage_by_group(COVERED, "wt%", "tio2", "").axes
    dots = [line for line in shares.lines if line.get_marker() == "o"]
    assert [float(dot.get_xdata()[0]) for dot in dots] == pytest.approx([51 / 55, 12 / 21, 1.0])
    assert [dot.get_color() for dot in dots] == [COLOURS[0], COLOURS[1], COLOURS[0]]
    assert np.array_equal(widths.lines[0].get_xdata(), [4.3, 5.2, np.nan], equal_nan=True)


@pytest.mark.parametrize("span", [(0.0, 10.0), (0.01, 100.0)])
def test_no_bar_reaches_into_values_that_are_held_out(span):
    held_out = [(2.0, 3.13), (4.5, 4.51), (9.3, 11.0)]
    random = np.random.default_rng(0)
    values = (
        random.uniform(*span, 5000) if span[0] == 0 else np.exp(random.uniform(*np.log(span), 5000))
    )
    values = values[~np.any([(low <= values) & (values <= high) for low, high in held_out], axis=0)]
    (axis,) = histograms([Histogram("depth", "km", {"train": values}, held_out)], "a title").axes
    (bars,) = [patch for patch in axis.patches if isinstance(patch, StepPatch)]
    shares, edges, _ = bars.get_data()
    for low, high in held_out:
        for share, left, right in zip(shares, edges[:-1], edges[1:], strict=True):
            assert share == 0 or right <= low or left >= high
    assert (np.diff(edges) > 0).all()
    # The area of the bars is that of all values: the first and the last bin have the usual width.
    along = np.log(edges) if axis.get_xscale() == "log" else edges
    shown = (edges[0] <= values) & (values <= edges[-1])
    assert (shares * np.diff(along)).sum() / (along[1] - along[0]) == pytest.approx(
        100 * shown.mean()
    )

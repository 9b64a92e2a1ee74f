"""Every kind of figure looks as it did: beside a stored picture, and by its texts, on a screen and
in print.

`make pictures` stores them anew; look at each before you commit it.
"""

import io
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from scipy.ndimage import uniform_filter

from _generate.pictures import pixels_that_differ
from qexp.errors import QexpError
from qexp.figures.canvas import COLOURS, PRINT, WIDTHS, add_title, panels, use_style, wrap
from qexp.figures.seeds import Line, OfSeeds, errors_of_seeds, study_panels
from qexp.figures.writing import fit_numbers, save
from qexp.kinds.rows.figures import sample_rows
from tests.figures.drawings import DIFFICULT, DRAWINGS

PICTURES = Path(__file__).parent / "pictures"

RESOLUTION, REDUCED, COLOURS_STORED = 150, 3, 255
"""Dots per inch, by what pictures are reduced to be stored, and colours of these."""

LONGEST_TITLE = 70
"""Characters."""

MOST, NEARBY, WINDOW = 1.2e-3, 0.25, 12
"""The largest share of pixels that differ, in the picture and in any window of so many pixels: one
word that is gone is little of a picture, but much of the window around it.
"""


def drawn(name, width):
    with use_style(None, width):
        figure = (DRAWINGS | DIFFICULT)[name]()
        fit_numbers(figure)
        if figure.get_layout_engine() is not None:
            figure.set_layout_engine("none")
        figure.canvas.draw()
        return figure


def pixels(figure):
    content = io.BytesIO()
    figure.savefig(content, dpi=RESOLUTION, format="png")
    return Image.open(content).convert("RGB").reduce(REDUCED)


def difference(one, other):
    """Of two pictures, above 1 if it is seen."""
    seen = pixels_that_differ(one, other)
    return max(seen.mean() / MOST, uniform_filter(seen, WINDOW).max() / NEARBY)


def written(figure):
    """All texts of a figure but for labels beyond the ends of an axis, and of axes that are off."""
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            beyond = [tick for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high]
            hidden |= {label for tick in beyond for label in (tick.label1, tick.label2)}
            hidden |= set() if axes.axison else set(axis.findobj(Text))
    return [
        text
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and text not in hidden
    ]


def faults(figure, name):
    """Texts that are cut off, that cover another, or that are smaller than seven points on a page;
    long titles.
    """
    reduced = min(WIDTHS["double"] / figure.get_figwidth(), 1.0)
    texts = written(figure)
    boxes = [
        (text.get_text(), text.get_window_extent(), text.get_rotation() % 90) for text in texts
    ]
    assert len(boxes) > 5
    for text in figure.texts:
        if (
            name in DRAWINGS
            and text.get_verticalalignment() == "top"
            and len(text.get_text()) > LONGEST_TITLE
        ):
            yield f"{text.get_text()} is a sentence, which belongs into a caption"
    for text in texts:
        if text.get_fontsize() * reduced < 6.99:
            yield f"{text.get_text()} is small"
    for text, box, _ in boxes:
        if box.x0 < 0 or box.y0 < 0 or box.x1 > figure.bbox.x1 or box.y1 > figure.bbox.y1:
            yield f"{text} is cut off"
    for (text, box, turned), (other, another, turned_too) in itertools.combinations(boxes, 2):
        across = min(box.x1, another.x1) - max(box.x0, another.x0)
        if (
            across > 0.5
            and min(box.y1, another.y1) - max(box.y0, another.y0) > 0.5
            and not (turned or turned_too)
        ):
            yield f"{text} covers {other}"


def fits(figure, width):
    """Whether a figure has a width for print, and is no higher than a page."""
    return figure.get_figwidth() == pytest.approx(WIDTHS[width]) and figure.get_figheight() <= 9


def check(name, width):
    figure = drawn(name, width)
    assert list(faults(figure, name)) == []
    assert width is None or fits(figure, width)
    path, picture = PICTURES / f"{name}{'_' + width if width else ''}.png", pixels(figure)
    if os.environ.get("QEXP_PICTURES") == "write":
        picture.quantize(
            COLOURS_STORED, Image.Quantize.MAXCOVERAGE, 2, dither=Image.Dither.NONE
        ).save(path, optimize=True)
    differs = difference(Image.open(path).convert("RGB"), picture)
    if differs > 1:
        picture.save(path.with_suffix(".new.png"))
    assert differs <= 1, f"{path.with_suffix('.new.png')} shows how it looks now"


@pytest.mark.heavy
@pytest.mark.parametrize("name", DRAWINGS)
def test_a_figure_looks_as_it_is_stored_and_all_its_texts_can_be_read(name):
    check(name, None)


@pytest.mark.heavy
@pytest.mark.parametrize("name", DRAWINGS)
def test_a_figure_for_one_column_is_laid_out_for_it(name):
    check(name, "single")


@pytest.mark.heavy
@pytest.mark.parametrize("name", DRAWINGS)
def test_a_figure_for_two_columns_has_that_width_and_texts_that_can_be_read(name):
    figure = drawn(name, "double")
    assert fits(figure, "double")
    assert list(faults(figure, name)) == []


@pytest.mark.heavy
@pytest.mark.parametrize("width", [None, "single"])
@pytest.mark.parametrize("name", DIFFICULT)
def test_long_names_many_panels_and_single_points_leave_all_texts_readable(name, width):
    assert list(faults(drawn(name, width), name)) == []


@pytest.mark.heavy
@pytest.mark.parametrize("width", [None, "single", "double"])
@pytest.mark.parametrize(
    "ends",
    [
        (0.01, 0.015),
        (4e5, 4.3e5),
        (-0.015, -0.01),
        (-4.3e5, -4e5),
        (1e-5, 1.3e-5),
        (0.12001, 0.12004),
    ],
)
def test_numbers_along_axes_are_apart_and_whole_whatever_their_length(ends, width):
    of_seeds = OfSeeds(list(np.linspace(*ends, 5)), np.mean(ends), ends)
    across = {name: {"quick": of_seeds, "slow": of_seeds} for name in ("depth", "x")}
    upwards = {f"panel {n}": {"quick": Line({"1": of_seeds, "2": of_seeds})} for n in range(3)}
    for draw in (
        lambda: errors_of_seeds(across, {}),
        lambda: study_panels(upwards, "n", ["1", "2"], "mae"),
    ):
        with use_style(None, width):
            figure = draw()
            fit_numbers(figure)
            figure.canvas.draw()
        assert list(faults(figure, "")) == []
        shown = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)
                 if axis.get_tick_params().get("labelbottom", True)]  # fmt: skip
        assert all(len(axis.get_majorticklabels()) > 1 for axis in shown)


def test_a_logarithmic_axis_beside_a_linear_one_says_so():
    near, far = ({"quick": OfSeeds([1.0, most], 1.0, None)} for most in (1.1, 300.0))
    for outputs, labels in (
        (
            {"depth": near, "x": far},
            ["mean absolute error (km)", "mean absolute error (km, log scale)"],
        ),
        ({"depth": far, "x": far}, ["mean absolute error (km)"] * 2),
    ):
        figure = errors_of_seeds(outputs, dict.fromkeys(outputs, "km"))
        assert [axes.get_xlabel() for axes in figure.axes] == labels


def test_a_narrow_axis_keeps_two_numbers():
    with use_style(None, "single"):
        figure = Figure(figsize=(0.9, 0.9))
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.set_xlim(490.8, 509.8)
        fit_numbers(figure)
    assert [tick for tick in axes.get_xticks() if 490.8 <= tick <= 509.8] == [495, 505]


def test_lines_of_a_title_are_about_as_long_and_numbers_stay_with_their_units():
    text = (
        "posterior of mogi: 3,000 draws; offsets are from east 430,600 m, north 4,519,000 m; black:"
        " the best fit"
    )
    lengths = [len(line) for line in wrap(text, 98).split("\n")]
    assert max(lengths) - min(lengths) < 12
    for width in range(20, 90):
        assert not any(line.startswith(("m,", "m;")) for line in wrap(text, width).split("\n"))
    assert wrap("", 10) == ""


def test_names_of_columns_are_whole_and_longer_ones_keep_their_ends():
    names = ["temperature_at_surface", "p", "dissolved_oxygen_concentration_mean"]
    every = np.arange(12.0).reshape(4, 3)
    figure = sample_rows([("s1", every[0])], names, "bands", "", every, "sea, all")
    fit_numbers(figure)
    figure.canvas.draw()
    shown = [text.get_text() for text in written(figure)]
    assert {*names[:2], "dissolved_ox…ration_mean"} <= {*shown}
    assert list(faults(figure, "")) == []


def test_no_picture_is_left_over_and_all_are_small():
    files = sorted(file for file in PICTURES.glob("*.png") if not file.name.endswith(".new.png"))
    assert [file.stem for file in files] == sorted(
        f"{name}{end}" for name in DRAWINGS for end in ("", "_single")
    )
    assert max(file.stat().st_size for file in files) <= 30_000
    assert sum(file.stat().st_size for file in files) <= 1_000_000


@pytest.mark.heavy
@pytest.mark.parametrize("disturb", ["panel", "title", "legend", "colour", "band"])
def test_a_panel_title_or_band_that_is_gone_a_legend_elsewhere_and_another_colour_are_noticed(
    disturb,
):
    figure = drawn("learning_bands", None)
    before = pixels(figure)
    assert difference(before, pixels(figure)) == 0
    first = figure.axes[0]
    if disturb == "panel":
        figure.axes[-1].remove()
    elif disturb == "title":
        first.set_title("")
    elif disturb == "legend":
        figure.legends[0].set_loc("lower left")
    elif disturb == "band":
        first.collections[0].remove()
    else:
        for line in first.lines:
            line.set_color(COLOURS[2] if line.get_color() == COLOURS[0] else line.get_color())
    assert difference(before, pixels(figure)) > 1


@pytest.mark.heavy
def test_another_hinting_of_letters_is_not_noticed():
    import matplotlib

    figure = drawn("residuals", None)
    before = pixels(figure)
    with matplotlib.rc_context({"text.hinting": "no_hinting"}):
        after = pixels(figure)
    assert np.any(np.asarray(before) != np.asarray(after))
    assert difference(before, after) <= 1


def test_a_figure_for_print_has_texts_of_eight_points_and_pixels_for_paper(tmp_path):
    with use_style(None, "single"):
        figure, (axis,) = panels(1, 4, 3)
        add_title(figure, "a title")
        save(figure, tmp_path / "figure.png")
    assert axis.xaxis.label.get_fontsize() == PRINT["font.size"] == 8
    assert Image.open(tmp_path / "figure.png").width == round(300 * WIDTHS["single"])


def test_a_style_goes_before_the_settings_for_print_and_the_width_stays(tmp_path):
    (tmp_path / "own.mplstyle").write_text("font.size: 6\n")
    with use_style(tmp_path / "own.mplstyle", "double"):
        figure, (axis, *_) = panels(4, 4, 3)
    assert (axis.xaxis.label.get_fontsize(), figure.get_figwidth()) == (
        6,
        pytest.approx(WIDTHS["double"]),
    )


def test_a_width_that_there_is_not_is_an_error_that_names_those_that_there_are():
    with pytest.raises(QexpError, match="choose from single, double"), use_style(None, "triple"):
        pass

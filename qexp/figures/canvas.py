"""Shared by all figures: width, colours, margins, titles, panels and styles."""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.base.quantities import SUPERSCRIPTS
from qexp.errors import NotFoundError, QexpError, suggestion

if TYPE_CHECKING:
    from matplotlib import RcParams
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis
    from matplotlib.figure import Figure

    Panels = tuple[Figure, list[Axes]]

Style = dict[str, Any]
"""Arguments of matplotlib's functions for how something is drawn."""

# Okabe and Ito (2008): distinguishable for colour-blind readers, too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


# Sizes. Figures are laid out for texts of ten points, whatever the size of the style's font: all
# that is not a panel grows with it, see `sized`.

WIDTHS = {"single": 3.35, "double": 6.7}
"""Name → exact width of a figure for print: one column of a page or two [inch]."""

SCREEN_WIDTH = 8.375
"""Largest width of other figures [inch]: at two columns they have the texts of print."""

PRINT = {"font.size": 8.0, "savefig.dpi": 300.0, "pdf.fonttype": 42}
"""Settings for print: eight points, pixels for paper, fonts that editors of PDF can read."""

LEAST_TEXT = 8.75
"""Size of the smallest texts [point]: 7 points in print."""

_width: ContextVar[float | None] = ContextVar("width", default=None)


def page_width() -> float:
    """The width that figures have in print, and at most on a screen [inch]."""
    width = _width.get()
    return sized(SCREEN_WIDTH) if width is None else width


def sized(size: float) -> float:
    """A length that grows with the style's font size, such as the size of a font [point].

    size  its value for matplotlib's default font size, 10 points
    """
    import matplotlib

    return float(size * matplotlib.rcParams["font.size"] / 10)


def small() -> float:
    """Size of the smallest texts, of ticks and legends [point]."""
    return sized(LEAST_TEXT)


def exact() -> bool:
    """Whether figures have exactly the width of the page, as in print."""
    return _width.get() is not None


def narrow() -> bool:
    """Whether figures are as narrow as a column of a page, with panels below each other."""
    return page_width() < sized(6.0)


def fitting(axis: Axes, *words: str, size: float = 10.0, upright: bool = False) -> str:
    """The first of some texts that fits beside an axis in a line; if none does, the last one in
    several.

    upright  whether it stands beside the vertical axis
    """
    box = axis.get_window_extent()
    room = characters(size, 1.1 * (box.height if upright else box.width) / axis.figure.dpi)
    return wrap(next((text for text in words if len(text) <= room), words[-1]), room)


def characters(size: float = LEAST_TEXT, inches: float | None = None) -> int:
    """How many characters of a font's size fit into a width, of the page if left out."""
    width = page_width() if inches is None else inches
    return max(int(72 * width / (0.56 * sized(size))), 5)


def columns_of(
    count: int, width: float, most: int = 99, height: float = 0.0, *, square: bool = False
) -> int:
    """How many of `count` panels lie side by side: as many as the page has room for, evenly over
    the rows.

    width   of a panel with its margins; it may become narrower by some [inch]
    height  the least one of a row [inch]; in print, panels become narrower still where more rows
            than a page has would be needed
    square  whether panels keep their shape, so that the height is that of a panel that is as wide
            as it says
    """
    scale = _scale()
    room = page_width()
    columns = max(min(count, most, int(room / (SHRUNK_TO * scale * width))), 1)
    while exact() and room >= (columns + 1) * sized(NARROWEST_PANEL):
        high = room / columns * height / width if square else scale * height
        if -(-count // columns) * high <= PAGE_HEIGHT:
            break
        columns += 1
    return -(-count // -(-count // columns))


SHRUNK_TO, FLATTENED_TO, GROWN_TO = 0.66, 0.85, 1.25
"""How much narrower panels get before another row, how much lower then; how high if wider."""

PAGE_HEIGHT = 8.4
"""Largest height of the panels of a figure for print, to fit a page with its title [inch]."""

NARROWEST_PANEL, LOWEST_AXES = 1.9, 1.05
"""Least width of a panel with margins, and height within its axes, to fit a page [inch]."""

STACKED_HEIGHT, ABOVE = 2.0, 0.36
"""Height of stacked panels that share their x in a narrow figure; of the title in it [inch]."""


def on_a_page(rows: int, height: float, others: float = 0.0) -> float:
    """The height of a panel within its axes [inch]: lower in print, if rows are beyond a page."""
    room = (PAGE_HEIGHT - others) / rows
    return min(height, max(room, sized(LOWEST_AXES))) if exact() else height


def _scale() -> float:
    """What panels are multiplied with: those in print are smaller with their texts."""
    return sized(1.0) if exact() else 1.0


def subplots(
    rows: int,
    columns: int,
    width: float,
    height: float,
    count: int | None = None,
    *,
    shared: bool = False,
) -> tuple[Figure, list[list[Axes]]]:
    """A figure with a grid of axes that matplotlib lays out by their labels; sizes of one panel in
    inches.

    count   how many are there, row by row, if not all
    shared  whether they have the same horizontal axis, see `share_below`
    """
    scale = _scale()
    room = page_width()
    labels = sized(BOTTOM)
    wide = columns * width * scale
    factor = room / wide if exact() or wide > room else 1.0
    high = height * scale * min(max(factor, FLATTENED_TO), GROWN_TO) - labels
    if shared and narrow() and rows > 1:
        high = sized(STACKED_HEIGHT)
    gap = 0.0 if shared else labels
    high = on_a_page(
        rows, high - sized(ABOVE), labels + (rows - 1) * gap + rows * sized(ABOVE)
    ) + sized(ABOVE)
    figure = blank(wide * factor, rows * high + labels + (rows - 1) * gap)
    figure.set_layout_engine("constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for number, axis in enumerate(grid.flat):
        axis.spines[["top", "right"]].set_visible(False)
        if count is not None and number >= count:
            axis.set_axis_off()
    return figure, [list(row) for row in grid]


def folded(
    count: int, width: float, height: float, most: int = 99, *, shared: bool = False
) -> Panels:
    """`count` panels in as many rows as the page needs, laid out by their labels; sizes of one
    panel in inches.

    shared  whether they have the same horizontal axis, see `share_below`
    """
    columns = columns_of(count, width, most, LOWEST_AXES + ABOVE + BOTTOM * (not shared))
    figure, grid = subplots(-(-count // columns), columns, width, height, count, shared=shared)
    return figure, [axis for row in grid for axis in row][:count]


def share_below(axes: Sequence[Axes], *, left: bool = False) -> None:
    """Leave label and numbers of a horizontal axis that all panels share to those without another
    one below them.

    left  whether they share the vertical axis, too, which is left to the first ones of the rows
    """
    panels = {}
    for axis in axes:
        place = axis.get_subplotspec()
        if place is not None:
            panels[place] = axis
    for place, axis in panels.items():
        in_column = [other for other in panels if other.colspan.start == place.colspan.start]
        in_row = [other for other in panels if other.rowspan.start == place.rowspan.start]
        lowest = max(in_column, key=lambda other: other.rowspan.start)
        first = min(in_row, key=lambda other: other.colspan.start)
        if lowest is not place:
            axis.sharex(panels[lowest])
            axis.set_xlabel("")
            axis.tick_params(labelbottom=False)
        if left and first is not place:
            axis.sharey(panels[first])
            axis.set_ylabel("")
            axis.tick_params(labelleft=False)


def place_of(axis: Axes, count: int) -> tuple[bool, bool]:
    """Whether a panel is first in its row, and whether none of `count` is below it."""
    spec = axis.get_subplotspec()
    assert spec is not None
    columns = spec.get_gridspec().ncols
    return spec.num1 % columns == 0, spec.num1 + columns >= count


def label_outer(axis: Axes, count: int, x: str, y: str, size: float) -> None:
    """Labels and numbers of y if a panel is first in its row, of x if none of `count` is below."""
    first, lowest = place_of(axis, count)
    axis.tick_params(labelsize=small(), labelleft=first, labelbottom=lowest)
    if first:
        axis.set_ylabel(y, fontsize=size)
    if lowest:
        axis.set_xlabel(x, fontsize=size)


LOGARITHMIC = "log scale"
"""What stands beside the unit of a logarithmic axis whose neighbours are linear."""


def scales_differ(*axes: XAxis | YAxis) -> bool:
    """Whether some axes are linear and some logarithmic, which readers must be told."""
    return len({axis.get_scale() for axis in axes}) > 1


def blank(width: float, height: float) -> Figure:
    """A figure without axes; sizes in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


LEFT, RIGHT, BOTTOM, TOP, BETWEEN, DOWN = 0.7, 0.15, 0.52, 0.45, 0.75, 0.85
"""Margins of panels in rows [inch], for numbers of up to five characters; `sized` by the texts."""

TITLE = 1.0
"""Height of panel titles; without it matplotlib would measure all labels to find it."""


def panels(
    count: int,
    width: float,
    height: float,
    left: float = LEFT,
    top: float = TOP,
    *,
    square: bool = False,
    stretch: tuple[float, float] = (FLATTENED_TO, GROWN_TO),
    shared: bool = False,
    row_gap: float = DOWN,
) -> Panels:
    """Panels in as many rows as the page needs, with fixed margins: a layout by the labels' sizes
    takes longer than drawing.

    width, height  of one panel with its margins [inch]
    left, top      margins [inch]; the first panel is widened by that on its left if it is larger
                   than LEFT
    square         whether panels keep their shape
    stretch        least and greatest factor of their height, as they become narrower or wider
    shared         whether they have the same horizontal axis, see `share_below`
    row_gap        distance between panels below each other that do not share it [inch]
    """
    row_gap = ABOVE if shared else row_gap
    high = height - BOTTOM - top
    wide = width + sized(max(left - LEFT, 0)) / _scale()
    least = height if square else LOWEST_AXES + row_gap
    columns = columns_of(count, wide, height=least, square=square)
    if shared and narrow() and count > columns:
        high = STACKED_HEIGHT - ABOVE
    inner = width - (LEFT + RIGHT + (columns - 1) * BETWEEN) / columns
    return panel_grid(
        count,
        columns,
        inner,
        high,
        BETWEEN,
        row_gap,
        left=left,
        top=top,
        square=square,
        stretch=stretch,
        fold=False,
    )


LINE_HEIGHT = 0.19
"""Height of a line of the title [inch]."""


def add_title(figure: Figure, text: str, note: str = "", caption: str = "") -> None:
    """A title over panels, for which it makes room; below it, in bold, the caution on the numbers.

    caption  what explains the figure, in small type below all else; legends below the panels must
             be there already
    """
    width = float(figure.get_figwidth())
    lower = 0.0
    taken = 0.0
    lines = [""]
    if text:
        wrapped = wrap(text, characters(9, width - 0.1))
        lines = [line.removesuffix(" ·") for line in wrapped.split("\n")]
    if caption:
        explained = wrap(caption, characters(inches=width - 0.2))
        lower = sized(0.1 + 0.16 * (explained.count("\n") + 1))
        figure.text(
            0.1, 0.05, explained, va="bottom", fontsize=small(), transform=figure.dpi_scale_trans
        )
        for legend in figure.legends:
            # the layout forgets it then
            legend.set_bbox_to_anchor((0, lower, width, 1), figure.dpi_scale_trans)
            taken = sized(0.1) + legend.get_window_extent().height / figure.dpi
    make_room(figure, sized(LINE_HEIGHT) * (len(lines) - 1), lower)
    if figure.get_layout_engine() is not None:
        height = float(figure.get_figheight())
        words = figure.get_supxlabel()
        if lower and words:  # which the layout would leave at the lower edge
            figure.supxlabel(words, y=lower / height, fontsize=sized(10))
            taken = sized(0.2)
        share = (lower + taken) / height
        figure.set_layout_engine("constrained", rect=(0, share, 1, 1 - share))
        figure.suptitle("\n".join(lines), fontsize=sized(9))
        return
    y = 1 - 0.07 / float(figure.get_figheight())
    figure.text(0.5, y, "\n".join(lines), ha="center", va="top", fontsize=sized(9))
    if note:
        add_note(figure, note, sized(0.05 + LINE_HEIGHT * len(lines)))


def make_room(figure: Figure, top: float = 0.0, bottom: float = 0.0) -> None:
    """Make a figure higher, whose panels stay as they are [inch]."""
    height = float(figure.get_figheight())
    higher = height + top + bottom
    low_share = (height * figure.subplotpars.bottom + bottom) / higher
    high_share = (height * figure.subplotpars.top + bottom) / higher
    figure.set_figheight(higher)
    if figure.get_layout_engine() is None:
        figure.subplots_adjust(bottom=low_share, top=high_share)
    for axes in figure.axes:
        if axes.get_subplotspec() is None:  # a colour bar at a place of its own
            left, low, wide, high = axes.get_position().bounds
            axes.set_position(
                (left, (low * height + bottom) / higher, wide, high * height / higher)
            )


def add_note(figure: Figure, note: str, distance: float = 0.04) -> None:
    """Write the caution on a figure's numbers in bold, so many inches from the upper edge."""
    y = 1 - distance / figure.get_size_inches()[1]
    figure.text(
        0.5, y, note, ha="center", va="top", fontsize=sized(9), color=COLOURS[1], weight="bold"
    )


def legend_below(figure: Figure, *axes: Axes, shown: int = 2) -> None:
    """One legend for all panels, below them, of what some of them show: as many columns as the
    figure has room for.

    shown  fewest entries of a legend that tells something
    """
    entries: dict[str, Any] = {}
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    if len(entries) < shown:
        return
    room = characters(inches=float(figure.get_figwidth())) - 4
    lines = [wrap(label, room) for label in entries]
    # with the sample of its line
    longest = max(len(line) for label in lines for line in label.split("\n")) + 8
    columns = max(min(len(lines), (room + 4) // longest), 1)
    longest = max("\n".join(column).count("\n") + 1 for column in np.array_split(lines, columns))
    make_room(figure, bottom=sized(0.1 + LINE_HEIGHT * longest))
    place: Any = "lower center" if figure.get_layout_engine() is None else "outside lower center"
    figure.legend(
        list(entries.values()), lines, loc=place, ncols=columns, fontsize=small(), frameon=False
    )


ALIKE_ENDS = 5.0
"""Factor between the ends of a logarithmic axis below which its ticks are at equal distances."""


def plain_numbers(*axes: XAxis | YAxis) -> None:
    """Label logarithmic axes with 0.02, 0.05, 0.1 instead of powers of ten, if the margin has room
    for them. Several get the same ticks: as many as there is room for on each. To be called after
    everything is drawn.
    """
    from matplotlib import ticker

    axes[0].axes.autoscale_view()
    low, high = axes[0].get_view_interval()
    alike = high < ALIKE_ENDS * low
    ordinary = low >= 1e-3 and high < 1e4
    subs: tuple[float, ...] = (1.0,)
    if alike:
        subs = (1.0, 2.0, 3.0, 5.0, 7.0)
    elif high < 1000 * low:
        subs = min(map(_ticks_in_a_decade, axes), key=len)

    def label(value: float, _: int | None = None) -> str:
        if ordinary:
            return f"{value:g}"
        if len(subs) == 1:
            return f"10{str(round(math.log10(value))).translate(SUPERSCRIPTS)}"
        return with_power(value)

    for axis in axes:
        if alike and ordinary:
            axis.set_major_locator(ticker.MaxNLocator(4, steps=[1, 2, 5, 10]))
            axis.set_major_formatter(ticker.ScalarFormatter(useOffset=False))
        else:
            axis.set_major_locator(ticker.LogLocator(subs=subs))
            axis.set_major_formatter(ticker.FuncFormatter(label))
        axis.set_minor_locator(ticker.NullLocator())


def with_power(value: float, _: int | None = None) -> str:
    """A number with a power of ten: `1.5e−5`."""
    digits, power = f"{value:.6e}".split("e")
    return f"{float(digits):g}e{int(power)}".replace("-", "−") if value else "0"


def _ticks_in_a_decade(axis: XAxis | YAxis) -> tuple[float, ...]:
    """As many as there is room for: numbers of four characters side by side, or else lines."""
    box = axis.axes.get_window_extent()
    horizontal = axis.axis_name == "x"
    low, high = axis.get_view_interval()
    decades = max(math.log10(high / low), 0.1)
    inches = (box.width if horizontal else box.height) / axis.axes.figure.dpi
    room = inches / decades / sized(0.38 if horizontal else 0.2)
    if room >= 3.3:
        return (1.0, 2.0, 5.0)
    return (1.0, 3.0) if room >= 2 or decades < 2 else (1.0,)


def whole_numbers(axis: XAxis | YAxis) -> None:
    """Label whole numbers only, such as epochs."""
    from matplotlib.ticker import MaxNLocator

    steps = [1, 2, 2.5, 5, 10]
    axis.set_major_locator(MaxNLocator("auto", steps=steps, integer=True, min_n_ticks=1))


def extend(values: NDArray[np.floating], least: float, most: float) -> str:
    """The ends of a colour bar that are pointed, as there are values beyond them."""
    if (values < least).any():
        return "both" if (values > most).any() else "min"
    return "max" if (values > most).any() else "neither"


DRAWING = "QEXP_FIGURES"
"""Environment variable: with `no`, runs and matrices leave their figures to `qexp figures`."""


def draws_at_once() -> bool:
    """Whether runs and matrices draw figures. Raises QexpError for anything but yes and no."""
    value = os.environ.get(DRAWING, "yes")
    if value not in ("yes", "no"):
        raise QexpError(
            f"{DRAWING}={value}: 'yes' or 'no', whether runs and matrices draw their figures"
        )
    return value == "yes"


TOGETHER = re.compile(r"(?<=[\d⁰¹²³⁴-⁹×±]) (?=[%°×±\d]|\w{1,2}\b)")
"""Spaces in numbers with their units, such as `90 %` and `2 × 10⁶ m³`."""


def wrap(text: str, width: int) -> str:
    """A text in the fewest lines of at most `width` characters, all about as long: none has only
    the last word.

    Numbers stay with their units, and a dollar sign is shown as such and does not start a formula.
    """
    text = TOGETHER.sub("\u00a0", text)
    lines = textwrap.wrap(text, width)
    longest = max(map(len, re.split(r"[\n ]", text)))  # spaces that do not break belong to a word
    while len(lines) > 1 and longest < width:
        width -= 1
        narrower = textwrap.wrap(text, width)
        if len(narrower) != len(lines):
            break
        lines = narrower
    return "\n".join(line.replace("$", r"\$").replace("\u00a0", " ") for line in lines)


# Panels in rows and columns below a title, with fixed margins: for figures of many small panels.

GRID_TOP = 0.72
"""Height for a title, a note and the titles of the top row of panels [inch]."""


def panel_grid(
    count: int,
    columns: int,
    width: float,
    height: float,
    column_gap: float,
    row_gap: float,
    *,
    left: float = LEFT,
    right: float = RIGHT,
    top: float = GRID_TOP,
    bottom: float = BOTTOM,
    fold: bool = True,
    square: bool = False,
    stretch: tuple[float, float] = (FLATTENED_TO, GROWN_TO),
) -> Panels:
    """`count` panels, row by row, at most `columns` in a row; for a title above all see
    `add_title`.

    width, height             of a panel within its axes [inch]
    column_gap, row_gap       distances between neighbouring axes, for their labels [inch]
    left, right, top, bottom  margins [inch]
    fold                      whether there are fewer in a row where the page has no room for as
                              many
    square                    whether panels keep their shape
    stretch                   least and greatest factor of their height, as they become narrower or
                              wider
    """
    columns = min(count, columns)
    scale = _scale()
    room = page_width()
    left, right, bottom, top, column_gap, row_gap = map(
        sized, (left, right, bottom, top, column_gap, row_gap)
    )
    width = width * scale
    height = height * scale
    if fold:
        least_widths = SHRUNK_TO * width, sized(LOWEST_AXES)
        inner = room - left - right + column_gap
        fitting, narrowest = (int(inner / (least + column_gap)) for least in least_widths)
        others = top + bottom - row_gap
        most = columns
        least = (SHRUNK_TO * height if square else sized(LOWEST_AXES)) + row_gap
        columns = max(min(columns, fitting), 1)
        while exact() and columns < min(narrowest, most):
            if others + -(-count // columns) * least <= PAGE_HEIGHT:
                break
            columns += 1
        columns = -(-count // -(-count // columns))
    rows = -(-count // columns)
    spare = room - (left + columns * width + (columns - 1) * column_gap + right)
    if spare < 0 or exact():
        factor = 1 + spare / (columns * width)
        if square and factor > GROWN_TO:  # what is left stands beside the panels
            more = (factor - GROWN_TO) * columns * width / 2
            left += more
            right += more
            factor = GROWN_TO
        width = width * factor
        height = height * (factor if square else min(max(factor, stretch[0]), stretch[1]))
    if not square:
        height = on_a_page(rows, height, top + bottom + (rows - 1) * row_gap)
    wide = left + columns * width + (columns - 1) * column_gap + right
    tall = top + rows * height + (rows - 1) * row_gap + bottom
    figure = blank(wide, tall)
    figure.subplots_adjust(
        left / wide,
        bottom / tall,
        1 - right / wide,
        1 - top / tall,
        wspace=column_gap / width,
        hspace=row_gap / height,
    )
    axes = [figure.add_subplot(rows, columns, number + 1) for number in range(count)]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


WIDTH_OF_CHARACTER = 0.068
"""Of the smallest texts [inch]."""


def row_panels(
    count: int, width: float, labels: Sequence[str], height: float, top: float = TOP
) -> Panels:
    """Panels side by side or below each other, in which a row belongs to each label; these stand
    beside the first.

    width   of a panel [inch]
    height  of a row with a label of one line [inch]
    """
    lines = [label.split("\n") for label in labels]
    longest = max((len(line) for rows in lines for line in rows), default=0)
    tall = height * sum(0.5 + 0.5 * len(rows) for rows in lines)
    left = 0.2 + WIDTH_OF_CHARACTER * longest
    # Rows are as high as their labels, whatever the width of a panel.
    figure, axes = panels(count, width, BOTTOM + top + tall, left, top, stretch=(1.0, 1.0))
    for axis in axes:
        axis.set_ylim(len(labels) - 0.4, -0.6)
        shown = labels if place_of(axis, count)[0] else [""] * len(labels)
        axis.set_yticks(range(len(labels)), shown, fontsize=small())
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", alpha=0.25, linewidth=0.5)
    return figure, axes


def wrap_label(text: str) -> str:
    """The label of a row in lines that leave room for the panel beside it."""
    return wrap(text, min(36, characters() // 3))


# Matplotlib style files: other fonts, sizes and colours of the frame for the same figures.

NOT_OF_FIGURES = ("backend", "interactive", "toolbar", "webagg", "savefig.format")
"""Beginnings of settings that do not change the look of a figure; a style cannot change them."""


def require_width(width: str | None) -> None:
    """Raise QexpError for a width of figures that there is not."""
    if width is not None and width not in WIDTHS:
        raise QexpError(
            f"`width={width}`: no such width of figures; choose from {', '.join(WIDTHS)}"
        )


@contextmanager
def use_style(file: Path | None, width: str | None = None) -> Iterator[None]:
    """Inside the block, figures are drawn in the style of a file; None: with the current settings.

    width  of `WIDTHS`, for print; None: for a screen. The style goes before its settings.
    Raises QexpError for a width that there is not.
    """
    require_width(width)
    if file is None and width is None:
        yield
        return
    import matplotlib

    style: Any = {} if file is None else read_style(file)
    settings: Any = PRINT if width else {}
    with matplotlib.rc_context(settings), matplotlib.rc_context(style):
        token = _width.set(WIDTHS[width] if width else None)
        try:
            yield
        finally:
            _width.reset(token)


def read_style(file: Path) -> RcParams:
    """The settings of a matplotlib style file. Raises QexpError with the line of each mistake."""
    import matplotlib

    if not file.is_file():
        raise NotFoundError(f"`style={file}`: there is no such file")
    mistakes = _Mistakes()
    log = logging.getLogger("matplotlib")
    log.addHandler(mistakes)
    propagates = log.propagate
    log.propagate = False
    try:
        settings = matplotlib.rc_params_from_file(str(file), use_default_template=False)
    except (OSError, UnicodeDecodeError) as error:
        raise QexpError(f"{file} cannot be read: {error}") from None
    finally:
        log.removeHandler(mistakes)
        log.propagate = propagates
    if mistakes.messages:
        raise QexpError("\n".join(mistakes.messages))
    programs = ("latex", "dvipng") if settings.get("text.usetex") else ()  # write all texts then
    for program in programs:
        if shutil.which(program) is None:
            lack = f"there is no program '{program}'"
            raise QexpError(f"{file}: text.usetex needs LaTeX, and {lack}; leave that line out")
    for name in [name for name in settings if name.startswith(NOT_OF_FIGURES)]:
        del settings[name]
    return settings


class _Mistakes(logging.Handler):
    """Problems of which matplotlib only warns when it reads a style file, with their lines."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        import matplotlib

        message = record.getMessage().strip().partition("\n")[0]
        if isinstance(record.args, dict):  # of an unknown setting
            message += f"; {suggestion(str(record.args['key']), matplotlib.rcParams)}"
        self.messages.append(message)

"""Shared by all figures: colours, margins, titles, panels, styles, and writing to files."""

from __future__ import annotations

import io
import logging
import math
import os
import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qexp.base.files import write_bytes
from qexp.errors import NotFoundError, QexpError, suggestion

if TYPE_CHECKING:
    from matplotlib import RcParams
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis
    from matplotlib.figure import Figure

# Okabe and Ito (2008): distinguishable for colour-blind readers, too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def subplots(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[list[Axes]]]:
    """A figure with a grid of axes that matplotlib lays out by their labels; sizes of one panel in inches."""
    figure = blank(columns * width, rows * height)
    figure.set_layout_engine("constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axis in grid.flat:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, [list(row) for row in grid]


def blank(width: float, height: float) -> Figure:
    """A figure without axes; sizes in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def sized(size: float) -> float:
    """A length that grows with the style's font size, such as the size of a font [point].

    size  its value for matplotlib's default font size, 10 points
    """
    import matplotlib

    return float(size * matplotlib.rcParams["font.size"] / 10)


LEFT, RIGHT, BOTTOM, TOP, BETWEEN = 0.7, 0.15, 0.5, 0.45, 0.75
"""Margins of panels in a row, in inches: room for the labels of an axis with numbers of up to five characters. They
grow with the texts, see `sized`."""

TITLE = 1.0
"""Height of panel titles; without it matplotlib would measure all labels to find it."""


def panels(count: int, width: float, height: float, left: float = LEFT, top: float = TOP) -> tuple[Figure, list[Axes]]:
    """A row of panels with fixed margins: a layout by the labels' sizes takes longer than drawing.

    width, height  of one panel with its margins [inch]
    left, top      margins [inch]; the first panel is widened by that on its left if it is larger than LEFT
    """
    inner = width - sized(LEFT + RIGHT + (count - 1) * BETWEEN) / count
    return panel_grid(count, count, inner, height - sized(BOTTOM + top), BETWEEN, 0, left=left, top=top)


def add_title(figure: Figure, text: str, note: str = "") -> None:
    """A title over panels without titles; below it, in bold, the caution on the numbers."""
    width, height = figure.get_size_inches()
    # A character is half as wide as high, a little more with a margin.
    size = min(sized(9), 72 * width / (0.58 * max(len(text), 1)))
    figure.text(0.5, 1 - 0.07 / height, text, ha="center", va="top", fontsize=size)
    if note:
        add_note(figure, note, sized(0.24))


def add_note(figure: Figure, note: str, below: float = 0.04) -> None:
    """Write the caution on a figure's numbers in bold; `below` is its distance from the upper edge [inch]."""
    at = 1 - below / figure.get_size_inches()[1]
    figure.text(0.5, at, note, ha="center", va="top", fontsize=sized(9), color=COLOURS[1], weight="bold")


def legend(axis: Axes) -> None:
    """A translucent legend that is at most as wide as the panel; names of runs can be long."""
    longest = max(map(len, axis.get_legend_handles_labels()[1]))
    room = 72 * axis.get_window_extent().width / axis.figure.dpi - 40  # without the samples of lines
    size = min(sized(8), room / (0.58 * longest))
    axis.legend(fontsize=size, frameon=True, framealpha=0.6, edgecolor="none")


SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def plain_numbers(axis: XAxis | YAxis) -> None:
    """Label a logarithmic axis with 0.02, 0.05, 0.1 instead of powers of ten, if the margin has room for them. To be
    called after everything is drawn.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.axes.autoscale_view()
    low, high = axis.get_view_interval()
    decades = high >= 1000 * low
    axis.set_major_locator(LogLocator(subs=(1.0,) if decades else (1.0, 2.0, 5.0)))

    def label(value: float, _: int | None = None) -> str:
        if low >= 1e-3 and high < 1e4:
            return f"{value:g}"
        if decades:
            return f"10{str(round(math.log10(value))).translate(SUPERSCRIPTS)}"
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")

    axis.set_major_formatter(FuncFormatter(label))
    axis.set_minor_locator(NullLocator())


def whole_numbers(axis: XAxis | YAxis) -> None:
    """Label whole numbers only, such as epochs."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True, min_n_ticks=1))


def extend(values: NDArray[np.floating], least: float, most: float) -> str:
    """The ends of a colour bar that are pointed, as there are values beyond them."""
    if (values < least).any():
        return "both" if (values > most).any() else "min"
    return "max" if (values > most).any() else "neither"


DPI = 150


def resolution() -> float:
    """Resolution of the files [dots per inch]: that of the style if it has one.

    The widths of texts depend slightly on it: set it on a figure before measuring them.
    """
    import matplotlib

    dpi = matplotlib.rcParams["savefig.dpi"]
    return DPI if dpi == "figure" else float(dpi)


FORMATS = ("png", "pdf", "svg")
"""Formats of the files of figures."""


def require_formats(formats: Iterable[str]) -> None:
    """Raise QexpError for a format of figures that there is not."""
    for ending in formats:
        if ending not in FORMATS:
            raise QexpError(f"no format '{ending}' for figures; choose from {', '.join(FORMATS)}")


WITHOUT_TIME = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
"""Format → metadata without the time of drawing."""


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, PDF or SVG, by the ending of the name."""
    write_bytes(path, encode(figure, path.suffix[1:]))


def encode(figure: Figure, ending: str) -> bytes:
    """A figure as PNG, PDF or SVG; the same figure always gives the same bytes."""
    import matplotlib

    content = io.BytesIO()
    # Identifiers in an SVG are random unless there is a salt.
    with matplotlib.rc_context({"svg.hashsalt": "qexp"}), _layout_done(figure, ending):
        figure.savefig(content, dpi=resolution(), format=ending, metadata=WITHOUT_TIME.get(ending))
    return content.getvalue()


def compact_svg(figure: Figure) -> bytes:
    """A figure as a small SVG for pages: texts stay texts, and curves are rounded to a hundredth of a point."""
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none", "font.sans-serif": ["DejaVu Sans", "Verdana"]}):
        content = encode(figure, "svg")
    content = re.sub(rb' d="[^"]*"', lambda path: re.sub(rb"(\.\d\d)\d+", rb"\1", path[0]), content)
    return re.sub(rb"\s+", b" ", content[content.index(b"<svg") :])


@contextmanager
def _layout_done(figure: Figure, ending: str) -> Iterator[None]:
    """Lay out a figure for a PNG once; matplotlib would draw it for its layout, and again for the file."""
    engine, dpi = figure.get_layout_engine(), figure.dpi
    if ending != "png" or engine is None:
        yield
        return
    figure.dpi = resolution()
    engine.execute(figure)
    figure.set_layout_engine(None)
    try:
        yield
    finally:
        figure.set_layout_engine(engine)
        figure.dpi = dpi


DRAWING = "QEXP_FIGURES"
"""Environment variable: with `no`, runs and matrices leave their figures to `qexp figures`."""


def draws_at_once() -> bool:
    """Whether runs and matrices draw their figures themselves. Raises QexpError for a value but yes and no."""
    value = os.environ.get(DRAWING, "yes")
    if value not in ("yes", "no"):
        raise QexpError(f"{DRAWING}={value}: 'yes' or 'no', whether runs and matrices draw their figures")
    return value == "yes"


def wrap(text: str, width: int) -> str:
    """A text in lines of at most `width` characters; a dollar sign is shown as such and does not start a formula."""
    return "\n".join(line.replace("$", r"\$") for line in textwrap.wrap(text, width))


# Panels in rows and columns below a title, with fixed margins: for figures of many small panels.


GRID_TOP = 0.72
"""Height for a title, a note and the titles of the top row of panels [inch]."""


def panel_grid(
    count: int,
    columns: int,
    width: float,
    height: float,
    across: float,
    down: float,
    *,
    left: float = LEFT,
    right: float = RIGHT,
    top: float = GRID_TOP,
    bottom: float = BOTTOM,
) -> tuple[Figure, list[Axes]]:
    """`count` panels, row by row, at most `columns` in a row; for a title above all see `add_title`.

    width, height             of a panel within its axes [inch]
    across, down              distances between neighbouring axes, for their labels [inch]
    left, right, top, bottom  margins [inch]
    """
    columns = min(count, columns)
    rows = -(-count // columns)
    left, right, bottom, top, across, down = map(sized, (left, right, bottom, top, across, down))
    wide = left + columns * width + (columns - 1) * across + right
    tall = top + rows * height + (rows - 1) * down + bottom
    figure = blank(wide, tall)
    figure.subplots_adjust(
        left / wide, bottom / tall, 1 - right / wide, 1 - top / tall, wspace=across / width, hspace=down / height
    )
    axes = [figure.add_subplot(rows, columns, number + 1) for number in range(count)]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


WIDTH_OF_CHARACTER = 0.066
"""Of a label of 8 points [inch]."""


def row_panels(
    count: int, width: float, labels: Sequence[str], height: float, top: float = TOP
) -> tuple[Figure, list[Axes]]:
    """Panels side by side, in which a row belongs to each label; these stand beside the first panel.

    width   of a panel [inch]
    height  of a row with a label of one line [inch]
    """
    lines = [label.split("\n") for label in labels]
    longest = max((len(line) for rows in lines for line in rows), default=0)
    tall = height * sum(0.5 + 0.5 * len(rows) for rows in lines)
    left = 0.15 + WIDTH_OF_CHARACTER * longest
    figure, axes = panels(count, width, sized(0.7 + top + tall), left, top)
    for axis in axes:
        axis.set_ylim(len(labels) - 0.4, -0.6)
        axis.set_yticks(range(len(labels)), labels if axis is axes[0] else [""] * len(labels), fontsize=sized(8))
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", alpha=0.25, linewidth=0.5)
    return figure, axes


# Matplotlib style files: other fonts, sizes and colours of the frame for the same figures.


NOT_OF_FIGURES = ("backend", "backend_fallback", "interactive", "toolbar", "webagg", "savefig.format")
"""Settings of matplotlib that do not change the look of a figure; a style cannot change them."""


@contextmanager
def use_style(file: Path | None) -> Iterator[None]:
    """Inside the block, figures are drawn in the style of a file; None: with the current settings."""
    import matplotlib

    with matplotlib.rc_context({} if file is None else read_style(file)):
        yield


def read_style(file: Path) -> RcParams:
    """The settings of a matplotlib style file. Raises QexpError that names the line of each mistake."""
    import matplotlib

    if not file.is_file():
        raise NotFoundError(f"`style={file}`: there is no such file")
    mistakes = _Mistakes()
    log = logging.getLogger("matplotlib")
    log.addHandler(mistakes)
    before, log.propagate = log.propagate, False
    try:
        settings = matplotlib.rc_params_from_file(str(file), use_default_template=False)
    except (OSError, UnicodeDecodeError) as error:
        raise QexpError(f"{file} cannot be read: {error}") from None
    finally:
        log.removeHandler(mistakes)
        log.propagate = before
    if mistakes.messages:
        raise QexpError("\n".join(mistakes.messages))
    for program in ("latex", "dvipng") if settings.get("text.usetex") else ():  # by which LaTeX writes all texts
        if shutil.which(program) is None:
            lack = f"there is no program '{program}'"
            raise QexpError(f"{file}: text.usetex needs LaTeX, and {lack}; leave that line out")
    for name in [name for name in settings if name.startswith(NOT_OF_FIGURES)]:
        del settings[name]
    return settings


class _Mistakes(logging.Handler):
    """The problems of which matplotlib only warns when it reads a style file: it says the line of each."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        import matplotlib

        message = record.getMessage().strip().partition("\n")[0]
        if isinstance(record.args, dict):  # of an unknown setting
            message += f"; {suggestion(str(record.args['key']), matplotlib.rcParams)}"
        self.messages.append(message)

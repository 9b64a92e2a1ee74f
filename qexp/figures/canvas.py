"""Shared by all figures: colours, margins, titles, and writing to files."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from qexp.errors import QexpError
from qexp.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis
    from matplotlib.figure import Figure

# Okabe and Ito (2008): distinguishable for colour-blind readers, too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[list[Axes]]]:
    """A figure with a grid of axes; sizes of one panel in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(columns * width, rows * height), layout="constrained")
    FigureCanvasAgg(made)
    axes = made.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    return made, [list(row) for row in axes]


def sized(size: float) -> float:
    """A length that grows with the style's font size, such as the size of a font [point].

    size  its value for matplotlib's default font size, 10 points
    """
    import matplotlib

    return float(size * matplotlib.rcParams["font.size"] / 10)


LEFT, RIGHT, BOTTOM, TOP, BETWEEN = 0.7, 0.15, 0.5, 0.45, 0.75
"""Margins of panels in a row, in inches: room for the labels of an axis with numbers of up to five characters. They
grow with the texts, see `sized`.
"""


TITLE = 1.0
"""Height of panel titles; without it matplotlib would measure all labels to find it."""


def panels(count: int, width: float, height: float, left: float = LEFT) -> tuple[Figure, list[Axes]]:
    """A row of panels with fixed margins: a layout by the labels' sizes takes longer than drawing.

    width, height  of one panel with its margins [inch]
    left           margin of the first panel [inch], which widens the panel if larger than LEFT
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    left, right, bottom, top, between = map(sized, (left, RIGHT, BOTTOM, TOP, BETWEEN))
    whole = count * width + left - sized(LEFT)
    made = Figure(figsize=(whole, height))
    FigureCanvasAgg(made)
    panel = (whole - left - right - (count - 1) * between) / count
    made.subplots_adjust(
        left / whole, bottom / height, 1 - right / whole, 1 - top / height, wspace=between / panel, hspace=0
    )
    axes = list(made.subplots(1, count, squeeze=False)[0])
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return made, axes


def titled(made: Figure, text: str, note: str = "") -> None:
    """A title over panels without titles; below it, in bold, the caution on the numbers."""
    width, height = made.get_size_inches()
    # A character is half as wide as high, a little more with a margin.
    size = min(sized(9), 72 * width / (0.58 * max(len(text), 1)))
    made.text(0.5, 1 - 0.07 / height, text, ha="center", va="top", fontsize=size)
    if note:
        marked(made, note, sized(0.24))


def marked(made: Figure, note: str, below: float = 0.04) -> None:
    """Write the caution on a figure's numbers in bold; `below` is its distance from the upper edge [inch]."""
    height = made.get_size_inches()[1]
    made.text(0.5, 1 - below / height, note, ha="center", va="top", fontsize=sized(9), color=COLOURS[1], weight="bold")


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
    wide = high >= 1000 * low
    axis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))

    def label(value: float, _: int | None = None) -> str:
        if low >= 1e-3 and high < 1e4:
            return f"{value:g}"
        if wide:
            return f"10{str(round(math.log10(value))).translate(SUPERSCRIPTS)}"
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")

    axis.set_major_formatter(FuncFormatter(label))
    axis.set_minor_locator(NullLocator())


def whole_numbers(axis: XAxis | YAxis) -> None:
    """Label whole numbers only, such as epochs."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True, min_n_ticks=1))


DPI = 150


def resolution() -> float:
    """Resolution of the files [dots per inch]: that of the style if it has one.

    The widths of texts depend slightly on it: set it on a figure before measuring them.
    """
    import matplotlib

    of_style = matplotlib.rcParams["savefig.dpi"]
    return DPI if of_style == "figure" else float(of_style)


FORMATS = ("png", "pdf", "svg")
"""Formats of the files of figures."""


def require_formats(formats: Iterable[str]) -> None:
    """Raise QexpError for a format of figures that there is not."""
    for one in formats:
        if one not in FORMATS:
            raise QexpError(f"no format '{one}' for figures; choose from {', '.join(FORMATS)}")


WITHOUT_TIME = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
"""Format → metadata without the time of drawing."""


def save(made: Figure, path: Path) -> None:
    """Write a figure as PNG, PDF or SVG, by the ending of the name."""
    write_bytes(path, encoded(made, path.suffix[1:]))


def encoded(made: Figure, ending: str) -> bytes:
    """A figure as PNG, PDF or SVG; the same figure always gives the same bytes."""
    import matplotlib

    content = io.BytesIO()
    # Identifiers in an SVG are random unless there is a salt.
    with matplotlib.rc_context({"svg.hashsalt": "qexp"}), _laid_out(made, ending):
        made.savefig(content, dpi=resolution(), format=ending, metadata=WITHOUT_TIME.get(ending))
    return content.getvalue()


@contextmanager
def _laid_out(made: Figure, ending: str) -> Iterator[None]:
    """Lay out a figure for a PNG once; matplotlib would draw it for its layout, and again for the file."""
    engine, dpi = made.get_layout_engine(), made.dpi
    if ending != "png" or engine is None:
        yield
        return
    made.dpi = resolution()
    engine.execute(made)
    made.set_layout_engine(None)
    try:
        yield
    finally:
        made.set_layout_engine(engine)
        made.dpi = dpi

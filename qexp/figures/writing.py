"""Figures written to files: formats, resolution, and numbers along axes that do not touch."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexp.base.files import write_bytes
from qexp.errors import QexpError
from qexp.figures.canvas import SHRUNK_TO, small, with_power

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox


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
    """A figure as a small SVG for pages: texts stay, curves are rounded to 0.01 points."""
    import matplotlib

    texts: Any = {"svg.fonttype": "none", "font.sans-serif": ["DejaVu Sans", "Verdana"]}
    with matplotlib.rc_context(texts):
        content = encode(figure, "svg")
    content = re.sub(rb' d="[^"]*"', lambda path: re.sub(rb"(\.\d\d)\d+", rb"\1", path[0]), content)
    return re.sub(rb"\s+", b" ", content[content.index(b"<svg") :])


@contextmanager
def _layout_done(figure: Figure, ending: str) -> Iterator[None]:
    """Lay out a figure for a PNG once; matplotlib would do it again for the file."""
    engine = figure.get_layout_engine()
    dpi = figure.dpi
    if ending != "png" or engine is None:
        fit_numbers(figure)
        yield
        return
    figure.dpi = resolution()
    fit_numbers(figure)
    figure.set_layout_engine(None)
    try:
        yield
    finally:
        figure.set_layout_engine(engine)
        figure.dpi = dpi


# Numbers along axes: as many as do not touch each other, and room for them. Only a figure whose
# values are known has them, so that this is done before it is written.

GAP, EDGE = 0.4, 0.03
"""Least gap between numbers, as a share of their size, and between a label and the edge [inch]."""


def fit_numbers(figure: Figure) -> None:
    """Lay out a figure without ticks whose numbers touch; fixed margins grow for long numbers."""
    from matplotlib.axes import Axes

    axes = figure.findobj(Axes)
    engine = figure.get_layout_engine()
    for _ in range(3):  # panels that keep their shape have moved within their places
        if engine is not None:
            engine.execute(figure)
        fewer = False
        for each in filter(_placed, axes):
            fewer |= _thin_out(each.xaxis)
            fewer |= _thin_out(each.yaxis)
        if not (fewer if engine is not None else _widen_margins(figure)):
            return


def _placed(axes: Axes) -> bool:
    """Put axes where they will be drawn. Returns whether they are shown."""
    locator = axes.get_axes_locator()
    axes.apply_aspect(None if locator is None else locator(axes, None))  # type: ignore[arg-type]
    return axes.axison and axes.get_visible()


def _thin_out(axis: XAxis | YAxis) -> bool:
    """Thin out the ticks of an axis until they are apart. Returns whether there are fewer."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, ScalarFormatter

    formatter = axis.get_major_formatter()
    if isinstance(formatter, ScalarFormatter) and formatter.get_useOffset():
        formatter.set_useOffset(False)  # nobody adds 1e-5+1.2e-1 in the head
    shown = _numbers(axis)
    if axis.axis_name == "x" and formatter.get_offset():  # it would stand in the label
        axis.set_major_formatter(FuncFormatter(with_power))
        shown = _numbers(axis)
    count = len(shown)
    while len(shown) > 2 and _touch(axis, [box for _, box in shown]):
        axis.set_major_locator(FixedLocator([place for place, _ in shown[::2]]))
        shown = _numbers(axis)
    return len(shown) < count


def _numbers(axis: XAxis | YAxis) -> list[tuple[float, Bbox]]:
    """Where the ticks of an axis are, and the boxes of their numbers, in the order of the axis."""
    axis.get_majorticklabels()  # puts them in place
    low, high = sorted(axis.get_view_interval())
    shown = [
        (float(tick.get_loc()), label.get_window_extent())
        for tick in axis.get_major_ticks()
        for label in (tick.label1, tick.label2)
        if label.get_visible() and label.get_text() and low <= tick.get_loc() <= high
    ]
    return sorted(shown, key=lambda number: number[0])


def _touch(axis: XAxis | YAxis, boxes: Sequence[Bbox]) -> bool:
    if axis.axis_name == "y":
        gap = 0.0
        ends = sorted((box.y0, box.y1) for box in boxes)
    else:
        gap = GAP * small() * axis.axes.figure.dpi / 72
        ends = sorted((box.x0, box.x1) for box in boxes)
    return any(second[0] - first[1] < gap for first, second in itertools.pairwise(ends))


def _widen_margins(figure: Figure) -> bool:
    """Give panels of a grid the room that numbers and labels need. Returns whether they moved."""
    found = [axes.get_subplotspec() for axes in figure.axes]
    places = [place for place in found if place is not None]
    if len(places) < len(figure.axes) or len({id(place.get_gridspec()) for place in places}) != 1:
        return False  # something stands where nothing moves it
    width = figure.bbox.width
    columns = places[0].get_gridspec().ncols
    left = 0.0
    right = 0.0
    gap = 0.0
    for axes, place in zip(figure.axes, places, strict=True):
        panel = axes.get_position(original=True)
        start = panel.x0 * width
        end = panel.x1 * width
        labels = [axes.xaxis.get_tightbbox(), axes.yaxis.get_tightbbox()]
        boxes = [box for box in labels if box is not None]
        needed_room = start - min((box.x0 for box in boxes), default=start)
        if place.colspan.start == 0:
            left = max(left, needed_room)
        else:
            gap = max(gap, needed_room)
        if place.colspan.stop == columns:
            right = max(right, max((box.x1 for box in boxes), default=end) - end)
    edge = EDGE * figure.dpi
    parameters = figure.subplotpars
    cell = (
        width * (parameters.right - parameters.left) / (columns + (columns - 1) * parameters.wspace)
    )
    margins = width * parameters.left, width * (1 - parameters.right), cell * parameters.wspace
    left, right, gap = (
        max(now, needed + edge) if needed > now else now
        for now, needed in zip(margins, (left, right, gap), strict=True)
    )
    narrower = (width - left - right - (columns - 1) * gap) / columns
    if (left, right, gap) == margins or narrower < SHRUNK_TO * cell:
        return False
    figure.subplots_adjust(left=left / width, right=1 - right / width, wspace=gap / narrower)
    return True

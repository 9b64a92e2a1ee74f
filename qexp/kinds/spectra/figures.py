"""Figures of spectra: estimates against measurements and down each core, and reconstructed
channels.

In all of them `note` is a caution on the numbers, which may be empty, and `where` are the energies
of the channels, (channel,) [keV]; None: channels are drawn against their numbers, without elements.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qexp.base.arrays import Mask
from qexp.base.outputs import Number, estimate_of, output_in, saliency_magnitude_of, saliency_of
from qexp.base.quantities import label, typeset, with_unit
from qexp.base.text import without_end
from qexp.figures.canvas import (
    COLOURS,
    GRID_TOP,
    LEAST_TEXT,
    LEFT,
    LINE_HEIGHT,
    TITLE,
    add_title,
    exact,
    fitting,
    label_outer,
    legend_below,
    make_room,
    narrow,
    panel_grid,
    place_of,
    plain_numbers,
    sized,
    small,
)
from qexp.figures.estimates import make_equal, write_errors
from qexp.figures.writing import resolution
from qexp.kinds.figures import (
    FIGURES_FOLDER,
    FigureOfRun,
    Pictures,
    columns,
    coverage,
    ends_of_intervals,
    intervals_in_words,
    learning_curve,
    numbers,
    outputs,
    table,
    texts,
    unit,
)
from qexp.kinds.spectra.spec import SPECTRUM
from qexp.metrics.built_in import root_mean_squared_error
from qexp.metrics.meaning import NETWORK
from qexp.spec.kinds import TEST_PREDICTIONS
from qexp.store.directory import (
    BASELINES,
    ERRORS_BY_ENERGY,
    RECONSTRUCTIONS,
    SALIENCY,
    RunDirectory,
)

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = ("o", "^", "s", "D", "v", "P")
"""Together with the colours they distinguish about forty cores; of more cores none is named."""

PANEL, WIDTH_OF_LIST = 3.6, 2.0
"""Side of the panel, and width of a column of the legend beside it [inch]."""

LISTED_CORES = 21
"""Number of cores in a column of the legend."""

PROFILES_IN_A_ROW, MOST_PROFILES, MOST_NARROW = 8, 32, 12
"""Cores in a row, and in all, of a figure; and in all of a narrow one."""

MEASURED = COLOURS[6]
ESTIMATED = COLOURS[0]
OF_BASELINES = {"color": COLOURS[1:6] * 2, "linestyle": ["-"] * 5 + ["--"] * 5}

LONGEST_CORE = 17
"""Largest number of characters of a core's name that are shown."""


@dataclass(frozen=True)
class Estimates:
    """Estimates of one number for spectra of cores, in the number's own unit; (row,) each.

    depths     downwards; NaN where unknown
    measured   NaN where nothing was measured; None if no row has a measured value
    interval   lower and upper end of each estimate's interval
    baselines  baseline → its estimates
    """

    name: str
    unit: str
    cores: Sequence[str]
    depths: ArrayLike
    estimated: ArrayLike
    measured: ArrayLike | None = None
    depth_unit: str = ""
    interval: tuple[ArrayLike, ArrayLike] | None = None
    baselines: Mapping[str, ArrayLike] = field(default_factory=dict)

    def label(self, what: str) -> str:
        """The label of an axis: `estimated toc (wt%)`."""
        return label(f"{what} {self.name}".strip(), typeset(self.unit))


def estimates_by_core(estimates: Estimates, note: str) -> Figure:
    """Estimated against measured values with the identity line, and the RMSE of each core."""
    estimated = _numbers(estimates.estimated)
    measured = _numbers(estimates.measured)
    finite = np.isfinite(estimated) & np.isfinite(measured)
    estimated = estimated[finite]
    measured = measured[finite]
    cores = np.asarray(estimates.cores, dtype=str)[finite]
    names = list(dict.fromkeys(cores))
    told_apart = 1 < len(names) <= len(COLOURS) * len(MARKERS)
    figure, (axis,) = panel_grid(1, 1, PANEL, PANEL, 0, 0, square=True)
    if told_apart:
        _make_room_for_list(figure, len(names))
    make_equal(axis, [measured, estimated])
    for index, name in enumerate(names):
        true = measured[cores == name]
        found = estimated[cores == name]
        words = f"{_shown(name)}  {root_mean_squared_error(found, true):.3g}"
        marker = "o"
        colour = COLOURS[0]
        if told_apart:
            marker = MARKERS[index // len(COLOURS)]
            colour = COLOURS[index % len(COLOURS)]
        axis.plot(true, found, marker, c=colour, ms=4, alpha=0.65, mew=0, zorder=2, label=words)
    axis.set_xlabel(estimates.label("measured"))
    axis.set_ylabel(estimates.label("estimated"))
    write_errors(axis, measured, estimated, estimates.unit)
    if told_apart:
        heading = with_unit("core, and its RMSE", typeset(estimates.unit))
        place, columns = (
            ((-0.1, -0.17), 2) if narrow() else ((1.0, 1.02), -(-len(names) // LISTED_CORES))
        )
        axis.legend(
            loc="upper left",
            bbox_to_anchor=place,
            ncols=columns,
            columnspacing=1.0,
            handlelength=1.0,
            alignment="left",
            frameon=False,
            fontsize=small(),
            title=heading,
            title_fontsize=small(),
        )
    add_title(
        figure,
        f"{len(estimated)} spectra of {len(names)} core{'s' if len(names) != 1 else ''}",
        note,
    )
    return figure


def _make_room_for_list(figure: Figure, cores: int) -> None:
    """Room for the legend of a panel: beside it, or below it in a narrow figure."""
    if narrow():
        make_room(figure, bottom=sized(0.19) * (-(-cores // 2) + 2))
        return
    wide = float(figure.get_figwidth())
    of_list = -(-cores // LISTED_CORES) * sized(WIDTH_OF_LIST)
    left = sized(LEFT)
    side = figure.axes[0].get_position().width * wide
    if exact():  # the panel gives way
        side = min(side, wide - left - of_list)
        left += max(wide - left - of_list - side, 0) / 2
    else:
        wide = left + side + of_list
        figure.set_figwidth(wide)
    figure.subplots_adjust(left / wide, right=(left + side) / wide)


def down_core(estimates: Estimates, note: str, interval: str = "") -> Figure:
    """A panel per core, depth downwards: the estimates as a line, those of baselines as thinner
    ones, measured values as dots.

    Without depths, spectra are drawn in their order. Of many cores only some are drawn, evenly
    spread over their order, and the title says so.

    interval  what the intervals are, for the title
    """
    names = list(estimates.baselines)
    profiles = list(_profiles(estimates))
    most = MOST_NARROW if narrow() else MOST_PROFILES
    drawn = [profiles[index] for index in spread_evenly(len(profiles), most)]
    count = max(len(drawn), 1)
    # so that the title of a single core can be read, and several lines be told apart
    width = max(1.9 if names else 1.25, 3.75 / count)
    sizes = (width, 1.8, 0.42, 0.8) if narrow() else (width, 2.7, 0.5, 0.8)
    figure, axes = panel_grid(count, PROFILES_IN_A_ROW, *sizes, stretch=(1.0, 1.0))
    with_depths = np.isfinite(_numbers(estimates.depths)).any()
    seen = set[str]()
    for axis, (core, profile) in zip(axes, drawn, strict=False):
        _draw_profile(axis, *profile[:5])
        seen |= _draw_baselines(axis, names, profile)
        axis.set_title(_shown(core), fontsize=sized(9), y=TITLE)
        first, lowest = place_of(axis, len(drawn))
        if first:
            axis.set_ylabel(with_unit("depth", estimates.depth_unit) if with_depths else "spectrum")
        if lowest:
            axis.set_xlabel(estimates.label(""), fontsize=sized(9))
    some = f", {len(drawn)} of {len(profiles)} cores" if len(drawn) < len(profiles) else ""
    if names:
        legend_below(figure, axes[0])
    dots = "each on its own scale; line: estimated"
    dots += "; dots: measured" * (estimates.measured is not None)
    dots += f"; band: {interval}" if estimates.interval is not None else ""
    if unseen := [name for name in names if name not in seen]:
        dots += f"; not in the frame: {', '.join(unseen)}"
    name = estimates.name.replace("_", " ")
    add_title(figure, f"{name} down core{some}", note, dots)
    return figure


def _profiles(estimates: Estimates) -> Iterator[tuple[str, list[Array]]]:
    """Each core with its depths, estimates, measured values, ends of intervals and estimates of
    baselines, from top to bottom.

    NaN stands for what there is not; without any depth, spectra are numbered from 1.
    """
    given = (
        estimates.depths,
        estimates.estimated,
        estimates.measured,
        *(estimates.interval or (None, None)),
        *estimates.baselines.values(),
    )
    depths, *others = (np.broadcast_to(_numbers(values), len(estimates.cores)) for values in given)
    depths_known = bool(np.isfinite(depths).any())
    names, owners = np.unique(np.asarray(estimates.cores, dtype=str), return_inverse=True)
    # Rows of a core need not be adjacent, but a search for each of many cores would be slow.
    order = np.lexsort((depths, owners))
    rows_of_cores = np.split(order, np.cumsum(np.bincount(owners))[:-1])
    for name, rows in zip(names, rows_of_cores, strict=False):
        places = depths[rows] if depths_known else np.arange(1, len(rows) + 1, dtype=np.float64)
        finite = np.isfinite(places)
        if finite.any():
            yield str(name), [places[finite], *(values[rows[finite]] for values in others)]


def _draw_profile(
    axis: Axes, depths: Array, estimated: Array, measured: Array, low: Array, high: Array
) -> None:
    width, marker = (1.3, ".") if len(depths) <= 60 else (0.8, None)
    axis.fill_betweenx(depths, low, high, color=ESTIMATED, alpha=0.18, linewidth=0, zorder=1)
    axis.plot(
        estimated,
        depths,
        "-",
        color=ESTIMATED,
        linewidth=width,
        zorder=2,
        marker=marker,
        markersize=4,
        label=NETWORK,
    )
    axis.plot(measured, depths, "o", c=MEASURED, ms=2.6, alpha=0.8, mew=0, label="measured")
    axis.invert_yaxis()
    axis.tick_params(labelsize=small())
    axis.locator_params(axis="x", nbins=3)
    axis.grid(alpha=0.25, linewidth=0.5)


def _draw_baselines(axis: Axes, names: Sequence[str], profile: Sequence[Array]) -> set[str]:
    """Draw them, and return those of which something is in the frame."""
    left, right = axis.get_xlim()
    axis.set_prop_cycle(**OF_BASELINES)
    for name, values in zip(names, profile[5:], strict=True):
        # Thinner than the line of the network, and below it.
        axis.plot(
            values, profile[0], marker=".", markersize=2, linewidth=0.7, zorder=1.5, label=name
        )
    # One that is far off would squeeze all else: the frame gets at most three times as wide as it
    # is for the network and the measured values.
    reached = np.clip(axis.dataLim.intervalx, 2 * left - right, 2 * right - left)
    left, right = min(left, reached[0]), max(right, reached[1])
    axis.set_xlim(left, right)
    pairs = zip(names, profile[5:], strict=True)
    return {name for name, values in pairs if ((left <= values) & (values <= right)).any()}


def spread_evenly(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of `count` positions, evenly spread, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64))


def _numbers(values: ArrayLike | None) -> Array:
    return np.asarray(np.nan if values is None else values, dtype=np.float64)


def _shown(core: str) -> str:
    """A core's name, shortened; a dollar sign does not start a formula."""
    return without_end(core, LONGEST_CORE).replace("$", r"\$")


# Spectra that a network reconstructed from a part of their channels, and its errors by energy.


Array = NDArray[np.floating]

MARKED = {
    "Al": 1.4865, "Si": 1.7398, "P": 2.0105, "S": 2.3095, "Cl": 2.622, "Ar": 2.9575, "K": 3.3138,
    "Ca": 3.6923, "Ti": 4.5122, "Mn": 5.9003, "Fe": 6.4052, "Zn": 8.6372, "Br": 11.924,
    "Rb": 13.396, "Sr": 14.165, "Zr": 15.775, "Rh": 20.216,
}  # fmt: skip
"""Elements with lines in spectra of sediments, including argon of the air and rhodium of the tube,
and the energies of their Kα1 lines [keV]: Elam, Ravel and Sieber (2002), Radiat. Phys. Chem. 63,
121-128.
"""

LEAST_COUNTS = 0.5
"""Value at which counts of zero are drawn on logarithmic axes."""

HIDDEN = "0.9"
"""The grey of hidden channels."""

PANEL_WIDTH, PANEL_HEIGHT, ERRORS_PANEL, WIDE_PANEL = 3.7, 1.75, (9.0, 3.2), 9.0
"""Sizes of the panels of a spectrum, of the panel of errors by energy, and width of those of
saliency [inch].
"""

WIDE_SAMPLE, PANELS_IN_A_ROW = 3.4, 3
"""Width of a panel of a sample [inch], and number of such panels in a row."""

MOST_LEVELS = 2
"""Number of rows of element symbols; a symbol without a free place is left out."""


def energies(first_and_step: Sequence[float] | None, channels: int) -> Array | None:
    """Energies of the channels, (channel,) [keV]; None if they are unknown."""
    if first_and_step is None:
        return None
    return first_and_step[0] + first_and_step[1] * np.arange(channels)


Reconstruction = tuple[str, Array, Array, Mask]
"""Title, counts, reconstructed counts, and what was hidden, (channel,) each."""


def reconstructions(spectra: Sequence[Reconstruction], where: Array | None, note: str) -> Figure:
    """A row per spectrum: its counts, its visible channels, and the reconstruction over them.

    In a narrow figure without the first, which is also behind the last.
    """
    each, more = (2, LINE_HEIGHT) if narrow() else (3, 0.0)
    figure, axes = panel_grid(
        each * len(spectra),
        1 if narrow() else each,
        PANEL_WIDTH,
        PANEL_HEIGHT,
        column_gap=0.2,
        row_gap=0.42 + more,
        top=GRID_TOP + more,
        fold=False,
        stretch=(0.75, 0.9),
    )
    for row, (title, true, estimated, hidden) in enumerate(spectra):
        of_spectrum = axes[each * row : each * (row + 1)]
        *originals, visible, reconstructed = of_spectrum
        x = _positions(where, len(true))
        counts = np.maximum(true, LEAST_COUNTS)
        estimate = np.maximum(estimated, LEAST_COUNTS)
        for original in originals:
            original.plot(x, counts, color=COLOURS[6], linewidth=0.7)
        visible.plot(x, np.where(hidden, np.nan, counts), color=COLOURS[6], linewidth=0.7)
        reconstructed.plot(x, counts, color="0.7", linewidth=0.7, label="original")
        for values, colour, words in (
            (np.where(hidden, estimate, np.nan), COLOURS[1], "of what was hidden"),
            (np.where(hidden, np.nan, estimate), COLOURS[0], "of what was seen"),
        ):
            reconstructed.plot(x, values, color=colour, linewidth=0.8, label=words)
        changes = np.flatnonzero(np.diff(hidden.astype(np.int8), prepend=0, append=0))
        half = 0.5 * (x[-1] - x[0]) / max(len(x) - 1, 1)
        # neighbouring hidden channels
        for first, end in zip(changes[::2], changes[1::2], strict=True):
            visible.axvspan(x[first] - half, x[end - 1] + half, color=HIDDEN, linewidth=0, zorder=0)
        _share_counts(of_spectrum, counts, estimate[hidden])
        title = title.replace("$", r"\$")
        seen = f"seen; hidden is grey ({100 * hidden.mean():.0f} %)"
        titles = (
            [title, seen, "reconstructed"] if originals else [f"{title}\n{seen}", "reconstructed"]
        )
        for axis, words in zip(of_spectrum, titles, strict=True):
            axis.set_title(words, fontsize=sized(9), y=TITLE)
            _span(axis, x)
            label_outer(axis, len(axes), _label(where), "counts", sized(9))
    if spectra:
        legend_below(figure, axes[each - 1])
    add_title(
        figure,
        "spectra of which a network saw a part",
        note,
        f"counts of 0 are drawn as {LEAST_COUNTS:g}",
    )
    return figure


def sample_spectra(spectra: Sequence[tuple[str, Array]], where: Array | None, title: str) -> Figure:
    """A panel per spectrum, all on one logarithmic scale, with elements marked at their K alpha
    lines above.

    spectra  title and counts, (channel,), of each
    """
    lines = 0
    titles = [words for words, _ in spectra]
    for _ in range(2):  # the second time with room for titles in several lines
        more = LINE_HEIGHT * lines
        sizes = WIDE_SAMPLE, PANEL_HEIGHT, 0.2, 0.6 + more
        figure, axes = panel_grid(len(spectra), PANELS_IN_A_ROW, *sizes, top=0.85 + more)
        titles = [fitting(axes[0], words, size=LEAST_TEXT) for words, _ in spectra]
        lines = max(words.count("\n") for words in titles)
    figure.set_dpi(resolution())
    marked = _lines(where)
    for axis, words, (_, counts) in zip(axes, titles, spectra, strict=True):
        x = _positions(where, len(counts))
        axis.plot(x, np.maximum(counts, LEAST_COUNTS), color=COLOURS[6], linewidth=0.7)
        _span(axis, x)
        axis.set_title(words, fontsize=small(), y=TITLE, pad=sized(28 if marked else 6))
        label_outer(axis, len(spectra), _label(where), "counts", small())
    _share_counts(axes, np.concatenate([counts for _, counts in spectra]))
    for axis in axes if marked else ():
        _mark_elements(axis, marked)
    add_title(figure, title, caption=f"counts of 0 are drawn as {LEAST_COUNTS:g}")
    return figure


def errors_by_energy(errors: Mapping[str, Array], where: Array | None, note: str) -> Figure:
    """Errors of hidden channels as curves over the energy, with elements marked at their K alpha
    lines.

    errors  label in the legend → root mean squared error, (channel,) [counts]; NaN where never
            hidden
    """
    figure, (axis,) = panel_grid(1, 1, *ERRORS_PANEL, column_gap=0, row_gap=0)
    figure.set_dpi(resolution())
    for (name, values), colour in zip(
        errors.items(), (COLOURS[1], COLOURS[0], "0.55"), strict=False
    ):
        x = _positions(where, len(values))
        axis.plot(
            x, np.where(_drawable(values), values, np.nan), color=colour, linewidth=0.9, label=name
        )
        _span(axis, x)
    axis.set_xlabel(_label(where))
    axis.set_ylabel("RMSE of hidden channels (counts)")
    axis.set_yscale("log")
    if not any(_drawable(values).any() for values in errors.values()):
        axis.set_ylim(1, 10)
    plain_numbers(axis.yaxis)
    axis.grid(alpha=0.25, linewidth=0.5, axis="y")
    _mark_elements(axis, _lines(where))
    legend_below(figure, axis)
    add_title(figure, "", note)
    return figure


def saliency(table: xarray.Dataset, output: str, note: str) -> Figure:
    """The mean spectrum, and below it how much each channel raises or lowers the estimate, with
    elements marked.

    table  input times gradient, averaged over test spectra, as an evaluation writes it, with
           energies if they are known
    """
    mean = table[saliency_of(output)]
    counts = table["counts"].values
    where = _energies_in(table)
    figure, (spectrum, axis) = panel_grid(
        2, 1, WIDE_PANEL, PANEL_HEIGHT, column_gap=0, row_gap=0.15, left=0.85
    )
    figure.set_dpi(resolution())
    x = _positions(where, len(counts))
    spectrum.plot(x, np.maximum(counts, LEAST_COUNTS), color=COLOURS[6], linewidth=0.8)
    spectrum.set_yscale("log")
    spectrum.set_ylim(bottom=LEAST_COUNTS)
    spectrum.set_ylabel("mean counts")
    spectrum.tick_params(labelbottom=False)
    for extreme, colour, what in (
        (np.maximum, COLOURS[1], "raises"),
        (np.minimum, COLOURS[0], "lowers"),
    ):
        axis.fill_between(
            x,
            0,
            extreme(mean.values, 0),
            color=colour,
            linewidth=0,
            label=f"mean: {what} the estimate",
        )
    magnitude = table[saliency_magnitude_of(output)].values
    axis.plot(x, magnitude, color="0.2", linewidth=0.6, label="mean of the absolute value")
    axis.axhline(0, color="0.2", linewidth=0.5)
    measure = typeset(unit(table, saliency_of(output)))
    axis.set_ylabel(with_unit("input × gradient", measure))
    axis.set_xlabel(_label(where))
    for panel in (spectrum, axis):
        _span(panel, x)
    plain_numbers(spectrum.yaxis)
    for energy in _mark_elements(spectrum, _lines(where)):
        axis.axvline(energy, color="0.75", linewidth=0.5, zorder=0)
    legend_below(figure, axis)
    add_title(
        figure,
        f"{output}: contribution of channels",
        note,
        f"means over the estimates of {int(table.attrs['spectra']):,} test spectra",
    )
    return figure


def _drawable(values: Array) -> Mask:
    """Whether values can be drawn on a logarithmic axis."""
    return np.asarray(np.isfinite(values) & (values > 0))


def _lines(where: Array | None) -> dict[str, float]:
    """Elements and energies of their K alpha lines among those of channels, from low to high [keV];
    none without.
    """
    low, high = (np.inf, np.inf) if where is None else (where[0], where[-1])
    return {name: line for name, line in MARKED.items() if low <= line <= high}


def _mark_elements(axis: Axes, of_elements: Mapping[str, float]) -> list[float]:
    """A thin line through the panel for each element, and its symbol above, in another row if
    symbols would touch.

    Returns the energies of those that are marked.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = axis.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]  # matplotlib's own
    ends = [-np.inf] * MOST_LEVELS
    """End of the last symbol in each row [pixel]."""
    marked = []
    at_top = axis.get_xaxis_transform()
    line: Any = {
        "color": "0.75",
        "linewidth": 0.5,
        "clip_on": False,
        "scalex": False,
        "scaley": False,
    }
    for element, energy in of_elements.items():
        text = axis.text(
            energy,
            1,
            element,
            transform=at_top,
            ha="center",
            va="bottom",
            fontsize=small(),
            color="0.25",
        )
        box = text.get_window_extent(renderer)
        level = next((level for level, end in enumerate(ends) if box.x0 > end + 3), None)
        if level is None:
            text.remove()
            continue
        ends[level] = box.x1
        marked.append(energy)
        top = 1 + (0.4 + level) * 1.05 * box.height / axis.bbox.height
        text.set_y(top)
        axis.plot([energy, energy], [0, top], transform=at_top, zorder=0, **line)
    return marked


def _span(axis: Axes, x: Array) -> None:
    if len(x) > 1:
        axis.set_xlim(x[0], x[-1])


def _share_counts(axes: Sequence[Axes], *values: Array) -> None:
    """One logarithmic scale, which ignores a few extreme estimates."""
    finite = [each[np.isfinite(each)] for each in values]
    high = max((float(np.percentile(each, 99.9)) for each in finite if len(each)), default=1.0)
    highest = max(high, float(values[0].max()), 10 * LEAST_COUNTS)
    for axis in axes:
        axis.set_yscale("log")
        axis.set_ylim(0.8 * LEAST_COUNTS, 1.6 * highest)
        plain_numbers(axis.yaxis)


def _positions(where: Array | None, channels: int) -> Array:
    return np.arange(channels, dtype=np.float64) if where is None else where


def _label(where: Array | None) -> str:
    return "channel" if where is None else "energy (keV)"


# Figures of runs on spectra: estimates of the test spectra by core, and reconstructed channels.


CURVES = {
    "rmse": "network",
    "rmse_of_mean": "mean training spectrum",
    "counting_noise": "noise of counting",
}
"""Column of the errors by energy → its name in the legend."""


def estimates_by_core_of_run(directory: RunDirectory) -> Pictures:
    """Estimates against measured values, by core; no figure if there are no numbers."""
    for estimates in _estimates(directory):
        yield (
            FIGURES_FOLDER / "estimates_by_core",
            estimates_by_core(estimates, directory.record().caution),
        )


def down_core_of_run(directory: RunDirectory) -> Pictures:
    """Estimates and measured values over depth, a panel per core, if there are numbers."""
    for estimates in _estimates(directory):
        complete = replace(
            estimates,
            interval=ends_of_intervals(directory, estimates.name),
            baselines=_baselines(directory, estimates.name),
        )
        figure = down_core(complete, directory.record().caution, intervals_in_words(directory))
        yield FIGURES_FOLDER / "down_core", figure


def _baselines(directory: RunDirectory, output: str) -> Mapping[str, ArrayLike]:
    """Baseline → its estimates of the test spectra; none of older runs, which did not keep them."""
    path = directory.results / BASELINES
    estimates = {}
    for column, values in columns(path).items() if path.is_file() else ():
        output_of_column, _, name = column.partition(": ")
        if output_of_column == output:
            estimates[name] = numbers(values)
    return estimates


def _estimates(directory: RunDirectory) -> Iterator[Estimates]:
    spectra = table(directory.results / TEST_PREDICTIONS)
    for name in outputs(directory, spectra):
        depths, estimated, truth = (
            spectra[column].values for column in ("depth", estimate_of(name), name)
        )
        cores = texts(spectra, "core")
        depth_unit = unit(spectra, "depth")
        yield Estimates(name, unit(spectra, name), cores, depths, estimated, truth, depth_unit)


def errors_by_energy_of_run(directory: RunDirectory) -> Pictures:
    """Errors of hidden channels over the energy; no figure if the run reconstructs no spectra."""
    if SPECTRUM not in directory.spec()["outputs"]:
        return
    errors = columns(directory.results / ERRORS_BY_ENERGY)
    where = numbers(errors["energy"]) if "energy" in errors else None
    curves = {words: numbers(errors[name]) for name, words in CURVES.items()}
    finite = {words: curve for words, curve in curves.items() if np.isfinite(curve).any()}
    figure = errors_by_energy(finite, where, directory.record().caution)
    yield FIGURES_FOLDER / "errors_by_energy", figure


def saliency_of_run(directory: RunDirectory) -> Pictures:
    """How much each channel contributes to the estimates, if there are numbers."""
    spec = directory.spec()
    for name in spec["outputs"]:
        if name != SPECTRUM and output_in(spec, name).figure == Number.figure:
            variables = table(directory.results / SALIENCY, [saliency_of(name)])
            yield FIGURES_FOLDER / "saliency", saliency(variables, name, directory.record().caution)


def reconstructions_of_run(directory: RunDirectory) -> Pictures:
    """Some test spectra, their visible channels and reconstructions; no figure if the run
    reconstructs no spectra.
    """
    if SPECTRUM not in directory.spec()["outputs"]:
        return
    variables = table(directory.results / RECONSTRUCTIONS)
    planes = (
        variables["counts"].values,
        variables["reconstruction"].values,
        variables["hidden"].values.astype(bool),
    )
    titles = [
        _title(variables.isel(spectrum=index)) for index in range(variables.sizes["spectrum"])
    ]
    spectra = list(zip(titles, *planes, strict=True))
    figure = reconstructions(spectra, _energies_in(variables), directory.record().caution)
    yield FIGURES_FOLDER / "reconstructions", figure


def _energies_in(table: xarray.Dataset) -> Array | None:
    return table["energy"].values if "energy" in table.coords else None


def _title(spectrum: xarray.Dataset) -> str:
    words = [str(spectrum["name"].values), str(spectrum["core"].values)]
    depth = float(spectrum["depth"].values)
    if np.isfinite(depth):
        words.append(f"{depth:g} {unit(spectrum, 'depth')}".rstrip())
    return ", ".join(words)


FIGURES: Mapping[str, FigureOfRun] = {
    "learning_curve": learning_curve,
    "estimates_by_core": estimates_by_core_of_run,
    "down_core": down_core_of_run,
    "coverage": coverage,
    "saliency": saliency_of_run,
    "errors_by_energy": errors_by_energy_of_run,
    "reconstructions": reconstructions_of_run,
}

"""Spectra that a network reconstructed from a part of their channels, and its errors by energy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qexp.figures.canvas import COLOURS, TITLE, plain_numbers, resolution, sized, titled
from qexp.figures.panel_grid import panel_grid
from qexp.quantities import typeset

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.floating]

MARKED = (
    "Al", "Si", "P", "S", "Cl", "Ar", "K", "Ca", "Ti", "Mn", "Fe", "Zn", "Br", "Rb", "Sr", "Zr", "Rh",
)  # fmt: skip
"""Elements with lines in spectra of sediments, including argon of the air and rhodium of the tube."""

LEAST_COUNTS = 0.5
"""Value at which counts of zero are drawn on logarithmic axes."""

HIDDEN = "0.9"
"""The grey of hidden channels."""

WIDE, HIGH, OF_ERRORS, WIDE_PANEL = 3.7, 1.75, (9.0, 3.2), 9.0
"""Sizes of the panels of a spectrum, of the panel of errors by energy, and width of those of saliency [inch]."""

WIDE_SAMPLE, IN_A_ROW = 3.4, 3
"""Width of a panel of a sample [inch], and number of such panels in a row."""

MOST_LEVELS = 2
"""Number of rows of element symbols; a symbol without a free place is left out."""


@dataclass(frozen=True)
class Reconstruction:
    """A spectrum and its reconstruction from its visible channels; counts, (channel,) each."""

    title: str
    counts: Array
    reconstructed: Array
    hidden: NDArray[np.bool_]


@dataclass(frozen=True)
class Saliency:
    """Input times gradient of an estimate, averaged over test spectra, (channel,) each."""

    output: str
    unit: str
    mean: Array
    magnitude: Array
    """Mean of the absolute value."""
    counts: Array
    """Mean counts of the spectra."""
    spectra: int
    """Their number."""


def energies(first_and_step: Sequence[float] | None, channels: int) -> Array | None:
    """Energies of the channels, (channel,) [keV], from that of the first and the step; None if unknown."""
    return None if first_and_step is None else first_and_step[0] + first_and_step[1] * np.arange(channels)


def reconstructions(spectra: Sequence[Reconstruction], where: Array | None, note: str) -> Figure:
    """A row per spectrum: its counts, its visible channels, and the reconstruction over them.

    where  energies of the channels, (channel,) [keV]; None: drawn against channel numbers
    note   caution on the numbers, may be empty
    """
    made, axes = panel_grid(3 * len(spectra), 3, WIDE, HIGH, across=0.2, down=0.35)
    for row, spectrum in enumerate(spectra):
        original, seen, reconstructed = axes[3 * row : 3 * row + 3]
        x = _positions(where, len(spectrum.counts))
        counts = np.maximum(spectrum.counts, LEAST_COUNTS)
        estimate = np.maximum(spectrum.reconstructed, LEAST_COUNTS)
        original.plot(x, counts, color=COLOURS[6], linewidth=0.7)
        seen.plot(x, np.where(spectrum.hidden, np.nan, counts), color=COLOURS[6], linewidth=0.7)
        reconstructed.plot(x, counts, color="0.7", linewidth=0.7, label="original")
        for values, colour, label in (
            (np.where(spectrum.hidden, estimate, np.nan), COLOURS[1], "of what was hidden"),
            (np.where(spectrum.hidden, np.nan, estimate), COLOURS[0], "of what was seen"),
        ):
            reconstructed.plot(x, values, color=colour, linewidth=0.8, label=label)
        _shade(seen, x, spectrum.hidden)
        _share_counts((original, seen, reconstructed), counts, estimate[spectrum.hidden])
        original.set_ylabel("counts", fontsize=sized(9))
        original.set_title(spectrum.title.replace("$", r"\$"), fontsize=sized(9), y=TITLE)
        seen.set_title(f"seen; hidden is grey ({100 * spectrum.hidden.mean():.0f} %)", fontsize=sized(9), y=TITLE)
        reconstructed.set_title("reconstructed", fontsize=sized(9), y=TITLE)
        for axis in (original, seen, reconstructed):
            _span(axis, x)
            axis.tick_params(labelsize=sized(8), labelleft=axis is original, labelbottom=row == len(spectra) - 1)
            if row == len(spectra) - 1:
                axis.set_xlabel(_label(where), fontsize=sized(9))
    if spectra:
        axes[2].legend(fontsize=sized(7), loc="upper right", frameon=True, framealpha=0.7, edgecolor="none")
    titled(made, "spectra of which a network saw a part; counts of 0 are drawn as 0.5", note)
    return made


def sample_spectra(spectra: Sequence[tuple[str, Array]], where: Array | None, title: str) -> Figure:
    """A panel per spectrum, all on one logarithmic scale, with elements marked at their K alpha lines above.

    spectra  title and counts, (channel,), of each
    where    energies of the channels, (channel,) [keV]; None: drawn against channel numbers, without elements
    """
    made, axes = panel_grid(len(spectra), IN_A_ROW, WIDE_SAMPLE, HIGH, across=0.2, down=0.6, top=0.85)
    made.set_dpi(resolution())
    marked = {} if where is None else dict(_lines(float(where[0]), float(where[-1])))
    for number, (axis, (words, counts)) in enumerate(zip(axes, spectra, strict=True)):
        axis.plot(_positions(where, len(counts)), np.maximum(counts, LEAST_COUNTS), color=COLOURS[6], linewidth=0.7)
        _span(axis, _positions(where, len(counts)))
        lowest = number + IN_A_ROW >= len(spectra)
        axis.set_title(words.replace("$", r"\$"), fontsize=sized(8), y=1.0 if not marked else 1.16)
        axis.tick_params(labelsize=sized(7), labelleft=number % IN_A_ROW == 0, labelbottom=lowest)
        if lowest:
            axis.set_xlabel(_label(where), fontsize=sized(8))
        if number % IN_A_ROW == 0:
            axis.set_ylabel("counts", fontsize=sized(8))
    _share_counts(axes, np.concatenate([counts for _, counts in spectra]))
    for axis in axes if marked else ():
        _mark_elements(axis, marked)
    titled(made, f"{title}; counts of 0 are drawn as {LEAST_COUNTS:g}")
    return made


def errors_by_energy(errors: Mapping[str, Array], where: Array | None, note: str) -> Figure:
    """Errors of hidden channels as curves over the energy, with elements marked at their K alpha lines.

    errors  label in the legend → root mean squared error, (channel,) [counts]; NaN where never hidden
    where   energies of the channels, (channel,) [keV]; None: drawn against channel numbers, without elements
    note    caution on the numbers, may be empty
    """
    made, (axis,) = panel_grid(1, 1, *OF_ERRORS, across=0, down=0)
    made.set_dpi(resolution())
    for (name, values), colour in zip(errors.items(), (COLOURS[1], COLOURS[0], "0.55"), strict=False):
        x = _positions(where, len(values))
        axis.plot(x, np.where(_drawable(values), values, np.nan), color=colour, linewidth=0.9, label=name)
        _span(axis, x)
    axis.set_xlabel(_label(where))
    axis.set_ylabel("RMSE of hidden channels (counts)")
    axis.set_yscale("log")
    if not any(_drawable(values).any() for values in errors.values()):
        axis.set_ylim(1, 10)
    plain_numbers(axis.yaxis)
    axis.grid(alpha=0.25, linewidth=0.5, axis="y")
    if where is not None:
        _mark_elements(axis, dict(_lines(float(where[0]), float(where[-1]))))
    axis.legend(fontsize=sized(8), loc="upper right", frameon=True, framealpha=0.8, edgecolor="none")
    titled(made, "", note)
    return made


def saliency(of: Saliency, where: Array | None, note: str) -> Figure:
    """The mean spectrum, and below it how much each channel raises or lowers the estimate, with elements marked.

    where  energies of the channels, (channel,) [keV]; None: drawn against channel numbers, without elements
    note   caution on the numbers, may be empty
    """
    made, (spectrum, axis) = panel_grid(2, 1, WIDE_PANEL, HIGH, across=0, down=0.15)
    made.set_dpi(resolution())
    x = _positions(where, len(of.counts))
    spectrum.plot(x, np.maximum(of.counts, LEAST_COUNTS), color=COLOURS[6], linewidth=0.8)
    spectrum.set_yscale("log")
    spectrum.set_ylim(bottom=LEAST_COUNTS)
    spectrum.set_ylabel("mean counts")
    spectrum.tick_params(labelbottom=False)
    axis.fill_between(x, 0, np.maximum(of.mean, 0), color=COLOURS[1], linewidth=0, label="mean: raises the estimate")
    axis.fill_between(x, np.minimum(of.mean, 0), 0, color=COLOURS[0], linewidth=0, label="mean: lowers the estimate")
    axis.plot(x, of.magnitude, color="0.2", linewidth=0.6, label="mean of the absolute value")
    axis.axhline(0, color="0.2", linewidth=0.5)
    unit = typeset(of.unit)
    axis.set_ylabel("input × gradient" + (f" ({unit})" if unit else ""))
    axis.set_xlabel(_label(where))
    for panel in (spectrum, axis):
        _span(panel, x)
    plain_numbers(spectrum.yaxis)
    if where is not None:
        for energy in _mark_elements(spectrum, dict(_lines(float(where[0]), float(where[-1])))):
            axis.axvline(energy, color="0.75", linewidth=0.5, zorder=0)
    axis.legend(fontsize=sized(8), loc="upper right", frameon=True, framealpha=0.8, edgecolor="none")
    titled(made, f"{of.output}: mean contribution of channels to the estimates of {of.spectra:,} test spectra", note)
    return made


def _drawable(values: Array) -> NDArray[np.bool_]:
    """Counts for a logarithmic axis, with zero replaced."""
    return np.asarray(np.isfinite(values) & (values > 0))


def _lines(lowest: float, highest: float) -> Iterator[tuple[str, float]]:
    """Elements and energies of their K alpha lines between two energies, from low to high [keV]."""
    from qexp.physics.xrf import lines  # it reads its tables at import

    for element in MARKED:
        energy = next(line.energy for line in lines(element, 0.0) if line.name == "Ka1") / 1000
        if lowest <= energy <= highest:
            yield element, energy


def _mark_elements(axis: Axes, of_elements: Mapping[str, float]) -> list[float]:
    """A thin line through the panel for each element, and its symbol above, in another row if symbols would touch.

    Returns the energies of those that are marked.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = axis.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]  # matplotlib's own
    ends = [-np.inf] * MOST_LEVELS
    """End of the last symbol in each row [pixel]."""
    marked = []
    for element, energy in of_elements.items():
        text = axis.text(
            energy,
            1,
            element,
            transform=axis.get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize=sized(8),
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
        axis.plot(
            [energy, energy], [0, top], transform=axis.get_xaxis_transform(), color="0.75", linewidth=0.5, zorder=0,
            clip_on=False, scalex=False, scaley=False,
        )  # fmt: skip
    return marked


def _shade(axis: Axes, x: Array, hidden: NDArray[np.bool_]) -> None:
    """Grey behind hidden channels, one rectangle for each run of neighbours."""
    changes = np.flatnonzero(np.diff(hidden.astype(np.int8), prepend=0, append=0))
    half = 0.5 * (x[-1] - x[0]) / max(len(x) - 1, 1)
    for first, end in zip(changes[::2], changes[1::2], strict=True):
        axis.axvspan(x[first] - half, x[end - 1] + half, color=HIDDEN, linewidth=0, zorder=0)


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

"""Estimates against true values: rows, spectra and samples as points, fields as maps of whole frames."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.estimates import spread_of
from qexp.figures.matrix import half_width, span
from qexp.quantities import in_words
from qexp.runs.figures.sources import MissingNumbersError, outputs, table, truth_and_estimate, unit
from qexp.runs.record.directory import FRAMES
from qexp.spec.kinds.kind import TEST_PREDICTIONS

if TYPE_CHECKING:
    import xarray

    from qexp.runs.record.directory import RunDirectory

MOST_POINTS = 4000
"""Samples that are drawn at most, evenly over the file."""

MOST_CELLS = 300_000
"""Values of fields that are embedded for each folder at most; of more frames some are left out."""


def points(directory: RunDirectory) -> list[dict[str, Any]]:
    """A panel per output of the test samples; none for runs without a table of them."""
    try:
        found = table(directory.results / TEST_PREDICTIONS)
    except MissingNumbersError:
        return []
    known = outputs(found)
    return [_panel(found, output, directory.part, known) for output in known if found[output].ndim == 1]


def _panel(found: xarray.Dataset, output: str, part: str, known: list[str]) -> dict[str, Any]:
    truth, estimate = truth_and_estimate(found, output)
    each = max(1, -(-len(truth) // MOST_POINTS))
    note = f", {len(truth[::each]):,} of {len(truth):,} samples" if each > 1 else ""
    spread = found[spread_of(output)].values[::each] if spread_of(output) in found else np.array([])
    return {
        "title": f"{in_words(output)}: {part} part{note}",
        "words": in_words(output),
        "unit": unit(found, output),
        "truth": truth[::each].astype(float).tolist(),
        "estimate": estimate[::each].astype(float).tolist(),
        "spread": spread.astype(float).tolist() if np.isfinite(spread).any() else [],
        "samples": _names(found.isel({found[output].dims[0]: slice(None, None, each)}), output, known),
    }


def _names(found: xarray.Dataset, output: str, outputs: list[str]) -> list[str]:
    """What identifies each sample: its texts, then its number, then what else varies, such as the depth in a core."""
    (dimension,) = map(str, found[output].dims)
    aside = {f"{name}{ending}" for name in outputs for ending in ("", "_estimate", "_spread")}
    others = [name for name in map(str, found.data_vars) if name not in aside and found[name].dims == (dimension,)]
    texts = [found[name].values.astype(str) for name in others if found[name].dtype.kind in "UOST"]
    numbers = [name for name in others if found[name].dtype.kind == "f" and len(np.unique(found[name].values)) > 1]
    columns = [
        *texts,
        [f"{dimension} {number}" for number in found[dimension].values],
        *(
            [f"{in_words(name)} {value:.4g} {unit(found, name)}".rstrip() for value in found[name].values]
            for name in numbers
        ),
    ]
    return [", ".join(words) for words in zip(*columns, strict=True)]


def fields(directory: RunDirectory) -> Iterator[dict[str, Any]]:
    """The test frames that the run keeps, as maps of true values, estimates and errors: one for each folder."""
    for path in sorted((directory.results / FRAMES).glob("*.nc")):
        kept = table(path)
        known = outputs(kept)
        most = max(1, MOST_CELLS // (3 * len(known) * kept.sizes["x"] * kept.sizes["y"]))
        if kept.sizes["frame"] > most:
            kept = kept.isel(frame=np.linspace(0, kept.sizes["frame"] - 1, most).round().astype(int))
        yield {
            "name": path.stem,
            "axes": _places(kept),
            "outputs": [_layers(kept, output) for output in known],
            "fixed": [],
            "blank": "",
        }


def _places(kept: xarray.Dataset) -> list[dict[str, Any]]:
    left, right, bottom, top = map(float, kept.attrs["extent"])
    plain = {"held_out": [], "turn": False}
    made = []
    for name, low, high in (("x", left, right), ("y", bottom, top)):
        cells = kept.sizes[name]
        centres = (low + (np.arange(cells) + 0.5) * (high - low) / cells).tolist()
        made.append(
            {"words": name, "unit": str(kept.attrs["extent_unit"]), "centres": centres, "ends": [low, high], **plain}
        )
    when = "time" if "time" in kept.coords else "frame"
    frames = kept[when].values.astype(float).tolist()
    made.append({"words": when, "unit": unit(kept, when), "centres": frames, "ends": [frames[0], frames[-1]], **plain})
    return made


def _layers(kept: xarray.Dataset, output: str) -> dict[str, Any]:
    truth, estimate = (values.astype(np.float64) for values in truth_and_estimate(kept, output))
    error = estimate - truth
    low, high = map(float, span(np.concatenate([truth.ravel(), estimate.ravel()])))
    half = half_width(error)
    ends = [low, high if high > low else low + 1e-12]
    own = unit(kept, output)
    layers = [
        _layer("true", "sequential", own, ends, truth),
        _layer("estimate", "sequential", own, ends, estimate),
        _layer("error", "diverging", own, [-half, half], error),
    ]
    return {"words": in_words(output), "layers": layers}


def _layer(words: str, colours: str, own: str, limits: list[float], values: NDArray[np.float64]) -> dict[str, Any]:
    """Single precision suffices: so are the fields kept."""
    ordered = np.ascontiguousarray(np.transpose(values, (2, 1, 0)), dtype="<f4")
    encoded = base64.b64encode(ordered.tobytes()).decode()
    return {"words": words, "colours": colours, "unit": own, "limits": limits, "values": encoded, "single": True}

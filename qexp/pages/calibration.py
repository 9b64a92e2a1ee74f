"""The calibration of a run as drawings: ranks and coverage in their bands, and coverage by where the estimates lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from qexp.analysis.comparison.calibration_tables import kind_in_words
from qexp.fragments.cells import cells
from qexp.fragments.lines import lines
from qexp.fragments.svg import Drawn
from qexp.quantities import in_words, label
from qexp.runs.figures.calibration import REGIONS, local_of, numbers_of
from qexp.runs.figures.sources import MissingNumbersError, unit
from qexp.runs.record.calibration import calibrations_of

if TYPE_CHECKING:
    import xarray
    from numpy.typing import NDArray

    from qexp.runs.record.directory import RunDirectory

BACKGROUND = 7
"""The colour of bands: a grey."""


def drawings(directory: RunDirectory) -> list[Drawn]:
    """None before the run was calibrated; those whose numbers are gone are left out."""
    found, drawn = calibrations_of(directory).values(), list[Drawn]()
    for made in found:
        with suppress(MissingNumbersError):
            kind = f" ({kind_in_words(made)})" if len(found) > 1 else ""
            drawn += _drawings(numbers_of(directory, made), list(made.outputs), kind)
    return drawn


def _drawings(numbers: xarray.Dataset, outputs: list[str], kind: str) -> Iterator[Drawn]:
    for name in outputs:
        shares = {"true values": numbers[f"{name}_position_share"].values}
        yield _panel(
            f"{in_words(name)}{kind}: ranks of the true values minus uniform ones (%)", "rank (%)", shares, numbers
        )
    for name in outputs:
        shares = {"true values": numbers[f"{name}_level_share"].values}
        title = f"{in_words(name)}{kind}: true values in intervals minus the intervals' probability (%)"
        yield _panel(title, "probability of the interval (%)", shares, numbers)
    if len(outputs) > 1:
        shares = {words: numbers[key].values for key, words in REGIONS.items() if key in numbers}
        title = f"all outputs{kind}: true values in regions minus the regions' probability (%)"
        yield _panel(title, "probability of the region (%)", shares, numbers)
    for name in outputs:
        of = local_of(numbers, name)
        if len(of.axes) == 2:
            words = [f"estimated {label(axis, unit(numbers, axis))}" for axis in of.axes]
            percent = 100 * float(numbers.attrs["interval"])
            title = f"{in_words(name)}{kind}: true values in {percent:g} % intervals (%), by the estimates"
            edges = [edge.tolist() for edge in of.edges]
            yield Drawn(title, cells(of.share.tolist(), percent / 100, edges, words, title))


def _panel(title: str, words: str, shares: Mapping[str, NDArray[Any]], numbers: xarray.Dataset) -> Drawn:
    points = numbers["point"].values
    band = [(100 * (numbers[end].values - points)).tolist() for end in ("lower", "upper")]
    right = {"words": "calibrated posteriors, in 95 % of cases", "colour": BACKGROUND, "band": band}
    series = [{**right, "values": [0.0] * len(points)}]
    for colour, (name, share) in enumerate(shares.items()):
        series.append({"words": name, "colour": colour, "values": (100 * (share - points)).tolist()})
    panel = {"title": title, "words": words, "x": (100 * points).tolist(), "series": series}
    return Drawn(title, lines(panel))

"""How a run is evaluated on other data, by the kind of its dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from qexp.analysis.evaluation import fields, images, rows, spectra
from qexp.analysis.evaluation.asked import Asked, Judged

KINDS: Mapping[str, Callable[[Asked], Judged]] = {
    "generated": images.judged,
    "tabular": rows.judged,
    "gridded": fields.judged,
    "spectra": spectra.judged,
}
"""Type of the dataset → opens the data that are to be evaluated."""

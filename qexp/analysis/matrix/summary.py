"""A matrix in a few numbers, for its record and for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp.analysis.matrix.table import REFINED, SEEN

if TYPE_CHECKING:
    import xarray


def summary(table: xarray.Dataset, outputs: Sequence[str]) -> dict[str, Any]:
    """Mean and median of the absolute errors of each output, also of refined ones; and of ratios to the bound."""
    return {**_absolute_errors(table, outputs), **(_of_bounds(table, outputs) if SEEN in table else {})}


def _absolute_errors(table: xarray.Dataset, outputs: Sequence[str]) -> dict[str, Any]:
    found = {}
    for end in ("", REFINED):
        errors = {name: np.abs(table[of].values) for name in outputs if (of := f"{name}{end}_error") in table}
        for word, average in (("mean", np.nanmean), ("median", np.nanmedian)):
            if errors:
                key = f"{end}_{word}_absolute_error".removeprefix("_")
                found[key] = {name: float(average(of)) for name, of in errors.items()}
    return found


def _of_bounds(table: xarray.Dataset, outputs: Sequence[str]) -> dict[str, Any]:
    """How many cells do not show the source, and the median of each ratio to the bound where they do."""
    found: dict[str, Any] = {"unseen": int((table[SEEN] == 0).sum())}
    for kind in ("over_bound", "refined_over_bound"):
        ratios = {name: table[of].values for name in outputs if (of := f"{name}_{kind}") in table}
        if any(np.isfinite(of).any() for of in ratios.values()):
            found[f"median_{kind}"] = {name: float(np.nanmedian(of)) for name, of in ratios.items()}
    return found

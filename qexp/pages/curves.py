"""Learning curves: losses, and the validation error of each output, over epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp.figures.curves import outputs_of
from qexp.quantities import in_words

if TYPE_CHECKING:
    from qexp.runs.record.directory import RunDirectory

Lines = Sequence[Mapping[str, Any]]
"""Of `metrics.jsonl`, one per epoch."""

Panel = dict[str, Any]
"""A drawing: `title`, `unit`, `x`, and the `series` over it.

A series has `words`, `values`, the number of its `colour`, the `run` it is of, whether it is `dashed` or `faint`, and a
`band`, the middle half of the folds whose median it is, or None.
"""

FEW = 8
"""The largest number of runs whose curves are distinguished by colour; with more, curves are thin."""

BACKGROUND = 7
"""The colour of folds behind their median: a grey."""


def lines_of(directory: RunDirectory) -> dict[str, list[dict[str, Any]]]:
    """The epochs of a run, or of each of its folds."""
    return {fold.name: fold.metrics() for fold in directory.all_folds()} or {"": directory.metrics()}


def curves(of_folds: Mapping[str, Lines], units: Mapping[str, str]) -> list[Panel]:
    """A panel for the loss and one for each output of one run; of many folds, their median before all of them.

    of_folds  fold → its lines; with an empty name those of a run without folds
    units     output → its unit
    """
    known = {name: [lines] for name, lines in of_folds.items() if lines}
    if len(known) <= FEW:
        return curves_of_runs(known, units)
    median = f"median of {len(known)} folds"
    panels = curves_of_runs({**known, median: [lines for (lines,) in known.values()]}, units)
    for panel in panels:
        for one in panel["series"]:
            whole = one["run"] == median
            one |= {"colour": int(one["dashed"]) if whole else BACKGROUND, "faint": not whole, "band": None}
    return panels


def curves_of_runs(of_runs: Mapping[str, Sequence[Lines]], units: Mapping[str, str]) -> list[Panel]:
    """The same for several runs. Those without an epoch are left out.

    of_runs  name in the legend → the lines of a run, or those of each of its folds, whose median is drawn
    """
    known = {name: kept for name, folds in of_runs.items() if (kept := [lines for lines in folds if lines])}
    if not known:
        return []
    epochs = sorted({line["epoch"] for folds in known.values() for lines in folds for line in lines})
    shared = {"words": "epoch", "x": epochs, "logarithmic": True, "whole": True}
    losses = [
        {"words": f"{name} {words}".strip(), "run": name, "dashed": part == "train", "colour": number}
        | _over(epochs, folds, (part, "loss"))
        for number, (name, folds) in enumerate(known.items())
        for part, words in (("train", "training"), ("validation", "validation"))
    ]
    made: list[Panel] = [{"title": "loss", "unit": "", "series": losses, **shared}]
    for output in dict.fromkeys(output for folds in known.values() for output in outputs_of(folds[0][0])):
        series = [
            {"words": name or "validation", "run": name, "dashed": False, "colour": number}
            | _over(epochs, folds, ("validation", output, "mae"))
            for number, (name, folds) in enumerate(known.items())
        ]
        title = f"{in_words(output)}: mean absolute error, validation"
        made.append({"title": title, "unit": units.get(output, ""), "series": series, **shared})
    for panel in made:
        panel["series"] = [one for one in panel["series"] if any(value is not None for value in one["values"])]
        only_training = all(one["dashed"] for one in panel["series"])
        for one in panel["series"]:
            one |= {"faint": len(known) > FEW, "dashed": one["dashed"] and not only_training}
        _end_with_the_last_value(panel)
    return [panel for panel in made if panel["series"]]


def _over(epochs: Sequence[int], folds: Sequence[Lines], path: Sequence[str]) -> dict[str, Any]:
    """The median over folds at each epoch, found by the keys that lead to it, and the band of their middle half.

    None after more than half of the folds have ended, as the others are different folds.
    """
    places = {epoch: column for column, epoch in enumerate(epochs)}
    table = np.full((len(folds), len(epochs)), np.nan)
    for row, lines in zip(table, folds, strict=True):
        for line in lines:
            value: Any = line
            for key in path:
                value = (value or {}).get(key)
            row[places[line["epoch"]]] = np.nan if value is None else value
    kept = np.isfinite(table).sum(axis=0) >= len(folds) / 2
    low, middle, high = np.full((3, len(epochs)), np.nan)
    if kept.any():
        low[kept], middle[kept], high[kept] = np.nanpercentile(table[:, kept], (25, 50, 75), axis=0)
    return {"values": _plain(middle), "band": [_plain(low), _plain(high)] if len(folds) > 1 else None}


def _end_with_the_last_value(panel: Panel) -> None:
    """Panels of outputs that only short runs have are not as long as those of others."""
    known = [at for one in panel["series"] for at, value in enumerate(one["values"]) if value is not None]
    end = max(known, default=-1) + 1
    panel["x"] = panel["x"][:end]
    for one in panel["series"]:
        one["values"] = one["values"][:end]
        one["band"] = one["band"] and [edge[:end] for edge in one["band"]]


def _plain(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else value for value in values.tolist()]

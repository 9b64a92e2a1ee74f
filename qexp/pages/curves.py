"""Learning curves: losses, and the validation error of each output, over epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qexp.figures.curves import outputs_of
from qexp.quantities import in_words

if TYPE_CHECKING:
    from qexp.runs.record.directory import RunDirectory

Lines = Sequence[Mapping[str, Any]]
"""Of `metrics.jsonl`, one per epoch."""

FEW = 8
"""Runs whose curves are told apart by their colours; those of more are thin."""


def lines_of(directory: RunDirectory) -> dict[str, list[dict[str, Any]]]:
    """The epochs of a run, or of each of its folds."""
    return {fold.name: fold.metrics() for fold in directory.all_folds()} or {"": directory.metrics()}


def curves(of_runs: Mapping[str, Lines], units: Mapping[str, str]) -> list[dict[str, Any]]:
    """A panel for the loss and one for each output. Runs, or folds, without an epoch are left out.

    of_runs  name in the legend, may be empty for a single run → its lines
    units    output → its unit
    """
    known = {name: lines for name, lines in of_runs.items() if lines}
    if not known:
        return []
    epochs = sorted({line["epoch"] for lines in known.values() for line in lines})
    faint = len(known) > FEW
    shared = {"words": "epoch", "x": epochs, "logarithmic": True, "whole": True}
    losses = [
        {
            "words": f"{name} {words}".strip(),
            "values": _over(epochs, lines, (part, "loss")),
            "dashed": part == "train",
            "run": name,
            "colour": number,
            "faint": faint,
        }
        for number, (name, lines) in enumerate(known.items())
        for part, words in (("train", "training"), ("validation", "validation"))
    ]
    made: list[dict[str, Any]] = [{"title": "loss", "unit": "", "series": losses, **shared}]
    for output in dict.fromkeys(output for lines in known.values() for output in outputs_of(lines[0])):
        series = [
            {
                "words": name or "validation",
                "values": _over(epochs, lines, ("validation", output, "mae")),
                "run": name,
                "dashed": False,
                "colour": number,
                "faint": faint,
            }
            for number, (name, lines) in enumerate(known.items())
        ]
        title = f"{in_words(output)}: mean absolute error, validation"
        made.append({"title": title, "unit": units.get(output, ""), "series": series, **shared})
    for panel in made:
        panel["series"] = [one for one in panel["series"] if any(value is not None for value in one["values"])]
    return [panel for panel in made if panel["series"]]


def _over(epochs: Sequence[int], lines: Lines, path: Sequence[str]) -> list[float | None]:
    """A value per epoch, found by the keys that lead to it; None where a run has none."""
    known: dict[int, float | None] = {}
    for line in lines:
        value: Any = line
        for key in path:
            value = (value or {}).get(key)
        known[line["epoch"]] = value
    return [known.get(epoch) for epoch in epochs]

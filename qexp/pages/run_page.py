"""The page of a run: all that its directory says, from what was asked to how to make it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import orjson

from qexp.analysis.comparison.result_tables import (
    Parts,
    estimators,
    field_errors,
    group_errors,
    metrics_of_evaluation,
    results,
)
from qexp.analysis.comparison.typesetting import Table
from qexp.errors import NotFoundError
from qexp.figures.curves import outputs_of
from qexp.pages.matrices import matrices
from qexp.quantities import in_words
from qexp.runs.facts import facts
from qexp.runs.figures.sources import MissingNumbersError, outputs, table, truth_and_estimate, unit
from qexp.runs.record.evaluations import of_run
from qexp.runs.state import logs
from qexp.runs.state.waiting import Watch
from qexp.spec.experiences import type_of
from qexp.spec.kinds.kind import TEST_PREDICTIONS

if TYPE_CHECKING:
    from qexp.runs.record.directory import RunDirectory
    from qexp.runs.record.record import Record

LOG_LINES = 60
"""Last lines of the log that are shown."""

MOST_POINTS = 4000
"""Samples that are drawn at most, evenly over the file."""

IN_HEAD = ("run", "state", "error", "caution", "note", "tags")
"""Facts that the page shows elsewhere than in its list."""


@dataclass(frozen=True)
class Section:
    """Tables and sentences under a title."""

    title: str
    parts: Sequence[Table | str]


def run_page(directory: RunDirectory) -> dict[str, Any]:
    """What the template `run.html` needs. Raises DamagedError for a run that cannot be read."""
    record, spec, state = directory.record(), directory.spec(), Watch().state(directory)
    warnings: list[str] = []
    known = facts(directory, record, str(state), warnings.append)
    return {
        "name": record.name,
        "state": str(state).replace("_", " "),
        "failed": not state.unfinished and str(state) != "done",
        "error": record.error,
        "caution": record.caution,
        "note": record.note,
        "tags": record.tags,
        "warnings": warnings,
        "facts": [(key, text) for key, text in known if key not in IN_HEAD],
        "asked": list(type_of(spec).lines(spec).items()),
        "overrides": record.overrides,
        "spec": orjson.dumps(directory.spec_as_written(), option=orjson.OPT_INDENT_2).decode(),
        "results": list(chain(results(record), estimators(record), field_errors(record), group_errors(record)))
        if record.results
        else [],
        "evaluations": [Section(one.name, list(_evaluation(one))) for one in of_run(directory)],
        "curves": _curves(directory, record),
        "estimates": _estimates(directory),
        "matrices": matrices(directory, spec),
        "log": _log(directory),
        "again": shlex.join(record.command),
    }


def _evaluation(record: Any) -> Parts:
    return chain(metrics_of_evaluation(record), field_errors(record), group_errors(record))


def _curves(directory: RunDirectory, record: Record) -> list[dict[str, Any]]:
    """Loss, and the validation error of each output, over epochs; of a cross-validation, of each fold."""
    of_runs = {fold.name: fold.metrics() for fold in directory.all_folds()} or {"": directory.metrics()}
    of_runs = {name: lines for name, lines in of_runs.items() if lines}
    if not of_runs:
        return []
    epochs = sorted({line["epoch"] for lines in of_runs.values() for line in lines})
    made: list[dict[str, Any]] = [
        {
            "title": "loss",
            "words": "epoch",
            "unit": "",
            "x": epochs,
            "logarithmic": True,
            "whole": True,
            "series": [
                {
                    "words": f"{name} {words}".strip(),
                    "values": _over(epochs, lines, lambda line, part=part: line[part]["loss"]),
                    "dashed": part == "train",
                    "colour": number,
                }
                for number, (name, lines) in enumerate(of_runs.items())
                for part, words in (("train", "training"), ("validation", "validation"))
            ],
        }
    ]
    first = next(iter(of_runs.values()))[0]
    for output in outputs_of(first):
        series = [
            {
                "words": name or "validation",
                "values": _over(epochs, lines, lambda line, of=output: line["validation"].get(of, {}).get("mae")),
            }
            for name, lines in of_runs.items()
        ]
        title = f"{in_words(output)}: mean absolute error, validation"
        shared = {"words": "epoch", "x": epochs, "logarithmic": True, "whole": True}
        made.append({"title": title, "unit": record.units.get(output, ""), "series": series, **shared})
    for panel in made:
        panel["series"] = [one for one in panel["series"] if any(value is not None for value in one["values"])]
    return made


def _over(epochs: Sequence[int], lines: Sequence[Mapping[str, Any]], value: Any) -> list[float | None]:
    """A value per epoch; None where a run has none."""
    known = {line["epoch"]: value(line) for line in lines}
    return [known.get(epoch) for epoch in epochs]


def _estimates(directory: RunDirectory) -> list[dict[str, Any]]:
    """Estimates of the test samples against true values, a panel per output; none for runs without such a table."""
    try:
        found = table(directory.results / TEST_PREDICTIONS)
    except MissingNumbersError:
        return []
    made = []
    for output in outputs(found):
        if found[output].ndim != 1:
            continue
        truth, estimate = truth_and_estimate(found, output)
        each = max(1, -(-len(truth) // MOST_POINTS))
        note = f", {len(truth[::each]):,} of {len(truth):,} samples" if each > 1 else ""
        made.append(
            {
                "title": f"{in_words(output)}: {directory.part} part{note}",
                "words": in_words(output),
                "unit": unit(found, output),
                "truth": truth[::each].astype(float).tolist(),
                "estimate": estimate[::each].astype(float).tolist(),
                "samples": [f"sample {number}" for number in range(0, len(truth), each)],
            }
        )
    return made


def _log(directory: RunDirectory) -> str:
    """The end of the last attempt's log."""
    try:
        text = "".join(logs.read(directory))
    except NotFoundError:
        return ""
    return "\n".join(text.splitlines()[-LOG_LINES:])

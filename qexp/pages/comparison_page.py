"""The page of several runs: their results over seeds, what was swept, their curves, and a table of all of them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from qexp.analysis.comparison.comparison_tables import (
    calibrations_of_groups,
    differences_of,
    differing_specs,
    groups_of_seeds,
    ranges,
    remarks,
    results_of_groups,
)
from qexp.analysis.comparison.seed_comparison import SeedComparison, compare_across_seeds, results_across_seeds
from qexp.analysis.comparison.seed_groups import ComparedRun, seed_groups
from qexp.analysis.comparison.typesetting import Table
from qexp.pages.compared_curves import curves_of_groups, thinned
from qexp.pages.comparison_parts import cautions, results_drawn, some_of
from qexp.pages.matrices import shared_matrices
from qexp.pages.paired import paired
from qexp.pages.sweep import Column, columns, sweep
from qexp.runs.record.state import State

MOST_MAPS = 4
"""Runs whose matrices are shown side by side."""


def comparison_page(title: str, runs: Sequence[ComparedRun], notices: Sequence[str]) -> dict[str, Any]:
    """What the template `comparison.html` needs.

    notices  what a reader must know besides the cautions of the runs, such as which runs cannot be read
    """
    groups = seed_groups(runs)
    done = any(group.counted for group in groups)
    several = len(groups) > 2
    comparison = compare_across_seeds(groups) if done and not several else results_across_seeds(groups)
    of_runs, shown = columns(runs, comparison), thinned(runs)
    return {
        "title": title,
        "count": len(runs),
        "cautions": cautions(runs),
        "at_work": _not_done(runs, unfinished=True),
        "notices": [*_not_done(runs, unfinished=False), *notices],
        "groups": groups_of_seeds(comparison),
        "specs": _specs(comparison),
        "drawings": list(results_drawn(comparison)),
        "results": results_of_groups(comparison) if comparison.results else None,
        "calibrations": calibrations_of_groups(comparison),
        "pairs": [differences_of(pair) for pair in comparison.pairs if pair.rows],
        "remarks": remarks(comparison) if done else [],
        "paired": paired(comparison) if several else None,
        "sweep": sweep(runs, comparison, of_runs),
        "curves": curves_of_groups(shown, comparison),
        "shown_curves": len(shown),
        "matrices": shared_matrices([one.directory for one in runs[:MOST_MAPS]]) if len(runs) <= MOST_MAPS else [],
        "table": _table(runs, of_runs),
        "commands": [_command(group.runs) for group in groups],
    }


def _not_done(runs: Sequence[ComparedRun], *, unfinished: bool) -> list[str]:
    """Sentences on the runs that may still be done, or on those that will not."""
    by_state: dict[str, list[str]] = {}
    for one in runs:
        state = State(one.summary["state"])
        if state is not State.DONE and state.unfinished == unfinished:
            by_state.setdefault(state.words, []).append(one.name)
    return [f"{words}, and not counted: {some_of(names, len(runs))}" for words, names in by_state.items()]


def _specs(comparison: SeedComparison) -> Table | None:
    """The differing keys; a row for each group where that makes the smaller table."""
    table = differing_specs(comparison)
    if table is None or len(table.rows) >= len(comparison.groups):
        return table
    across = list(zip(*table.rows, strict=True))
    rows = [[name, *values] for name, values in zip(comparison.names, across[1:], strict=True)]
    return Table(table.title, ["group", *across[0]], rows)


def _table(runs: Sequence[ComparedRun], of_runs: Sequence[Column]) -> Table:
    titles = ["run", "state", *(one.title for one in of_runs), "caution", "tags", "note"]
    cells = [one.cells() for one in of_runs]
    rows = [
        [
            one.name, State(one.summary["state"]).words, *(column[index] for column in cells),
            one.summary["caution"], ", ".join(one.summary["tags"]), one.summary["note"],
        ]
        for index, one in enumerate(runs)
    ]  # fmt: skip
    empty = {index for index in range(len(titles)) if index > 1 and not any(row[index] for row in rows)}
    kept = [index for index in range(len(titles)) if index not in empty]
    numeric = frozenset(one.title for one in of_runs if one.numeric)
    return Table("", [titles[index] for index in kept], [[row[index] for index in kept] for row in rows], numeric)


def _command(runs: Sequence[ComparedRun]) -> str:
    """The command that makes the runs of a group."""
    words = runs[0].directory.record().command
    seeds = sorted({one.seed for one in runs})
    if len(seeds) > 1:
        listed = ",".join(f"{low}:{high + 1}" if high > low else str(low) for low, high in _stretches(seeds))
        at = words.index("--seed")
        words[at : at + 2] = ["--seeds", listed]
    return shlex.join(words)


def _stretches(seeds: Sequence[int]) -> list[tuple[int, int]]:
    texts = [text.split("-") for text in ranges(seeds).split(", ")]
    return [(int(ends[0]), int(ends[-1])) for ends in texts]

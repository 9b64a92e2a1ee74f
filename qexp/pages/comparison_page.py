"""The page of several runs: their results over seeds, what was swept, their curves, and a table of all of them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from qexp.analysis.comparison.comparison_tables import (
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
from qexp.pages.comparison_parts import cautions, results_drawn, short_names, some_of
from qexp.pages.curves import FEW, curves
from qexp.pages.matrices import shared_matrices
from qexp.pages.sweep import Column, columns, sweep
from qexp.runs.record.state import State

MOST_PAIRED = 6
"""Groups of which every two are compared seed by seed."""

MOST_CURVES = 120
"""Runs whose curves are drawn."""

MOST_MAPS = 4
"""Runs whose matrices are shown side by side."""


def comparison_page(title: str, runs: Sequence[ComparedRun], notices: Sequence[str]) -> dict[str, Any]:
    """What the template `comparison.html` needs.

    notices  what a reader must know besides the cautions of the runs, such as which runs cannot be read
    """
    groups = seed_groups(runs)
    done = any(group.counted for group in groups)
    few = done and len(groups) <= MOST_PAIRED
    comparison = compare_across_seeds(groups) if few else results_across_seeds(groups)
    of_runs = columns(runs, comparison)
    return {
        "title": title,
        "count": len(runs),
        "cautions": cautions(runs),
        "notices": [*_unfinished(runs), *notices],
        "groups": groups_of_seeds(comparison),
        "specs": _specs(comparison),
        "drawings": list(results_drawn(comparison)),
        "results": results_of_groups(comparison) if comparison.results else None,
        "pairs": [differences_of(pair) for pair in comparison.pairs if pair.rows],
        "remarks": remarks(comparison) if done else [],
        "unpaired": len(groups) if len(groups) > MOST_PAIRED else 0,
        "sweep": sweep(runs, comparison, of_runs),
        "curves": _curves(runs, comparison),
        "shown_curves": len(_thinned(runs)),
        "matrices": shared_matrices([one.directory for one in runs[:MOST_MAPS]]) if len(runs) <= MOST_MAPS else [],
        "table": _table(runs, of_runs),
        "commands": [_command(group.runs) for group in groups],
    }


def _unfinished(runs: Sequence[ComparedRun]) -> list[str]:
    by_state: dict[str, list[str]] = {}
    for one in runs:
        state = State(one.summary["state"])
        if state is not State.DONE:
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


def _curves(runs: Sequence[ComparedRun], comparison: SeedComparison) -> list[dict[str, Any]]:
    """The curves of each run in the colour of its group, and the mean of each group with several seeds."""
    groups = {one.name: index for index, group in enumerate(comparison.groups) for one in group.runs}
    names = list(short_names(comparison).values())
    shown = _thinned(runs)
    made = curves({one.name: one.directory.metrics() for one in shown}, comparison.units)
    for panel in made:
        several = len({one["run"] for one in panel["series"]}) > FEW
        validated = [one for one in panel["series"] if not one["dashed"]]
        panel["series"] = validated if several and validated else panel["series"]
        members: dict[int, list[Sequence[float | None]]] = {}
        for one in panel["series"]:
            one["colour"] = groups[one["run"]]
            if not one["dashed"]:
                members.setdefault(one["colour"], []).append(one["values"])
        for group, values in members.items():
            if len(values) > 1:
                mean = {"words": f"{names[group]}, mean of {len(values)} seeds", "values": _mean(values)}
                panel["series"].append({**mean, "colour": group, "dashed": False, "faint": False})
                for one in panel["series"]:
                    one["faint"] = one["faint"] or (one["colour"] == group and "run" in one)
        panel["groups"] = names if len(names) <= FEW else []
    return made


def _thinned(runs: Sequence[ComparedRun]) -> Sequence[ComparedRun]:
    """At most `MOST_CURVES` of the runs, evenly."""
    return runs[:: -(-len(runs) // MOST_CURVES)]


def _mean(values: Sequence[Sequence[float | None]]) -> list[float | None]:
    """The mean at each epoch that all runs have."""
    means: list[float | None] = []
    for of_epoch in zip(*values, strict=True):
        known = [value for value in of_epoch if value is not None]
        means.append(sum(known) / len(known) if len(known) == len(of_epoch) else None)
    return means


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

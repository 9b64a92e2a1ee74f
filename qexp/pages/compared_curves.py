"""The learning curves of a comparison: each run in the colour of its group, and the mean of each group's seeds."""

from __future__ import annotations

from collections.abc import Sequence

from qexp.analysis.comparison.seed_comparison import SeedComparison
from qexp.analysis.comparison.seed_groups import ComparedRun
from qexp.pages.comparison_parts import short_names
from qexp.pages.curves import FEW, Panel, curves_of_runs, lines_of

MOST_CURVES = 120
"""Runs whose curves are drawn."""

MOST_FILES = 1200
"""Files of learning curves that are read: one per run, or per fold."""


def curves_of_groups(shown: Sequence[ComparedRun], comparison: SeedComparison) -> list[Panel]:
    groups = {one.name: index for index, group in enumerate(comparison.groups) for one in group.runs}
    names = list(short_names(comparison).values())
    folds = {one.name: list(lines_of(one.directory).values()) for one in shown}
    made = curves_of_runs(folds, comparison.units)
    for panel in made:
        several = len({one["run"] for one in panel["series"]}) > FEW
        validated = [one for one in panel["series"] if not one["dashed"]]
        panel["series"] = validated if several and validated else panel["series"]
        for one in panel["series"]:
            one["colour"] = groups[one["run"]]
            one["words"] += f", median of {len(folds[one['run']])} folds" if one["band"] else ""
            one["band"] = None if several else one["band"]
        panel["series"] += _means(panel, names)
        panel["groups"] = names if len(names) <= FEW else []
    return made


def thinned(runs: Sequence[ComparedRun]) -> Sequence[ComparedRun]:
    """As many of the runs, evenly, as can be drawn and read."""
    files = sum((one.summary["folds"] or {}).get("of") or 1 for one in runs)
    return runs[:: max(-(-len(runs) // MOST_CURVES), -(-files // MOST_FILES), 1)]


def _means(panel: Panel, names: Sequence[str]) -> list[Panel]:
    """The mean of each group with several seeds; its runs become faint."""
    members: dict[int, list[Sequence[float | None]]] = {}
    for one in panel["series"]:
        if not one["dashed"]:
            members.setdefault(one["colour"], []).append(one["values"])
    means = {group: values for group, values in members.items() if len(values) > 1}
    for one in panel["series"]:
        one["faint"] = one["faint"] or one["colour"] in means
    return [
        {
            "words": f"{names[group]}, mean of {len(values)} seeds", "values": _mean(values), "colour": group,
            "dashed": False, "faint": False, "band": None,
        }
        for group, values in means.items()
    ]  # fmt: skip


def _mean(values: Sequence[Sequence[float | None]]) -> list[float | None]:
    """The mean at each epoch that all runs have."""
    means: list[float | None] = []
    for of_epoch in zip(*values, strict=True):
        known = [value for value in of_epoch if value is not None]
        means.append(sum(known) / len(known) if len(known) == len(of_epoch) else None)
    return means

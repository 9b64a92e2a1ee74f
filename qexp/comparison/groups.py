"""Runs that are compared, by patterns, names and studies, in groups that differ by seed only."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from qexp.base.files import real_path
from qexp.base.text import NOTHING, natural, value_at
from qexp.base.workspace import Workspace
from qexp.errors import DamagedError, QexpError, some, suggestion
from qexp.jobs.states import Watch
from qexp.runs.catalog import Catalog, find_run, is_pattern, matching, or_all
from qexp.spec.experiences import ABSENT
from qexp.spec.resolution import steps, value_text
from qexp.store.directory import RunDirectory, with_caution
from qexp.store.evaluations import summaries as summaries_of
from qexp.store.record import State

Numbers = Mapping[str, Mapping[str, Any]]
"""Output → metric → value."""


@dataclass(frozen=True)
class ComparedRun:
    directory: RunDirectory
    summary: dict[str, Any]
    """Summary of its record, with the current state."""
    pattern: str | None
    """The pattern that matched it; None if it was given by name or path."""
    evaluation: str | None = None
    """The evaluation whose results are compared; None for those of its own parts."""
    part: str = "test"
    """Of which the results are, if not of an evaluation."""

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def seed(self) -> int:
        return int(self.summary["seed"])

    @property
    def digest(self) -> str:
        """Equal for runs that differ by seed only; the run's name if its record has no digest."""
        return self.summary["digest"] or self.name

    @property
    def numbers(self) -> dict[str, dict[str, float | None]]:
        """output → metric → value on the compared part, or in the evaluation."""
        results = self.summary["results"]
        part = self.part
        if self.evaluation is not None:
            results = self.summary["evaluations"].get(self.evaluation, {})
            part = results.get("part")
        return dict(results.get(part, {}))

    @property
    def data(self) -> Any:
        """Hash of the evaluated data, part and seed; None without an evaluation."""
        return self.summary["evaluations"].get(self.evaluation, {}).get("content")


@dataclass(frozen=True)
class LeftOut:
    """A run that does not count in its group, and why."""

    seed: int
    run: str
    why: str


@dataclass(frozen=True)
class SeedGroup:
    """Runs with one digest; each seed counts once."""

    name: str
    runs: list[ComparedRun]

    @property
    def counted(self) -> dict[int, ComparedRun]:
        """Seed → the run that counts (the first that is done and has results), sorted by seed."""
        sound: dict[int, ComparedRun] = {}
        for run in self.runs:
            if _objection(run) is None:
                sound.setdefault(run.seed, run)
        return dict(sorted(sound.items()))

    @property
    def left_out(self) -> list[LeftOut]:
        counted = self.counted
        return [
            LeftOut(run.seed, run.name, _objection(run) or f"repeats {counted[run.seed].name}")
            for run in self.runs
            if run is not counted.get(run.seed)
        ]

    @property
    def untested(self) -> bool:
        """Whether all its runs are done without results to compare."""
        reasons = [exclusion.why for exclusion in self.left_out]
        return not self.counted and all(why.startswith(WITHOUT) for why in reasons)

    @property
    def seeds(self) -> set[int]:
        """The seeds of all its runs, whether they count or not."""
        return {run.seed for run in self.runs}

    def mean(self, part: str, output: str, metric: str) -> float | None:
        """A metric on a part of the data, over the runs that count; None where none has it."""
        values = []
        for run in self.counted.values():
            results = run.summary["results"].get(part, {})
            values.append(results.get(output, {}).get(metric))
        known = [value for value in values if value is not None]
        return fmean(known) if known else None


WITHOUT = "done without"
"""How the objection begins to a run that is done, and has no results to compare."""


def _objection(run: ComparedRun) -> str | None:
    state = State(run.summary["state"])
    if state is not State.DONE:
        return state.words
    if run.evaluation is not None:
        return None if run.numbers else f"{WITHOUT} an evaluation '{run.evaluation}'"
    return None if run.numbers else f"{WITHOUT} results on a {PARTS[run.part]} part"


def runs_to_compare(
    arguments: Sequence[str],
    catalog: Catalog,
    evaluation: str | None = None,
    part: str | None = None,
) -> list[ComparedRun]:
    """The runs given by patterns, names, unique prefixes or paths; each belongs to the first
    argument it matches.

    evaluation  whose results are compared, instead of those of the runs' own parts
    part        see `compared_part`
    Raises NotFoundError for an argument without a match, QexpError for one that matches only runs
    listed before.
    """
    summaries = catalog.runs() if any(map(is_pattern, arguments)) else []
    chosen: dict[Path, ComparedRun] = {}
    damaged: list[str] = []
    """Errors of damaged runs that match a pattern: left out, with a warning of the catalog."""
    for argument in arguments:
        known = len(chosen) + len(damaged)
        for run in _named(argument, summaries, catalog):
            if run.summary["state"] == State.DAMAGED:
                damaged.append(run.summary["error"])
            else:
                path = real_path(run.directory.path)
                chosen.setdefault(path, replace(run, evaluation=evaluation))
        if len(chosen) + len(damaged) == known:
            raise QexpError(
                f"the same run is named twice: '{argument}' matches only runs that were already"
                " listed; remove it"
            )
    if len(chosen) < 2:
        if damaged:
            raise DamagedError(damaged[0])
        message = "compare needs at least two runs"
        for run in chosen.values():
            for argument in arguments:
                message += f", and '{argument}' matches only {run.name}"
        raise QexpError(message)
    return of_one_part(list(chosen.values()), part)


PARTS = {"test": "test", "validation": "validation", "train": "training"}
"""Parts of the data of runs, and what they are called."""


def compared_part(results: Sequence[Mapping[str, Numbers]], asked: str | None = None) -> str:
    """The part that is asked for, else the first of which any run has results.

    Raises QexpError for one that does not exist, or of which no run has results.
    """
    there = []
    for part in PARTS:
        if any(numbers.get(part) for numbers in results):
            there.append(part)
    if asked is None or asked in there:
        return asked or (there or ["test"])[0]
    if asked not in PARTS:
        raise QexpError(f"`part={asked}`: no such part; {suggestion(asked, PARTS)}")
    raise QexpError(
        f"`part={asked}`: none of the runs has results on a {PARTS[asked]} part; they have"
        f" {some(there)}"
    )


def of_one_part(runs: Sequence[ComparedRun], asked: str | None = None) -> list[ComparedRun]:
    """With the part that all are compared by."""
    part = compared_part([run.summary["results"] for run in runs], asked)
    return [replace(run, part=part) for run in runs]


STUDY = "study.csv"
"""File in the folder of a study with a row for each run."""

STUDY_FILES = STUDY, "table.csv", "study.png"
"""That, the table of its results, and its figure."""

TRIAL = "trial"
"""Column `use` of runs of a search whose test part is not evaluated, and are not the study's."""


def study_folder(reference: str, workspace: Workspace) -> Path | None:
    """The folder of a study, by its path or its name in `studies/`; None if there is none."""
    folders = [Path(reference)]
    if not (workspace.runs / reference).exists():
        folders.append(workspace.root / "studies" / reference)
    return next((folder for folder in folders if (folder / STUDY).is_file()), None)


def runs_of_study(reference: str, catalog: Catalog) -> list[RunDirectory] | None:
    """The runs of a study, or those of the best of a search; None if there is no study of that name
    or folder.

    Raises QexpError for a study whose table names no runs.
    """
    folder = study_folder(reference, catalog.workspace)
    if folder is None:
        return None
    table = folder / STUDY
    lines = lines_of(table)
    runs = [line.get("run", "") for line in lines if line.get("use") != TRIAL]
    names = dict.fromkeys(Path(run).name for run in runs)
    if lines and not names:
        raise QexpError(
            f"{folder}: the search is not over, so that none of its runs has results on a test part"
        )
    if not names or "" in names:
        raise QexpError(f"{table} names no runs; write it again with qexp study")
    return [RunDirectory(catalog.workspace.runs / name) for name in names]


def lines_of(table: Path) -> list[dict[str, str]]:
    """The lines of a table of a study; none if there is no such file."""
    try:
        with table.open(newline="", encoding="utf-8", errors="replace") as file:
            lines = list(csv.DictReader(file, restval=""))
    except FileNotFoundError:
        return []
    for line in lines:
        line.pop(None, None)  # cells beyond the last column
    return lines


def _named(
    argument: str, summaries: Sequence[dict[str, Any]], catalog: Catalog
) -> Iterator[ComparedRun]:
    if not is_pattern(argument):
        of_study = runs_of_study(argument, catalog)
        for directory in of_study or ():
            state = Watch().state(directory)
            if state.readable:
                summary = {**directory.record().document(), "state": state}
                yield ComparedRun(directory, summary, argument)
        if of_study is not None:
            return
        directory = find_run(argument, catalog, or_all(argument))
        changing = {"state": Watch().state(directory), "evaluations": summaries_of(directory.path)}
        yield ComparedRun(directory, {**directory.record().document(), **changing}, None)
        return
    by_name = {summary["name"]: summary for summary in summaries}
    for name in matching(argument, by_name):
        yield ComparedRun(RunDirectory(Path(by_name[name]["path"])), by_name[name], argument)


def differ_by_seed(chosen: Sequence[ComparedRun], *, gathered: bool = False) -> bool:
    """Whether to compare groups instead of runs: if there is a pattern, or any of several specs has
    two seeds.

    gathered  whether the runs are those of a launch or a tag, where seeds of a single spec are a
              group, too
    """
    if any(run.pattern for run in chosen):
        return True
    different = {(run.digest, run.seed) for run in chosen}
    seeds = Counter(digest for digest, _ in different)
    return len(seeds) > 1 - gathered and max(seeds.values()) > 1


def seed_groups(chosen: Sequence[ComparedRun]) -> list[SeedGroup]:
    """The runs of each pattern, and those given by name, grouped by digest, in the one order of
    terminals, pages and figures, where the k-th group has the k-th colour: patterns and experiences
    as they were named, and among them by the values of what was changed, numbers as numbers.
    """
    by_group: dict[tuple[str | None, str], list[ComparedRun]] = {}
    for run in chosen:
        by_group.setdefault((run.pattern, run.digest), []).append(run)
    members = list(by_group.values())
    firsts = [runs[0] for runs in members]
    named = [(first.pattern, first.summary["experience"]) for first in firsts]
    values = _values_of_changes(firsts)

    def place(index: int) -> tuple[Any, ...]:
        numbers = [natural(value) for value in values[index].values()]
        return named.index(named[index]), numbers

    order = sorted(range(len(members)), key=place)
    firsts = [firsts[index] for index in order]
    changes = _telling_changes(firsts, [values[index] for index in order])
    choices = list(map(_possible_names, firsts, changes))
    uses = [Counter(names) for names in zip(*choices, strict=True)]
    groups = []
    for names, index in zip(choices, order, strict=True):
        unique = [name for name, counts in zip(names, uses, strict=True) if counts[name] == 1]
        name = unique[0] if unique else names[-1]
        groups.append(SeedGroup(name, members[index]))
    return groups


def with_results(groups: Sequence[SeedGroup]) -> tuple[list[SeedGroup], list[SeedGroup]]:
    """The groups to compare, and those whose runs are all done without results, such as trials of a
    search, which are not tested; all are compared where none has any.
    """
    if not any(group.counted for group in groups):
        return list(groups), []
    untested = [group for group in groups if group.untested]
    return [group for group in groups if not group.untested], untested


def _values_of_changes(firsts: Sequence[ComparedRun]) -> list[dict[str, str]]:
    """Per run the value of every key that one of them changed; else the value in its spec."""
    changed = [_changed(run) for run in firsts]
    keys = dict.fromkeys(key for changes in changed for key in changes)
    values: list[dict[str, str]] = []
    for run, own in zip(firsts, changed, strict=True):
        values.append({})
        spec = run.directory.spec() if keys else {}
        for key in keys:
            written = value_at(spec, steps(key))
            if written is NOTHING or isinstance(written, dict):
                # A name of a model or a dataset stands for all that is below it.
                values[-1][key] = own.get(key, ABSENT)
            else:
                values[-1][key] = value_text(written)
    return values


def _changed(run: ComparedRun) -> dict[str, str]:
    return dict(change.partition("=")[::2] for change in run.summary["overrides"])


def _telling_changes(
    firsts: Sequence[ComparedRun], values: Sequence[Mapping[str, str]]
) -> Iterator[list[str]]:
    """Per group the changes that tell it from others, its own or those of its experience."""
    if len(firsts) == 1:
        yield firsts[0].summary["overrides"]
        return
    for first, changes in zip(firsts, values, strict=True):
        own = _changed(first)
        experience = first.summary["experience"]
        alike = [
            other
            for run, other in zip(firsts, values, strict=True)
            if run.summary["experience"] == experience
        ]
        telling = []
        for key, value in changes.items():
            others = values if key in own else alike
            if value != ABSENT and any(other[key] != value for other in others):
                telling.append(f"{key}={value}")
        yield telling


def _possible_names(first: ComparedRun, changes: Sequence[str]) -> list[str]:
    """Experience and changes that tell it from others, and more for groups where that is equal."""
    named = first.summary["experience"] or first.name
    words = " ".join(" ".join([named, *changes]).split())
    plain = with_caution(words, first.summary["caution"])
    pattern = first.pattern or first.name
    digest = first.digest[:8]
    return [plain, f"{plain} ({pattern})", f"{plain} ({digest})", f"{plain} ({pattern}, {digest})"]

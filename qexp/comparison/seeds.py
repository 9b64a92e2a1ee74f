"""Comparison of experiences by runs with several seeds: mean results, and which one is better."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

from qexp.base.files import real_path
from qexp.base.text import NOTHING, natural, value_at
from qexp.base.workspace import Workspace
from qexp.errors import DamagedError, QexpError, some, suggestion
from qexp.jobs.states import Watch
from qexp.metrics.intervals import LEVEL, Estimate, difference_of_means, estimate, simultaneous
from qexp.metrics.meaning import HIGHEST, UNKNOWN, ZERO, Meaning
from qexp.results.capabilities import compared_columns, unit_of
from qexp.runs.catalog import Catalog, find_run, is_pattern, matching, or_all
from qexp.spec.experiences import ABSENT, differences, type_name, type_of
from qexp.spec.resolution import steps, value_text
from qexp.store.directory import RunDirectory, with_caution
from qexp.store.evaluations import find_evaluation, summaries as summaries_of
from qexp.store.record import State, meaning_of

# The runs of a comparison, grouped by what they have in common except the seed.


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


DIVIDING = ("sizes", "split")
"""Keys of experiences that say which samples outside the test part are for validation."""

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
    runs = [line.get("run") or "" for line in lines if line.get("use") != TRIAL]
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
            return list(csv.DictReader(file))
    except FileNotFoundError:
        return []


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
    words = " ".join(" ".join([first.summary["experience"] or first.name, *changes]).split())
    plain = with_caution(words, first.summary["caution"])
    pattern = first.pattern or first.name
    digest = first.digest[:8]
    return [plain, f"{plain} ({pattern})", f"{plain} ({digest})", f"{plain} ({pattern}, {digest})"]


# Numbers of groups of runs that differ by seed only: their mean over the seeds, and how far the
# seeds differ.


@dataclass(frozen=True)
class GroupRow:
    """One metric of one output in one group."""

    group: str
    output: str
    metric: str
    meaning: Meaning
    unit: str
    estimate: Estimate | None
    """None if no seed has a number."""
    values: dict[int, float]
    """Seed → value."""
    not_finite: list[int]
    """Seeds that count in the group, but whose value is not finite."""

    def document(self) -> dict[str, Any]:
        return {
            "group": self.group,
            "output": self.output,
            "metric": self.metric,
            "direction": self.meaning.best,
            "unit": self.unit,
            **_numbers(self.estimate),
            "values": {str(seed): value for seed, value in self.values.items()},
            "not_finite": self.not_finite,
        }


def units_of_groups(groups: Sequence[SeedGroup]) -> dict[str, str]:
    """Output → its unit in the runs' records."""
    return {
        name: unit
        for group in groups
        for run in group.runs
        for name, unit in run.summary["units"].items()
    }


Numbers = Mapping[str, Mapping[str, Any]]
"""Output → metric → value."""


def outputs_and_metrics(runs: Sequence[Numbers]) -> list[tuple[str, str]]:
    """Every output with every metric that one of the runs has of it, in the order of outputs."""
    metrics: dict[str, dict[str, None]] = {}
    for numbers in runs:
        for output, values in numbers.items():
            metrics.setdefault(output, {}).update(dict.fromkeys(values))
    return [(output, name) for output, names in metrics.items() for name in names]


def rows_of_results(groups: Sequence[SeedGroup]) -> Iterator[GroupRow]:
    """Of the compared part, or of an evaluation."""
    runs = [run for group in groups for run in group.counted.values()]
    recorded = [run.directory.record().metrics for run in runs]
    units = units_of_groups(groups)
    for output, name in outputs_and_metrics([run.numbers for run in runs]):
        meaning = meaning_of(name, recorded)
        for group in groups:
            metrics = {seed: run.numbers.get(output, {}) for seed, run in group.counted.items()}
            if not any(name in known for known in metrics.values()):
                continue
            values = {}
            not_finite = []
            for seed, known in metrics.items():
                value = known.get(name)
                if value is None or not math.isfinite(value):
                    not_finite.append(seed)
                else:
                    values[seed] = value
            mean = None
            if values:
                mean = estimate(list(values.values()), meaning.limits(values.values()))
            unit = meaning.in_unit(units.get(output, ""))
            yield GroupRow(
                group.name,
                output,
                name,
                meaning,
                unit,
                mean,
                values,
                not_finite,
            )


def rows_of_capabilities(groups: Sequence[SeedGroup]) -> Iterator[GroupRow]:
    """Such as coverage and widths of the intervals of calibrated runs, and whether they passed; see
    `qexp calibrate`.

    Runs without them are no part of the mean. p-values have none.
    """
    units = units_of_groups(groups)
    columns: dict[str, dict[int, Numbers]] = {}
    for group in groups:
        columns[group.name] = {}
        for seed, run in group.counted.items():
            directory = run.directory
            if run.evaluation:
                directory = find_evaluation(directory, run.evaluation)
            columns[group.name][seed] = compared_columns(directory)
    runs = [numbers for seeds in columns.values() for numbers in seeds.values()]
    for output, name in outputs_and_metrics(runs):
        if name.endswith("p_value"):
            continue
        unit = unit_of(output, name, units)
        for title, seeds in columns.items():
            found = {seed: numbers.get(output, {}).get(name) for seed, numbers in seeds.items()}
            values = {seed: value for seed, value in found.items() if value is not None}
            if values:
                mean = estimate(list(values.values()))
                yield GroupRow(
                    title,
                    output,
                    name,
                    UNKNOWN,
                    unit,
                    mean,
                    values,
                    [],
                )


# Runs with equal seeds have the same test samples. Differences between two groups are therefore
# paired by seed, which removes the variation that the samples add to both. Groups without two
# common seeds are independent samples.


@dataclass(frozen=True)
class PairRow:
    """One metric of one output in two groups: the first group's value minus the second's."""

    output: str
    metric: str
    meaning: Meaning
    unit: str
    seeds: list[int]
    """By which it is paired; none where it is the difference of two independent means."""
    estimate: Estimate
    """With the interval that holds together with all of this metric, of all outputs and pairs."""
    better: str | None
    """The better group; None if the interval contains 0, or the direction is unknown."""

    @property
    def absolute(self) -> bool:
        """Whether absolute values are compared, because the metric is best at zero."""
        return self.meaning.best == ZERO

    def document(self) -> dict[str, Any]:
        return {
            "output": self.output,
            "metric": self.metric,
            "absolute": self.absolute,
            "unit": self.unit,
            "seeds": self.seeds,
            **_numbers(self.estimate),
            "excludes_zero": self.estimate.excludes_zero,
            "better": self.better,
        }


@dataclass(frozen=True)
class Pair:
    first: str
    second: str
    seeds: list[int]
    """Seeds that count in both groups."""
    not_paired: str | None
    """Why differences are not paired, or cannot be taken at all; None if they are."""
    rows: list[PairRow]

    def document(self) -> dict[str, Any]:
        return {
            "first": self.first,
            "second": self.second,
            "seeds": self.seeds,
            "not_paired": self.not_paired,
            "differences": [row.document() for row in self.rows],
        }


@dataclass(frozen=True)
class SeedComparison:
    groups: list[SeedGroup]
    specs: dict[str, list[str]]
    """model and dataset → name in each group."""
    differences: dict[str, list[str]]
    """Path in the spec → value in each group."""
    results: list[GroupRow]
    calibrations: list[GroupRow]
    """Of the runs that were calibrated."""
    pairs: list[Pair]
    figures: list[Path]
    simultaneous: Mapping[str, int] = field(default_factory=dict)
    """Metric → number of its differences, over outputs and pairs, whose intervals hold together."""

    @property
    def names(self) -> list[str]:
        return [group.name for group in self.groups]

    @property
    def evaluation(self) -> str | None:
        """The evaluation whose results are compared; None for those of the runs' own parts."""
        return self.groups[0].runs[0].evaluation

    @property
    def part(self) -> str:
        """Of which the results are, if not of an evaluation."""
        return PARTS[self.groups[0].runs[0].part]

    @property
    def units(self) -> dict[str, str]:
        """Output → its unit."""
        return units_of_groups(self.groups)

    def only(self, chosen: Callable[[GroupRow | PairRow], bool]) -> SeedComparison:
        """The comparison with some of its rows."""
        return replace(
            self,
            results=list(filter(chosen, self.results)),
            calibrations=list(filter(chosen, self.calibrations)),
            pairs=[replace(pair, rows=list(filter(chosen, pair.rows))) for pair in self.pairs],
        )

    def missing(self, group: SeedGroup) -> list[int]:
        """Seeds with a run of another group, not of this; none for groups without common seeds."""
        alike = [other.seeds for other in self.groups if other.seeds & group.seeds]
        return sorted(set().union(*alike) - group.seeds)

    def document(self) -> dict[str, Any]:
        return {
            "level": LEVEL,
            "simultaneous": self.simultaneous,
            "evaluation": self.evaluation,
            "part": self.part,
            "groups": [self._group(group) for group in self.groups],
            "specs": self.specs,
            "differences": self.differences,
            "results": [row.document() for row in self.results],
            "calibrations": [row.document() for row in self.calibrations],
            "pairs": [pair.document() for pair in self.pairs],
            "figures": [str(path) for path in self.figures],
        }

    def _group(self, group: SeedGroup) -> dict[str, Any]:
        summary = group.runs[0].summary
        keys = ("experience", "dataset", "model", "overrides", "digest")
        return {
            "name": group.name,
            **{key: summary[key] for key in keys},
            "pattern": group.runs[0].pattern,
            "runs": [run.name for run in group.counted.values()],
            "seeds": list(group.counted),
            "left_out": [asdict(exclusion) for exclusion in group.left_out],
            "missing": self.missing(group),
        }


def _numbers(over_seeds: Estimate | None) -> dict[str, Any]:
    if over_seeds is None:
        return {"n": 0, **dict.fromkeys(("mean", "standard_deviation", "interval", "min", "max"))}
    return {
        "n": over_seeds.n,
        "mean": over_seeds.mean,
        "standard_deviation": over_seeds.standard_deviation,
        "interval": over_seeds.interval,
        "min": over_seeds.least,
        "max": over_seeds.greatest,
    }


def compare_across_seeds(groups: Sequence[SeedGroup]) -> SeedComparison:
    """Compare one or more groups of runs, every two of them; without figures."""
    if not any(group.counted for group in groups):
        left_out = [exclusion for group in groups for exclusion in group.left_out[:3]]
        states = ", ".join(f"{exclusion.run} is {exclusion.why}" for exclusion in left_out)
        raise QexpError(f"there is nothing to compare: {states}")
    specs = _specs(groups)
    alone = _each_alone(groups, specs)
    rows = [*alone.results, *alone.calibrations]
    pairs = []
    for (first, spec), (second, other_spec) in combinations(zip(groups, specs, strict=True), 2):
        differing = _differing_data(first, second, spec, other_spec)
        pairs.append(_pair(first, second, differing, rows))
    together = Counter(row.metric for pair in pairs for row in pair.rows)
    pairs = [_simultaneously(pair, together) for pair in pairs]
    return replace(alone, pairs=pairs, simultaneous=together)


def _simultaneously(pair: Pair, together: Mapping[str, int]) -> Pair:
    """A pair with intervals of a metric that hold for all of its differences at once, and what is
    better by them.

    Between equal groups, single intervals would leave out zero in one difference of twenty.
    """
    rows = []
    for row in pair.rows:
        difference = simultaneous(row.estimate, together[row.metric])
        better = None
        if difference.excludes_zero and row.meaning.best is not None:
            first_is_better = (difference.mean > 0) == (row.meaning.best == HIGHEST)
            better = pair.first if first_is_better else pair.second
        rows.append(replace(row, estimate=difference, better=better))
    return replace(pair, rows=rows)


def results_across_seeds(groups: Sequence[SeedGroup]) -> SeedComparison:
    """The results of each group without paired differences; none for groups without a done run."""
    return _each_alone(groups, _specs(groups))


def same_samples(groups: Sequence[SeedGroup]) -> list[int]:
    """For each group, the number of the first one with the same test samples for equal seeds."""
    specs = _specs(groups)
    firsts = list[int]()
    for number, group in enumerate(groups):
        alike = (
            first
            for first in dict.fromkeys(firsts)
            if not _differing_data(groups[first], group, specs[first], specs[number])
        )
        firsts.append(next(alike, number))
    return firsts


def _specs(groups: Sequence[SeedGroup]) -> list[dict[str, Any]]:
    return [group.runs[0].directory.spec() for group in groups]


def _each_alone(groups: Sequence[SeedGroup], specs: Sequence[dict[str, Any]]) -> SeedComparison:
    firsts = [group.runs[0].summary for group in groups]
    return SeedComparison(
        groups=list(groups),
        specs={
            "model": [first["model"] for first in firsts],
            "dataset": [first["dataset"] for first in firsts],
        },
        differences=differences(specs),
        results=list(rows_of_results(groups)),
        calibrations=list(rows_of_capabilities(groups)),
        pairs=[],
        figures=[],
    )


def _differing_data(
    first: SeedGroup,
    second: SeedGroup,
    spec_of_first: Mapping[str, Any],
    spec_of_second: Mapping[str, Any],
) -> str | None:
    """How the samples of two groups differ for equal seeds, in words; None if they do not."""
    counted = [*first.counted.values(), *second.counted.values()]
    if counted and counted[0].evaluation is not None:
        return "evaluated on different samples" if len({run.data for run in counted}) > 1 else None
    return differing_parts([spec_of_first, spec_of_second], counted[0].part if counted else "test")


def differing_parts(specs: Sequence[Mapping[str, Any]], part: str) -> str | None:
    """How a part of the data differs between runs of equal seeds, in words; None if not."""
    if len({type_name(spec) for spec in specs}) > 1:
        return f"evaluated by different programs, whose {PARTS[part]} samples cannot be compared"
    deciding = []
    for spec in specs:
        keys = dict(type_of(spec).test_part(dict(spec)))
        if part != "test":
            keys |= {key: spec.get(key) for key in DIVIDING}
        deciding.append(keys)
    paths = list(differences(deciding))
    where = f"evaluated on different {PARTS[part]} parts"
    return f"{where}: {some(paths, 4)} differ{'s' * (len(paths) == 1)}" if paths else None


def common_seeds(first: SeedGroup, second: SeedGroup) -> list[int]:
    """Those that count in both groups, which are compared by seed if there are two at least."""
    return [seed for seed in first.counted if seed in second.counted]


def _pair(
    first: SeedGroup, second: SeedGroup, differing: str | None, results: Sequence[GroupRow]
) -> Pair:
    """Differences of two groups.

    differing  how their test samples differ, so that no difference is taken
    """
    seeds = common_seeds(first, second)
    why = differing
    if why is None and len(seeds) < 2:
        why = f"only seed {seeds[0]} in common" if seeds else "no seed in common"
    rows = []
    if not differing:
        rows = list(_rows_of_pair(first.name, second.name, results, paired=why is None))
    if not (rows or differing):
        why = f"{why}; an interval needs two" if why else "no metric in common"
    return Pair(first.name, second.name, seeds, why, rows)


def _rows_of_pair(
    first: str, second: str, results: Sequence[GroupRow], *, paired: bool
) -> Iterator[PairRow]:
    others = {(row.output, row.metric): row for row in results if row.group == second}
    for row in results:
        other = others.get((row.output, row.metric))
        if row.group != first or other is None:
            continue
        difference = None
        seeds = list[int]()
        if not paired:
            difference = unpaired_difference(row, other)
        elif row.values.keys() & other.values:
            seeds = [seed for seed in row.values if seed in other.values]
            ours = sizes(row)
            theirs = sizes(other)
            difference = estimate([ours[seed] - theirs[seed] for seed in seeds])
        if difference is not None:
            yield PairRow(
                row.output,
                row.metric,
                row.meaning,
                row.unit,
                seeds,
                difference,
                None,
            )


def sizes(row: GroupRow) -> dict[int, float]:
    """Seed → the value that is compared: without its sign if the metric is best at zero."""
    if row.meaning.best == ZERO:
        return {seed: abs(value) for seed, value in row.values.items()}
    return row.values


def unpaired_difference(row: GroupRow, other: GroupRow) -> Estimate | None:
    """The difference of two groups as independent samples; None with fewer than two values each."""
    first = list(sizes(row).values())
    second = list(sizes(other).values())
    return difference_of_means(first, second) if min(len(first), len(second)) > 1 else None

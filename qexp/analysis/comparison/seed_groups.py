"""The runs of a comparison, grouped by what they have in common except the seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qexp.errors import DamagedError, QexpError
from qexp.files import real_path
from qexp.runs.catalog.catalog import Catalog
from qexp.runs.catalog.references import find, is_pattern, matching
from qexp.runs.record.directory import RunDirectory, with_caution
from qexp.runs.record.evaluations import summaries as summaries_of
from qexp.runs.record.state import State
from qexp.runs.state.waiting import Watch


@dataclass(frozen=True)
class ComparedRun:
    """A run that is compared."""

    directory: RunDirectory
    summary: dict[str, Any]
    """Summary of its record, with the current state."""
    pattern: str | None
    """The pattern that matched it; None if it was given by name or path."""
    evaluation: str | None = None
    """The evaluation whose results are compared; None for those of its own test part."""

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def seed(self) -> int:
        seed: int = self.summary["seed"]
        return seed

    @property
    def digest(self) -> str:
        """The digest, equal for runs that differ by seed only; the run's name if its record has none."""
        return self.summary["digest"] or self.name

    @property
    def test(self) -> dict[str, dict[str, float | None]]:
        """output → metric → value on the test part, or in the evaluation."""
        test: dict[str, dict[str, float | None]]
        if self.evaluation is not None:
            of = self.summary["evaluations"].get(self.evaluation, {})
            test = of.get(of.get("part"), {})
        else:
            test = self.summary["results"].get("test", {})
        return test

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
        for one in self.runs:
            if _objection(one) is None:
                sound.setdefault(one.seed, one)
        return dict(sorted(sound.items()))

    @property
    def left_out(self) -> list[LeftOut]:
        counted = self.counted
        return [
            LeftOut(one.seed, one.name, _objection(one) or f"repeats {counted[one.seed].name}")
            for one in self.runs
            if one is not counted.get(one.seed)
        ]

    @property
    def seeds(self) -> set[int]:
        """The seeds of all its runs, whether they count or not."""
        return {one.seed for one in self.runs}


def _objection(one: ComparedRun) -> str | None:
    state = State(one.summary["state"])
    if state is not State.DONE:
        return state.words
    if one.evaluation is not None:
        return None if one.test else f"done without an evaluation '{one.evaluation}'"
    return None if one.test else "done without results on a test part"


def runs_to_compare(arguments: Sequence[str], catalog: Catalog, evaluation: str | None = None) -> list[ComparedRun]:
    """The runs given by patterns, names, unique prefixes or paths; each belongs to the first argument it matches.

    evaluation  whose results are compared, instead of those of the runs' own test parts
    Raises NotFoundError for an argument without a match, QexpError for one that matches only runs listed before.
    """
    summaries = catalog.runs() if any(map(is_pattern, arguments)) else []
    chosen: dict[Path, ComparedRun] = {}
    damaged: list[str] = []
    """Errors of damaged runs that match a pattern; they are left out, and the catalog warns about them."""
    for argument in arguments:
        before = len(chosen) + len(damaged)
        for one in _named(argument, summaries, catalog):
            if one.summary["state"] == State.DAMAGED:
                damaged.append(one.summary["error"])
            else:
                chosen.setdefault(real_path(one.directory.path), replace(one, evaluation=evaluation))
        if len(chosen) + len(damaged) == before:
            raise QexpError(
                f"the same run is named twice: '{argument}' matches only runs that were already listed; remove it"
            )
    if len(chosen) < 2:
        if damaged:
            raise DamagedError(damaged[0])
        only = "".join(
            f", and '{argument}' matches only {one.name}" for one in chosen.values() for argument in arguments
        )
        raise QexpError(f"compare needs at least two runs{only}")
    return list(chosen.values())


def _named(argument: str, summaries: Sequence[dict[str, Any]], catalog: Catalog) -> Iterator[ComparedRun]:
    if not is_pattern(argument):
        directory = find(argument, catalog)
        known = {"state": Watch().state(directory), "evaluations": summaries_of(directory.path)}
        yield ComparedRun(directory, {**directory.record().document(), **known}, None)
        return
    by_name = {one["name"]: one for one in summaries}
    for name in matching(argument, by_name):
        yield ComparedRun(RunDirectory(Path(by_name[name]["path"])), by_name[name], argument)


def differ_by_seed(chosen: Sequence[ComparedRun]) -> bool:
    """Whether to compare groups instead of runs: if there is a pattern, or every one of several specs has seeds."""
    seeds = Counter(digest for digest, _ in {(one.digest, one.seed) for one in chosen})
    return any(one.pattern for one in chosen) or (len(seeds) > 1 and min(seeds.values()) > 1)


def seed_groups(chosen: Sequence[ComparedRun]) -> list[SeedGroup]:
    """The runs of each pattern, and those given by name, grouped by digest."""
    members: dict[tuple[str | None, str], list[ComparedRun]] = {}
    for one in chosen:
        members.setdefault((one.pattern, one.digest), []).append(one)
    return [SeedGroup(name, runs) for name, runs in zip(_names(list(members.values())), members.values(), strict=True)]


def _names(members: Sequence[Sequence[ComparedRun]]) -> list[str]:
    """A name for each group: experience and overrides that not all groups share, and more if names are equal."""
    changes = [runs[0].summary["overrides"] for runs in members]
    shared = set.intersection(*map(set, changes)) if len(members) > 1 else set()
    choices = [list(_possible_names(runs[0], shared)) for runs in members]
    uses = [Counter(names) for names in zip(*choices, strict=True)]
    return [
        next((name for name, of_all in zip(names, uses, strict=True) if of_all[name] == 1), names[-1])
        for names in choices
    ]


def _possible_names(first: ComparedRun, shared: Collection[str]) -> Iterator[str]:
    own = [change for change in first.summary["overrides"] if change not in shared]
    words = " ".join(" ".join([first.summary["experience"] or first.name, *own]).split())
    plain = with_caution(words, first.summary["caution"])
    pattern, digest = first.pattern or first.name, first.digest[:8]
    yield plain
    yield f"{plain} ({pattern})"
    yield f"{plain} ({digest})"
    yield f"{plain} ({pattern}, {digest})"

"""What a search is of, and what it has found: the record in its folder."""

from __future__ import annotations

import itertools
import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from qexp.base.options import is_number
from qexp.base.outputs import main_metric
from qexp.base.quantities import number_with_unit
from qexp.base.text import Table, measure, value_at
from qexp.base.workspace import Workspace
from qexp.comparison.groups import STUDY_FILES, study_folder
from qexp.errors import some
from qexp.metrics.meaning import HIGHEST, ZERO, measured
from qexp.spec.resolution import value_text
from qexp.store.directory import RunDirectory
from qexp.store.documents import Part
from qexp.store.record import Record, meaning_of

ABOUT = "tune.json"
"""Record of a search in its folder."""

DONE, PRUNED, FAILED, UNFINISHED = "done", "pruned", "failed", "unfinished"
"""How a trial has ended."""

MOST_REASONS = 5
"""Failed trials whose reason is told."""


@dataclass(frozen=True, kw_only=True)
class Objective(Part):
    """What is best."""

    metric: str
    """`loss`, or `output.metric`, of the validation part."""
    best: str
    """One of `meaning.BEST`."""

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        return "maximize" if self.best == HIGHEST else "minimize"

    def of_line(self, line: Mapping[str, Any]) -> float | None:
        """The value of an epoch, None for one that is no number."""
        value = value_at(line["validation"], self.metric.split("."))
        if not is_number(value) or not math.isfinite(value):
            return None
        return float(abs(value) if self.best == ZERO else value)


@dataclass(frozen=True, kw_only=True)
class TrialRecord(Part):
    """A trial of a search."""

    trial: int
    """Its number."""
    state: str
    """`done`, `pruned`, `failed` or `unfinished`."""
    set: Mapping[str, Any]
    """Key → value."""
    values: tuple[float, ...] = ()
    """Those of the objectives, if it is done."""
    runs: tuple[str, ...] = ()
    """Names of its runs, one for each seed."""
    folds: int = 0
    """Number of folds of rows that chose its values."""
    why: str = ""
    """Why it failed."""


@dataclass(frozen=True, kw_only=True)
class FinalErrors(Part):
    """A metric of the final runs of a trial."""

    values: tuple[float, ...]
    """One for each run."""
    unit: str = ""

    def __str__(self) -> str:
        text = measured(fmean(self.values), stdev(self.values) if len(self.values) > 1 else None)
        return number_with_unit(text, self.unit)


@dataclass(frozen=True, kw_only=True)
class Tuned(Part):
    """A search, and what it has found."""

    folder: str
    experience: str
    space: Mapping[str, str]
    """Key, or several with + between them → values or range, as an option takes them."""
    objectives: tuple[Objective, ...]
    overrides: Mapping[str, Any]
    seeds: tuple[int, ...]
    digest: str
    """Of the experience with the first values of the space."""
    drawn: int = 0
    """Number of trials that were drawn at once, for folds of rows."""
    trials: tuple[TrialRecord, ...] = ()
    best_trials: tuple[int, ...] = ()
    """Number of the best trial, or with several objectives of all of which none is better in
    all.
    """
    final: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Number of a best trial, also of an earlier command → its runs with fresh seeds, which are
    tested.
    """
    tested: Mapping[str, Mapping[str, FinalErrors]] = field(default_factory=dict)
    """Number of such a trial → output and its main metric, on the test part."""
    folds: int = 0
    """Number of folds of rows that chose among the trials, each for itself; 0 for a search on a
    validation part.
    """
    of_program: bool = False

    def __repr__(self) -> str:
        return (
            f"<search of {self.experience} over {', '.join(self.space)}: {len(self.trials)} trials>"
        )

    def with_tests(self, runs: Path) -> Tuned:
        """With the test errors of its final runs, those that still are in a folder of runs."""
        tested = {}
        for trial, names in self.final.items():
            directories = [RunDirectory(runs / name) for name in names]  # also of earlier commands
            records = [directory.record() for directory in directories if directory.holds_record]
            errors = _final_errors(records)
            if errors:
                tested[trial] = errors
        return replace(self, tested=tested)

    @property
    def files(self) -> list[Path]:
        """The tables of runs and of trials, the figure, and this record."""
        return [Path(self.folder) / name for name in (*STUDY_FILES, ABOUT)]

    @property
    def keys(self) -> list[str]:
        return list(itertools.chain(*(name.split("+") for name in self.space)))

    @property
    def best(self) -> list[TrialRecord]:
        return [trial for trial in self.trials if trial.trial in self.best_trials]

    def texts(self, trial: TrialRecord) -> list[str]:
        """The values of the keys, as an option takes them."""
        return [value_text(trial.set.get(key)) for key in self.keys]

    def results(self, shown: int = 8) -> Table:
        """A table of the best trials, those with the best first objective first."""
        ranked = [trial for trial in self.trials if trial.values]
        highest_first = self.objectives[0].direction == "maximize"
        ranked.sort(key=lambda trial: trial.values[0], reverse=highest_first)
        columns = ["trial", *self.keys]
        columns += [f"validation {one.metric}" for one in self.objectives]
        numeric = frozenset(columns)
        columns.append("chosen by folds" if self.folds else "runs")
        rows = list[list[str]]()
        strong = set[tuple[int, int]]()
        for trial in ranked[:shown]:
            if trial.trial in self.best_trials:
                strong.add((len(rows), 0))
            row = [str(trial.trial), *self.texts(trial)]
            row += [f"{value:.5g}" for value in trial.values]
            row.append(str(trial.folds) if self.folds else ", ".join(trial.runs))
            rows.append(row)
        title = "best trials, by the validation part alone"
        return Table(title, columns, rows, numeric, frozenset(strong))

    def remarks(self) -> list[str]:
        """How many trials ended in which way, and what the test part was used for."""
        counts = Counter(trial.state for trial in self.trials)
        ends = [word for word in (DONE, PRUNED, FAILED, UNFINISHED) if counts[word]]
        words = ", ".join(f"{counts[word]} {word}" for word in ends)
        finals = some(list(itertools.chain(*self.final.values())))
        looks = "the test part was not evaluated"
        if self.folds and self.best:
            words += f"; each of {self.folds} folds chose among them by its inner folds"
            looks = f"what it held out was evaluated once, with what it had chosen: {finals}"
        elif self.final:
            looks = (
                f"the test part was evaluated after the search only, for {len(self.final)} of"
                f" them, with fresh seeds: {finals}"
            )
        errors = list[str]()
        for number, of_trial in self.tested.items():
            texts = ", ".join(f"{name} {of_runs}" for name, of_runs in of_trial.items())
            errors.append(
                f"the values of trial {number}, with fresh seeds, on the test part: {texts}"
            )
        reasons = [f"trial {trial.trial} failed: {trial.why}" for trial in self.trials if trial.why]
        more = len(reasons) - MOST_REASONS
        if more > 0:
            reasons = [*reasons[:MOST_REASONS], f"and {more} more"]
        count = f"{len(self.trials)} trial{'s' * (len(self.trials) != 1)}"
        return [f"{count}: {words}; {looks}", *reasons, *errors]

    def what_next(self) -> list[str]:
        """Commands that use the best trial, and that train it again."""
        if self.folds or not self.best:
            return []
        best = self.best[0]
        runs = () if self.of_program else self.final.get(str(best.trial), best.runs)
        values = {**self.overrides, **best.set}
        sets = [
            f"--set {shlex.quote(f'{key}={value_text(value)}')}" for key, value in values.items()
        ]
        again = " ".join(["qexp run", self.experience, *sets])
        return [
            (
                f"next: qexp predict {runs[0]} FILE; to train it again: {again}"
                if runs
                else f"again: {again}"
            )
        ]

    def document(self) -> dict[str, Any]:
        tested = sum(len(runs) for runs in self.final.values())
        looks = {"validation": len(self.trials), "test": tested}
        return {**super().document(), "looks": looks, "remarks": self.remarks()}


def search_in(folder: Path) -> Tuned | None:
    """The search of a folder; None if there is none. Raises DamagedError."""
    file = folder / ABOUT
    return replace(Tuned.read(file), folder=str(folder)) if file.is_file() else None


def search_of(reference: str, workspace: Workspace) -> Tuned | None:
    """The search of that path or name in `studies/`, or None. Raises DamagedError."""
    folder = study_folder(reference, workspace)
    return None if folder is None else search_in(folder)


def _final_errors(records: Sequence[Record]) -> dict[str, FinalErrors]:
    """Output and main metric → its values on the test part, of the runs that have them."""
    results = [record.results["test"] for record in records if record.results.get("test")]
    errors = dict[str, FinalErrors]()
    if not results:
        return errors
    for output, metrics in results[0].items():
        metric = main_metric(metrics) or ""
        found = [of_run.get(output, {}).get(metric) for of_run in results]
        values = tuple(value for value in found if value is not None)
        meaning = meaning_of(metric, [records[0].metrics])
        unit = meaning.in_unit(records[0].units.get(output, ""))
        if values:
            errors[measure(output, metric)] = FinalErrors(values=values, unit=unit)
    return errors

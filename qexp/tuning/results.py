"""What a search has found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from qexp.base.files import read_json
from qexp.base.text import Table
from qexp.base.workspace import Workspace
from qexp.comparison.seeds import STUDY_FILES, study_folder
from qexp.errors import DamagedError, some
from qexp.metrics.meaning import HIGHEST, ZERO
from qexp.spec.resolution import value_text

ABOUT = "tune.json"
"""Record of a search in its folder."""

DONE, PRUNED, FAILED, UNFINISHED = "done", "pruned", "failed", "unfinished"
"""How a trial has ended."""


@dataclass(frozen=True)
class Objective:
    """What is best."""

    name: str
    """`loss`, or `output.metric`, of the validation part."""
    best: str
    """One of `meaning.BEST`."""

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        return "maximize" if self.best == HIGHEST else "minimize"

    def of_line(self, line: Mapping[str, Any]) -> float | None:
        """The value of an epoch, None for one that is no number."""
        found: Any = line["validation"]
        for step in self.name.split("."):
            found = found.get(step) if isinstance(found, Mapping) else None
        value = abs(found) if self.best == ZERO and found is not None else found
        return value if value is not None and math.isfinite(value) else None


def search_of(reference: str, workspace: Workspace) -> Tuned | None:
    """The search in a folder, by its path or its name in `studies/`; None if there is none. Raises DamagedError."""
    folder = study_folder(reference, workspace)
    return None if folder is None else Tuned.read(folder)


@dataclass(frozen=True)
class Tuned:
    """What a search has found."""

    experience: str
    space: Mapping[str, str]
    objectives: Sequence[Objective]
    trials: Sequence[Mapping[str, Any]]
    """Each with `trial`, its number; `state`; key → value in `set`; the `values` of the objectives; `runs`."""
    best: Sequence[Mapping[str, Any]]
    """The best trial, or with several objectives all of which none is better in all."""
    final: Mapping[int, Sequence[str]]
    """Number of a best trial, also of an earlier command → its runs with fresh seeds, which are tested."""
    folder: Path
    folds: int = 0
    """Number of folds of rows that chose among the trials, each for itself; 0 for a search on a validation part."""

    def __repr__(self) -> str:
        return f"<search of {self.experience} over {', '.join(self.space)}: {len(self.trials)} trials>"

    @classmethod
    def read(cls, folder: Path) -> Tuned | None:
        """The search of a folder; None if it holds none that has begun. Raises DamagedError."""
        if not (folder / ABOUT).is_file():
            return None
        document = read_json(folder / ABOUT)
        try:
            if "trials" not in document:
                return None
            return cls(
                document["experience"],
                document["space"],
                [Objective(one["metric"], one["best"]) for one in document["objectives"]],
                document["trials"],
                document["best"],
                {int(number): runs for number, runs in document["final"].items()},
                folder,
                document["folds"],
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise DamagedError(f"{folder / ABOUT} is damaged; remove it, or repeat the search") from None

    @property
    def files(self) -> list[Path]:
        """The tables of runs and of trials, the figure, and the record of the search."""
        return [self.folder / name for name in (*STUDY_FILES, ABOUT)]

    @property
    def keys(self) -> list[str]:
        return [key for name in self.space for key in name.split("+")]

    def results(self, shown: int = 8) -> Table:
        """A table of the best trials, those with the least first objective first."""
        done = [trial for trial in self.trials if trial["values"]]
        first = self.objectives[0]
        ranked = sorted(done, key=lambda trial: trial["values"][0] * (-1 if first.direction == "maximize" else 1))
        last = "chosen by folds" if self.folds else "runs"
        columns = ["trial", *self.keys, *(f"validation {one.name}" for one in self.objectives), last]
        rows = [
            [str(trial["trial"]), *(value_text(trial["set"][key]) for key in self.keys),
             *(f"{value:.5g}" for value in trial["values"]),
             str(trial["folds"]) if self.folds else ", ".join(trial["runs"])]
            for trial in ranked[:shown]
        ]  # fmt: skip
        strong = frozenset(
            (row, 0)
            for row, trial in enumerate(ranked[:shown])
            if trial["trial"] in {one["trial"] for one in self.best}
        )
        return Table("best trials, by the validation part alone", columns, rows, frozenset(columns[:-1]), strong)

    def remarks(self) -> list[str]:
        """How many trials ended in which way, and what the test part was used for."""
        counts = {
            word: sum(trial["state"] == word for trial in self.trials) for word in (DONE, PRUNED, FAILED, UNFINISHED)
        }
        words = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        finals = [run for runs in self.final.values() for run in runs]
        looks = "the test part was not evaluated"
        if self.folds:
            words = f"each of {self.folds} folds chose among them by its inner folds"
            looks = "what it held out was evaluated once, with what it had chosen: " + some(finals)
        elif finals:
            looks = (
                f"the test part was evaluated after the search only, for {len(self.final)} of them, with fresh seeds: "
                + some(finals)
            )
        reasons = [f"trial {trial['trial']} failed: {trial['why']}" for trial in self.trials if trial["why"]]
        more = [f"and {len(reasons) - MOST_REASONS} more"] if len(reasons) > MOST_REASONS else []
        return [
            f"{len(self.trials)} trial{'s' * (len(self.trials) != 1)}: {words}; {looks}",
            *reasons[:MOST_REASONS],
            *more,
        ]

    def document(self) -> dict[str, Any]:
        return {
            "experience": self.experience,
            "space": dict(self.space),
            "objectives": [{"metric": one.name, "part": "validation", "best": one.best} for one in self.objectives],
            "trials": list(self.trials),
            "best": list(self.best),
            "final": {str(number): list(runs) for number, runs in self.final.items()},
            "looks": {"validation": len(self.trials), "test": len(self.final)},
            "remarks": self.remarks(),
            "folds": self.folds,
            "folder": str(self.folder),
            "files": [str(file) for file in self.files],
        }


MOST_REASONS = 5
"""Failed trials whose reason is told."""

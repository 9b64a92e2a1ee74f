"""What a search is to do: its space, what is best, how trials are chosen and given up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, ClassVar

from qexp.base.options import option, part_of
from qexp.errors import QexpError, shortened
from qexp.runs.order import Order, Watched, read_grid, read_seeds

SPACE = "write KEY=log:LOW:HIGH, KEY=lin:LOW:HIGH, or a list of values, KEY=A,B"


def read_space(option: str, texts: Sequence[str]) -> dict[str, Any]:
    """`["learning_rate=log:1e-4:1e-2", "sizes.0=8,32"]` → key → range as a text, or values."""
    read: dict[str, Any] = {}
    for text in texts:
        key, _, values = text.partition("=")
        if key in read:
            raise QexpError(f"{option} {key} is given twice")
        if not values or not all(key.split("+")):
            raise QexpError(f"{option} {shortened(text)}: {SPACE}")
        if values.startswith(("lin:", "log:")) and values.count(":") == 2:
            read[key] = values
        else:
            read |= read_grid(option, [text])
    return read


LOSS = "loss"

SAMPLERS = ("tpe", "cmaes", "random", "grid")
PRUNERS = ("none", "asha", "hyperband")

TRIAL_SEEDS, FINAL_SEEDS = range(1), 5


@dataclass(frozen=True, kw_only=True)
class TuneOptions(Watched):
    """Options of `qexp tune` besides its order."""

    space: Mapping[str, Any] = option(
        {},
        "Values of a dotted key, from which each trial's is chosen. Keys with + between them get"
        " the same value.",
        "KEY.PATH=VALUES",
        also="Write log:LOW:HIGH, lin:LOW:HIGH or A,B; repeat for more.",
        example='{"learning_rate": "log:1e-4:1e-2", "sizes.0": [8192, 32768]}',
        read=read_space,
        complete="keys",
    )
    trials: int = option(
        60, "How many trials the search has in all, those of earlier commands included.", "N"
    )
    metric: Sequence[str] = option(
        (LOSS,),
        "What is best: loss or a metric such as depth.mae, always of the validation part.",
        "OUTPUT.METRIC",
        also="Repeat for a trade-off between several.",
    )
    sampler: str | None = option(
        None,
        "How values are chosen: by a tree of Parzen estimators, CMA-ES, at random, or all"
        " combinations.",
        "|".join(SAMPLERS),
        also="tpe if left out, and random for folds of rows.",
    )
    pruner: str = option(
        "none",
        "Whether trials that fall behind end early: by successive halving (asha) or hyperband.",
        "|".join(PRUNERS),
    )
    timeout: float | None = option(None, "Start no trial after this many seconds.", "SECONDS")
    final_seeds: int = option(
        FINAL_SEEDS,
        "Train the best with this many seeds that no trial had, and only then evaluate the test"
        " part.",
        "N",
    )
    out: str | Path | None = option(
        None, "Folder of the search; studies/<experience>_tune if left out.", "FOLDER"
    )


@dataclass(frozen=True)
class Tuning(Order, TuneOptions):
    """Options of `qexp.tune`."""

    panels: ClassVar = {"How it searches": "sampler pruner timeout", **Order.panels}

    seeds: Sequence[int] = option(
        TRIAL_SEEDS,
        "Train each trial with these seeds; the mean over them counts.",
        "A:B",
        also="0:3 for 0 to 2, or 0,2,5.",
        example="range(3)",
        read=read_seeds,
    )
    _: KW_ONLY
    jobs: int | None = option(
        None,
        "Maximum number of runs at a time, on a cluster as well; 1 if left out.",
        "-j --jobs N",
    )
    resume: bool = option(
        False,
        "Go on with the search that is in the folder, interrupted or not; then more trials may be"
        " asked for.",
    )

    def order_of(self, changes: Mapping[str, Any], seeds: Sequence[int]) -> Order:
        """An order for the experience with these changes, which resumes interrupted runs."""
        changed = {"overrides": {**self.overrides, **changes}, "seeds": seeds, "resume": True}
        return Order(**{**part_of(self, Order), **changed})

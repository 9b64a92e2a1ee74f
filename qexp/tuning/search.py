"""A search at work: asks for trials, has their runs trained in a pool, gives up those that fall
behind, and tells what came out. It looks at the validation part alone.
"""

from __future__ import annotations

import math
import os
import secrets
import threading
import time
import warnings
from collections import Counter, deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from qexp.base.files import locked
from qexp.base.formats import read_lines, whole_line
from qexp.base.outputs import output_in
from qexp.base.seeds import Seeds
from qexp.base.text import RESULT
from qexp.base.workspace import Workspace
from qexp.errors import DamagedError, QexpError, SpecError, extra, suggestion
from qexp.jobs.launchers import Launch, Watcher, scheduler_of
from qexp.jobs.scheduler import together
from qexp.jobs.states import Watch, ask_to_stop
from qexp.metrics.built_in import asked_for
from qexp.runs import launch
from qexp.runs.prepare import Plan
from qexp.spec.experiences import type_of
from qexp.store.directory import RunDirectory, retag
from qexp.store.record import State, meaning_of
from qexp.tuning.options import LOSS, Tuning
from qexp.tuning.results import Objective
from qexp.tuning.space import Space

with extra("tune"):
    import optuna
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import FrozenTrial, Trial, TrialState

if TYPE_CHECKING:
    import numpy as np
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

UNTESTED = {"test": False}
"""What the runs of trials set: their test part is not evaluated."""

LAUNCH, RUNS, WHY, DROPPED = "launch", "runs", "why", "dropped"
"""What the journal holds of a trial besides its values: the launch that last worked on it, its
runs, why it failed, and whether it was dropped before it had any.
"""

JOURNAL = "journal.jsonl"

PAUSE = 1.0
"""Seconds between two looks at the trials of other processes."""

MOST_ATTEMPTS = 3
"""How often the run of a trial is started whose process is gone without a word."""


def objectives_of(tuning: Tuning, plan: Plan, space: Space) -> list[Objective]:
    """The goal, checked against a run's plan. Raises QexpError for an unreported metric."""
    names = list(tuning.metric)
    spec = plan.spec
    outputs = type_of(spec).outputs(spec)
    for name in names:
        if names.count(name) > 1:
            raise QexpError(f"`metric={name}` is given twice")
    if outputs is None and not spec.get("metrics_file"):
        raise QexpError(
            "a search of a program needs validation errors: give its experience a `metrics_file`"
        )
    for key in space.keys if outputs is not None else ():
        first = key.split(".")[0]
        if first in OF_THE_DATA or key in ("sizes", "sizes.1"):
            raise QexpError(
                f"`space[{key}]` changes the validation part, so that trials cannot be compared;"
                " search other keys, or compare with `qexp study`"
            )
        if first in OF_THE_LOSS and LOSS in names:
            raise QexpError(
                f"`space[{key}]` changes what the loss is, so that losses of trials cannot be"
                f" compared; give a `metric`, such as `metric={(outputs or ['output'])[0]}.mae`"
            )
    return [_objective(name, plan, outputs) for name in names]


def _objective(name: str, plan: Plan, outputs: Sequence[str] | None) -> Objective:
    """outputs  None for a program, which may report any"""
    if name == LOSS:
        return Objective(metric=LOSS, best="lowest")
    if name.startswith("test."):
        raise QexpError(
            f"`metric={name}`: a search looks at the validation part alone; leave out 'test.'"
        )
    output, _, metric = name.removeprefix("validation.").rpartition(".")
    if outputs is not None:
        if metric in outputs:
            output = metric
            metric = output_in(plan.spec, metric).main
        reported = list[str]()
        for one in outputs:
            reported += [f"{one}.{asked}" for asked in asked_for(plan.spec, one)]
        if f"{output}.{metric}" not in reported:
            raise QexpError(
                f"`metric={name}`: no such metric; {suggestion(name, [LOSS, *reported])}"
            )
    best = meaning_of(metric, [plan.metrics]).best
    if best is None:
        declared = '"metrics": {"' + metric + '": {"best": "lowest"}}'
        raise QexpError(
            f"`metric={name}`: whether low or high values of '{metric}' are best is unknown; add"
            f" {declared}"
        )
    return Objective(metric=f"{output or RESULT}.{metric}", best=best)


OF_THE_DATA = ("dataset", "split")
"""Keys of an experience that change its validation part."""

OF_THE_LOSS = ("losses", "loss_weights", "transforms", "limits")
"""Keys of an experience that change what its loss is."""


# The study of Optuna's, in the folder of the search, and its journal.


LONGEST_WAIT = 60.0
"""How long a process waits for others that write."""

LONGEST_ENTRY = 2**20
"""Bytes at the end of the file in which a torn entry begins."""


class JournalFile(JournalFileBackend):
    """A journal that several processes and machines append to, and that a kill or a full disk
    cannot damage.

    Optuna appends to a line that was torn when its writer was killed, and can read nothing after
    that. Here the next writer cuts it off: who wrote it was never told that it is there. A killed
    process does not keep the lock. Entries are numbered, as those after a missing or doubled one
    would be taken for others.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(str(file), threading.Lock())  # type: ignore[arg-type]  # beside `locked`, for all processes
        self._file = file

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any]]:
        number = log_number_from
        try:
            for entry in super().read_logs(log_number_from):
                # an earlier version writes no numbers
                if entry.pop("entry", number + 1) != number + 1:
                    raise ValueError
                number += 1
                yield entry
        except ValueError:
            raise DamagedError(
                f"{self._file} is damaged: line {number + 1} is no entry; restore it from a copy"
            ) from None

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with locked(self._file, LONGEST_WAIT):
            with self._file.open("r+b") as file:
                start = file.seek(max(0, file.seek(0, os.SEEK_END) - LONGEST_ENTRY))
                content = file.read()
                end = content.rfind(b"\n") + 1
                file.truncate(start + end)
            last: int | None = 0
            if end:
                line = content[:end].splitlines(keepends=True)[-1]
                last = (whole_line(line) or {}).get("entry")
            if last is not None:
                logs = [{**log, "entry": number} for number, log in enumerate(logs, start=last + 1)]
            super().append_logs(logs)


def open_study(checked: CheckedTuning) -> Study:
    """The study in the folder of a search, which is made if there is none."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    tuning = checked.tuning
    journal = checked.folder / JOURNAL
    # of an entry with other content
    wrong = AssertionError, AttributeError, KeyError, TypeError, ValueError
    try:
        storage = optuna.storages.JournalStorage(JournalFile(journal))
        names = [study.study_name for study in storage.get_all_studies()]
    except wrong as error:
        raise DamagedError(
            f"{journal} is damaged: {type(error).__name__}: {error}; restore it from a copy"
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(
            storage=storage,
            # that of a folder that was moved since
            study_name=(names[0] if names else checked.folder.name),
            directions=[one.direction for one in checked.objectives],
            pruner=_pruner(tuning.pruner, checked.epochs),
            load_if_exists=True,
        )
        # A process that goes on with a search does not draw the numbers of the first once more.
        count = len(study.get_trials(deepcopy=False))
        fresh = [count, secrets.randbits(32)] if count else []
        random = Seeds(tuning.seeds[0]).numpy("tune", *map(str, fresh))
        study.sampler = _sampler(tuning.sampler, checked.space, random)
    return study


def draw(space: Space, tuning: Tuning) -> Study:
    """A study in memory with all trials at once, no two of which have the same values."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = _sampler(tuning.sampler or "random", space, Seeds(tuning.seeds[0]).numpy("tune"))
    study = optuna.create_study(sampler=sampler)
    drawn = optuna.create_study()
    distributions = space.distributions
    seen: list[Any] = []
    for _ in range(MOST_DRAWS * tuning.trials):
        parameters = study.ask(distributions).params
        if parameters not in seen:
            seen.append(parameters)
            drawn.enqueue_trial(parameters)
            drawn.ask(distributions)
        if len(seen) == tuning.trials:
            break
    return drawn


MOST_DRAWS = 20
"""How many values are drawn for each trial, if most are the same."""


def _sampler(name: str | None, space: Space, random: np.random.Generator) -> BaseSampler:
    seed = int(random.integers(2**31))
    if name == "grid":
        return Combinations(space.choices(), seed=seed)
    if name == "cmaes":
        with extra("tune"):
            import cmaes  # noqa: F401  # Optuna asks for it at the second trial only
        return optuna.samplers.CmaEsSampler(seed=seed)
    if name in ("tpe", None):
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
    return optuna.samplers.RandomSampler(seed=seed)


class Combinations(optuna.samplers.GridSampler):
    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Optuna would end its own loop after the last combination, and fail; see `Search`."""


def _pruner(name: str, epochs: int) -> BasePruner:
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(max_resource=epochs)
    pruners = optuna.pruners
    return pruners.SuccessiveHalvingPruner() if name == "asha" else pruners.NopPruner()


# The trials and their runs.


@dataclass(frozen=True)
class CheckedTuning:
    tuning: Tuning
    workspace: Workspace
    space: Space
    objectives: Sequence[Objective]
    folder: Path
    epochs: int
    """The most that a trial has."""
    digest: str
    """Of the experience, with the first values of the space."""
    drawn: Study | None
    """The trials among which each fold of rows chooses on its inner folds; None for a search by a
    validation part.
    """
    fixed: Mapping[str, Any]
    """What all trials set: their test part is not evaluated. Of a program that cannot be said."""
    order: launch.CheckedOrder
    """Of no runs, with the settings of all."""
    largest_stack: int
    """Runs of trials that are begun together and that one process trains side by side, see
    `qexp.runs.stacks`.
    """


@dataclass
class OpenTrial:
    trial: Trial
    runs: list[str]
    """Those of its seeds, in their order."""
    waiting: deque[RunDirectory]
    """Those that are still to be started."""
    reported: int = 0
    """The last epoch that was reported."""
    pruned: bool = False


class Search(Watcher):
    """Feeds a pool with the runs of trials, and passes how they go to `display`."""

    def __init__(self, study: Study, checked: CheckedTuning, display: Watcher) -> None:
        self._study, self._checked, self._display = study, checked, display
        self._workspace = checked.workspace
        space = checked.space
        self._tuning = tuning = checked.tuning
        self._open: dict[int, OpenTrial] = {}
        self._attempts: Counter[str] = Counter()
        self._again: deque[RunDirectory] = deque()
        self._taken_up: deque[Trial] = deque()
        self._lock = threading.RLock()
        self._until = math.inf if tuning.timeout is None else time.monotonic() + tuning.timeout
        self._most = tuning.trials
        if tuning.sampler == "grid":
            self._most = min(tuning.trials, math.prod(len(one.values) for one in space.dimensions))
        self.trouble = ""
        self._distributions = space.distributions
        self.launch: Launch | None = None
        self._stopping = False

    def run(self) -> bool:
        """Have all trials trained, also those whose process is gone, and wait for those of other
        processes.

        Returns whether a signal ended that early. Raises QexpError if a run could not be started.
        """
        order = self._checked.order
        more = self.next_runs_here if scheduler_of(order.order.launcher) is None else self.next_runs
        while True:
            elsewhere = self.take_up()
            if self.has_work():
                self.launch, _ = launch.open_launch(order, self._workspace)
                if launch.run_and_wait(self.launch, order, [], self, more):
                    return True
                if self.trouble:
                    raise QexpError(
                        f"{self.trouble}; the same with `resume=True` goes on with the search"
                    )
            elif elsewhere:
                time.sleep(PAUSE)
            else:
                return False

    # What the pool asks for.

    def next_runs_here(self) -> list[RunDirectory]:
        """The next runs to be started; waits for those at work, as each takes a place."""
        while directories := self.next_runs():
            free = [directory for directory in directories if not launch.at_work(directory)]
            if free:
                return free
            while any(map(launch.at_work, directories)):
                if self._stopping:
                    return []
                time.sleep(PAUSE)
            for directory in directories:
                self.run_ended(directory.name, Watch().state(directory), 0.0)
        return []

    def next_runs(self) -> list[RunDirectory]:
        """The next runs that one process trains; at work already if their search was killed."""
        with self._lock:
            while True:
                trials_open = [one for one in self._open.values() if not one.pruned]
                queues = [self._again, *(one.waiting for one in trials_open)]
                groups = together(chain(*queues))
                if groups:
                    for queue in queues:
                        for directory in [one for one in queue if one in groups[0]]:
                            queue.remove(directory)
                    return groups[0]
                trials = [*self._taken_up]
                self._taken_up.clear()
                trials += islice(iter(self._ask, None), 0 if trials else self._at_once())
                if not trials:
                    return []
                self._begin(trials)

    def _at_once(self) -> int:
        """New trials that are begun together, so that their runs can be in one stack."""
        share = math.ceil(self._most / (self._tuning.jobs or 1))
        return max(1, min(share, self._checked.largest_stack // len(self._tuning.seeds)))

    def has_work(self) -> bool:
        """Whether there are runs to be started, or trials to be begun."""
        waiting = self._again or self._taken_up or any(one.waiting for one in self._open.values())
        return bool(waiting) or (
            time.monotonic() < self._until and len(counted(self._study)) < self._most
        )

    def _ask(self) -> Trial | None:
        """A new trial, unless there are enough, counted with those of other processes."""
        if time.monotonic() > self._until:
            return None
        with locked(self._checked.folder / "trials", LONGEST_WAIT):
            if len(counted(self._study)) >= self._most:
                return None
            return self._study.ask(self._distributions)

    def _begin(self, trials: Sequence[Trial]) -> None:
        """Have the runs of trials prepared."""
        assert self.launch is not None
        begun: dict[int, launch.CheckedOrder] = {}
        for trial in trials:
            values = self._checked.space.overrides(trial.params)
            order = self._tuning.order_of({**values, **self._checked.fixed}, self._tuning.seeds)
            try:
                checked = launch.check_order(order, self._workspace)
            except SpecError as error:
                # Values that are right one by one, and wrong together: a trial without a value,
                # from which can be learned.
                trial.set_user_attr(WHY, str(error))
                self._study.tell(trial, state=TrialState.FAIL)
                continue
            names = [plan.name for plan in checked.plans]
            trial.set_user_attr(RUNS, names)
            trial.set_user_attr(LAUNCH, self.launch.id)
            self._open[trial.number] = OpenTrial(trial, names, deque())
            begun[trial.number] = checked
        if not begun:
            return
        stack = f"{self.launch.id}.trial_{min(begun)}"
        prepared = launch.add_to_launch(self.launch, list(begun.values()), self._workspace, stack)
        for number, checked in begun.items():
            one = self._open[number]
            left = checked.workload.left
            one.waiting.extend(directory for directory in prepared if directory.name in one.runs)
            failed = [name for name, state in left.items() if not state.at_work]
            working = [name for name in left if name not in failed]
            one.waiting.extend(RunDirectory(self._workspace.runs / name) for name in working)
            if failed:
                self._fail(one, f"{failed[0]} {left[failed[0]].words}")
            else:
                self._settle(one)  # all of its runs may be done before

    # What the pool shows.

    def start(self, runs: Sequence[str]) -> None:
        self._display.start([""] * (self._most * len(self._tuning.seeds)))

    def run_started(self, run: str) -> None:
        self._display.run_started(run)

    def progress(self, lines: Mapping[str, dict[str, Any]]) -> None:
        with self._lock:
            for one in self._open.values():
                line = lines.get(one.runs[0])
                if line is not None and not one.pruned:
                    self._report(one, line)
        self._display.progress(lines)

    def run_ended(self, run: str, state: State, seconds: float) -> None:
        with self._lock:
            self._display.run_ended(run, state, seconds)
            for one in [one for one in self._open.values() if run in one.runs]:
                self._ended(one, run, state)

    def not_started(self, run: str, why: str) -> None:
        self.trouble = f"{run} was not started: {why}"
        self._display.not_started(run, why)

    def stopping(self) -> None:
        self._stopping = True
        self._display.stopping()

    def stop(self) -> None:
        self._display.stop()

    def _report(self, one: OpenTrial, line: Mapping[str, Any]) -> None:
        """Tell the last epoch of a trial's first run, and give the trial up if it falls behind."""
        if len(self._checked.objectives) > 1 or self._tuning.pruner == "none":
            return
        value = self._checked.objectives[0].of_line(line)
        if line["epoch"] <= one.reported or value is None:
            return
        one.reported = line["epoch"]
        one.trial.report(value, one.reported)
        if (line["of"] is None or one.reported < line["of"]) and one.trial.should_prune():
            one.pruned = True
            ask_to_stop(RunDirectory(self._workspace.runs / one.runs[0]))

    def _ended(self, one: OpenTrial, run: str, state: State) -> None:
        """Settle a trial of which a run has ended, or have the run started once more."""
        if state is State.DONE:
            one.pruned = False  # it was done before the signal came
            self._settle(one)
        elif one.pruned:
            self._tell(one, state=TrialState.PRUNED)
            retag(self._workspace.runs / run, ["pruned"])
        elif self._stopping or state is State.INTERRUPTED:
            self._open.pop(one.trial.number)  # the next command goes on with it
        elif (state.resumable or state.unfinished) and self._attempts[run] < MOST_ATTEMPTS:
            # Unfinished is one whose process was killed before it could say that it has begun.
            assert self.launch is not None
            self.launch.return_turn(run)
            self._attempts[run] += 1
            self._again.append(RunDirectory(self._workspace.runs / run))
        else:
            self._fail(one, f"{run} {state.words}")

    def _fail(self, one: OpenTrial, why: str) -> None:
        one.trial.set_user_attr(WHY, why)
        self._tell(one, state=TrialState.FAIL)

    def _settle(self, one: OpenTrial) -> None:
        """Tell the mean of a trial's seeds, once all of its runs are done."""
        directories = [RunDirectory(self._workspace.runs / name) for name in one.runs]
        if any(state is not State.DONE for state in Watch().states(directories).values()):
            return
        lines = [kept_line(directory) for directory in directories]
        means = list[float]()
        for objective in self._checked.objectives:
            values = [value for value in map(objective.of_line, lines) if value is not None]
            if len(values) < len(lines):
                self._fail(one, "it has no validation error, or that is not finite")
                return
            means.append(fmean(values))
        self._tell(one, values=means)

    def _tell(self, one: OpenTrial, **outcome: Any) -> None:
        del self._open[one.trial.number]
        self._study.tell(one.trial, **outcome, skip_if_finished=True)

    # What earlier processes have left.

    def take_up(self) -> bool:
        """Go on with trials whose process is gone; whether another process is at work on some.

        Those that have no runs yet are dropped, and are not counted.
        """
        elsewhere = False
        for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            attributes = frozen.user_attrs
            if (
                LAUNCH in attributes
                and Launch(self._workspace.runs / ".launches" / attributes[LAUNCH]).pool_works()
            ):
                elsewhere = True
                continue
            trial = Trial(self._study, frozen._trial_id)
            if frozen.params.keys() == self._distributions.keys():
                self._taken_up.append(trial)
            elif time.time() - (frozen.datetime_start or datetime.now()).timestamp() > LONGEST_WAIT:
                trial.set_user_attr(DROPPED, True)  # its process was killed while it asked
                self._study.tell(trial, state=TrialState.FAIL)
            else:
                elsewhere = True
        return elsewhere


def counted(study: Study) -> list[FrozenTrial]:
    """All trials but those that were dropped before they had runs."""
    return [trial for trial in study.get_trials(deepcopy=False) if DROPPED not in trial.user_attrs]


def kept_line(directory: RunDirectory) -> dict[str, Any]:
    """The line of the epoch whose weights a run has kept; of a program the last."""
    lines = list(read_lines(directory.metrics_file))
    best = directory.record().epochs.best
    kept = (
        [line for line in lines if line["epoch"] == best]
        if directory.spec().get("keep") == "best"
        else lines
    )
    return kept[-1] if kept else {"validation": {}}

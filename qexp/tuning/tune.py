"""A search from its options to its folder: what was searched, the trials, the best, and only then its test part."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexp.base.files import make_folder, read_json, write_csv, write_json
from qexp.base.workspace import Workspace
from qexp.comparison.seeds import STUDY
from qexp.errors import InterruptedRunError, QexpError, RunFailedError, extra, suggestion
from qexp.figures.canvas import save
from qexp.figures.searches import Varied, front, search_panels
from qexp.jobs.launchers import LOCAL, Watcher
from qexp.kinds.experiments import spec_cache
from qexp.runs.launch import CheckedOrder, Workload, check_order, launch_runs, memory_of
from qexp.spec.resolution import value_text
from qexp.tuning.options import PRUNERS, SAMPLERS, Tuning
from qexp.tuning.results import DONE, FAILED, PRUNED, UNFINISHED, Objective, Tuned
from qexp.tuning.search import (
    RUNS,
    UNTESTED,
    WHY,
    Search,
    counted,
    objectives_of,
    open_study,
    run_search,
)
from qexp.tuning.space import Space, checked_space

with extra("tune"):
    import optuna
    from optuna.trial import TrialState

ABOUT, FIGURE = "tune.json", "study.png"

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from optuna import Study
    from optuna.trial import FrozenTrial

IN_WORDS = {
    TrialState.COMPLETE: DONE, TrialState.PRUNED: PRUNED, TrialState.FAIL: FAILED, TrialState.RUNNING: UNFINISHED,
}  # fmt: skip


# The check of what was asked for.


@dataclass(frozen=True)
class CheckedTuning:
    reference: str
    space: Space
    objectives: Sequence[Objective]
    folder: Path
    epochs: int
    digest: str
    """Of the experience, with the first values of the space."""
    order: CheckedOrder
    """Of no runs, with the settings of all."""


def check_tuning(tuning: Tuning, workspace: Workspace) -> CheckedTuning:
    """Raises QexpError for whatever would be refused later, before anything is written."""
    references = tuning.references
    if len(references) != 1:
        raise QexpError(f"a search is of one experience, and these are {len(references)}; begin one for each")
    if tuning.grid:
        raise QexpError("`grid`: a search chooses from `space`; give the values there")
    if tuning.launcher != LOCAL:
        raise QexpError(f"`launcher={tuning.launcher}`: a search has its runs on this machine; leave it out")
    for name, given, known in (("sampler", tuning.sampler, SAMPLERS), ("pruner", tuning.pruner, PRUNERS)):
        if given not in known:
            raise QexpError(f"`{name}={given}`: no such {name}; {suggestion(given, known)}")
    for name, number, least in (("trials", tuning.trials, 1), ("final_seeds", tuning.final_seeds, 0)):
        if number < least:
            raise QexpError(f"`{name}={number}`: give at least {least}")
    if tuning.pruner != "none" and len(tuning.metric) > 1:
        raise QexpError(f"`pruner={tuning.pruner}`: trials are given up by one metric; leave it out with several")
    reference = references[0]
    cache = spec_cache(workspace, memory_of(tuning))
    space = checked_space(tuning.space, reference, {**tuning.overrides, **UNTESTED}, cache)
    if tuning.sampler == "grid":
        space.choices()
    first = {key: one.values[0] if one.values else one.value(one.high) for one in space.dimensions for key in one.keys}
    checked = check_order(tuning.order_of({**first, **UNTESTED}, tuning.seeds), workspace)
    plan = checked.plans[0]
    return CheckedTuning(
        reference, space, objectives_of(tuning, plan, space), _folder(tuning, workspace), plan.epochs, plan.digest,
        replace(checked, plans=[], workload=Workload([], [], [], {})),
    )  # fmt: skip


def _folder(tuning: Tuning, workspace: Workspace) -> Path:
    if tuning.out is not None:
        return Path(tuning.out).absolute()
    return workspace.root / "studies" / f"{Path(tuning.references[0]).stem}_tune"


def _claim(tuning: Tuning, checked: CheckedTuning, workspace: Workspace) -> None:
    """Write what is searched to the folder. Raises QexpError if it holds another search, or one to be resumed."""
    file = checked.folder / ABOUT
    about = {
        "experience": checked.reference,
        "space": checked.space.document(),
        "metric": [one.name for one in checked.objectives],
        "overrides": dict(tuning.overrides),
        "seeds": list(tuning.seeds),
        "digest": checked.digest,
    }
    shown = workspace.shown(checked.folder)
    if not file.is_file():
        if checked.folder.exists() and any(checked.folder.iterdir()):
            raise QexpError(f"{shown} is not empty and holds no search; choose another folder with `out`")
        make_folder(checked.folder)
        write_json(file, {**about, "sampler": tuning.sampler, "pruner": tuning.pruner})
        return
    before = read_json(file)
    differs = [key for key, value in about.items() if before.get(key) != value]
    if differs == ["digest"]:
        raise QexpError(
            f"{shown} holds a search of another spec of {checked.reference}, which has changed since; choose another "
            "folder with `out`"
        )
    if differs:
        raise QexpError(
            f"{shown} holds another search: its {differs[0]} is {before.get(differs[0])}, not {about[differs[0]]}; "
            "choose another folder with `out`"
        )
    if not tuning.resume:
        raise QexpError(f"{shown} holds this search; go on with `resume=True`, or choose another folder with `out`")


# The search, and what follows it.


def run_tuning(tuning: Tuning, workspace: Workspace, watched: Callable[[], Watcher] = Watcher) -> Tuned:
    """Search, train the best with fresh seeds, and write the folder of the search.

    Raises QexpError for what cannot be searched, InterruptedRunError after a signal, RunFailedError if no trial has a
    value.
    """
    checked = check_tuning(tuning, workspace)
    _claim(tuning, checked, workspace)
    study = open_study(checked.folder, checked.objectives, tuning, checked.space, checked.epochs)
    search = Search(checked.folder, study, checked.objectives, checked.space, tuning, workspace, watched())
    stopped = run_search(search, checked.order, workspace)
    final = {int(number): runs for number, runs in read_json(checked.folder / ABOUT).get("final", {}).items()}
    tuned = _collect(study, checked, final)
    _write(tuned, checked, study)
    if stopped:
        raise InterruptedRunError("the search was interrupted; continue with `resume=True`")
    if not tuned.best:
        raise RunFailedError("no trial has a value: " + "; ".join(tuned.remarks()))
    for trial in tuned.best if tuning.final_seeds else ():
        seeds = range(max(tuning.seeds) + 1, max(tuning.seeds) + 1 + tuning.final_seeds)
        order = check_order(tuning.order_of(trial["set"], seeds), workspace)
        pool = launch_runs(order, workspace, watched=watched, tell=tuning.tell)
        if pool is not None and pool.stopped:
            raise InterruptedRunError("the search was interrupted; continue with `resume=True`")
        final[trial["trial"]] = [plan.name for plan in order.plans]
    tuned = replace(tuned, final=final)
    _write(tuned, checked, study)
    return tuned


def _collect(study: Any, checked: CheckedTuning, final: Mapping[int, Sequence[str]]) -> Tuned:
    trials = [_trial(trial, checked.space) for trial in counted(study)]
    best = {trial.number for trial in study.best_trials}
    return Tuned(
        checked.reference,
        checked.space.document(),
        checked.objectives,
        trials,
        [trial for trial in trials if trial["trial"] in best],
        final,
        checked.folder,
        [checked.folder / name for name in (STUDY, FIGURE, ABOUT)],
    )


def _trial(trial: FrozenTrial, space: Space) -> dict[str, Any]:
    complete = trial.state is TrialState.COMPLETE
    return {
        "trial": trial.number,
        "state": IN_WORDS[trial.state],
        "set": space.overrides(trial.params) if trial.params else {},
        "values": list(trial.values) if complete else [],
        "epochs": trial.last_step,
        "runs": list(trial.user_attrs.get(RUNS, [])),
        "why": trial.user_attrs.get(WHY, ""),
    }


def _write(tuned: Tuned, checked: CheckedTuning, study: Study) -> None:
    """The table of trials, the figure, and the record with the number of looks at each part."""
    names = [f"validation.{one.name}" for one in tuned.objectives]
    rows = [
        [trial["trial"], trial["state"], *(value_text(trial["set"].get(key)) for key in tuned.keys),
         *(trial["values"] or [None] * len(names)), " ".join(trial["runs"]), trial["why"]]
        for trial in tuned.trials
    ]  # fmt: skip
    write_csv(tuned.folder / STUDY, ["trial", "state", *tuned.keys, *names, "run", "why"], rows)
    if any(trial["values"] for trial in tuned.trials):
        save(_figure(tuned, checked, study), tuned.folder / FIGURE)
    about = read_json(tuned.folder / ABOUT)
    document = tuned.document()
    write_json(tuned.folder / ABOUT, {**about, **{key: document[key] for key in ("looks", "best", "final")}})


def _figure(tuned: Tuned, checked: CheckedTuning, study: Study) -> Figure:
    labels = [f"validation {one.name.replace('_', ' ').replace('.', ' ')}" for one in tuned.objectives]
    if len(labels) > 1:
        return front(
            (labels[0], labels[1]), [one["values"][:2] for one in tuned.trials], [one["trial"] for one in tuned.best]
        )
    trials = [trial for trial in counted(study) if trial.params]
    values = [_last(trial) if trial.value is None else trial.value for trial in trials]
    shares = _importances(study)
    keys = [
        Varied(
            one.name,
            [trial.params[one.name] for trial in trials],
            one.log,
            shares.get(one.name),
        )
        for one in checked.space.dimensions
    ]
    pruned = [trial.state is not TrialState.COMPLETE for trial in trials]
    highest = tuned.objectives[0].direction == "maximize"
    return search_panels(labels[0], values, pruned, keys, highest=highest)


def _last(trial: FrozenTrial) -> float:
    """The last value that a trial reported which has none of its own."""
    return trial.intermediate_values[trial.last_step] if trial.last_step is not None else math.nan


FEW = 10
"""Trials with a value below which nothing is said about the importance of keys."""


def _importances(study: Study) -> dict[str, float]:
    """Key → its share in what the values explain of the error, by the trials in the best tenth (Watanabe and others,
    2023, PED-ANOVA); empty for few trials.
    """
    done = [trial for trial in counted(study) if trial.state is TrialState.COMPLETE]
    if len(done) < FEW or len({trial.value for trial in done}) < FEW:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.importance.get_param_importances(study, evaluator=optuna.importance.PedAnovaImportanceEvaluator())

"""A search from its options to its folder: what was searched, the trials, the best, and only then
its test part.
"""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from qexp.base.files import make_folder
from qexp.base.formats import write_csv, write_json
from qexp.base.workspace import Workspace
from qexp.comparison.groups import STUDY_FILES, TRIAL
from qexp.errors import InterruptedRunError, QexpError, RunFailedError, extra, suggestion
from qexp.figures.searches import Varied, front, search_panels
from qexp.figures.writing import save
from qexp.jobs.launchers import Watcher
from qexp.kinds.experiments import Experience, check, data_of, expanded, experience, spec_cache
from qexp.runs import launch, stacks
from qexp.spec.experiences import type_of
from qexp.spec.kinds import KINDS, documents_named
from qexp.spec.resolution import override
from qexp.store.directory import RunDirectory
from qexp.store.record import FoldRecord
from qexp.tuning import results, search
from qexp.tuning.options import LOSS, PRUNERS, SAMPLERS, Tuning
from qexp.tuning.space import Space, checked_space

with extra("tune"):
    import optuna
    from optuna.trial import TrialState

RUNS_TABLE, TRIALS_TABLE, FIGURE = STUDY_FILES

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from optuna import Study

IN_WORDS = {
    TrialState.COMPLETE: results.DONE,
    TrialState.PRUNED: results.PRUNED,
    TrialState.FAIL: results.FAILED,
    TrialState.RUNNING: results.UNFINISHED,
}


def check_tuning(tuning: Tuning, workspace: Workspace) -> search.CheckedTuning:
    """Raises QexpError for whatever would be refused later, before anything is written."""
    reference = _searched(tuning)
    cache = spec_cache(workspace, launch.memory_of(tuning))
    given = expanded(reference, tuning.overrides, cache)
    loaded = check(reference, [override(*change) for change in given.items()], cache).loaded
    document = loaded.document if loaded else None
    if document is None:
        document = experience(reference, tuning.overrides, workspace, cache).document
    nested = _chooses_in_folds(document)
    fixed = {} if nested or type_of(document).outputs(document) is None else search.UNTESTED
    if fixed and any("test" in name.split("+") for name in tuning.space):
        raise QexpError("`space[test]`: trials never see the test part; search other keys")
    if fixed and tuning.final_seeds and not document.get("test", True):
        raise QexpError(
            f"`final_seeds={tuning.final_seeds}` is to test the best, and `test` is false; give 0,"
            " or true"
        )
    space = checked_space(
        tuning.space, reference, {**tuning.overrides, **fixed}, cache, nested=nested
    )
    if tuning.sampler == "grid":
        space.choices()
    drawn = _drawn(tuning, space) if nested else None
    changes = space.selection([space.first]) if nested else {**space.first, **fixed}
    if fixed and tuning.final_seeds:
        searched = experience(reference, {**tuning.overrides, **changes}, workspace, cache)
        _require_unseen_tests(searched, tuning)
    checked = launch.check_order(tuning.order_of(changes, tuning.seeds), workspace)
    plan = checked.plans[0]
    epochs = [max(one.ends) for one in space.dimensions if "epochs" in one.keys]
    usual = workspace.root / "studies" / f"{Path(reference).stem}_tune"
    return search.CheckedTuning(
        tuning,
        workspace,
        space,
        search.objectives_of(tuning, plan, space),
        usual if tuning.out is None else Path(tuning.out).absolute(),
        max([plan.epochs.of, *epochs]),
        plan.digest,
        drawn,
        fixed,
        replace(checked, plans=[], workload=launch.Workload([], [], [], {})),
        _runs_together(tuning, checked),
    )


def _searched(tuning: Tuning) -> str:
    """The experience of a search. Raises QexpError for options that do not fit one."""
    references = tuning.references
    if len(references) != 1:
        raise QexpError(
            f"a search is of one experience, and these are {len(references)}; begin one for each"
        )
    if tuning.grid:
        raise QexpError("`grid`: a search chooses from `space`; give the values there")
    for name, given, known in (
        ("sampler", tuning.sampler, SAMPLERS),
        ("pruner", tuning.pruner, PRUNERS),
    ):
        if given is not None and given not in known:
            raise QexpError(f"`{name}={given}`: no such {name}; {suggestion(given, known)}")
    if tuning.trials < 1:
        raise QexpError(f"`trials={tuning.trials}`: give at least 1")
    if tuning.final_seeds < 0:
        raise QexpError(f"`final_seeds={tuning.final_seeds}`: give at least 0")
    if tuning.timeout is not None and not tuning.timeout > 0:
        raise QexpError(f"`timeout={tuning.timeout:g}`: give a number of seconds above 0")
    if tuning.pruner != "none" and len(tuning.metric) > 1:
        raise QexpError(
            f"`pruner={tuning.pruner}`: trials are given up by one metric; leave it out with"
            " several"
        )
    return references[0]


def _chooses_in_folds(document: Mapping[str, Any]) -> bool:
    """Whether the folds of the experience's kind of dataset choose among values by `select`."""
    dataset = document.get("dataset")
    kind = dataset.get("type") if isinstance(dataset, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        return False
    return "select" in documents_named(kind).schemas["experience"]


def _runs_together(tuning: Tuning, checked: launch.CheckedOrder) -> int:
    """Runs of trials that are begun together; 1 if each trial is by itself.

    Unless stacks are asked for it is, if the sampler learns from trials before, or if trials are
    given up, which saves nothing in a stack.
    """
    learns = tuning.sampler not in ("random", "grid")
    if tuning.stack is None and (learns or tuning.pruner != "none"):
        return 1
    of_first = checked.plans[0].checked
    size = launch.stack_size(checked)
    if of_first is None or not stacks.alike(of_first, tuning.seeds):
        return 1
    return stacks.largest_stack(of_first, tuning.device, size)


def _fresh_seeds(tuning: Tuning) -> range:
    """The seeds of the final runs."""
    return range(max(tuning.seeds) + 1, max(tuning.seeds) + 1 + tuning.final_seeds)


def _require_unseen_tests(searched: Experience, tuning: Tuning) -> None:
    """Raises QexpError if final runs would be tested on samples that the search has used."""
    data = data_of(searched.document)
    if data is None:
        return
    subject = (searched.document, searched.dataset, searched.tables)
    used = set[str]()
    for seed in tuning.seeds:
        exposed = data.exposed(*subject, seed)
        if exposed is None:  # the test part does not depend on the seed
            return
        used |= set(exposed.spectra.hashes[exposed.trained].tolist())
    for seed in _fresh_seeds(tuning):
        exposed = data.exposed(*subject, seed)
        tested = [] if exposed is None else exposed.spectra.hashes[exposed.test].tolist()
        known = sum(hash_ in used for hash_ in tested)
        if known:
            raise QexpError(
                f"`final_seeds={tuning.final_seeds}`: the search would train on, or choose by,"
                f" {known} of the {len(tested)} test samples of the final run with seed {seed}, as"
                " the split is drawn by the seed; hold the test part out by name ('held_out'), or"
                " list it ('parts'), or give 0"
            )


def _drawn(tuning: Tuning, space: Space) -> Study:
    """The trials among which each fold chooses. Raises QexpError where folds cannot."""
    if tuning.sampler not in (None, "random", "grid"):
        raise QexpError(
            f"`sampler={tuning.sampler}`: every fold of rows chooses among the same values, so that"
            " those held out in one cannot have an effect on its values through the others; use"
            " random or grid"
        )
    if tuning.pruner != "none":
        raise QexpError(
            f"`pruner={tuning.pruner}`: networks of folds of rows are trained together; leave"
            " it out"
        )
    if tuple(tuning.metric) != (LOSS,):
        raise QexpError(
            f"`metric={tuning.metric[0]}`: folds of rows choose by the loss on inner folds; leave"
            " it out"
        )
    drawn = search.draw(space, tuning)
    if len(drawn.get_trials(deepcopy=False)) < 2:
        raise QexpError(
            "there is nothing to choose from: give at least two `trials`, and values that differ in"
            " `space`"
        )
    return drawn


def _claim(checked: search.CheckedTuning) -> results.Tuned:
    """The search's record, written to its folder. Raises QexpError if another is there."""
    tuning = checked.tuning
    shown = checked.workspace.shown(checked.folder)
    new = results.Tuned(
        folder=str(checked.folder),
        experience=tuning.references[0],
        space=checked.space.document(),
        objectives=tuple(checked.objectives),
        overrides=tuning.overrides,
        seeds=tuple(tuning.seeds),
        digest=checked.digest,
        drawn=tuning.trials if checked.drawn is not None else 0,
        of_program=checked.drawn is None and not checked.fixed,
    )
    earlier = results.search_in(checked.folder)
    if earlier is None:
        if checked.folder.exists() and any(checked.folder.iterdir()):
            raise QexpError(
                f"{shown} is not empty and holds no search; choose another folder with `out`"
            )
        make_folder(checked.folder)
        write_json(checked.folder / results.ABOUT, new.document())
        return new
    for key in ("experience", "space", "objectives", "overrides", "seeds", "drawn", "digest"):
        if getattr(earlier, key) != getattr(new, key):
            what = IN_ERRORS.get(key, key)
            raise QexpError(
                f"{shown} holds a search with another {what}; choose another folder with `out`"
            )
    if not tuning.resume:
        raise QexpError(
            f"{shown} holds this search; go on with `resume=True`, or choose another folder with"
            " `out`"
        )
    return earlier


IN_ERRORS = {
    "objectives": "metric",
    "drawn": "number of trials",
    "digest": "spec, which has changed since",
}
"""Key of the record of a search → its name in errors."""


# The search, and what follows it.


def run_tuning(
    tuning: Tuning, workspace: Workspace, watched: Callable[[], Watcher] = Watcher
) -> results.Tuned:
    """Search, train the best with fresh seeds, and write the folder of the search.

    Raises QexpError for what cannot be searched, InterruptedRunError after a signal, RunFailedError
    if no trial has a value.
    """
    checked = check_tuning(tuning, workspace)
    about = _claim(checked)
    if checked.drawn is not None:
        return _choose_in_folds(about, checked.drawn, checked, watched)
    return _search(about, checked, watched)


def _search(
    about: results.Tuned, checked: search.CheckedTuning, watched: Callable[[], Watcher]
) -> results.Tuned:
    study = search.open_study(checked)
    tuning = checked.tuning
    stopped = search.Search(study, checked, watched()).run()
    tuned = _collect(about, study, checked.space)
    _write(tuned, checked.space, study)
    if stopped:
        raise InterruptedRunError(INTERRUPTED)
    if not tuned.best:
        raise RunFailedError("no trial has a value: " + "; ".join(tuned.remarks()))
    final = dict(tuned.final)
    for trial in tuned.best if tuning.final_seeds else ():
        order = launch.check_order(
            tuning.order_of(trial.set, _fresh_seeds(tuning)), checked.workspace
        )
        _train(order, checked.workspace, watched)
        final[str(trial.trial)] = tuple(plan.name for plan in order.plans)
    tuned = replace(tuned, final=final).with_tests(checked.workspace.runs)
    _write(tuned, checked.space, study)
    return tuned


INTERRUPTED = "the search was interrupted; the same with `resume=True` goes on with it"


def _train(
    order: launch.CheckedOrder, workspace: Workspace, watched: Callable[[], Watcher]
) -> None:
    """Train an order's runs and wait for them. Raises InterruptedRunError."""
    if not order.workload.to_run:
        return
    started, directories = launch.open_launch(order, workspace)
    if launch.run_and_wait(started, order, directories, watched()):
        raise InterruptedRunError(INTERRUPTED)


def _choose_in_folds(
    about: results.Tuned,
    study: Study,
    checked: search.CheckedTuning,
    watched: Callable[[], Watcher],
) -> results.Tuned:
    """Have each fold choose among a study's trials by inner folds, and evaluate it."""
    tuning = checked.tuning
    workspace = checked.workspace
    drawn = study.get_trials(deepcopy=False)
    space = checked.space
    selection = space.selection([space.overrides(trial.params) for trial in drawn])
    order = launch.check_order(tuning.order_of(selection, tuning.seeds), workspace)
    _train(order, workspace, watched)
    names = tuple(plan.name for plan in order.plans)
    found = list[FoldRecord | None]()
    for name in names:
        directories = RunDirectory(workspace.runs / name).all_folds()
        found += [directory.record().fold for directory in directories]
    folds = [fold for fold in found if fold is not None and fold.judged]
    if not folds or len(folds) < len(found):
        raise RunFailedError(f"not all folds are trained; see qexp show {names[0]}")
    for trial in drawn:
        _tell(study, trial.number, folds)
    tuned = _collect(about, study, space)
    [(key, points)] = selection["select"].items()
    chosen = Counter(points.index(fold.chosen[key]) for fold in folds if fold.chosen)
    trials = list[results.TrialRecord]()
    for record in tuned.trials:
        trials.append(replace(record, runs=names, folds=chosen[record.trial]))
    tuned = replace(
        tuned,
        folds=len(folds),
        trials=tuple(trials),
        final={str(number): names for number in tuned.best_trials},
    )
    tuned = tuned.with_tests(workspace.runs)
    _write(tuned, checked.space, study)
    if not tuned.best:
        raise RunFailedError("no trial has a value: " + "; ".join(tuned.remarks()))
    return tuned


def _tell(study: Study, number: int, folds: Sequence[FoldRecord]) -> None:
    """Tell the mean loss of a trial on the inner folds, if it has one in every fold."""
    losses = list[float]()
    for fold in folds:
        loss = None if fold.judged is None else fold.judged[number]
        if loss is None:
            study.tell(number, None, state=TrialState.FAIL)
            return
        losses.append(loss)
    study.tell(number, fmean(losses), state=TrialState.COMPLETE)


def _collect(about: results.Tuned, study: Study, space: Space) -> results.Tuned:
    """The record of the search with its trials."""
    trials = list[results.TrialRecord]()
    for trial in search.counted(study):
        record = results.TrialRecord(
            trial=trial.number,
            state=IN_WORDS[trial.state],
            set=space.overrides(trial.params) if trial.params else {},
            values=tuple(trial.values) if trial.state is TrialState.COMPLETE else (),
            runs=tuple(trial.user_attrs.get(search.RUNS, ())),
            why=trial.user_attrs.get(search.WHY, ""),
        )
        trials.append(record)
    best = tuple(trial.number for trial in study.best_trials)
    return replace(about, trials=tuple(trials), best_trials=best)


def _write(tuned: results.Tuned, space: Space, study: Study) -> None:
    """The tables of runs and of trials, the figure, and the record."""
    folder = Path(tuned.folder)
    _write_runs(tuned, folder / RUNS_TABLE)
    _write_trials(tuned, folder / TRIALS_TABLE)
    if any(trial.values for trial in tuned.trials):
        save(_figure(tuned, space, study), folder / FIGURE)
    write_json(folder / results.ABOUT, tuned.document())


def _write_runs(tuned: results.Tuned, file: Path) -> None:
    """The table of the runs of trials, and of final runs; folds have no runs of trials."""
    columns = ["experience", "trial", "use", *tuned.keys, "run"]
    if tuned.folds:
        columns = ["experience", "trial", "use", "run"]
    rows = list[list[Any]]()

    def add(trial: results.TrialRecord, use: str, runs: Sequence[str]) -> None:
        texts = [] if tuned.folds else tuned.texts(trial)
        for run in runs:
            rows.append([tuned.experience, trial.trial, use, *texts, run])

    if not tuned.folds:
        for trial in tuned.trials:
            add(trial, TRIAL, trial.runs)
    trials = {trial.trial: trial for trial in tuned.trials}
    for number, runs in tuned.final.items():
        add(trials[int(number)], "best", runs)
    write_csv(file, columns, rows)


def _write_trials(tuned: results.Tuned, file: Path) -> None:
    names = [f"validation.{one.metric}" for one in tuned.objectives]
    columns = ["trial", "state", *tuned.keys, *names]
    if tuned.folds:
        columns.append("folds")
    columns.append("why")
    rows = list[list[Any]]()
    for trial in tuned.trials:
        row = [trial.trial, trial.state, *tuned.texts(trial)]
        row += trial.values or [None] * len(names)
        if tuned.folds:
            row.append(trial.folds)
        row.append(trial.why)
        rows.append(row)
    write_csv(file, columns, rows)


def _figure(tuned: results.Tuned, space: Space, study: Study) -> Figure:
    part = "mean over inner folds" if tuned.folds else "validation"
    words = [re.sub("[_.]", " ", one.metric) for one in tuned.objectives]
    labels = [f"{part}: {metric}" for metric in words]
    title = f"{len(tuned.trials)} trials of {tuned.experience}; none looked at test data"
    trials = [trial for trial in search.counted(study) if trial.params]
    shares = _importances(study)
    keys = list[Varied]()
    for one in space.dimensions:
        values = [trial.params[one.name] for trial in trials]
        keys.append(Varied(one.name, values, one.texts, one.log, shares.get(one.name)))
    if len(labels) > 1:
        errors = list[Any]()
        best = list[bool]()
        for trial in trials:
            done = trial.state is TrialState.COMPLETE
            errors.append(trial.values if done else [math.nan] * len(labels))
            best.append(trial.number in tuned.best_trials)
        return front(labels, errors, keys, best, title)
    reached = list[float]()
    unfinished = list[bool]()
    for trial in trials:
        # of one without a value the last that it reported
        last = trial.intermediate_values.get(trial.last_step or 0, math.nan)
        reached.append(last if trial.value is None else trial.value)
        unfinished.append(trial.state is not TrialState.COMPLETE)
    highest = tuned.objectives[0].direction == "maximize"
    return search_panels(
        labels[0],
        reached,
        unfinished,
        keys,
        highest=highest,
        title=title,
    )


FEW_TRIALS = 10
"""Trials with a value below which nothing is said about the importance of keys."""


def _importances(study: Study) -> dict[str, float]:
    """Key → its share in what the values explain of the error, by the trials in the best tenth
    (Watanabe and others, 2023, PED-ANOVA); empty for few trials.
    """
    done = [trial for trial in search.counted(study) if trial.state is TrialState.COMPLETE]
    if len(done) < FEW_TRIALS or len({trial.value for trial in done}) < FEW_TRIALS:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
        )

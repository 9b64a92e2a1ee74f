"""qexp matrix, predict, evaluate, intervals, calibrate, limit"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from qexp import api
from qexp.api.progress import Show, bar
from qexp.base import formats
from qexp.base.machine import on_a_terminal
from qexp.base.options import argument, option, part_of
from qexp.base.text import latex
from qexp.cli.console import (
    JSON,
    LATEX,
    RUN,
    RUNS,
    arranged,
    error,
    message,
    named_once,
    on_a_cluster,
    piece,
    print_json,
    print_parts,
    print_submitted,
    print_table,
    result,
    warning,
)
from qexp.errors import PartlyFailedError, QexpError
from qexp.kinds.options import (
    CalibrateOptions,
    CombineOptions,
    EvaluateOptions,
    IntervalsOptions,
    LimitOptions,
    MatrixOptions,
    PredictOptions,
    SubmitOptions,
)
from qexp.metrics.meaning import number
from qexp.runs.order import read_seeds

if TYPE_CHECKING:
    from qexp.kinds.prediction import Prediction
    from qexp.results.calibration import Calibration

QUIET_SECONDS = 10.0
"""Seconds after which a command says how long it will take."""

OF_SEVERAL_SEEDS = argument(
    (),
    "A finished run: name, unique prefix or path. Several that differ by their seed alone, or a"
    " quoted pattern such as 'mogi_[0-9]*', get a matrix each, and mean, bias and standard"
    " deviation over the seeds.",
    "RUN...",
    complete="runs",
)
OTHER_RUN = option((), "A run, instead of a word; repeat.", "--run RUN", complete="runs")


def matrix(
    options: MatrixOptions,
    runs: list[str] = OF_SEVERAL_SEEDS,
    run: list[str] = OTHER_RUN,
    seeds: list[int] | None = option(
        None,
        "Runs with these seeds, 0:5 for 0 to 4, or 0,2,5; RUN is then their name without it, as"
        " their experience.",
        "A:B",
        read=read_seeds,
    ),
) -> None:
    run = named_once(runs, run, "qexp matrix RUN")
    if seeds is not None:
        run = [f"{name}_{seed}" for name in run for seed in seeds]
    if not on_a_terminal():
        options = replace(options, on_refined=_how_long())
    table = api.matrix(run, **vars(options))
    folder = Path(table.encoding["source"]).parent
    record = formats.read_json(folder / "record.json")
    if "runs" in record:
        message(f"over {len(record['runs'])} seeds: {', '.join(record['runs'])}")
    _print_errors(record)
    for text in filter(None, [record.get("remark"), *record.get("seen", ())]):
        message(text)
    for image, size in record.get("averaged", {}).items():
        pixels = f"{size} × {size} pixels of {image}"
        message(f"refined are means of {pixels}, which has too many for a full covariance")
    why = f": {record['why_left_out']}" if record.get("why_left_out") else ""
    cells = math.prod(table.sizes[name] for name in record["axes"])
    for key, words in {
        "not_refined": "are not refined: they show too few pixels",
        "unseen": "do not show the source: there the bound means little",
        "left_out": f"are left out{why}",
    }.items():
        if record.get(key):
            message(f"{record[key]:,} of {cells:,} cells {words}")
    paths = [folder / name for name in ("matrix.nc", "matrix.png") if (folder / name).exists()]
    message("matrix and picture:" if len(paths) > 1 else "matrix:")
    result(*map(options.home.shown, paths))


def _print_errors(record: dict[str, Any]) -> None:
    errors = {"mean_absolute_error": "mean |error|"}
    if "runs" in record:
        noise = ", over the noise too" if record.get("repeats", 1) > 1 else ""
        errors = {
            "mean_absolute_error_of_one": "mean |error| of one network (mean over seeds)",
            "mean_absolute_error": f"of the mean of their estimates{noise}",
        }
    if "refined_mean_absolute_error" in record:
        errors |= {
            "refined_mean_absolute_error": "refined",
            "median_absolute_error": "median |error|",
            "refined_median_absolute_error": "refined",
        }
    errors |= {
        "median_over_bound": "median sd / bound",
        "median_refined_over_bound": "refined",
    }
    # records of older versions lack some
    errors = {key: words for key, words in errors.items() if key in record}
    rows = []
    for name in record["mean_absolute_error"]:
        numbers = [number(record[key][name]) for key in errors]
        rows.append([name, record["units"][name], *numbers])
    print_table(["output", "unit", *errors.values()], rows, right=[*errors.values()])


def _how_long() -> Callable[[int, int], None]:
    """Says once, if refining takes long, how long it will take; on a terminal there is a bar."""
    told, first, began = False, 0, 0.0

    def refined(done: int, cells: int) -> None:
        nonlocal told, first, began
        if not first:
            first = done
            began = time.monotonic()
        seconds = time.monotonic() - began
        if not told and seconds > QUIET_SECONDS and first < done < cells:
            told = True
            minutes = seconds / (done - first) * (cells - done) / 60
            how_long = "less than a minute" if minutes < 1 else f"about {minutes:.0f} min"
            message(f"{done:,} of {cells:,} cells are refined; the others take {how_long}")

    return refined


# qexp predict


RUN_AND_FILES = argument(
    (),
    "A finished run: name, unique prefix or path, or a quoted pattern of runs that differ by"
    " their seed alone, which are one estimator; then what to estimate, in place of --input."
    " Several files need a folder as --output.",
    "RUN [FILE|FOLDER]...",
    complete="run_and_files",
)


def _run_and_files(values: dict[str, Any]) -> dict[str, Any]:
    """Values with the run and the files to estimate, whether given as words or by options."""
    words = values["run_and_files"] or []
    run = values["run"]
    source = values["source"]
    first = words[:1]
    files = words[1:]
    if words and run and Path(words[0]).exists() and not Path(words[0], "run.json").exists():
        first, files = [], words
    example = f"qexp predict RUN FILE --output {values['target']}"
    run = named_once(first, run, example)
    if not files and source is None:
        raise QexpError(f"name what to estimate: {example}")
    if files and source is not None and files != [source]:
        raise QexpError(
            f"both {files[0]} and --input {source} are to be estimated; keep one of them: {example}"
        )
    if files:
        source = files[0] if len(files) == 1 else files
    return {**values, "run": run, "source": source}


@arranged(everyday="target columns unit interval", with_words=_run_and_files)
def predict(
    options: SubmitOptions, run_and_files: list[str] = RUN_AND_FILES, run: list[str] = OTHER_RUN
) -> None:
    if on_a_cluster(options):
        print_submitted(api.submit_predictions(run, **vars(options)), options.home)
        return
    try:
        api.predict(run, **{**part_of(options, PredictOptions), "each": _print_outcome})
    except PartlyFailedError as failed:  # each error is printed already
        raise typer.Exit(failed.exit_code) from None


def _print_outcome(outcome: Prediction | QexpError) -> None:
    if isinstance(outcome, QexpError):
        error(outcome)
    elif not outcome.made:
        message(f"{outcome.target} exists already")
    else:
        warning(*outcome.warnings)
        first, *others = outcome.remarks
        message(f"{outcome.target}: {first}", *(f"  {text}" for text in others))
        result(*outcome.files)


def combine(options: CombineOptions) -> None:
    _print_outcome(api.combine(**vars(options)))


def evaluate(options: EvaluateOptions, run: str = RUN, as_json: bool = JSON) -> None:
    from qexp.results.errors import independence_in_words

    evaluation = api.evaluate(run, **vars(options))
    record = evaluation.record
    if as_json:
        print_json({**record.document(), "path": str(evaluation.directory.path)})
        return
    doubts = [*([] if record.independent else [independence_in_words(record)]), *record.warnings]
    print_parts(part for part in evaluation.results.tables() if part not in doubts)
    warning(*doubts)
    message("tables and figures:" if evaluation.made else "it exists already; tables and figures:")
    result(options.home.shown(evaluation.directory.results))


def intervals(
    options: IntervalsOptions, run: str = RUN, as_json: bool = JSON, as_latex: bool = LATEX
) -> None:
    from qexp.results.intervals import INTERVALS_OF_ROWS, interval_tables

    if as_json and as_latex:
        raise QexpError("--json and --latex exclude each other; take one")
    covered = api.intervals(run, **vars(options))
    directory = api.open_run(run, workspace=options.workspace).directory
    record = directory.record()
    if as_json:
        print_json(covered.document())
        return
    parts = list(interval_tables(covered, record.units))
    if parts and record.caution:
        parts.append(record.caution)
    if as_latex:
        tables = [part for part in parts if not isinstance(part, str)]
        piece(latex(tables, [part for part in parts if isinstance(part, str)]))
        return
    print_parts(parts)
    if parts:
        file = options.home.shown(directory.results / INTERVALS_OF_ROWS)
        message(f"the interval of every row: {file}")
    else:
        alone = f"all held-out data are of one {covered.unit}, so there are no other errors"
        message(f"there are no intervals: {alone}")


@arranged(described="calibrate")
def calibrate(options: CalibrateOptions, runs: list[str] = RUNS, as_json: bool = JSON) -> None:
    """Several runs are tested one after the other, with a line for each at the end; --json then
    prints an object with the result of each run. With --ensemble their mixture is tested, and the
    result is kept in comparisons/ensembles/.
    """
    from qexp.results.calibration_report import (
        calibration_tables,
        table_of_runs,
        what_would_be_noticed,
    )
    from qexp.runs.catalog import is_pattern

    if options.ensemble:
        runs_to_calibrate = [api.open_run(runs, workspace=options.workspace, ensemble=True)]
    else:
        runs_to_calibrate = api.open_runs(runs, workspace=options.workspace)
    named_several = len(runs_to_calibrate) > 1 or len(runs) > 1 or is_pattern(runs[0])
    several = named_several and not options.ensemble
    calibrations: dict[str, Calibration] = {}
    failures: dict[str, QexpError] = {}
    with bar("calibrating") as show:
        for number_done, run in enumerate(runs_to_calibrate):
            words = f"{run.name}: " if len(runs_to_calibrate) > 1 else ""
            shown = partial(_show_observations, show, words, number_done, len(runs_to_calibrate))
            try:
                told = {**vars(options), "on_observation": shown}
                calibrations[run.name] = api.calibrate(run, **told)
            except QexpError as failure:
                failures[run.name] = failure
    if not several and failures:
        raise next(iter(failures.values()))
    if as_json:
        documents = {name: calibration.document() for name, calibration in calibrations.items()}
        print_json(documents if several else next(iter(documents.values())))
    elif several and calibrations:
        noticed = dict.fromkeys(map(what_would_be_noticed, calibrations.values()))
        print_parts([table_of_runs(calibrations), *noticed])
    else:
        print_parts(calibration_tables(calibrations.values()))
    error(*(f"{name}: {why}" for name, why in failures.items()))
    if failures:
        raise typer.Exit(4 if calibrations else next(iter(failures.values())).exit_code)
    if not as_json:
        kept = "in the runs, with figures" if several else "in the run, with tables and figures"
        message(f"kept {kept}:")
        result(*(options.home.shown(run.directory.results) for run in runs_to_calibrate))


def _show_observations(
    show: Show, words: str, runs_done: int, runs: int, done: int, count: int
) -> None:
    share = (runs_done + done / count) / runs
    show(share, f"{words}{done:,} of {count:,} observations")


# qexp limit


def _run_or_dataset(values: dict[str, Any]) -> dict[str, Any]:
    """Values with a run where the word names one, and no dataset."""
    word = values["dataset"]
    run = values["run"]
    if word is None:
        return values
    named = api.named_run_or_dataset(word, workspace=values["workspace"])
    if isinstance(named, str):
        return values
    (chosen,) = named_once([word], None if run is None else [run], f"qexp limit {named.name}")
    return {**values, "dataset": None, "run": chosen}


@arranged(with_words=_run_or_dataset)
def limit(options: LimitOptions, as_json: bool = JSON) -> None:
    least = api.limit(**vars(options))
    if as_json:
        print_json(least.document())
        return
    errors, *sentences = least.parts()
    print_parts([errors])
    message(*sentences)
    if least.doubts:
        warning(least.doubts)
    if options.run is not None:
        message(f"kept in the run, and shown beside its errors: qexp show {options.run}")

"""The start page: runs at work and for how long, what is best, the last pictures, what failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from shutil import disk_usage
from statistics import fmean
from typing import Any

from qexp.base.files import in_bytes
from qexp.base.outputs import main_metric
from qexp.base.quantities import in_words, number_with_unit
from qexp.base.text import measure
from qexp.base.workspace import Workspace
from qexp.errors import DamagedError, NotFoundError
from qexp.metrics.built_in import metric_in_words
from qexp.metrics.intervals import estimate
from qexp.metrics.meaning import NONE, printed, with_interval
from qexp.runs.columns import time
from qexp.store.directory import MATRIX, RunDirectory
from qexp.store.record import State, meaning_of
from qexp.web.drawings import last_figures
from qexp.web.html import Values
from qexp.web.run_page import epochs_done, progress_in_words
from qexp.web.views import saved_views

Run = Mapping[str, Any]

FAILED = ("failed", "lost", "timeout", "damaged")

MOST_AT_WORK, MOST_EXPERIENCES, MOST_FAILED, MOST_PICTURES = 12, 12, 6, 6

RUNS_LOOKED_AT = 40
"""Newest runs in which pictures are looked for."""

POINTS_OF_CURVE = 24
"""Of the small curve of a loss."""

MOST_BYTES_OF_EPOCHS = 2_000_000
"""Of a file of epochs that is read for a small curve."""


def start_page(workspace: Workspace, runs: Sequence[Run]) -> Values:
    """What the template `start.html` needs."""
    newest = sorted(runs, key=lambda run: run["ended"] or run["created"] or "", reverse=True)
    unfinished = [run for run in newest if State(run["state"]).unfinished]
    at_work = sorted(unfinished, key=lambda run: run["state"] != State.RUNNING)
    failed = [run for run in newest if run["error"] or run["state"] in FAILED]
    experiences = sorted(path.stem for path in workspace.specs.glob("experiences/*.json"))
    first = next(iter(experiences), "EXPERIENCE")
    return {
        "count": len(runs),
        "free": in_bytes(disk_usage(workspace.root).free),
        **_views(workspace),
        "at_work": [_at_work(run) for run in at_work[:MOST_AT_WORK]],
        "more_at_work": max(len(at_work) - MOST_AT_WORK, 0),
        "best": list(_best(newest)),
        "pictures": _pictures(newest[:RUNS_LOOKED_AT]),
        "failed": [_failed(run) for run in failed[:MOST_FAILED]],
        "more_failed": max(len(failed) - MOST_FAILED, 0),
        "example": "mogi_quick" if "mogi_quick" in experiences else first,
    }


def _views(workspace: Workspace) -> Values:
    try:
        return {"views": saved_views(workspace), "views_problem": ""}
    except DamagedError as error:
        return {"views": {}, "views_problem": str(error)}


def _at_work(run: Run) -> Values:
    directory = RunDirectory(Path(run["path"]))
    epochs = run["epochs"] or {}
    words = ""
    done = int(epochs.get("done") or 0)
    planned = int(epochs.get("of") or 0)
    with suppress(DamagedError, NotFoundError):
        record = directory.record()
        done = epochs_done(directory, record)
        words = progress_in_words(directory, record, done)
    return {
        "name": run["name"],
        "state": run["state"],
        "done": min(done, planned),
        "of": planned,
        "words": words,
        "curve": small_curve(directory),
    }


def _best(newest: Sequence[Run]) -> Iterator[Values]:
    """Of each experience the group of runs, alike but for their seeds, whose mean of the first
    output is best on the validation part, with its test errors; the newest group where no run has
    validation errors to choose by.
    """
    by_experience: dict[str, dict[str, list[Run]]] = {}
    for run in newest:
        if run["state"] == "done" and run["results"].get("test"):
            groups = by_experience.setdefault(run["experience"], {})
            groups.setdefault(run["digest"], []).append(run)
    for experience, groups in list(by_experience.items())[:MOST_EXPERIENCES]:
        digest = next(iter(groups))
        validated = ""
        output, metrics = next(iter(groups[digest][0]["results"]["test"].items()))
        ranked = _ranked(groups, output, main_metric(metrics) or "")
        if ranked:
            digest = ranked[0][1]
            validated = "{words}, {value}".format(**_mean(groups[digest], "validation", output))
        group = groups[digest]
        shown = list(group[0]["results"]["test"])[:3]
        yield {
            "experience": experience,
            "set": ", ".join(group[0]["overrides"]),
            "groups": len(groups),
            "by": validated,
            "run": group[0]["name"],
            "seeds": len(group),
            "results": [_mean(group, "test", name) for name in shown],
        }


def _ranked(
    groups: Mapping[str, Sequence[Run]], output: str, metric: str
) -> list[tuple[float, str]]:
    """How bad a group's mean is on the validation part, and its digest; the best one first."""
    ranked = []
    for digest, group in groups.items():
        values = _values(group, "validation", output, metric)
        badness = meaning_of(metric, []).badness(fmean(values)) if values else None
        if badness is not None:
            ranked.append((badness, digest))
    return sorted(ranked)


def _values(group: Sequence[Run], part: str, output: str, metric: str) -> list[float]:
    values = [run["results"].get(part, {}).get(output, {}).get(metric) for run in group]
    return [value for value in values if isinstance(value, int | float)]


def _mean(group: Sequence[Run], part: str, output: str) -> Values:
    """The mean of an output's main metric on a part, with its interval over several seeds."""
    metric = main_metric(group[0]["results"].get(part, {}).get(output, {})) or ""
    meaning = meaning_of(metric, [])
    values = _values(group, part, output, metric)
    words = f"{part} {measure(in_words(output), metric_in_words(metric))}"
    name = f"{part}.{output}.{metric}"
    if not values:
        return {"words": words, "name": name, "value": "–", "notes": ""}
    mean = estimate(values, meaning.limits(values))
    unit = meaning.in_unit(group[0]["units"].get(output, ""))
    text, interval = with_interval(mean.mean, mean.interval, meaning, f"{len(values)} seeds")
    notes = printed(interval.replace(NONE, ""))
    if interval.startswith("["):
        notes = f"95 % {printed(interval)}"
    return {
        "words": words,
        "name": name,
        "value": number_with_unit(printed(text), unit),
        "notes": notes,
    }


def _pictures(runs: Sequence[Run]) -> list[Values]:
    """The matrix of each of the last runs, or else a figure: name of the run, and the path below
    its page. One stands for all of its kind of an experience; if only one is left of all, another
    follows.
    """
    of_kinds: dict[tuple[str, str], Values] = {}
    alike = list[Values]()
    for run in runs:
        directory = RunDirectory(Path(run["path"]))
        picture_of_matrix = Path(MATRIX).with_suffix(".png")
        paths = [
            f"pictures/{name}"
            for name in directory.matrix_names()
            if (directory.matrices / name / picture_of_matrix).is_file()
        ]
        files = [figure.file for figure in last_figures(directory)]
        files.sort(key=lambda file: not file.startswith("test_"))
        paths += [f"figures/{file}" for file in files]
        for path in paths:
            words = path.partition("/")[2].removesuffix(".png").replace("_", " ")
            picture = {"run": run["name"], "path": path, "words": words}
            kind = run["experience"], words.rstrip(" 0123456789")  # without its step
            if path == paths[0] and kind not in of_kinds:
                of_kinds[kind] = picture
            else:
                alike.append(picture)
    pictures = [*of_kinds.values(), *alike[: max(2 - len(of_kinds), 0)]]
    return sorted(pictures, key=lambda one: not one["path"].startswith("pictures"))[:MOST_PICTURES]


def _failed(run: Run) -> Values:
    error = (run["error"] or "").strip().splitlines()
    return {
        "name": run["name"],
        "state": run["state"],
        "when": time(run["ended"]),
        "error": (error or [""])[-1][:300],
    }


# The loss of a run as a small curve beside its name.


def small_curve(run: RunDirectory) -> list[float]:
    """The validation loss, or that of training, at a few epochs; empty without any."""
    with suppress(DamagedError, NotFoundError, OSError):
        if run.metrics_file.stat().st_size <= MOST_BYTES_OF_EPOCHS:
            lines = run.metrics()
            known = _losses(lines, "validation") or _losses(lines, "train")
            step = max(-(-len(known) // POINTS_OF_CURVE), 1)
            return [float(f"{loss:.4g}") for loss in [*known[:-1:step], *known[-1:]]]
    return []


def _losses(lines: Sequence[Mapping[str, Any]], part: str) -> list[float]:
    losses = [line.get(part, {}).get("loss") for line in lines]
    return [loss for loss in losses if loss is not None]

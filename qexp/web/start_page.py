"""The start page: which runs are at work and for how long, what is best, the last pictures, and what failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from qexp.base.quantities import in_words, number_with_unit
from qexp.base.workspace import Workspace
from qexp.errors import DamagedError, NotFoundError
from qexp.metrics.built_in import metric_in_words
from qexp.metrics.intervals import estimate
from qexp.metrics.meaning import NONE, main_metric, printed, with_interval
from qexp.metrics.recorded import meaning_of
from qexp.runs.columns import time as moment
from qexp.store.directory import MATRIX, RunDirectory
from qexp.store.record import State
from qexp.web.run_page import progress_in_words

Run = Mapping[str, Any]

MOST_AT_WORK, MOST_EXPERIENCES, MOST_FAILED, MOST_PICTURES = 12, 12, 6, 6

RUNS_LOOKED_AT = 40
"""Newest runs in which pictures are looked for."""

POINTS_OF_CURVE = 24
"""Of the small curve of a loss."""

MOST_BYTES = 2_000_000
"""Of a file of epochs that is read for a small curve."""


def start_page(workspace: Workspace, runs: Sequence[Run]) -> dict[str, Any]:
    """What the template `start.html` needs."""
    newest = sorted(runs, key=lambda run: run["ended"] or run["created"] or "", reverse=True)
    unfinished = [run for run in newest if State(run["state"]).unfinished]
    at_work = sorted(unfinished, key=lambda run: run["state"] != State.RUNNING)
    failed = [run for run in newest if run["error"] or run["state"] in ("failed", "lost", "timeout", "damaged")]
    experiences = sorted(path.stem for path in workspace.specs.glob("experiences/*.json"))
    return {
        "count": len(runs),
        "at_work": [_at_work(run) for run in at_work[:MOST_AT_WORK]],
        "more_at_work": max(len(at_work) - MOST_AT_WORK, 0),
        "best": list(_best(newest)),
        "pictures": _pictures(newest[:RUNS_LOOKED_AT]),
        "failed": [_failed(run) for run in failed[:MOST_FAILED]],
        "more_failed": max(len(failed) - MOST_FAILED, 0),
        "example": "mogi_quick" if "mogi_quick" in experiences else next(iter(experiences), "EXPERIENCE"),
    }


def _at_work(run: Run) -> dict[str, Any]:
    """With the epochs that are done by the file that grows with each of them."""
    directory, of = RunDirectory(Path(run["path"])), int((run["epochs"] or {}).get("of") or 0)
    done, words = int((run["epochs"] or {}).get("done") or 0), ""
    with suppress(DamagedError, NotFoundError):
        lines = directory.metrics()
        done = max(done, lines[-1]["epoch"] if lines else 0)
        words = progress_in_words(directory, directory.record(), done)
    return {"name": run["name"], "state": run["state"], "done": min(done, of), "of": of, "words": words}


def _best(newest: Sequence[Run]) -> Iterator[dict[str, Any]]:
    """Of each experience the group of runs, alike but for their seeds, whose mean of the first output is best."""
    by_experience: dict[str, dict[str, list[Run]]] = {}
    for run in newest:
        if run["state"] == "done" and run["results"].get("test"):
            by_experience.setdefault(run["experience"], {}).setdefault(run["digest"], []).append(run)
    for experience, groups in list(by_experience.items())[:MOST_EXPERIENCES]:
        first = next(iter(groups.values()))[0]
        output, metrics = next(iter(first["results"]["test"].items()))
        metric = main_metric(metrics) or ""
        meaning = meaning_of(metric, [])
        means = {digest: _values(group, output, metric) for digest, group in groups.items()}
        ranked = [(meaning.badness(sum(of) / len(of)), digest) for digest, of in means.items() if of]
        comparable = [(badness, digest) for badness, digest in ranked if badness is not None]
        if not comparable:
            continue
        group = groups[min(comparable)[1]]
        yield {
            "experience": experience,
            "set": ", ".join(group[0]["overrides"]),
            "groups": len(groups),
            "run": group[0]["name"],
            "seeds": len(group),
            "results": [_mean(group, name) for name in list(first["results"]["test"])[:3]],
        }


def _values(group: Sequence[Run], output: str, metric: str) -> list[float]:
    values = [run["results"]["test"].get(output, {}).get(metric) for run in group]
    return [value for value in values if isinstance(value, int | float)]


def _mean(group: Sequence[Run], output: str) -> dict[str, str]:
    """The mean of an output's main metric with its interval over seeds; of one seed without."""
    metric = main_metric(group[0]["results"]["test"].get(output, {})) or ""
    meaning, values = meaning_of(metric, []), _values(group, output, metric)
    words = f"{in_words(output)} {metric_in_words(metric)}"
    if not values:
        return {"words": words, "value": "–", "notes": ""}
    of_seeds = estimate(values, meaning.limits(values))
    unit = meaning.in_unit(group[0]["units"].get(output, ""))
    text, interval = with_interval(of_seeds.mean, of_seeds.interval, meaning, f"{len(values)} seeds")
    notes = "" if interval == NONE else f"95 % {printed(interval)}"
    return {"words": words, "value": number_with_unit(printed(text), unit), "notes": notes}


def _pictures(runs: Sequence[Run]) -> list[dict[str, str]]:
    """The matrix of each of the last runs, or else a figure: name of the run, and the path below its page."""
    pictures = []
    for run in runs:
        directory = RunDirectory(Path(run["path"]))
        matrices = [directory.matrices / name / Path(MATRIX).with_suffix(".png") for name in directory.matrix_names()]
        paths = [f"pictures/{path.parent.name}" for path in matrices if path.is_file()]
        paths += [f"figures/{path.name}" for path in sorted(directory.results.glob("figures/test_*.png"))]
        if paths:
            words = paths[0].partition("/")[2].removesuffix(".png").replace("_", " ")
            pictures.append({"run": run["name"], "path": paths[0], "words": words})
    return sorted(pictures, key=lambda one: not one["path"].startswith("pictures"))[:MOST_PICTURES]


def _failed(run: Run) -> dict[str, str]:
    error = (run["error"] or "").strip().splitlines()
    return {
        "name": run["name"],
        "state": run["state"],
        "when": moment(run["ended"]),
        "error": (error or [""])[-1][:300],
    }


# The loss of a run as a small curve beside its name.


def small_curve(run: RunDirectory) -> list[float]:
    """The validation loss over the epochs, or that of the training, at a few of them; empty without any."""
    file = run.metrics_file
    with suppress(DamagedError, NotFoundError, OSError):
        if file.stat().st_size <= MOST_BYTES:
            lines = run.metrics()
            of_parts = ([line.get(part, {}).get("loss") for line in lines] for part in ("validation", "train"))
            known = next(filter(None, ([loss for loss in losses if loss is not None] for losses in of_parts)), [])
            step = max(-(-len(known) // POINTS_OF_CURVE), 1)
            return [float(f"{loss:.4g}") for loss in [*known[:-1:step], *known[-1:]]]
    return []

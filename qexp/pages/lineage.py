"""Where a run came from and what was made of it, as a graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qexp.fragments.graph import Arrow, Box, graph
from qexp.runs.record.evaluations import of_run
from qexp.runs.record.state import State

if TYPE_CHECKING:
    from markupsafe import Markup

    from qexp.runs.record.directory import RunDirectory
    from qexp.runs.record.record import Record

MOST = 6
"""Boxes of one kind; the others are counted."""

RUN = "run"
"""Key of the run's own box."""

Parts = Iterator[Box | Arrow]


def lineage(directory: RunDirectory, record: Record, state: State, others: Sequence[Mapping[str, Any]]) -> Markup:
    """A drawing from data and weights over the run to its matrices, evaluations, and the runs that start from it.

    others  summaries of the other runs of its workspace
    """
    parts = [
        _of_the_run(record, state), *_data(record), *_weights(record), *_origins(record), *_folds(record),
        *_made(directory), *_descendants(record, others),
    ]  # fmt: skip
    boxes = [part for part in parts if isinstance(part, Box)]
    arrows = [part for part in parts if isinstance(part, Arrow)]
    names = {box.key: f"{box.kind} {box.name}" for box in boxes}
    said = "; ".join(f"{names[one.start]} to {names[one.end]}" for one in arrows)
    return graph(boxes, arrows, f"lineage of {record.name}: {said}")


def _of_the_run(record: Record, state: State) -> Box:
    epochs = f"{record.epochs.done} of {record.epochs.of} epochs" if record.epochs.of else ""
    lines = [f"{record.experience}, seed {record.seed}", state.words, epochs, f"digest {record.digest[:16]}"]
    return Box(RUN, "this run", record.name, [line for line in lines if line], strong=True)


def _data(record: Record) -> Parts:
    yield Box("data", "dataset", record.dataset, [record.caution] if "data" in record.caution else [])
    yield Arrow("data", RUN, "data")


def _weights(record: Record) -> Parts:
    """The runs that the weights came from, the nearest first."""
    after = RUN
    for number, one in enumerate(record.lineage):
        key = f"ancestor {number}"
        lines = [f"{one.experience}, seed {one.seed}"] if one.experience else []
        lines += [f"trained on {one.dataset}"] if one.dataset else []
        lines += [f"taken: {', '.join(one.operations)}"] if one.operations else []
        lines += [f"digest {one.digest[:16]}"] if one.digest else []
        yield Box(key, "run", one.name, lines)
        yield Arrow(key, after, "weights")
        after = key


def _origins(record: Record) -> Parts:
    if record.code.commit is not None:
        yield Box("code", "code", record.code.commit[:12], ["with changes"] if record.code.dirty else [])
        yield Arrow("code", RUN, "code")
    if record.rerun_of:
        yield Box("rerun", "run", record.rerun_of)
        yield Arrow("rerun", RUN, "spec")
    if record.imported is not None:
        yield Box("archive", "archive", record.imported.archive, [record.imported.time])
        yield Arrow("archive", RUN, "imported")
    if (origin := record.foreign_weights) is not None:
        lines = [origin.format, f"sha256 {origin.file.sha256[:16]}"]
        yield Box("foreign", "weights of another program", origin.file.name, lines)
        yield Arrow("foreign", RUN, "weights")


def _folds(record: Record) -> Parts:
    if record.folds is not None and record.folds.of:
        failed = [f"{len(record.folds.failed)} failed"] if record.folds.failed else []
        yield Box("folds", "cross-validation", f"{record.folds.of} folds", [f"{record.folds.done} done", *failed])
        yield Arrow(RUN, "folds", "holds out")


def _made(directory: RunDirectory) -> Parts:
    matrices = [Box(f"matrix {name}", "matrix", name) for name in directory.matrix_names()]
    evaluations = [
        Box(f"evaluation {one.name}", "evaluation", one.name, [one.caution] if one.caution else [])
        for one in of_run(directory)
    ]
    for boxes, what in ((matrices, "matrices"), (evaluations, "evaluations")):
        yield from _some(boxes, what, "")


def _descendants(record: Record, others: Sequence[Mapping[str, Any]]) -> Parts:
    started = [
        Box(f"run {one['name']}", "run", one["name"], [f"{one['experience']}, seed {one['seed']}"])
        for one in others
        if record.name in one["parents"]
    ]
    yield from _some(started, "runs", "weights")


def _some(boxes: Sequence[Box], what: str, words: str) -> Parts:
    shown = list(boxes[:MOST])
    if len(boxes) > MOST:
        shown.append(Box(f"more {what}", what, f"{len(boxes) - MOST:,} more"))
    for box in shown:
        yield box
        yield Arrow(RUN, box.key, words)

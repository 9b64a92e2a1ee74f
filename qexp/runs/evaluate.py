"""Evaluations are written in a draft, which gets its name when it is complete."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from qexp.base import files
from qexp.base.files import locked
from qexp.base.machine import terminable
from qexp.base.workspace import Workspace
from qexp.errors import NotFoundError, QexpError
from qexp.figures import canvas
from qexp.jobs.states import require_done
from qexp.kinds import figures, objects
from qexp.kinds.attempt import Attempt, Display, OwnRecord
from qexp.kinds.evaluation import Asked, Judged, independence_of
from qexp.kinds.experiments import dataset_document
from qexp.kinds.images import azimuths
from qexp.kinds.networks import metrics_of
from qexp.kinds.objects import device_of, threads_to_predict
from qexp.kinds.options import EvaluateOptions
from qexp.kinds.tables import tables_of
from qexp.kinds.trained import load_models
from qexp.results.capabilities import Section, results_of
from qexp.results.intervals import HeldOutIntervals, intervals_of
from qexp.spec.kinds import caution_of_data, documents_of, load_stage
from qexp.spec.reading import digest
from qexp.store import evaluations
from qexp.store.directory import RunDirectory
from qexp.store.evaluations import TRAINED_ON, EvaluationDirectory, EvaluationRecord
from qexp.store.provenance import fingerprint
from qexp.store.record import NAME, now

LOCK_SECONDS = 10.0


@contextmanager
def drafted(directory: RunDirectory, name: str) -> Iterator[Path]:
    """A new folder for an evaluation, which is deleted at the end unless it was published.

    What killed processes left of the evaluation of this name is put back or deleted before.
    """
    place = directory.evaluations
    files.make_folder(place)
    files.clear(place / name)
    with ExitStack() as until_the_end:
        try:
            folder = until_the_end.enter_context(files.drafted(place / name))
        except OSError as error:
            raise QexpError(f"cannot write to {place}: {error.strerror or error}") from error
        yield folder


def published(directory: RunDirectory, name: str, folder: Path, force: bool, exists: Callable[[], bool]) -> bool:
    """Give a draft its name; False if another process has meanwhile made the same evaluation.

    exists  whether there is the same evaluation; raises QexpError if there is another one of that name
    """
    target = directory.evaluations / name
    try:
        with locked(directory.evaluations, LOCK_SECONDS):
            if not force and exists():
                return False
            files.put(folder, target)  # with --force one is there, or one without a record, which no evaluation is
    except OSError as error:
        raise QexpError(f"cannot write {target}: {error.strerror or error}") from error
    return True


# Evaluation of a finished run on data other than its own test part, kept in `evaluations/NAME/` of the run.
#
# The networks, and the transforms as they were fitted in training, are those of the run; nothing is fitted to the data.


@dataclass(frozen=True)
class Evaluation:
    """The outcome of `evaluate`."""

    directory: EvaluationDirectory
    made: bool
    """False if the same evaluation existed already."""

    @property
    def record(self) -> EvaluationRecord:
        return self.directory.evaluation()

    @property
    def held_out_intervals(self) -> HeldOutIntervals | None:
        """How many rows or spectra lie in the intervals that the run's held-out errors promise, if that is known."""
        return intervals_of(self.directory)

    @property
    def results(self) -> Section:
        """What is shown of it."""
        return Section("", results_of(self.directory))


def evaluate(directory: RunDirectory, workspace: Workspace, options: EvaluateOptions) -> Evaluation:
    """Evaluate a finished run on a dataset, on files in the form of its own, or on its own dataset if neither is named.

    Raises QexpError.
    """
    canvas.draws_at_once()  # a wrong setting is refused before anything is made
    require_done(directory)
    asked, known_as = _asked(directory, workspace, options)
    judged: Judged = load_stage(asked.spec["dataset"], "evaluate")(asked)
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", known_as).strip("._-")  # a folder may be called `TOC%`
    called = options.name or (plain if judged.part == judged.usual else f"{plain}_{judged.part}")
    if not NAME.fullmatch(called):
        raise QexpError(f"{called!r} is not a valid name for an evaluation; choose another with `name`")
    of = _digest(asked, judged)
    if not options.force and (existing := _existing(directory, called, of)) is not None:
        return Evaluation(existing, made=False)
    # A scheduler or a closed terminal ends it as Ctrl-C does: without a trace.
    with terminable(), drafted(directory, called) as folder:
        record = _begun(asked, judged, called, known_as if options.input is None else str(options.input), of)
        written = _carried_out(asked, judged, record, folder)
        if canvas.draws_at_once():
            figures.draw(EvaluationDirectory(folder, directory.code_trusted, written), left_out=options.warn)
        files.write_json(folder / evaluations.RECORD, written.document())
        made = published(directory, called, folder, options.force, lambda: _existing(directory, called, of) is not None)
    return Evaluation(evaluations.find_evaluation(directory, called), made)


def _asked(directory: RunDirectory, workspace: Workspace, options: EvaluateOptions) -> tuple[Asked, str]:
    """What is asked for, and the usual name of the data."""
    on, tables, spec = device_of(options.device), tables_of(directory), directory.training_spec()
    part, seed = options.part, options.seed
    if options.input is not None:
        source = Path(options.input)
        return Asked(directory, spec, tables, workspace, None, source, part, seed, on), files.stem_of(source)
    if options.dataset is None:
        return Asked(directory, spec, tables, workspace, spec["dataset"], None, part, seed, on), _own_name(directory)
    known_as, document = dataset_document(options.dataset, workspace, tables)
    if (kind := documents_of(document)) is not documents_of(spec["dataset"]):
        raise QexpError(
            f"{directory.name} was trained on a dataset of the type '{spec['dataset']['type']}', but '{known_as}' "
            f"has the type '{document['type']}'; a run is evaluated on data of its own type"
        )
    document, remark = azimuths.as_trained(document, directory.record())
    document["units"] = kind.units([*spec["inputs"], *spec["outputs"]], {"units": {}, **document}, tables["quantities"])
    return Asked(directory, spec, tables, workspace, document, None, part, seed, on, remark), known_as


def _own_name(directory: RunDirectory) -> str:
    """The name of the dataset that a run was trained on."""
    return directory.record().dataset or "own"


def _digest(asked: Asked, judged: Judged) -> str:
    """Of all that the results depend on: the run's weights, the data, the part and the seed."""
    record = asked.directory.record()
    weights = [fingerprint(one.best_weights).sha256 for one in asked.directory.all_folds() or [asked.directory]]
    document = {"dataset": judged.document, "weights": weights}
    return digest(document, record.digest, str(record.seed), _content(asked, judged))


def _content(asked: Asked, judged: Judged) -> str:
    """Of the data, by the hash of their files or else their document, of the part and of the seed."""
    data = judged.document.get("fingerprint", judged.document)
    return digest({"dataset": data, "part": judged.part, "seed": asked.seed})


def _existing(directory: RunDirectory, name: str, of: str) -> EvaluationDirectory | None:
    """The evaluation of that name and digest; None if there is none. Raises QexpError if it has another digest."""
    try:
        found = evaluations.find_evaluation(directory, name)
    except NotFoundError:
        return None
    if found.evaluation().digest != of:
        raise QexpError(
            f"{directory.name} has an evaluation '{name}' of other data, another part or another seed; choose another "
            "`name`, or replace it with `force=True`"
        )
    return found


def _begun(asked: Asked, judged: Judged, name: str, dataset: str, of: str) -> EvaluationRecord:
    """The record without results."""
    run, independence = asked.directory.record(), independence_of(asked, judged)
    cautions = [caution_of_data(asked.spec), caution_of_data({**asked.spec, "dataset": judged.document})]
    cautions += [TRAINED_ON] if independence.known is False else []
    return EvaluationRecord(
        name=name,
        dataset=dataset,
        part=judged.part,
        seed=asked.seed,
        digest=of,
        content=_content(asked, judged),
        created=now(),
        samples=judged.samples,
        left_out=judged.left_out,
        independent=independence.known,
        reasons=independence.reasons,
        warnings=(*filter(None, [asked.remark]), *judged.warnings),
        caution="; ".join(dict.fromkeys(filter(None, cautions))),
        units=run.units,
        metrics=run.metrics,
        data=judged.document,
    )


def _carried_out(asked: Asked, judged: Judged, begun: EvaluationRecord, folder: Path) -> EvaluationRecord:
    """Estimate the data and write tables. Returns the record with the results."""
    models = load_models(asked.directory, asked.device)
    begun = replace(begun, networks=len(models))
    attempt = _attempt(asked, EvaluationDirectory(folder, asked.directory.code_trusted, begun))
    threads = threads_to_predict(asked.spec, asked.tables, asked.device)
    with objects.threads(threads):
        found = judged.evaluate(attempt, models, metrics_of(asked.spec, asked.tables))
    assert found is not None, "only a run ends early without an exception"
    return replace(
        begun,
        results=found.results,
        intervals=found.intervals,
        comparison=found.comparison,
        errors=found.errors,
        groups=found.groups,
    )


def _attempt(asked: Asked, directory: EvaluationDirectory) -> Attempt:
    """An attempt that only evaluates. Baselines, which would have to be trained, are left out."""
    record = replace(directory.record(), seed=asked.seed)
    spec = {**asked.spec, "dataset": dict(directory.evaluation().data), "baselines": []}
    return Attempt(
        directory, OwnRecord(directory, record), spec, None, asked.tables, asked.device, Display(), lambda: False,
        torch.get_num_threads(),
    )  # fmt: skip

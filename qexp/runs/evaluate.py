"""Evaluation of a finished run on data other than its own test part, kept in `evaluations/NAME/` of
the run.

The networks, and the transforms as they were fitted in training, are those of the run; nothing is
fitted to the data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from qexp.base import files, folders, formats
from qexp.base.machine import terminable, threads
from qexp.base.workspace import Workspace
from qexp.errors import NotFoundError, QexpError
from qexp.figures import canvas
from qexp.jobs.states import require_done
from qexp.kinds import azimuths, figures
from qexp.kinds.attempt import Attempt, Display, OwnRecord
from qexp.kinds.evaluation import EvaluationData, EvaluationRequest, independence_of
from qexp.kinds.experiments import SpecCache, open_dataset
from qexp.kinds.networks import load_models, metrics_of
from qexp.kinds.objects import device_of, threads_to_predict
from qexp.kinds.options import EvaluateOptions
from qexp.kinds.tables import tables_of
from qexp.results.capabilities import Section, results_of
from qexp.results.classes import keep_classes
from qexp.spec.kinds import caution_of_data, documents_of, load_stage
from qexp.spec.reading import digest
from qexp.store import evaluations
from qexp.store.directory import RunDirectory
from qexp.store.evaluations import EvaluationDirectory, EvaluationRecord
from qexp.store.provenance import fingerprint
from qexp.store.record import IN_NAMES, NAME, now


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
    def results(self) -> Section:
        """What is shown of it."""
        return Section("", results_of(self.directory))


def evaluate(directory: RunDirectory, workspace: Workspace, options: EvaluateOptions) -> Evaluation:
    """Evaluate a finished run on a dataset, on files in the form of its own, or on its own dataset
    if neither is named.

    Raises QexpError.
    """
    canvas.draws_at_once()  # a wrong setting is refused before anything is made
    require_done(directory)
    if len(directory.members) > 1:
        raise QexpError(
            f"{directory.name}: an evaluation is kept in its run; evaluate each of them"
        )
    request, usual_name = _request(directory, workspace, options)
    data: EvaluationData = load_stage(request.spec["dataset"], "evaluate")(request)
    # a folder may be called `TOC%`
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", usual_name).strip("._-")
    name = options.name or (plain if data.part == data.usual else f"{plain}_{data.part}")
    if not NAME.fullmatch(name):
        raise QexpError(
            f"{name!r} is not a valid name for an evaluation; choose another with `name`:"
            f" {IN_NAMES}"
        )
    # Of all that the results depend on: the run's weights, the data, the part and the seed.
    trained = directory.record()
    networks = directory.all_folds() or [directory]
    weights = [fingerprint(network.best_weights).sha256 for network in networks]
    all_data = {"dataset": data.document, "weights": weights}
    digest_of_all = digest(all_data, trained.digest, str(trained.seed), _content(request, data))
    existing = None if options.force else _existing(directory, name, digest_of_all)
    if existing is not None:
        return Evaluation(existing, made=False)
    target = directory.evaluations / name
    # A scheduler or a closed terminal ends it as Ctrl-C does: without a trace.
    with terminable(), folders.new_draft(target) as folder:
        dataset = usual_name if options.input is None else str(options.input)
        record = _evaluate(
            request, data, _record(request, data, name, dataset, digest_of_all), folder
        )
        if canvas.draws_at_once():
            figures.draw(
                EvaluationDirectory(folder, directory.code_trusted, record), left_out=options.warn
            )
        formats.write_json(folder / evaluations.RECORD, record.document())
        # With --force one is there, or one without a record, which no evaluation is.
        new = folders.put_unless(
            lambda: not options.force and bool(_existing(directory, name, digest_of_all)),
            folder,
            target,
        )
    return Evaluation(evaluations.find_evaluation(directory, name), new)


def _request(
    directory: RunDirectory, workspace: Workspace, options: EvaluateOptions
) -> tuple[EvaluationRequest, str]:
    """What is asked for, and the usual name of the data."""
    tables = tables_of(directory)
    spec = directory.training_spec()
    request = EvaluationRequest(
        directory,
        spec,
        tables,
        workspace,
        spec["dataset"],
        None,
        options.part,
        options.seed,
        device_of(options.device),
    )
    if options.input is not None:
        source = Path(options.input)
        return replace(request, document=None, source=source), files.stem_of(source)
    if options.dataset is None:
        return request, directory.record().dataset or "own"
    name, document, _ = open_dataset(options.dataset, SpecCache(tables, workspace))
    if load_stage(document, "evaluate") is not load_stage(spec["dataset"], "evaluate"):
        raise QexpError(
            f"{directory.name} was trained on a dataset of the type '{spec['dataset']['type']}',"
            f" but '{name}' has the type '{document['type']}'; a run is evaluated on data of its"
            " own type"
        )
    document, remark = azimuths.as_trained(document, directory.record())
    document["units"] = documents_of(document).units(
        [*spec["inputs"], *spec["outputs"]], {"units": {}, **document}, tables["quantities"]
    )
    return replace(request, document=document, remark=remark), name


def _content(request: EvaluationRequest, data: EvaluationData) -> str:
    """Digest of the data, by the hash of their files or else their document, part and seed."""
    dataset = data.document.get("fingerprint", data.document)
    return digest({"dataset": dataset, "part": data.part, "seed": request.seed})


def _existing(directory: RunDirectory, name: str, digest_of_all: str) -> EvaluationDirectory | None:
    """The evaluation of that name, or None. Raises QexpError if it has another digest."""
    try:
        evaluation = evaluations.find_evaluation(directory, name)
    except NotFoundError:
        return None
    if evaluation.evaluation().digest != digest_of_all:
        raise QexpError(
            f"{directory.name} has an evaluation '{name}' of other data, another part or another"
            " seed; choose another `name`, or replace it with `force=True`"
        )
    return evaluation


def _record(
    request: EvaluationRequest, data: EvaluationData, name: str, dataset: str, digest_of_all: str
) -> EvaluationRecord:
    """The record without results."""
    run = request.directory.record()
    independence = independence_of(request, data)
    cautions = [
        caution_of_data(request.spec),
        caution_of_data({**request.spec, "dataset": data.document}),
    ]
    cautions += [independence.caution] if independence.known is False else []
    return EvaluationRecord(
        name=name,
        dataset=dataset,
        part=data.part,
        seed=request.seed,
        digest=digest_of_all,
        content=_content(request, data),
        created=now(),
        samples=data.samples,
        left_out=data.left_out,
        independent=independence.known,
        reasons=independence.reasons,
        warnings=(*filter(None, [request.remark]), *data.warnings),
        caution="; ".join(dict.fromkeys(filter(None, cautions))),
        units=run.units,
        metrics=run.metrics,
        data=data.document,
    )


def _evaluate(
    request: EvaluationRequest, data: EvaluationData, record: EvaluationRecord, folder: Path
) -> EvaluationRecord:
    """Estimate the data and write tables. Returns the record with the results."""
    models = load_models(request.directory, request.device)
    record = replace(record, networks=len(models))
    directory = EvaluationDirectory(folder, request.directory.code_trusted, record)
    attempt = Attempt(
        directory=directory,
        own=OwnRecord(directory, replace(directory.record(), seed=request.seed)),
        # Baselines, which would have to be trained, are left out.
        spec={**request.spec, "dataset": dict(record.data), "baselines": []},
        dataset=None,
        tables=request.tables,
        device=request.device,
        display=Display(),
        interrupted=lambda: False,
        processes=torch.get_num_threads(),
    )
    with threads(threads_to_predict(request.spec, request.tables, request.device)):
        results = data.evaluate(attempt, models, metrics_of(request.spec, request.tables))
    assert results is not None, "only a run ends early without an exception"
    keep_classes(directory, attempt.spec)
    names = ("results", "intervals", "comparison", "errors", "groups")
    warnings = (*record.warnings, *results.remarks)
    return replace(record, warnings=warnings, **{name: getattr(results, name) for name in names})

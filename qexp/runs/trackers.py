"""Runs of other trackers, read into a workspace as runs of programs: Qanat, MLflow, TensorBoard; and out to MLflow."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from qexp.base import files
from qexp.base.text import leaves
from qexp.base.workspace import Workspace
from qexp.errors import NotFoundError, QexpError, extra
from qexp.runs import followed
from qexp.runs.prepare import new_run
from qexp.spec.experiences import RESULTS, schema_file
from qexp.spec.reading import defaults_in, digest
from qexp.store.directory import RunDirectory
from qexp.store.record import Epochs, Imported, Record, State, now

if TYPE_CHECKING:
    from mlflow import MlflowClient

STATES = {"FINISHED": State.DONE, "FAILED": State.FAILED, "CANCELLED": State.INTERRUPTED, "KILLED": State.INTERRUPTED}
"""How Qanat and MLflow call the ends of a run; those that have not ended are left out."""

Rows = dict[float, dict[str, float]]
"""Step → name → number."""


class Found(NamedTuple):
    """A run of another tracker; `id` is no other's."""

    id: str
    experiment: str
    parameters: dict[str, Any]
    rows: Rows
    seconds: list[float]
    """When it began and ended, since 1970."""
    state: State
    note: str


def import_runs(path: Path, workspace: Workspace) -> list[RunDirectory]:
    """The runs that are new. Raises QexpError before anything is written if one of them cannot be read."""
    found, new = list(_found(path)), list[RunDirectory]()
    for run in found:
        experiment = re.sub(r"[^A-Za-z0-9]+", "_", run.experiment).strip("_")[:150] or "run"
        name = f"{experiment}_{hashlib.sha256(run.id.encode()).hexdigest()[:8]}"
        with suppress(FileExistsError):
            new.append(new_run(name, workspace, None, partial(_fill, run, path, name)))
    return new


def _fill(run: Found, path: Path, name: str, draft: Path) -> None:
    parameters = {re.sub(r"^[^A-Za-z]+|[^\w-]", "", key) or "p": _value(value) for key, value in run.parameters.items()}
    seed = parameters.pop("seed", 0)
    document = {"type": "command", "command": ["run-of-another-tracker", run.id], "parameters": parameters}
    spec = {**defaults_in(schema_file("command")), **document, "fingerprints": {}, "found": str(path.absolute())}
    lines = followed.epochs_of({**run.rows[step], "step": step} for step in sorted(run.rows))
    last = {name: value for step in sorted(run.rows) for name, value in run.rows[step].items()}
    results = followed.results_of(followed.epochs_of([last])[0])
    directory, times = RunDirectory(draft), [datetime.fromtimestamp(at, UTC).isoformat() for at in run.seconds]
    files.make_folder(directory.results)
    files.write_json(directory.spec_file, spec)
    files.write_json(directory.results / RESULTS, results)
    if len(lines) > 1:
        files.write_lines(directory.metrics_file, lines)
    directory.write(
        Record(
            name=name, kind="program", experience=run.experiment, dataset="", model="",
            seed=seed if isinstance(seed, int) and seed >= 0 else 0,
            state=run.state, created=times[0], started=times[0], ended=times[-1], note=run.note,
            seconds=round(run.seconds[-1] - run.seconds[0], 3), digest=digest(spec), results=results,
            overrides=tuple(f"parameters.{key}={json.dumps(value)}" for key, value in parameters.items()),
            imported=Imported(archive=str(path), time=now(), was={"name": run.id}, code_trusted=False),
            epochs=Epochs(done=len(lines) if len(lines) > 1 else 0),
        )
    )  # fmt: skip


def _value(text: Any) -> Any:
    with suppress(ValueError, TypeError):
        return json.loads(text)
    return text


def _found(path: Path) -> Iterator[Found]:
    if not path.exists():
        raise NotFoundError(f"there is no {path}")
    database = next((file for file in (path / ".qanat/database.db", path / "mlflow.db", path) if file.is_file()), None)
    if database is not None:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            try:
                tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
                if "runs_of_experiments" in tables:
                    return (yield from _of_qanat(database, connection))
            except (sqlite3.Error, ValueError) as error:
                raise QexpError(f"{database} is not a database of a version of Qanat that is known: {error}") from None
        if {"alembic_version", "latest_metrics"} <= tables:
            return (yield from _of_mlflow(f"sqlite:///{database.absolute()}"))
    elif any(path.glob("*/meta.yaml")):
        return (yield from _of_mlflow(path.absolute().as_uri()))
    elif folders := {file.parent for file in path.rglob("*tfevents*")}:
        return (yield from _of_tensorboard(path, folders))
    raise QexpError(f"{path} has no runs of Qanat (.qanat/database.db), MLflow (mlruns, mlflow.db) or TensorBoard")


def _of_qanat(file: Path, database: sqlite3.Connection) -> Iterator[Found]:
    """A run for each group of parameters; their numbers are in `metrics.jsonl` or `metrics.csv`, if there are any."""
    groups = defaultdict[int, list[Any]](list)
    for run, values in database.execute('SELECT run_id, "values" FROM groups_of_parameters ORDER BY id'):
        groups[run].append(json.loads(values or "{}"))
    for number, experiment, begun, ended, status, folder, note in database.execute(
        "SELECT r.id, e.name, r.launched, r.finished, r.status, r.storage_path, r.description "
        "FROM runs_of_experiments r JOIN experiments e ON e.id = r.experiment_id ORDER BY r.id"
    ):
        seconds = [datetime.fromisoformat(time).timestamp() for time in (begun, ended) if time] or [0.0]
        for index, parameters in enumerate((groups[number] or [{}]) if status.upper() in STATES else []):
            home = file.parent.parent / (folder or "-") / (f"group_{index}" if len(groups[number]) > 1 else "")
            found = [home / name for name in ("metrics.jsonl", "metrics.csv") if (home / name).is_file()]
            lines = followed.rows_in(found[0].read_bytes())[0] if found else []
            rows = {row.get("epoch", row.get("step", at)): dict(row) for at, row in enumerate(lines, start=1)}
            own = f"{file.resolve()}:{number}.{index}"
            yield Found(own, experiment, parameters, rows, seconds, STATES[status.upper()], note or "")


def _client(uri: str) -> MlflowClient:
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # else it refuses the folders that it wrote for years
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with extra("mlflow"):
        import sqlalchemy  # noqa: F401 - which the slim MLflow needs for databases
        from mlflow import MlflowClient
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return MlflowClient(uri)


def _of_mlflow(uri: str) -> Iterator[Found]:
    client = _client(uri)
    from mlflow.exceptions import MlflowException

    try:
        experiments = {one.experiment_id: one.name for one in client.search_experiments()}
        pages = [client.search_runs([*experiments])]
        while pages[-1].token:
            pages.append(client.search_runs([*experiments], page_token=pages[-1].token))
        for info, data in ((run.info, run.data) for page in pages for run in page if run.info.status in STATES):
            rows: Rows = defaultdict(dict)
            for key in data.metrics:
                for metric in client.get_metric_history(info.run_id, key):
                    rows[metric.step][key] = metric.value
            seconds = [time / 1000 for time in (info.start_time, info.end_time) if time] or [0.0]
            experiment, note = experiments[info.experiment_id], info.run_name or ""
            yield Found(info.run_id, experiment, data.params, rows, seconds, STATES[info.status], note)
    except MlflowException as error:
        raise QexpError(f"MLflow cannot read {uri}: {str(error).splitlines()[0]}") from None


def _of_tensorboard(path: Path, folders: set[Path]) -> Iterator[Found]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    for folder in sorted(folders):
        read = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}).Reload()
        events = [(tag, event, event.value) for tag in read.Tags()["scalars"] for event in read.Scalars(tag)]
        tensors = [(tag, event) for tag in read.Tags()["tensors"] for event in read.Tensors(tag)]
        arrays = [(tag, event, make_ndarray(event.tensor_proto)) for tag, event in tensors]
        events += [
            (tag, event, float(one.item())) for tag, event, one in arrays if one.size == 1 and one.dtype != object
        ]
        rows: Rows = defaultdict(dict)
        for tag, event, value in events:
            rows[event.step][tag] = value
        seconds = sorted(event.wall_time for _, event, _ in events) or [0.0]
        note = folder.relative_to(path).as_posix()
        yield Found(str(folder.resolve()), path.resolve().name, {}, rows, seconds, State.DONE, note)


MOST_BYTES = 1_000_000
"""Of a file that is copied to MLflow."""


def export_to_mlflow(directory: RunDirectory, file: Path) -> None:
    """Add a run to a database of MLflow. Raises QexpError if it has it already."""
    client, record, lines = _client(f"sqlite:///{file.absolute()}"), directory.record(), directory.metrics()
    from mlflow.entities import Metric, Param
    from mlflow.exceptions import MlflowException

    times = [datetime.fromisoformat(at or record.created).timestamp() for at in (record.started, record.ended)]
    begun, ended = (int(1000 * at) for at in times)
    numbers = [  # at even times, as a line has none
        Metric(name.replace(".", "/"), value, begun + (ended - begun) * line["epoch"] // len(lines), line["epoch"])
        for line in lines
        for name, value in leaves({part: line.get(part) for part in ("train", "validation", "test", "learning_rate")})
    ] + [Metric(name, value, ended, len(lines)) for name, value in leaves(record.results)]
    numbers = [number for number in numbers if number.value is not None]
    parameters = [Param(re.sub(r"[^\w./ -]", "_", name), str(value)[:6000]) for name, value in leaves(directory.spec())]
    tags = {"qexp.created": record.created, "qexp.state": record.state.value, "qexp.seed": str(record.seed)}
    tags |= {"qexp.digest": record.digest, "qexp.tags": " ".join(record.tags), "mlflow.note.content": record.note}
    try:
        there = client.get_experiment_by_name(record.experience)
        artifacts = (file.absolute().parent / "mlartifacts").as_uri()
        where = there.experiment_id if there else client.create_experiment(record.experience, artifacts)
        same = f"attributes.run_name = '{record.name}' AND tags.`qexp.created` = '{record.created}'"
        if client.search_runs([where], same):
            raise QexpError(f"{file} has the run {record.name} already")
        run = client.create_run(where, begun, tags, record.name).info.run_id
        try:
            for start in range(0, max(len(numbers), 10 * len(parameters)), 1000):
                of_these = parameters[start // 10 : start // 10 + 100]
                client.log_batch(run, numbers[start : start + 1000], of_these)
            for path in [*directory.path.glob("*.json"), *directory.results.rglob("*")]:
                if path.is_file() and path.stat().st_size <= MOST_BYTES:
                    client.log_artifact(run, str(path), path.parent.relative_to(directory.path).as_posix().strip("."))
        except BaseException:
            client.delete_run(run)
            raise
        client.set_terminated(run, "FINISHED" if record.state is State.DONE else "FAILED", ended)
    except MlflowException as error:
        raise QexpError(f"MLflow cannot write {file}: {str(error).splitlines()[0]}") from None

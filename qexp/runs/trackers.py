"""Runs of Qanat, MLflow, TensorBoard, Sacred and DVCLive become runs of programs, and runs go to
MLflow; experiments of Qanat become experiences.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import json
import logging
import math
import os
import re
import shlex
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from qexp.base import files, formats
from qexp.base.options import Counted, is_number
from qexp.base.text import leaves
from qexp.base.workspace import Workspace
from qexp.errors import DamagedError, NotFoundError, QexpError, SpecError, extra
from qexp.runs.followed import POSITIONS, Merged, Row, results_of, rows_in, without_position
from qexp.runs.order import WeightsOrder
from qexp.runs.prepare import new_run
from qexp.spec.experiences import RESULT_PARTS, RESULTS, TRACKED
from qexp.spec.reading import digest, parse_value
from qexp.store.directory import RunDirectory
from qexp.store.record import CodeState, Epochs, Imported, Record, State, now

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

log = logging.getLogger("qexp.run")

STATES = {
    **dict.fromkeys(("FINISHED", "COMPLETED"), State.DONE),
    **dict.fromkeys(("FAILED", "TIMEOUT"), State.FAILED),
    **dict.fromkeys(("CANCELLED", "KILLED", "INTERRUPTED"), State.INTERRUPTED),
}
"""How Qanat, MLflow and Sacred call the ends of a run; those that have not ended are left out."""


class Found(NamedTuple):
    """A run of another tracker; `id` is no other's."""

    id: str
    experiment: str
    parameters: dict[str, Any]
    rows: list[Row]
    seconds: list[float]
    """When it began and ended, since 1970."""
    state: State
    note: str
    tags: Sequence[str] = ()
    commit: str | None = None
    was: Mapping[str, str] | None = None
    """What else is known of it: the folder of its files, which is its `id` if this is left out, and
    the run that it is a part of.
    """

    @property
    def origin(self) -> Mapping[str, str]:
        return {"folder": self.id} if self.was is None else self.was


def import_runs(path: Path, workspace: Workspace, on_run: Counted) -> list[RunDirectory]:
    """The runs that are new. Raises QexpError before anything is written if one of them cannot be
    read.

    on_run  takes the number of runs that are written, and of all
    """
    new = list[RunDirectory]()
    try:
        found = list(_found(path))
        for count, run in enumerate(found):
            on_run(count, len(found))
            with suppress(FileExistsError):
                new.append(_added(run, path, workspace))
    except DamagedError as error:  # it is no file of this workspace
        raise QexpError(str(error)) from None
    except (QexpError, OSError):
        raise
    except Exception as error:  # whatever other programs' readers come to in a damaged store
        words = " ".join(str(error).split())[:200]
        raise QexpError(
            f"{path} cannot be read, it may be damaged: {type(error).__name__}: {words}"
        ) from error
    return new


def _added(run: Found, path: Path, workspace: Workspace) -> RunDirectory:
    """The run, with the network if VDI has trained one in it that fits the project's files.

    Raises FileExistsError.
    """
    experience = run.parameters.get("--json_data")  # in the words of VDI
    number = hashlib.sha256(run.id.encode()).hexdigest()[:8]
    name = f"{_name(str(experience or run.experiment))}_{number}"
    weights = Path(run.origin.get("folder", "")) / "best.h5"
    new = run.state is State.DONE and not os.path.lexists(workspace.runs / name)
    if experience and new and weights.is_file():
        from qexp.runs.import_weights import import_training  # loads torch

        project = path.absolute() if path.is_dir() else path.absolute().parents[1]
        order = WeightsOrder(weights, name, rules="vdi", experience=str(experience))
        try:
            return import_training(order, project, run.rows, _fields(run, path), workspace)
        except QexpError as error:
            log.warning("%s: no network: %s; to try again, remove %s", weights, error, name)
    return new_run(name, workspace, None, partial(_fill, run, path, name))


def _fields(run: Found, path: Path) -> dict[str, Any]:
    """What a record says of a run that another tracker knows."""
    seconds = run.seconds or [0.0]
    times = [datetime.fromtimestamp(time, UTC).isoformat() for time in seconds]
    seed: Any = run.parameters.get("--seed", run.parameters.get("seed"))
    return {
        "seed": max(int(seed), 0) if is_number(seed) else 0,
        "created": times[0],
        "started": times[0],
        "ended": times[-1],
        "seconds": round(seconds[-1] - seconds[0], 3),
        "note": run.note,
        "tags": tuple(dict.fromkeys(map(_name, run.tags))),
        "code": CodeState(commit=run.commit),
        "imported": Imported(archive=str(path), time=now(), was={"name": run.id, **run.origin}),
    }


def _fill(run: Found, path: Path, name: str, draft: Path) -> None:
    parameters = _named_as_parameters(run.parameters)
    parameters.pop("seed", None)
    spec = TRACKED.with_defaults({"type": "tracked", "parameters": parameters}, {})
    spec |= {"fingerprints": {}, "found": str(path.absolute())}
    lines = Merged(rows=run.rows).lines()
    latest = dict[str, float]()
    for row in run.rows:
        latest.update(row)
    results = results_of(without_position(latest))
    overrides = [f"parameters.{key}={json.dumps(value)}" for key, value in parameters.items()]
    directory = RunDirectory(draft)
    files.make_folder(directory.results)
    formats.write_json(directory.spec_file, spec)
    formats.write_json(directory.results / RESULTS, results)
    with files.replacing(directory.metrics_file) as file:
        file.writelines(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines)
    directory.write(
        Record(
            name=name,
            kind="program",
            script="",
            experience=run.experiment,
            dataset="",
            model="",
            state=run.state,
            digest=digest(spec),
            results=results,
            overrides=tuple(overrides),
            epochs=Epochs(done=len(lines)),
            **_fields(run, path),
        )
    )


def _name(experiment: str) -> str:
    """As part of a file's name."""
    return re.sub(r"[^A-Za-z0-9]+", "_", experiment).strip("_")[:150] or "run"


def _parameter(key: str) -> str:
    return re.sub(r"^[^A-Za-z]+|[^\w-]", "", key) or "p"


def _value(text: Any) -> Any:
    if isinstance(text, dict):
        return {key: _value(value) for key, value in text.items()}
    if isinstance(text, list):
        return [_value(one) for one in text]
    with suppress(SpecError):  # no JSON, or too large a number, such as the commit 7e12345
        return parse_value(text, "") if isinstance(text, str) else text
    return text


def _cases(value: Any, *words: str) -> dict[str, Any]:
    return dict.fromkeys([*words, *map(str.title, words), *map(str.upper, words)], value)


WORDS_OF_PYTHON = {"True": True, "False": False, "None": None}
WORDS_OF_YAML = {
    **_cases(None, "", "~", "null"),
    **_cases(True, "true", "yes", "on"),
    **_cases(False, "false", "no", "off"),
    **_cases("inf", ".inf", "+.inf"),
    **_cases("-inf", "-.inf"),
    **_cases("nan", ".nan"),
}
"""Text → what it stands for; what is not finite is no number in JSON."""

NUMBER = re.compile(
    r"[+-]?(((0|[1-9][\d_]*)(\.[\d_]*)?|\.\d[\d_]*)([eE][+-]?\d+)?|0x[\da-fA-F_]+|0o[0-7_]+|0b[01_]+)",
    re.ASCII,
)
"""As Python writes them; not 010, which is eight, ten, or the name of something."""


def _scalar(text: str, words: Mapping[str, Any]) -> Any:
    """The value for which a text was written, as it is read by those who wrote it."""
    if text in words:
        return words[text]
    number: Any = text
    with suppress(ValueError, SyntaxError):  # such as 1__0
        number = ast.literal_eval(text) if NUMBER.fullmatch(text) else text
    value = _value(str(number))
    return text if isinstance(value, str) else value  # such as a hash of many digits


def _found(path: Path) -> Iterable[Found]:
    if not path.exists():
        raise NotFoundError(f"there is no {path}")
    databases = path / ".qanat/database.db", path / "mlflow.db", path
    database = next((file for file in databases if file.is_file()), None)
    records = sorted(path.glob("*/run.json"))
    plots = [*path.glob("plots/metrics"), *path.glob("*/plots/metrics")]
    if database is not None:
        uri = f"{database.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            try:
                tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
                if "runs_of_experiments" in tables:
                    return list(_of_qanat(database, connection))
            except (sqlite3.Error, ValueError) as error:
                raise QexpError(
                    f"{database} is not a database of a version of Qanat that is known: {error}"
                ) from None
        if {"alembic_version", "latest_metrics"} <= tables:
            return _of_mlflow(f"sqlite:///{database.absolute()}")
    elif any(path.glob("*/meta.yaml")):
        for file in path.rglob("*"):  # MLflow opens whatever has the name of its files
            if "artifacts" not in file.parts and not file.is_dir():
                most_bytes = MOST_BYTES_OF_YAML if file.suffix == ".yaml" else LARGEST_FILE
                files.require_plain(file, most_bytes)
        return _of_mlflow(path.absolute().as_uri())
    elif records:
        return _of_sacred(records)
    elif plots:
        return _of_dvclive(sorted(plot.parents[1] for plot in plots))
    elif _event_files(path):
        return _of_tensorboard(path)
    raise QexpError(
        f"{path} has no runs of Qanat (.qanat/database.db), MLflow (mlruns, mlflow.db),"
        " TensorBoard, Sacred (1/run.json) or DVCLive (plots/metrics)"
    )


def _of_qanat(file: Path, database: sqlite3.Connection) -> Iterator[Found]:
    """A run per group of parameters; numbers in `metrics.jsonl`, `metrics.csv`, or Keras' files."""
    groups = defaultdict[int, list[Any]](list)
    for run, values in database.execute(
        'SELECT run_id, "values" FROM groups_of_parameters ORDER BY id'
    ):
        groups[run].append(_value(json.loads(values or "{}")))
    tags = defaultdict[int, list[str]](list)
    with suppress(sqlite3.OperationalError):  # an early version had none
        for run, tag in database.execute(
            "SELECT r.run_id, t.name FROM runs_tags r JOIN tags t ON t.id = r.tag_id"
        ):
            tags[run].append(tag)
    for number, experiment, begun, ended, status, folder, note, commit in database.execute(
        "SELECT r.id, e.name, r.launched, r.finished, r.status, r.storage_path, r.description,"
        " r.commit_sha FROM runs_of_experiments r JOIN experiments e ON e.id = r.experiment_id"
        " ORDER BY r.id"
    ):
        if status.upper() not in STATES:
            continue
        times = [datetime.fromisoformat(time).timestamp() for time in (begun, ended) if time]
        for index, parameters in enumerate(groups[number] or [{}]):
            home = file.parent.parent / (folder or "-")
            if len(groups[number]) > 1:
                home /= f"group_{index}"
            tables = [home / "metrics.jsonl", home / "metrics.csv"]
            table = next((table for table in tables if table.is_file()), None)
            yield Found(
                id=f"{file.resolve()}:{number}.{index}",
                experiment=experiment,
                parameters=parameters,
                rows=_rows(table) if table else _of_keras(home),
                seconds=times,
                state=STATES[status.upper()],
                note=note or "",
                tags=tags[number],
                commit=commit,
                was={"folder": str(home)} if folder else {},
            )


NAMES_OF_KERAS = {
    "loss": "loss",
    "mean_squared_error": "mse",
    "mean_absolute_error": "mae",
    "mean_absolute_percentage_error": "mre",
}
KERAS = re.compile(rf"(?:epoch_)?(?:(.+)_)?({'|'.join(NAMES_OF_KERAS)})")
"""A number of an epoch, of one output or all, as Keras names it for TensorBoard."""


def _of_keras(home: Path) -> list[Row]:
    """The epochs that Keras' callback for TensorBoard wrote, by part of the data."""
    numbers = list[tuple[float, str, float]]()
    for part in RESULT_PARTS:
        for _, step, tag, number in _events(sorted((home / part).glob("*tfevents*")))[1]:
            if found := KERAS.fullmatch(tag):
                output, metric = found[1], NAMES_OF_KERAS[found[2]]
                words = [part, metric, output] if metric == "loss" else [part, output, metric]
                numbers.append((step + 1, "/".join(filter(None, words)), number))
    return _by_step(numbers)


# An experiment of Qanat as it is declared, in YAML.


def _named_as_parameters(point: Mapping[str, Any]) -> dict[str, Any]:
    return {_parameter(key): value for key, value in point.items()}


def import_experiment(file: Path, workspace: Workspace) -> list[Path]:
    """Write an experience for an experiment, or for each of its files of parameters, with points if
    there are several.

    Those files lie in the experiment's folder; its actions are added to qexp.toml. Returns what was
    written; raises QexpError before that.
    """
    declared = _yaml(file)
    try:
        name = _name(declared["name"])
        executable = declared["executable"]
        home = workspace.root / declared.get("path", file.absolute().parent)
        actions = _commands(declared.get("actions", []))
        common = {
            "type": "command",
            "description": declared.get("description", ""),
            "files": [executable],
            "dataset": ", ".join(declared.get("datasets", [])),
        }
        words = _words(declared)
        if not isinstance(common["description"], str):
            raise TypeError("its description must be text")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise QexpError(f"{file} declares no experiment as Qanat does: {error!r}") from None
    if not (workspace.root / executable).is_file():
        raise QexpError(
            f"{file}: there is no {executable} in {workspace.root}; make the project a workspace:"
            " qexp init --kind bare"
        )
    documents = dict[Path, Any]()
    for experience, points in (_points_in(home, name) or {name: [{}]}).items():
        arguments = list[str]()
        options = list[str]()
        for key in points[0]:
            placeholder = f"{{parameters.{_parameter(key)}}}"
            if key.startswith("-"):
                options += [key, placeholder]
            else:
                arguments.append(placeholder)
        values = [_named_as_parameters(point) for point in points]
        documents[workspace.specs / f"experiences/{experience}.json"] = {
            **common,
            "command": [*words, *arguments, *options, "--storage_path", "{run}"],
            "parameters": values[0],
        }
        if len(values) > 1:
            table = documents[workspace.specs / f"points/{experience}.json"] = []
            for point in values:
                table.append({f"parameters.{key}": value for key, value in point.items()})
    for path in documents:
        if path.exists():
            raise QexpError(f"{workspace.shown(path)} exists already; rename or remove it first")
    known = workspace.settings().get("actions", {})
    tables = ""
    for action, command in actions.items():
        if action not in known:
            tables += f"\n[actions.{json.dumps(action)}]\ncommand = {json.dumps(command)}\n"
    for path, document in documents.items():
        files.make_folder(path.parent)
        formats.write_json(path, document)
    if not tables:
        return list(documents)
    settings = workspace.root / "qexp.toml"
    written = settings.read_bytes() if settings.is_file() else b""
    files.write_bytes(settings, written + tables.encode())
    return [*documents, settings]


def _commands(declared: list[dict[str, Any]]) -> dict[str, str]:
    """Name of an action → its command."""
    commands = dict[str, str]()
    for entry in declared:
        for action in entry.values():
            words = [*_words(action), "--storage_path", "{run.path}"]
            commands[action["name"]] = shlex.join(words)
    return commands


def _points_in(home: Path, name: str) -> dict[str, list[dict[str, Any]]]:
    """Experience → points, of the files of parameters in the folder of an experiment."""
    found = dict[str, list[dict[str, Any]]]()
    for path in sorted(home.rglob("*.y*ml")):
        points = _points(path)
        experience = f"{name}_{_name(path.stem)}"
        if points and experience in found:
            raise QexpError(
                f"{path}: another file of parameters gives the experience {experience} already;"
                " rename one"
            )
        if points:
            found[experience] = points
    return found


def _words(declared: dict[str, Any]) -> list[str]:
    """The command of an experiment or an action, without its arguments."""
    given = [*shlex.split(declared.get("executable_command", "")), declared["executable"]]
    return [word.replace("{", "{{").replace("}", "}}") for word in given]


MOST_BYTES_OF_YAML, MOST_VALUES_OF_YAML = 1_000_000, 100_000
"""The second with all that aliases repeat: a few hundred bytes can stand for billions."""


def _yaml(file: Path, scalar: Callable[[str], Any] = str) -> Any:
    """A document whose scalars are read by a function: for YAML itself `no` is false."""
    with extra("qanat"):
        import yaml

    count = itertools.count(1)

    def read(node: Any) -> Any:
        if next(count) > MOST_VALUES_OF_YAML:
            raise ValueError(
                f"more than {MOST_VALUES_OF_YAML:,} values, with those that its aliases repeat"
            )
        if isinstance(node, yaml.SequenceNode):
            return [read(one) for one in node.value]
        if not isinstance(node, yaml.MappingNode):
            # what is in quotation marks is a text
            return node.value if node.style else scalar(node.value)
        merged = dict[str, Any]()
        for key, value in node.value:
            if key.value == "<<":
                several = isinstance(value, yaml.SequenceNode)
                for one in reversed(value.value if several else [value]):
                    merged |= read(one)
        return merged | {key.value: read(value) for key, value in node.value if key.value != "<<"}

    wrong = yaml.YAMLError, OSError, ValueError, TypeError, AttributeError, RecursionError
    try:
        document = yaml.compose(files.read_bytes(file, MOST_BYTES_OF_YAML), yaml.BaseLoader)
        return scalar("") if document is None else read(document)
    except FileNotFoundError:
        raise NotFoundError(f"there is no {file}") from None
    except DamagedError as error:
        raise QexpError(str(error)) from None
    except wrong as error:
        raise QexpError(f"{file} cannot be read: {' '.join(str(error).split())}") from None


def _points(file: Path) -> list[dict[str, Any]]:
    """Qanat's groups of parameters of a file: each value of a range; none of other files."""
    document = _yaml(file)
    if not isinstance(document, dict) or not document.keys() & {"fixed_args", "varying_args"}:
        return []
    try:
        varying = document.get("varying_args", {})
        steps = list[dict[str, Any]]()
        for key, numbers in _arguments(varying.get("range", {})).items():
            steps += [{key: value} for value in _steps(*json.loads(numbers))]
        groups = [_arguments(group) for group in varying.get("groups", [])] or [{}]
        fixed = _arguments(document.get("fixed_args", {}))
        points = list[dict[str, Any]]()
        for step in steps or [{}]:
            points += [{**fixed, **group, **step} for group in groups]
    except (TypeError, AttributeError, ValueError, OverflowError) as error:
        raise QexpError(f"{file} has no parameters as Qanat reads them: {error}") from None
    if any(point.keys() != points[0].keys() for point in points):
        raise QexpError(f"{file}: its groups set different parameters; write a file for each")
    return points


def _arguments(given: dict[str, Any]) -> dict[str, Any]:
    """Option, or `pos_0` → value. A list is the word that Qanat makes of it."""
    named = {f"pos_{key}": value for key, value in given.get("positional", {}).items()}
    arguments = dict[str, Any]()
    for key, value in (named | given.get("options", {})).items():
        arguments[key] = f"[{', '.join(value)}]" if isinstance(value, list) else _value(value)
    return arguments


def _steps(start: float, stop: float, step: float) -> list[float]:
    if not step > 0:
        raise ValueError(f"a range with steps of {step} has no end")
    counts = range(math.ceil((stop - start) / step))
    return [parse_value(f"{start + step * count:.12g}", "") for count in counts]


Point = tuple[float, ...]
"""Step and number, and the time if it is known."""


def _append(curve: list[Point], point: Point) -> None:
    """In the order of time; a step that falls ends what a crashed program wrote before."""
    while curve and curve[-1][0] >= point[0]:
        curve.pop()
    curve.append(point)


def _by_step(numbers: Iterable[tuple[float, str, float]]) -> list[Row]:
    """The rows of steps, names and numbers."""
    rows = defaultdict[float, dict[str, float]](dict)
    for step, name, number in numbers:
        rows[step][name] = number
    # whatever the tracker calls an epoch
    return [{**rows[step], "epoch": step} for step in sorted(rows)]


def _client(uri: str) -> MlflowClient:
    # else it refuses the folders that it wrote for years
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with extra("mlflow"):
        import sqlalchemy  # noqa: F401 - which the slim MLflow needs for databases
        from mlflow import MlflowClient
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return MlflowClient(uri)


def _of_mlflow(uri: str) -> Iterator[Found]:
    client, most = _client(uri), 50_000  # that it lists at once
    from mlflow.exceptions import MlflowException

    try:
        for experiment in client.search_experiments(max_results=most):
            for run in client.search_runs([experiment.experiment_id], max_results=most):
                info = run.info
                data = run.data
                if info.status not in STATES:
                    continue
                numbers = list[tuple[float, str, float]]()
                for key in data.metrics:
                    points = _counted(client.get_metric_history(info.run_id, key))
                    numbers += [(step, key, number) for step, number in points]
                texts = data.params.items()
                times = [time / 1000 for time in (info.start_time, info.end_time) if time]
                notes = info.run_name, data.tags.get("mlflow.note.content")
                tags = data.tags.get("qexp.tags", "").split()
                for key, tag in data.tags.items():
                    if not key.startswith(("mlflow.", "qexp.")):
                        tags.append(f"{key}_{tag}")
                was = {"folder": info.artifact_uri, "parent": data.tags.get("mlflow.parentRunId")}
                yield Found(
                    id=info.run_id,
                    experiment=experiment.name,
                    parameters={key: _scalar(text, WORDS_OF_PYTHON) for key, text in texts},
                    rows=_by_step(numbers),
                    seconds=times,
                    state=STATES[info.status],
                    note=": ".join(filter(None, notes)),
                    tags=tags,
                    commit=data.tags.get("mlflow.source.git.commit"),
                    was={key: text for key, text in was.items() if text or key == "folder"},
                )
    except MlflowException as error:
        raise QexpError(f"MLflow cannot read {uri}: {str(error).splitlines()[0]}") from None


def _counted(history: Sequence[Metric]) -> list[Point]:
    """Steps and numbers of a metric; if logged without steps, counted in the order of time."""
    if len(history) > 1 and not any(one.step for one in history):
        timed = sorted(history, key=lambda one: one.timestamp)
        return [(step, one.value) for step, one in enumerate(timed, start=1)]
    return [(one.step, one.value) for one in history]


def _event_files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*tfevents*") if file.is_file())


def _of_tensorboard(path: Path) -> Iterator[Found]:
    found = defaultdict[Path, list[Path]](list)
    for file in _event_files(path):
        found[file.parent].append(file)
    read = {folder: _events(found[folder]) for folder in sorted(found)}
    sessions = defaultdict[Path, list[Path]](list)
    for folder, (parameters, _) in read.items():
        if parameters and folder.parent in read:
            sessions[folder.parent].append(folder)
    for folder, (first, *others) in reversed(sessions.items()):
        (parameters, numbers), (more_parameters, more_numbers) = read[folder], read[first]
        if not parameters and not numbers:  # of a writer whose sessions are the runs
            del read[folder]
        elif numbers and not others and len({step for _, step, _, _ in more_numbers}) < 2:
            # by `add_hparams`, of the run itself
            last = numbers[-1][1]
            for time, _, name, number in more_numbers:
                numbers.append((time, last, name, number))
            read[folder] = {**parameters, **more_parameters}, numbers
            del read[first]
    for folder, (parameters, numbers) in read.items():
        rows = _by_step(number[1:] for number in numbers)
        seconds = sorted(number[0] for number in numbers)
        note = folder.relative_to(path).as_posix()
        own = str(folder.resolve())
        experiment = path.resolve().name
        yield Found(own, experiment, parameters, rows, seconds, State.DONE, note)


def _events(found: list[Path]) -> tuple[dict[str, Any], list[tuple[float, float, str, float]]]:
    """Hyper-parameters; and times, steps, names and numbers as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
    from tensorboard.util.tensor_util import make_ndarray

    parameters = dict[str, Any]()
    curves = defaultdict[str, list[Point]](list)
    for event in (event for file in found for event in EventFileLoader(str(file)).Load()):
        if event.HasField("session_log") and event.session_log.status == event.session_log.START:
            for curve in curves.values():
                curve[:] = [one for one in curve if one[0] < event.step]
        for value in event.summary.value:
            about = value.metadata.plugin_data
            if about.plugin_name == "hparams":
                given = HParamsPluginData.FromString(about.content).session_start_info.hparams
                for name, one in given.items():
                    parameter = getattr(one, one.WhichOneof("kind"))
                    is_whole = isinstance(parameter, float) and parameter.is_integer()
                    parameters[name] = int(parameter) if is_whole else parameter
            elif value.HasField("tensor"):
                array = make_ndarray(value.tensor)
                if array.size == 1 and array.dtype != object:
                    _append(curves[value.tag], (event.step, float(array.item()), event.wall_time))
    numbers = list[tuple[float, float, str, float]]()
    for tag, curve in curves.items():
        numbers += [(time, step, tag, number) for step, number, time in curve]
    return _value(parameters), sorted(numbers)


def _of_sacred(records: Sequence[Path]) -> Iterator[Found]:
    """Runs of its FileStorageObserver; returned numbers are those of the last step."""
    for file in records:
        about = _json_in(file)
        folder = file.parent
        if "experiment" not in about:
            raise QexpError(f"{file} is no record of a run of Sacred")
        if about["status"] not in STATES:
            continue
        numbers = list[tuple[float, str, float]]()
        for name, curve in _json_in(folder / "metrics.json").items():
            for step, value in zip(curve["steps"], curve["values"], strict=True):
                if is_number(value):
                    numbers.append((step, name, value))
        config = _value(_json_in(folder / "config.json"))
        result = about.get("result")
        last_row = _numbers(result if isinstance(result, dict) else {"result": result})
        rows = [*_by_step(numbers), *last_row]
        times = [about["start_time"], about.get("stop_time") or about["heartbeat"]]
        seconds = [datetime.fromisoformat(time).replace(tzinfo=UTC).timestamp() for time in times]
        own = str(folder.resolve())
        name = about["experiment"]["name"]
        note = about["meta"].get("comment") or ""
        commit = next((one["commit"] for one in about["experiment"].get("repositories", [])), None)
        state = STATES[about["status"]]
        yield Found(own, name, config, rows, seconds, state, note, commit=commit)


def _of_dvclive(folders: Sequence[Path]) -> Iterator[Found]:
    for folder in folders:
        curves = sorted((folder / "plots/metrics").rglob("*.tsv"))
        numbers = list[tuple[float, str, float]]()
        for file in curves:
            name = file.relative_to(folder / "plots/metrics").with_suffix("").as_posix()
            curve = list[Point]()
            for row in _rows(file):
                if len(row) > 1:  # else the number is missing
                    _append(curve, (row["step"], list(row.values())[-1]))
            numbers += [(step, name, number) for step, number in curve]
        rows = [*_by_step(numbers), *_numbers(_json_in(folder / "metrics.json"))]
        parameters, file = {}, folder / "params.yaml"
        if os.path.lexists(file):
            given = _yaml(file, partial(_scalar, words=WORDS_OF_YAML))
            parameters = given if isinstance(given, dict) else {}  # an empty file
        seconds = sorted(file.stat().st_mtime for file in curves)  # it keeps no times
        own = str(folder.resolve())
        experiment = folder.resolve().parent.name
        yield Found(own, experiment, parameters, rows, seconds, State.DONE, "")


LARGEST_FILE = 250_000_000
"""In bytes, of numbers of another tracker: some millions of steps."""


def _json_in(file: Path) -> dict[str, Any]:
    """A document of Sacred or DVCLive; empty if there is none."""
    document: dict[str, Any] = {}
    if os.path.lexists(file):
        document = json.loads(files.read_bytes(file, LARGEST_FILE), object_hook=_unpickled)
    return document


def _rows(file: Path) -> list[Row]:
    return rows_in(files.read_bytes(file, LARGEST_FILE), [])


def _unpickled(document: dict[str, Any]) -> Any:
    """A number of NumPy, or a tuple, as jsonpickle writes them for Sacred."""
    if "py/tuple" in document:
        return document["py/tuple"]
    return document["value"] if {"py/object", "value"} <= document.keys() else document


def _numbers(document: dict[str, Any]) -> list[Row]:
    """The numbers of a document as a further row of the last step, if there are any."""
    row = dict[str, float]()
    for name, value in leaves(document):
        if is_number(value) and name not in POSITIONS:
            row[name] = float(value)
    return [row] if row else []


MOST_BYTES = 1_000_000
"""Of a file that is copied to MLflow."""

LONGEST_WAIT = 600.0
"""Seconds in which others that write to the same database have ended."""


def export_to_mlflow(directory: RunDirectory, file: Path) -> None:
    """Add a run to a database of MLflow. Raises QexpError if it has it already."""
    files.make_folder(file.parent)
    # else one that is at work seems to have been killed
    with files.writing(file), files.locked(file, LONGEST_WAIT):
        _export(directory, file)


def _export(directory: RunDirectory, file: Path) -> None:
    client = _client(f"sqlite:///{file.absolute()}")
    record = directory.record()
    lines = directory.metrics()
    from mlflow.entities import Metric, Param
    from mlflow.exceptions import MlflowException

    begun, ended = (
        int(1000 * datetime.fromisoformat(time or record.created).timestamp())
        for time in (record.started, record.ended)
    )
    numbers = [
        Metric(name, value, ended, len(lines))
        for name, value in leaves(record.results)
        if value is not None
    ]
    for line in lines:
        epoch = line["epoch"]
        time = begun + (ended - begun) * epoch // len(lines)  # even times, as a line has none
        parts = ("train", "validation", "test", "learning_rate")
        for key, value in leaves({part: line.get(part) for part in parts}):
            if value is not None:
                numbers.append(Metric(key.replace(".", "/"), value, time, epoch))
    parameters = [
        Param(re.sub(r"[^\w./ -]", "_", name), str(value)[:6000])
        for name, value in leaves(directory.spec())
    ]
    tags = {
        "qexp.created": record.created,
        "qexp.state": record.state.value,
        "qexp.seed": str(record.seed),
        "qexp.digest": record.digest,
        "qexp.tags": " ".join(record.tags),
        "mlflow.note.content": record.note,
    }
    try:
        name = record.experience
        there = client.get_experiment_by_name(record.experience)
        artifacts = (file.absolute().parent / "mlartifacts").as_uri()
        where = there.experiment_id if there else client.create_experiment(name, artifacts)
        same = f"attributes.run_name = '{record.name}' AND tags.`qexp.created` = '{record.created}'"
        for earlier in client.search_runs([where], same):
            if earlier.info.status != "RUNNING":
                raise QexpError(f"{file} has the run {record.name} already")
            client.delete_run(earlier.info.run_id)  # of an export that was killed
        run = client.create_run(where, begun, tags, record.name).info.run_id
        try:
            client.log_batch(run, numbers, parameters)
            for path in [*directory.path.glob("*.json"), *directory.results.rglob("*")]:
                if path.is_file() and path.stat().st_size <= MOST_BYTES:
                    folder = path.parent.relative_to(directory.path).as_posix().strip(".")
                    client.log_artifact(run, str(path), folder)
        except BaseException:
            client.delete_run(run)
            raise
        client.set_terminated(run, "FINISHED" if record.state is State.DONE else "FAILED", ended)
    except MlflowException as error:
        raise QexpError(f"MLflow cannot write {file}: {str(error).splitlines()[0]}") from None

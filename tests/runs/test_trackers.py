"""Runs of other trackers, which are read into a workspace, and runs that MLflow reads."""

import json
import math
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path

import pytest

import qexp as package
from qexp.base.files import locked
from qexp.errors import QexpError
from qexp.upkeep import doctor
from tests.conftest import call

QANAT = """
CREATE TABLE experiments (id INTEGER PRIMARY KEY, path VARCHAR, name VARCHAR, description VARCHAR);
CREATE TABLE runs_of_experiments (id INTEGER PRIMARY KEY, experiment_id INTEGER, launched DATETIME, finished DATETIME,
    status VARCHAR, storage_path VARCHAR, description VARCHAR, metric VARCHAR, commit_sha VARCHAR);
CREATE TABLE groups_of_parameters (id INTEGER PRIMARY KEY, run_id INTEGER, "values" VARCHAR);
INSERT INTO experiments (id, name) VALUES (1, 'Robust mean');
INSERT INTO runs_of_experiments (id, experiment_id, launched, finished, status, storage_path) VALUES
    (1, 1, '2023-05-03 11:17:00.000000', '2023-05-03 11:19:30.000000', 'finished', 'results/run_1'),
    (2, 1, '2023-05-03 11:17:00.000000', NULL, 'running', 'results/run_2'),
    (3, 1, '2023-05-03 11:17:00.000000', '2023-05-03 11:18:00.000000', 'failed', 'results/run_3');
CREATE TABLE tags (id INTEGER PRIMARY KEY, name VARCHAR, description VARCHAR);
CREATE TABLE runs_tags (id INTEGER PRIMARY KEY, run_id INTEGER, tag_id INTEGER);
INSERT INTO tags (id, name) VALUES (7, 'first try');
INSERT INTO runs_tags (run_id, tag_id) VALUES (1, 7);
UPDATE runs_of_experiments SET commit_sha = 'f8b1fbd0' WHERE id = 1;
INSERT INTO groups_of_parameters (run_id, "values") VALUES
    (1, '{"--n_bins": "10"}'), (1, '{"--n_bins": "20", "--seed": "4"}'), (3, '{"commit": "7e12345"}');
"""
"""A database as Qanat makes it, with most of its columns."""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "specs").mkdir()
    return tmp_path


@pytest.fixture
def project(here):
    """Of Qanat."""
    (here / "project/.qanat").mkdir(parents=True)
    with closing(sqlite3.connect(here / "project/.qanat/database.db")) as database:
        database.executescript("PRAGMA synchronous = OFF;" + QANAT)
    for group, bins in enumerate((10, 20)):
        folder = here / f"project/results/run_1/group_{group}"
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text(
            f"epoch,loss,val_rmse\n1,3,\n1,,{bins}\n2,,{bins / 4}\n"
        )
    return here / "project"


def test_runs_of_qanat_are_compared_each_group_of_parameters_by_itself_and_come_once(project):
    runs = package.import_runs(project)
    assert [(run.record["state"], run.spec["parameters"], run.record["seed"]) for run in runs] == [
        ("done", {"n_bins": 10}, 0),
        ("done", {"n_bins": 20}, 4),
        ("failed", {"commit": "7e12345"}, 0),
    ]
    assert [run.results["validation"] for run in runs[:2]] == [
        {"result": {"rmse": rmse}} for rmse in (2.5, 5)
    ]
    assert [line["train"]["loss"] for line in runs[0].directory.metrics()] == [3, None]
    assert runs[0].record["seconds"] == 150
    assert (runs[0].record["tags"], runs[0].record["code"]["commit"], runs[2].record["tags"]) == (
        ["first_try"], "f8b1fbd0", []
    )  # fmt: skip
    shown = call("show", runs[0].name).done()
    assert f"its files are in {project / 'results/run_1/group_0'}" in " ".join(shown.split())
    listed = call("ls", "--columns", "name,train.result.loss").done()
    assert "3" in listed.split()
    assert package.import_runs(project) == []
    with closing(sqlite3.connect(project / ".qanat/database.db")) as database:
        database.execute("UPDATE runs_of_experiments SET status = 'finished' WHERE id = 2")
        database.commit()
    assert len(call("import-runs", project).done().split()) == 1, "the one that ended since"
    listed = call(
        "ls", "--columns", "name,parameters.n_bins,validation.result.rmse", "--status", "done"
    ).done()
    assert {"20", "5"} <= set(listed.split())
    assert "learning_curves.png" in call("compare", runs[0].name, runs[1].name).done()
    assert not list(doctor.findings(package.base.workspace.Workspace(project.parent)))
    assert "was logged by a script" in call("rerun", runs[0].name).stderr


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE runs_of_experiments SET status = NULL",
        "UPDATE experiments SET name = x'ff'",
        """UPDATE groups_of_parameters SET "values" = '[1]'""",
        "UPDATE runs_of_experiments SET launched = 5",
        """UPDATE groups_of_parameters SET "values" = replace(hex(zeroblob(5000)), '00', '[')""",
        "UPDATE runs_of_experiments SET description = x'ff'",
    ],
)
def test_a_damaged_database_is_an_error_in_one_line_and_nothing_is_written(project, here, change):
    with closing(sqlite3.connect(project / ".qanat/database.db")) as database:
        database.execute(change)
        database.commit()
    refused = call("import-runs", "project")
    assert (refused.code, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert not list((here / "runs").glob("*_*"))


def test_a_database_of_a_newer_qanat_or_of_nobody_is_an_error_and_nothing_is_written(project, here):
    with closing(sqlite3.connect(project / ".qanat/database.db")) as database:
        database.execute("ALTER TABLE runs_of_experiments RENAME COLUMN launched TO started_at")
    (here / "text.db").write_bytes(b"no database, " * 99)
    (here / "empty.db").touch()
    for name, why in (
        ("project", "no such column: r.launched"),
        ("text.db", "known"),
        ("empty.db", "no runs of"),
    ):
        refused = call("import-runs", name)
        assert (refused.code, why in refused.stderr) == (2, True)
    assert (here / "empty.db").read_bytes() == b""
    assert call("import-runs", "missing").code == 3
    assert not list((here / "runs").glob("*_*"))


EXPERIMENT = """
name: sample 2D
description: Samples
path: sampling
executable: sampling/sample.py
executable_command: python3 -u
datasets: [a, b]
actions:
  - plot: {name: plot, executable: sampling/plot.py, executable_command: python3}
"""

PARAMETERS = """
fixed_args:
  positional: {0: no}
varying_args:
  groups:
    - options: {'--mean': [10, -50]}
    - options: {'--mean': [1, 23]}
  range:
    options: {'--n-samples': [5, 2001, 1000]}
"""


@pytest.mark.heavy
def test_an_experiment_of_qanat_becomes_an_experience_that_runs_with_its_groups_of_parameters(here):
    (here / "sampling/files").mkdir(parents=True)
    (here / "sampling/experiment.yaml").write_text(EXPERIMENT)
    (here / "sampling/files/many.yml").write_text(PARAMETERS)
    (here / "sampling/files/other.yaml").write_text("a: 1")
    program = (
        "import sys\nwith open(sys.argv[-1] + '/words', 'w') as file: print(*sys.argv[1:-1],"
        " sep='|', file=file)"
    )
    (here / "sampling/sample.py").write_text(program)
    call("import-runs", "sampling/experiment.yaml").done()
    points = json.loads((here / "specs/points/sample_2D_many.json").read_text())
    means, counts = ("[10, -50]", "[1, 23]"), (5, 1005)
    assert [tuple(point.values()) for point in points] == [
        ("no", mean, count) for count in counts for mean in means
    ]
    call(
        "run", "sample_2D_many", "--points", "specs/points/sample_2D_many.json", "--dry-run"
    ).done()
    run = package.run("sample_2D_many")
    words = "no|--mean|[10, -50]|--n-samples|5|--storage_path\n"
    assert ((run.directory.path / "words").read_text(), run.record["dataset"]) == (words, "a, b")
    (here / "sampling/plot.py").write_text("import sys; print(sys.argv[1:])")
    call("action", "plot", run.name).done()


@pytest.mark.parametrize(
    ("files", "code", "why"),
    [
        ({}, 3, "there is no experiment.yaml"),
        ({"experiment.yaml": "name: {"}, 2, "cannot be read: while parsing"),
        ({"experiment.yaml": "- 1"}, 2, "declares no experiment as Qanat does"),
        ({"experiment.yaml": "executable: sampling/sample.py"}, 2, "KeyError('name')"),
        ({"experiment.yaml": EXPERIMENT}, 2, "there is no sampling/sample.py"),
        ({"p.yaml": PARAMETERS.replace("1000]", "0]")}, 2, "a range with steps of 0 has no end"),
        (
            {"p.yaml": PARAMETERS.replace("mean': [1,", "other': [1,")},
            2,
            "its groups set different parameters",
        ),
        ({"p.yaml": "fixed_args: 1"}, 2, "has no parameters as Qanat reads them"),
        (
            {"p.yaml": PARAMETERS, "p.yml": PARAMETERS},
            2,
            "another file of parameters gives the experience sample_2D_p",
        ),
        ({"../specs/experiences/sample_2D.json": "{}"}, 2, "sample_2D.json exists already"),
    ],
)
def test_an_experiment_that_qanat_could_not_read_either_writes_nothing(files, code, why, here):
    for folder in ("sampling", "specs/experiences"):
        (here / folder).mkdir(parents=True)
    if "experiment.yaml" not in files and files:
        files = {"experiment.yaml": EXPERIMENT, "sample.py": "", **files}
    for name, text in files.items():
        (
            here / "experiment.yaml" if name == "experiment.yaml" else here / "sampling" / name
        ).write_text(text)
    before = sorted(here.rglob("*"))
    refused = call("import-runs", "experiment.yaml")
    assert (refused.code, why in refused.stderr) == (code, True), refused.stderr
    assert sorted(here.rglob("*")) == before


@pytest.mark.slow
def test_runs_of_tensorboard_are_those_of_its_folders(here):
    from torch.utils.tensorboard import SummaryWriter

    for name in ("a", "b/c"):
        with SummaryWriter(str(here / "logs" / name)) as writer:
            for step in range(3):
                writer.add_scalar("val/loss", 1 / (1 + step), 10 * step)
            writer.add_scalar("train/loss", math.nan, 20)
            writer.add_text("of no number", "words", 7)
    first, second = package.import_runs(here / "logs")
    assert [run.record["note"] for run in (first, second)] == ["a", "b/c"]
    assert [line["step"] for line in first.directory.metrics()] == [0, 10, 20]
    assert first.results["validation"]["result"]["loss"] == pytest.approx(1 / 3)
    assert "train" not in first.results, "it is not finite"


@pytest.mark.slow
def test_hyper_parameters_of_tensorboard_are_those_of_the_run_above_or_of_runs_of_their_own(here):
    from torch.utils.tensorboard import SummaryWriter

    for rate in (0.25, 0.5):
        with SummaryWriter(str(here / f"logs/{rate}")) as writer:
            for step in (10, 20):
                writer.add_scalar("val/loss", rate / step, step)
            writer.add_hparams({"rate": rate, "seed": 3, "by": "adam"}, {"test/mae": 1.5})
    found = package.import_runs(here / "logs")
    assert [(run.record["note"], run.record["seed"]) for run in found] == [("0.25", 3), ("0.5", 3)]
    assert [run.spec["parameters"] for run in found] == [
        {"rate": rate, "by": "adam"} for rate in (0.25, 0.5)
    ]
    assert [line["step"] for line in found[0].directory.metrics()] == [10, 20]
    assert found[0].results["test"] == {"result": {"mae": 1.5}}
    with SummaryWriter(str(here / "tried")) as writer:
        for rate in (1, 2):
            writer.add_hparams({"rate": rate}, {"test/mae": rate}, run_name=f"try_{rate}")
    tried = package.import_runs(here / "tried")
    assert [(run.record["note"], run.spec["parameters"]) for run in tried] == [
        ("try_1", {"rate": 1}), ("try_2", {"rate": 2})
    ]  # fmt: skip


def logged(session, *points, **options):
    """What a writer of TensorBoard leaves that logs these steps and numbers."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter("elsewhere", **options) as writer:
        for step, number in points:
            writer.add_scalar("val/loss", number, step)
            writer.add_scalar("val/rate", number, step // 10)
    (file,) = Path("elsewhere").iterdir()
    session.parent.mkdir(parents=True, exist_ok=True)
    file.rename(session)


@pytest.mark.slow
@pytest.mark.parametrize("purge", [None, 20])
def test_after_a_restart_tensorboards_own_last_number_counts_and_no_step_of_the_dead_session(
    here, purge
):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first, second = (
        here / f"logs/a/events.out.tfevents.170000000{session}.here" for session in range(2)
    )
    logged(first, *((step, 9 if step > 30 else step) for step in range(0, 60, 10)))
    logged(second, (20, 5), (30, 4), purge_step=purge)
    (run,) = package.import_runs(here / "logs")
    theirs = EventAccumulator(str(here / "logs/a")).Reload().Scalars("val/loss")
    assert run.results["validation"]["result"]["loss"] == theirs[-1].value == 4
    losses = {
        line.get("step", line["epoch"]): line["validation"]["loss"]
        for line in run.directory.metrics()
    }
    assert {step: loss for step, loss in losses.items() if loss is not None} == {
        0: 0,
        10: 10,
        20: 5,
        30: 4,
    }


def sacred_run(folder, status, curve, result, comment=None):
    """The files that the FileStorageObserver of Sacred 0.8.7 leaves, with what it says of a run."""
    times = {"start_time": "2026-01-02T03:04:05.5", "heartbeat": "2026-01-02T03:04:09.5"}
    experiment = {
        "name": "fit",
        "repositories": [{"url": "u", "commit": "f8b1fbd0", "dirty": False}],
    }
    about = {
        "experiment": experiment,
        "status": status,
        "result": result,
        "meta": {"comment": comment},
        **times,
    }
    steps = {"steps": [0, 10, 20], "values": curve, "timestamps": ["2026-01-02T03:04:06"] * 3}
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(about))
    (folder / "config.json").write_text('{"lr": 0.1, "seed": 5, "net": {"layers": [8, 8]}}')
    (folder / "metrics.json").write_text(json.dumps({"val.loss": steps} if curve else {}))


def test_runs_of_sacred_have_their_configuration_curves_and_what_the_program_returned(here):
    of_numpy = {"dtype": "float64", "py/object": "numpy.float64", "value": 0.5}
    sacred_run(here / "sacred/1", "COMPLETED", [4, 1, 2], {"rmse": of_numpy, "name": "a"})
    sacred_run(here / "sacred/2", "FAILED", [], None, "no luck")
    sacred_run(here / "sacred/3", "RUNNING", [4, 1, 2], None)
    done, failed = package.import_runs("sacred")
    assert (done.record["state"], done.record["seed"], done.record["seconds"]) == ("done", 5, 4)
    assert (done.record["experience"], done.record["code"]["commit"]) == ("fit", "f8b1fbd0")
    assert done.record["created"] == "2026-01-02T03:04:05.500000+00:00"
    assert done.spec["parameters"] == {"lr": 0.1, "net": {"layers": [8, 8]}}
    lines = done.directory.metrics()
    assert [(line.get("step"), line["validation"]["loss"], line["best"]) for line in lines] == [
        (0, 4, True), (10, 1, True), (20, 2, False)
    ]  # fmt: skip
    assert done.results == {
        "train": {"result": {"rmse": 0.5}},
        "validation": {"result": {"loss": 2}},
    }
    assert (failed.record["state"], failed.record["note"], failed.directory.metrics()) == (
        "failed",
        "no luck",
        [],
    )
    (here / "sacred/1/run.json").write_text("{")
    with pytest.raises(QexpError, match="may be damaged"):
        package.import_runs("sacred")
    with pytest.raises(QexpError, match="is no record of a run of Sacred"):
        package.import_runs("runs")


def test_runs_of_dvclive_are_those_of_its_folders(here):
    curves = here / "project/dvclive/plots/metrics"
    for name in ("train/loss", "val/loss"):
        (curves / name).parent.mkdir(parents=True)
        (curves / f"{name}.tsv").write_text("step\tloss\n0\t2.0\n1\t0.5\n")
    (here / "project/dvclive/metrics.json").write_text(
        '{"train": {"loss": 0.5}, "step": 1, "accuracy": 0.9}'
    )
    (here / "project/dvclive/params.yaml").write_text("lr: 1e-05\nnet:\n  layers: [8, 8]\n")
    (curves / "val/loss.tsv").write_text("step\tloss\n0\t2.0\n1\t9\n2\t9\n3\t\n1\t0.5\n")
    (run,) = package.import_runs("project")
    assert package.import_runs("project/dvclive") == []
    assert run.spec["parameters"] == {"lr": 1e-05, "net": {"layers": [8, 8]}}
    assert [
        (line["train"]["loss"], line["validation"]["loss"]) for line in run.directory.metrics()
    ] == [(2, 2), (0.5, 0.5)]
    assert run.results["train"] == {"result": {"loss": 0.5, "accuracy": 0.9}}


YAML = """
base: &base {drop: .5, act: relu}
numbers: [1e-3, .9, 1., +2, 1_000, -0x10, -.5e1, 3]
words: [True, yes, off, ~, null, .inf, -.INF, .nan]
texts: [010, "1e-3", 'yes', 1__0, 2024-01-01, 12:30:00, v1.2, 1.2.3]
net: {<<: *base, act: tanh}
"""


def test_parameters_of_yaml_are_what_its_users_mean(here):
    (here / "dvclive/plots/metrics").mkdir(parents=True)
    (here / "dvclive/params.yaml").write_text(YAML)
    (run,) = package.import_runs("dvclive")
    assert run.spec["parameters"] == {
        "base": {"drop": 0.5, "act": "relu"},
        "numbers": [0.001, 0.9, 1, 2, 1000, -16, -5, 3],
        "words": [True, True, False, None, None, "inf", "-inf", "nan"],
        "texts": ["010", "1e-3", "yes", "1__0", "2024-01-01", "12:30:00", "v1.2", "1.2.3"],
        "net": {"drop": 0.5, "act": "tanh"},
    }
    (here / "other/plots/metrics").mkdir(parents=True)
    for text in ("", "seed: yes", "seed: -1"):
        (here / "other/params.yaml").write_text(text)
        (run,) = package.import_runs("other")
        assert (run.spec["parameters"], run.record["seed"]) == ({}, 0)
        call("rm", run.name, "--yes").done()


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)


def endless(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.symlink_to("/dev/zero")


def never_begun(file: Path) -> None:
    file.unlink(missing_ok=True)
    os.mkfifo(file)


def huge(file: Path) -> None:
    file.unlink(missing_ok=True)
    with file.open("wb") as sparse:
        sparse.truncate(10**10)


def a_bomb(file: Path) -> None:
    file.write_text(BOMB)


OF_YAML = ("dvclive/params.yaml", "experiment.yaml", "files/p.yaml", "mlruns/0/meta.yaml")
OF_TRACKERS = (
    *OF_YAML,
    "sacred/1/run.json",
    "sacred/1/config.json",
    "sacred/1/metrics.json",
    "dvclive/metrics.json",
    "dvclive/plots/metrics/loss.tsv",
)


@pytest.mark.parametrize(
    ("file", "way"),
    [
        *((file, way) for file in OF_TRACKERS for way in (endless, never_begun, huge)),
        *((file, a_bomb) for file in OF_YAML),
        ("project/results/run_1/group_0/metrics.csv", huge),  # what is no file is none of metrics
    ],
)
def test_no_file_of_a_tracker_takes_forever_and_nothing_is_left_of_it(project, here, file, way):
    sacred_run(here / "sacred/1", "COMPLETED", [4, 1, 2], {"rmse": 0.5})
    (here / file).parent.mkdir(parents=True, exist_ok=True)
    (here / "dvclive/plots/metrics").mkdir(parents=True, exist_ok=True)
    (here / "experiment.yaml").write_text("{name: a, executable: specs/../experiment.yaml}")
    way(here / file)
    refused = call(
        "import-runs", "experiment.yaml" if file in OF_YAML[1:3] else file.partition("/")[0]
    )
    assert (refused.code, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert not list(here.glob("runs/*"))


def test_what_is_exported_to_mlflow_its_client_reads_and_is_imported_again(here, monkeypatch):
    (here / "specs/experiences").mkdir()
    rows = "epoch,loss,val_loss\n1,1,2\n2,0.5,nan\n"
    script = (
        f"printf '{rows}' > {{run}}/log; echo '{{{{\"mae\": 0.25}}}}' > {{results}}; : {{seed}}"
    )
    own = {
        "type": "command",
        "command": ["sh", "-c", script],
        "metrics_file": "{run}/log",
        "parameters": {"a": [1]},
    }
    (here / "specs/experiences/own.json").write_text(json.dumps(own))
    run = package.run("own", seed=3, tags=["good"])
    words = ("export", "own_3", "--format", "mlflow", "--to", "mlflow.db")
    assert call(*words).done() == ""
    assert "has the run own_3 already" in call(*words).stderr
    from mlflow import MlflowClient

    client = MlflowClient("sqlite:///mlflow.db")
    (experiment,) = [one for one in client.search_experiments() if one.name == "own"]
    (killed,) = client.search_runs([experiment.experiment_id])
    with ThreadPoolExecutor(1) as pool:
        with locked(Path("mlflow.db")):  # as by another export of it that is at work
            client.update_run(killed.info.run_id, "RUNNING")
            second = pool.submit(run.export, "mlflow.db", "mlflow")
            wait([second], timeout=1)
            client.update_run(killed.info.run_id, "FINISHED")
        with pytest.raises(QexpError, match="has the run own_3 already"):
            second.result()
    client.update_run(killed.info.run_id, "RUNNING")
    call(*words).done()
    (exported,) = client.search_runs([experiment.experiment_id])
    assert exported.info.run_id != killed.info.run_id
    info, data = exported.info, exported.data
    assert data.metrics == {"train/loss": 0.5, "validation/loss": 2, "test.result.mae": 0.25}
    assert [(m.step, m.value) for m in client.get_metric_history(info.run_id, "train/loss")] == [
        (1, 1),
        (2, 0.5),
    ]
    assert (data.params["parameters.a"], data.tags["qexp.tags"]) == ("[1]", "good")
    assert (info.run_name, info.status) == ("own_3", "FINISHED")
    assert {one.path for one in client.list_artifacts(info.run_id)} >= {"spec.json", "results"}
    (again,) = package.import_runs("mlflow.db")
    assert again.record["tags"] == ["good"]
    assert "own_3" in again.record["note"]
    assert again.record["imported"]["was"]["folder"] == info.artifact_uri
    of_parts = {
        part: {"result": {"loss": loss}} for part, loss in (("train", 0.5), ("validation", 2))
    }
    assert again.results == {**of_parts, "test": run.results["test"]}
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    folder = MlflowClient((here / "mlruns").as_uri())
    old = folder.create_run(folder.create_experiment("old")).info.run_id
    for step in (10, 20):
        folder.log_metric(old, "loss", step, step=step)
    folder.log_metric(old, "epoch", 1, step=20)
    for name, value in {
        "lr": ".001",
        "on": True,
        "not": None,
        "big": "1_000",
        "yes": "yes",
        "many": "1e999",
    }.items():
        folder.log_param(old, name, value)
    assert package.import_runs("mlruns") == [], "it has not ended"
    folder.set_terminated(old)
    (old_run,) = package.import_runs("mlruns")
    assert old_run.results == {"train": {"result": {"loss": 20}}}
    assert [line["step"] for line in old_run.directory.metrics()] == [10, 20], (
        "whatever is called an epoch"
    )
    assert old_run.spec["parameters"] == {
        "lr": 0.001, "on": True, "not": None, "big": 1000, "yes": "yes", "many": "1e999"
    }  # fmt: skip
    without = folder.create_run("0").info.run_id
    for count in range(5):
        folder.log_metric(without, "loss", 1 / (count + 1), timestamp=1000 * count)
    folder.log_metric(without, "val_loss", 3)
    folder.set_terminated(without)
    (counted,) = package.import_runs("mlruns")
    assert [
        line["train"]["loss"] for line in counted.directory.metrics() if line["train"]["loss"]
    ] == [1 / (count + 1) for count in range(5)]

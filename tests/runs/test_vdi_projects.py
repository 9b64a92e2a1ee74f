"""Projects of Volcano Deep Inversion that Qanat keeps: their trainings come in by one command."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import qexp
from tests.conftest import SOUND, call, put
from tests.foreign_networks import VDI_MODEL, vdi_estimates, vdi_weights, write_h5
from tests.runs.test_trackers import QANAT

RUNS = """
DELETE FROM runs_of_experiments; DELETE FROM groups_of_parameters; DELETE FROM runs_tags;
INSERT INTO runs_of_experiments (id, experiment_id, launched, finished, status, storage_path, description) VALUES
    (1, 1, '2023-05-03 11:17:00.000000', '2023-05-03 11:19:30.000000', 'finished', 'trained/run_1', 'both seeds'),
    (2, 1, '2023-05-03 11:17:00.000000', '2023-05-03 11:18:00.000000', 'failed', 'trained/run_2', '');
INSERT INTO groups_of_parameters (run_id, "values") VALUES
    (1, '{"--json_data": "first", "--seed": "3.0"}'), (1, '{"--json_data": "first", "--seed": "4.0"}'),
    (2, '{"--json_data": "first", "--seed": "5.0"}');
"""

EXPERIENCE = {
    **put(SOUND["experience"], "transforms", ...),
    "model": "small",
    "dataset": "images",
    "epochs": 9,
    "metrics": {"depth": ["mse", "mre"], "delta_volume": ["mse"]},
}

LOSSES = {"epoch_loss": 3.0, "epoch_depth_loss": 0.5, "epoch_delta_volume_loss": 0.25}
"""In the first of two epochs; in the second they are half as much. `loss` has the penalty."""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """In a workspace: one run of Qanat with two groups that ended, and one that failed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "specs").mkdir()
    home = tmp_path / "project"
    write(home / "experiences/defined_experiences/first.json", EXPERIENCE)
    write(home / "data/datasets/images.json", put(SOUND["dataset"], "size", [8, 8]))
    write(home / "data/models/small.json", VDI_MODEL)
    (home / ".qanat").mkdir()
    with closing(sqlite3.connect(home / ".qanat/database.db")) as database:
        database.executescript("PRAGMA synchronous = OFF;" + QANAT + RUNS)
    for folder in ("run_1/group_0", "run_1/group_1", "run_2"):
        (home / "trained" / folder).mkdir(parents=True)
    for number in range(2):
        weights = vdi_weights(np.random.default_rng(number))
        write_h5(home / f"trained/run_1/group_{number}/best.h5", weights)
    return home


def write(file, document):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document))


def log_epochs(home: Path) -> None:
    """As Keras' callback and VDI's own do, the second for the test part."""
    from torch.utils.tensorboard import SummaryWriter

    for part in ("train", "validation", "test"):
        with SummaryWriter(str(home / part)) as writer:
            for step in range(2):
                metrics = {
                    "epoch_depth_mean_squared_error": 7.0,
                    "evaluation_loss_vs_iterations": 8,
                }
                for tag, value in (LOSSES | metrics).items():
                    name = tag.removeprefix("epoch_") if part == "test" else tag
                    writer.add_scalar(name, value / 2**step, step)


@pytest.mark.heavy
def test_a_training_comes_with_its_network_curves_and_results_and_counts_by_seed(project):
    for group in ("group_0", "group_1"):
        log_epochs(project / "trained/run_1" / group)
    runs = qexp.import_runs("project")
    assert [run.name.rpartition("_")[0] for run in runs] == ["first"] * 3
    assert [run.record["seed"] for run in runs] == [3, 4, 5]
    first = runs[0]
    images = np.random.default_rng(3).normal(size=(5, 8, 8)).astype(np.float32)
    made = first.predict(displacement=images)
    for number, image in enumerate(images):
        expected = vdi_estimates(image, vdi_weights(np.random.default_rng(0)))
        for output, value in expected.items():
            assert made[output][number] == pytest.approx(value, rel=1e-4, abs=1e-4)
    record = first.record
    kept = [record[key] for key in ("kind", "state", "note", "dataset", "model", "seconds")]
    assert kept == ["imported", "done", "both seeds", "images", "small", 150]
    assert record["epochs"] == {"done": 2, "of": 0, "best": 2}
    assert first.spec["dataset"]["fixed"]["azimuth"] == pytest.approx(np.pi / 2), "as VDI saw it"
    penalties = {
        name: operation["parameters"].get("l2")
        for name, operation in first.spec["model"]["operations"].items()
    }
    learnt = dict.fromkeys(("block_1", "block_2", "look", "to_depth", "to_volume"), 0.01)
    assert penalties == {**learnt, "halve": None, "relu": None}
    line = first.directory.metrics()[0]
    assert (line["validation"]["loss"], line["validation"]["losses"]["depth"]) == (3.0, 0.5)
    test = {"depth": {"mae": 0.25, "mse": 3.5}, "delta_volume": {"mse": 0.125}}
    assert first.results == {"validation": test, "test": test}
    call("matrix", first.name, "--axis", "depth=1:2:2", "--axis", "delta_volume=1:2:2").done()
    call("evaluate", first.name, "--part", "test").done()
    assert "2 seeds" in call("compare", "first_*").done()
    assert "both seeds" in call("show", first.name).done()
    assert "no problems" in call("doctor").stderr
    failed = runs[2]
    assert (failed.record["state"], failed.record["kind"]) == ("failed", "program")
    assert qexp.import_runs(project) == [], "they are there"


@pytest.mark.slow
def test_a_training_without_curves_or_with_torn_ones_comes_as_far_as_they_go(project):
    log_epochs(project / "trained/run_1/group_1")
    (events,) = (project / "trained/run_1/group_1/validation").iterdir()
    events.write_bytes(events.read_bytes()[:-20])
    (project / "trained/run_1/group_0/train").write_text("no folder")
    without_curves, torn, _ = qexp.import_runs(project / ".qanat/database.db")
    assert (without_curves.directory.metrics(), without_curves.results) == ([], {})
    assert torn.record["epochs"]["done"] == 2
    assert torn.record["kind"] == without_curves.record["kind"] == "imported"


GRAPH = {"inputs": {"displacement": {"size": [8, 8, 1]}}, "outputs": ["depth"], "graph": {}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "document", "why"),
    [
        ("data/models/small.json", put(VDI_MODEL, "operations.to_depth.parameters.filters", [9, 1]), "does not fit"),
        ("data/models/small.json", GRAPH, "is an old form, which VDI refuses, too"),
        ("data/models/small.json", None, "no model 'small'"),
        ("experiences/defined_experiences/first.json", put(EXPERIENCE, "dataset", ...), "the key 'dataset' is missing"),
        ("experiences/defined_experiences/first.json", None, "there is no such file"),
        ("experiences/defined_experiences/first.json", ["no object"], "must be an object"),
        ("trained/run_1/group_0/best.h5", "no network", "best.h5"),
        ("trained/run_1/group_0/best.h5", None, None),
    ],
)  # fmt: skip
def test_a_training_whose_files_are_wrong_is_a_run_of_a_program_and_says_why(
    project, file, document, why
):
    (project / file).unlink()
    if document is not None:
        write(project / file, document)
    done = call("import-runs", "project")
    assert len(done.done().split()) == 3, "none of the others is lost"
    assert why is None or why in done.stderr, done.stderr
    assert ("warning: project/trained" in done.stderr) == (why is not None)
    name = done.stdout.split()[0]
    assert qexp.open_run(name).record["kind"] == "program"
    if why:
        assert f"; to try again, remove {name}" in " ".join(done.stderr.split())

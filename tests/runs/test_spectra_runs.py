"""Whole runs on spectra: the same bits however they are interrupted, initial weights from others,
marks of leaks.
"""

import csv
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import xarray
from pyarrow import parquet
from pyarrow.csv import write_csv
from safetensors.numpy import load_file

import qexp as package
from qexp.api.handles import Run
from qexp.base.seeds import Seeds
from qexp.errors import InterruptedRunError
from qexp.figures.curves import learning_curves
from qexp.figures.writing import save
from qexp.kinds import experiments
from qexp.kinds.objects import dataset_of
from qexp.kinds.spectra.dataset import SpectraDataset
from qexp.kinds.spectra.experiment import divided, labelled
from qexp.kinds.tables import BUILT_IN
from qexp.networks import checkpoint
from tests import cores
from tests.conftest import read_estimates, shared_folder
from tests.runs.conftest import Interrupting

LEAKED = "tested on training spectra"

FROZEN = {"pretrain.freeze": ["encoder"], "pretrain.epochs_frozen": 1, "epochs": 2}

WRITTEN = (
    "metrics.jsonl", "spec.json", "checkpoints/best.safetensors", "checkpoints/last.safetensors",
    "results/predictions.csv",
)  # fmt: skip


def contents(run: Run, *names: str) -> dict[str, bytes]:
    """What must be the same, byte for byte."""
    return {name: (run.path / name).read_bytes() for name in names}


def weights(run: Run) -> dict[str, np.ndarray]:
    return load_file(run.path / "checkpoints/best.safetensors")


def of(operation: str, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        name: value
        for name, value in tensors.items()
        if name.startswith(f"network.operations.{operation}.")
    }


@shared_folder
def pretrained(root: Path) -> None:
    """A workspace in which masked_0 and scratch_0 are done; for reading only."""
    cores.write(root)
    for name in ("masked", "scratch"):
        package.run(name, device="cpu", workspace=root)


@pytest.fixture
def here(pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that, which is the current directory and may be changed."""
    shutil.copytree(pretrained, tmp_path / "workspace")
    monkeypatch.chdir(tmp_path / "workspace")
    for variable in ("QEXP_WORKSPACE", "QEXP_DATA"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "workspace"


def train(experience: str, **changes: object) -> Run:
    options = {
        key: changes.pop(key)
        for key in ("seed", "name", "resume", "allow_leak", "display")
        if key in changes
    }
    options.setdefault("name", f"{experience}_{options.get('seed', 0)}")
    return package.run(experience, overrides=changes, device="cpu", **options)


# Numbers


@pytest.mark.heavy
def test_r2_against_the_training_mean_is_of_the_labelled_spectra_and_errors_by_core_are_shown(
    here, qexp
):
    run = train("scratch", name="judged", labelled=8, epochs=1, metrics={"toc": "r2_training_mean"})
    lines = list(csv.DictReader((run.path / "results/predictions.csv").open(newline="")))
    estimate, truth = (
        np.array([float(line[key]) for line in lines]) for key in ("toc_estimate", "toc")
    )
    dataset = cores.open_cores(here / "data/few", "toc")
    used = labelled({"labelled": 8}, np.flatnonzero(dataset.part == "train"), Seeds(0))
    apart = np.sum((truth - dataset.measured["toc"][used].mean()) ** 2)
    judged = run.results["test"]["toc"]["r2_training_mean"]
    assert judged == pytest.approx(1 - np.sum((estimate - truth) ** 2) / apart)
    assert run.metrics[0]["validation"]["toc"]["r2_training_mean"] is not None
    assert [(one["of"], one["name"], one["n"]) for one in run.record["groups"]] == [
        ("core", "D1", 6)
    ]
    shown = qexp("show", "judged").stdout
    assert "r2_training_mean" in shown
    of_core = next(line for line in shown.splitlines() if line.lstrip("│| ").startswith("D1"))
    assert f"{run.results['test']['toc']['rmse']:.3f} " in of_core
    assert "rmse (wt%)" in shown


# The same bits


KILLED = """
import json, signal, sys
from tests.runs.conftest import Interrupting
from tests.runs.test_spectra_runs import train
from qexp.networks import training
from tests.conftest import read_estimates, shared_folder
training.SECONDS_BETWEEN_CHECKPOINTS = 0.0
train(sys.argv[1], name="parted", resume=True, display=Interrupting(3, 2, signal.SIGKILL), **json.loads(sys.argv[2]))
"""


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("experience", "changes"),
    [
        ("masked", {"batch_size": 5}),
        (
            "masked",
            {"batch_size": 5, "optimizer": "muon", "learning_rate": 0.02, "dataset.mix": 1.0},
        ),
        (
            "finetune",
            {
                "batch_size": 5,
                "layer_decay": 0.5,
                "pretrain.freeze": ["encoder"],
                "pretrain.epochs_frozen": 2,
            },
        ),
    ],
)
def test_a_run_that_is_interrupted_and_killed_and_resumed_each_time_equals_one_that_is_not(
    here, experience, changes
):
    whole = train(experience, name="whole", epochs=4, **changes)
    with pytest.raises(InterruptedRunError):
        train(experience, name="parted", epochs=4, display=Interrupting(2, 3), **changes)
    last = checkpoint.read(here / "runs/parted/checkpoints/last.safetensors")[1]["progress"]
    assert (last["epoch"], last["batch"]) == (2, 3)
    command = [sys.executable, "-c", KILLED, experience, json.dumps({"epochs": 4, **changes})]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    assert package.open_run("parted").state == "lost"
    last = checkpoint.read(here / "runs/parted/checkpoints/last.safetensors")[1]["progress"]
    assert (last["epoch"], last["batch"]) == (3, 0)
    parted = train(experience, name="parted", epochs=4, resume=True, **changes)
    assert len(parted.record["attempts"]) == 3
    errors = ["results/errors_by_energy.csv"] if experience == "masked" else []
    assert contents(parted, *WRITTEN, *errors) == contents(whole, *WRITTEN, *errors)
    assert parted.results == whole.results
    assert parted.record["comparison"] == whole.record["comparison"]
    one, other = (
        xarray.load_dataset(run.path / "results/test_predictions.nc") for run in (whole, parted)
    )
    assert one.drop_attrs().identical(other.drop_attrs())


@pytest.mark.heavy
def test_masks_are_others_with_another_seed_and_in_another_epoch(here):
    """Nothing is learned, so that losses differ by what is hidden and the order alone; validation
    stays as it is.
    """
    one, other = (
        train("masked", seed=seed, name=f"still_{seed}", learning_rate=1e-30, epochs=2)
        for seed in (0, 1)
    )
    losses = [[line["train"]["loss"] for line in run.metrics] for run in (one, other)]
    assert len({*losses[0], *losses[1]}) == 4
    assert one.metrics[0]["validation"] == one.metrics[1]["validation"]


@pytest.mark.heavy
@pytest.mark.parametrize("experience", ["masked", "finetune"])
def test_a_run_is_repeated_bit_for_bit(here, qexp, experience):
    if experience == "finetune":
        train("finetune", layer_decay=0.5, **FROZEN)
    assert "identical, bit for bit" in qexp("verify", f"{experience}_0").done()


# Weights from another run


def same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    assert one.keys() == other.keys() != set()
    return all(np.allclose(one[name], other[name], rtol=0, atol=1e-20) for name in one)


@pytest.mark.heavy
def test_the_first_weights_are_the_encoder_of_the_other_run_and_a_head_of_its_own(here):
    parent = weights(package.open_run("masked_0"))
    child, scratch = (
        weights(train(name, name=f"{name}_still", learning_rate=1e-30, epochs=1))
        for name in ("finetune", "scratch")
    )
    assert same(of("encoder", child), of("encoder", parent))
    assert not same(of("encoder", scratch), of("encoder", parent))
    assert same(of("head", child), of("head", scratch))
    others = [name for name in child if not name.startswith("network.operations.encoder.")]
    assert same({name: child[name] for name in others}, {name: scratch[name] for name in others})


@pytest.mark.heavy
def test_a_frozen_encoder_stays_as_it_was_taken_and_learns_when_it_is_let_go(here):
    parent = of("encoder", weights(package.open_run("masked_0")))
    always = train(
        "finetune", name="always", keep="last", **{**FROZEN, "pretrain.epochs_frozen": None}
    )
    at_first = train("finetune", name="at_first", keep="last", **FROZEN)
    assert same(of("encoder", weights(always)), parent)
    assert not same(of("encoder", weights(at_first)), parent)
    assert always.metrics[0] == at_first.metrics[0]
    assert always.metrics[1] != at_first.metrics[1]
    assert not same(of("head", weights(always)), of("head", weights(at_first)))


@pytest.mark.heavy
def test_a_run_and_show_and_a_tree_tell_what_it_was_pretrained_from(here, qexp):
    train("finetune", epochs=1)
    train("scratch", name="third", epochs=1, pretrain={"run": "finetune", "operations": ["head"]})
    parent = package.open_run("masked_0").record
    line = package.open_run("third").record["lineage"]
    assert [(one["name"], one["operations"]) for one in line] == [
        ("finetune_0", ["head"]),
        ("masked_0", ["encoder"]),
    ]
    assert line[1]["digest"] == parent["digest"]
    told = f"from finetune_0 (head; digest {line[0]['digest'][:16]}) <- masked_0 (encoder; digest"
    assert told in qexp("show", "third").stdout
    tree = [
        row.split("  done")[0].split("  epochs=")[0].rstrip()
        for row in qexp("ls", "--lineage").stdout.splitlines()[1:]
    ]
    assert tree == ["masked_0", "└─ finetune_0", "   └─ third", "scratch_0"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            "width=32",
            "network.operations.encoder.class_token: [1, 1, 32] here, [1, 1, 16] in masked_0",
        ),
        (
            "depth=3",
            "network.operations.encoder.blocks.2.attended.bias: [16] here, missing in masked_0",
        ),
        (
            "depth=1",
            "network.operations.encoder.blocks.1.attended.bias: missing here, [16] in masked_0",
        ),
        (
            "patch_size=16",
            "network.operations.encoder.embedding.weight: [16, 16] here, [16, 8] in masked_0",
        ),
    ],
)
def test_an_encoder_of_another_architecture_is_refused_tensor_by_tensor(here, qexp, change, told):
    stderr = qexp(
        "run", "finetune", "--set", f"model.operations.encoder.parameters.{change}"
    ).refused()
    assert "the weights of masked_0 do not fit this model:" in stderr
    assert f"  {told}\n" in stderr
    assert "decoder" not in stderr
    assert not (here / "runs/finetune_0").exists()


@pytest.mark.heavy
def test_a_run_to_start_from_that_came_to_no_end_is_refused(here, qexp):
    with pytest.raises(InterruptedRunError):
        train("masked", seed=1, display=Interrupting(1, 1))
    assert (
        "masked_1 is interrupted, not done"
        in qexp("run", "finetune", "--pretrain", "masked_1").refused()
    )
    assert not (here / "runs/finetune_0").exists()


# Leaks


def words_in(figure: Path) -> str:
    """All that is written in an SVG whose texts are texts."""
    return " ".join("".join(ElementTree.parse(figure).getroot().itertext()).split())


@pytest.mark.heavy
@pytest.mark.parametrize("experience", ["finetune", "masked"])
def test_a_leak_is_refused_with_the_core_and_marks_every_output_where_it_is_allowed(
    here, qexp, experience
):
    tested = here / (
        "data/many/test/spe/M5_3.csv" if experience == "masked" else "data/few/test/spe/D1_3.csv"
    )
    shutil.copy(here / "data/many/train/spe/M2_4.csv", tested)
    stderr = qexp("run", experience, "--name", "new").refused()
    assert f"core {'M5' if experience == 'masked' else 'D1'}: 1 of 6 test spectra" in stderr
    assert ("masked_0: core" in stderr) == (experience == "finetune")
    assert not (here / "runs/new").exists()

    assert (
        LEAKED in qexp("run", experience, "--name", "new", "--allow-leak", "--device", "cpu").done()
    )
    run = package.open_run("new")
    assert run.record["caution"] == LEAKED
    assert {row["note"] for row in run.record["comparison"]} <= {LEAKED}
    for command in (
        ["show", "new"],
        ["ls"],
        ["ls", "--json"],
        ["ls", "--lineage"],
        ["compare", "new", "masked_0"],
    ):
        assert LEAKED in qexp(*command).stdout, command
    assert xarray.load_dataset(run.path / "results/test_predictions.nc").attrs["caution"] == LEAKED
    (here / "texts.mplstyle").write_text("svg.fonttype: none")
    drawn = qexp("figures", "new", "--format", "svg", "--style", "texts.mplstyle").stdout.split()
    assert len(drawn) == (3 if experience == "masked" else 4)
    assert [figure for figure in drawn if LEAKED not in words_in(here / figure)] == []
    other = package.open_run("masked_0")
    curves = {f"new ({LEAKED})": run.metrics, "masked_0": other.metrics}
    save(
        learning_curves(curves, {**other.record["units"], **run.record["units"]}),
        here / "marked.png",
    )
    (compared,) = (here / "comparisons").rglob("learning_curves.png")
    assert compared.read_bytes() == (here / "marked.png").read_bytes()


# Tables


def as_table(root: Path) -> pyarrow.Table:
    """The labelled spectra as rows of a table that tells no parts."""
    return cores.table_of(cores.open_cores(root / "data/few")).drop_columns(["part", "voltage"])


def held_out(core: str) -> dict[str, object]:
    return {"type": "held_out", "parameters": {"by": "core", "values": [core]}}


@pytest.mark.heavy
@pytest.mark.parametrize("file", ["few", "few.csv", "few.parquet", "few.nc"])
def test_a_table_and_folders_with_the_same_cores_held_out_are_the_same_run_to_the_last_bit(
    here, file
):
    write = {".csv": write_csv, ".parquet": parquet.write_table, ".nc": cores.write_netcdf}.get(
        Path(file).suffix
    )
    if write is not None:
        write(as_table(here), here / "data" / file)
    run = train(
        "scratch",
        name="other",
        split=held_out("D1"),
        inner=held_out("C1"),
        **{"dataset.path": file},
    )
    of_parts = package.open_run("scratch_0")
    assert contents(run, *set(WRITTEN) - {"spec.json"}) == contents(
        of_parts, *set(WRITTEN) - {"spec.json"}
    )
    assert run.results == of_parts.results
    assert run.record["digest"] != of_parts.record["digest"]


def test_a_spectrum_of_a_table_is_a_copy_of_another_also_if_its_zeros_have_a_sign(here, qexp):
    columns = as_table(here).to_pydict()
    for index in range(cores.CHANNELS):
        counts = columns[f"channel_{index}"]
        counts[-1] = counts[2] or -0.0
    parquet.write_table(pyarrow.table(columns), here / "data/few.parquet")
    parts = {"split": held_out("D1"), "inner": held_out("C1"), "dataset.path": "few.parquet"}
    changes = [
        word for key, value in parts.items() for word in ("--set", f"{key}={json.dumps(value)}")
    ]
    assert (
        "core D1: 1 of 6 test spectra"
        in qexp("run", "scratch", "--name", "new", *changes).refused()
    )


# Few labels


@pytest.mark.heavy
def test_fewer_labelled_spectra_are_among_the_more_for_all_experiences_of_a_seed_and_others_for_another(
    here,
):
    from qexp.base.workspace import find

    def drawn(experience: str, count: int | str, seed: int) -> set[int]:
        document = experiments.experience(experience, {"labelled": count}, find()).document
        dataset = dataset_of(document["dataset"], BUILT_IN)
        assert isinstance(dataset, SpectraDataset)
        train, _, _ = divided(document, dataset, BUILT_IN, Seeds(seed))
        return set(labelled(document, train, Seeds(seed)).tolist())

    counts = [2, 5, 11, 17, "all"]
    of_counts = [drawn("scratch", count, 0) for count in counts]
    assert [len(rows) for rows in of_counts] == [2, 5, 11, 17, 18]
    assert all(few < more for few, more in itertools.pairwise(of_counts))
    assert [drawn("finetune", count, 0) for count in counts] == of_counts
    assert drawn("scratch", 5, 1) != of_counts[1]


@pytest.mark.heavy
def test_a_batch_may_be_larger_than_what_is_labelled(here, monkeypatch):
    # the number of threads, and with it the last bit, follows batch_size
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run = train("scratch", name="two", labelled=2, batch_size=1000, epochs=2)
    assert [row["n"] for row in run.record["comparison"]] == [6, 6, 6]
    assert train("scratch", name="same", labelled=2, batch_size=2, epochs=2).metrics == run.metrics


# Data that change


@pytest.mark.heavy
def test_a_run_goes_on_with_the_spectra_that_it_was_prepared_with_wherever_they_are_and_with_no_others(
    here, tmp_path, qexp, monkeypatch
):
    whole = train("masked", name="whole")
    with pytest.raises(InterruptedRunError):
        train("masked", name="parted", display=Interrupting(2, 1))
    file = here / "data/many/train/spe/M1_0.csv"
    before = file.read_text()
    file.write_text(before.replace("\n", "\n1", 1))
    stderr = qexp("run", "masked", "--name", "parted", "--resume").failed()
    assert "a run parted with another spec exists already" in stderr
    assert "has changed: the SHA-256 of its spectra is now" in qexp(
        "execute", here / "runs/parted"
    ).failed(1)

    file.write_text(before)
    shutil.move(here / "data/many", tmp_path / "many")
    stderr = qexp("execute", here / "runs/parted").failed(1)
    assert (
        f"there is no folder or table 'many'; looked for {here / 'data/many'}; put it there"
        in stderr
    )
    monkeypatch.setenv("QEXP_DATA", str(tmp_path))
    parted = train("masked", name="parted", resume=True)
    assert contents(parted, *WRITTEN[2:]) == contents(whole, *WRITTEN[2:])
    assert parted.metrics == whole.metrics
    qexp("verify", "whole").done()


def test_a_run_in_which_nothing_would_be_trained_is_refused(here, qexp):
    frozen = 'pretrain.freeze=["encoder", "head"]'
    stderr = qexp("run", "finetune", "--set", frozen, "--set", "pretrain.epochs_frozen=1").refused()
    assert (
        "at $.pretrain.freeze: all operations with weights are frozen, and nothing is left to train"
        in stderr
    )
    assert not (here / "runs/finetune_0").exists()


def test_where_spectra_cannot_be_kept_no_run_begins(here, tmp_path, qexp, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("QEXP_CACHE", str(tmp_path / "file"))
    assert (
        "name another folder with QEXP_CACHE" in qexp("run", "scratch", "--name", "new").refused()
    )
    assert not (here / "runs/new").exists()


@pytest.mark.heavy
def test_show_tells_of_mixtures_where_there_are_some(here, qexp):
    train("masked", name="mixed", epochs=1, **{"dataset.mix": 0.5})
    assert "with up to 50% of another" in qexp("show", "mixed").stdout
    assert "of another" not in qexp("show", "masked_0").stdout


@pytest.mark.heavy
def test_a_run_estimates_new_spectra_as_it_did_those_of_its_test_part_if_it_estimates_numbers_at_all(
    here, qexp
):
    run = package.open_run("scratch_0")
    options = ("--input", "data/few/test", "--output", "made.csv")
    code, stdout, stderr = qexp("predict", "--run", "scratch_0", *options)
    assert (code, stdout.splitlines()) == (0, ["made.csv", "made.png"])
    assert "6 spectra" in stderr
    # not for validation or test
    trained = np.concatenate([cores.spectra(core)[1] for core in cores.CORES["train"]])
    (known,) = run.record["targets"]
    assert known == {
        "column": "toc",
        "least": pytest.approx(trained.min()),
        "greatest": pytest.approx(trained.max()),
    }
    data = xarray.load_dataset(run.path / "results/test_predictions.nc")
    expected = dict(zip(data["name"].values, data["toc_estimate"].values, strict=True))
    for row in read_estimates(here / "made.csv"):
        assert float(row["toc_estimate"]) == pytest.approx(
            float(expected.pop(row["name"])), rel=1e-5
        )
    assert not expected
    assert "made.csv exists already" in qexp("predict", "--run", "scratch_0", *options).stderr
    refused = qexp("predict", "--run", "masked_0", *options)
    assert (refused.code, refused.stdout) == (2, "")
    assert "estimates no other quantity; train a run with a target" in refused.stderr

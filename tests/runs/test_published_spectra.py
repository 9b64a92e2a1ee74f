"""MAX's recipe on data in the form in which MAX publishes them: pretrained, fine-tuned, and
used.
"""

import csv
import json
import shutil
from pathlib import Path

import pytest
import xarray

import qexp
from tests.conftest import call, read_estimates, shared_folder
from tests.cores import CHANNELS, PATCH_SIZE, SPECTRA, spectra

TRAINED, TESTED = ("PS75-054-1", "PS97-078-1", "SO178-12-3"), ("PS75-056-1", "LV28-44-3")
"""Cores; of each of the first, one spectrum is for validation."""

TARGETS = {"CaCO3%": 25.0, "TOC%": 1.0}
"""Name → the factor by which the simulated target is multiplied."""

SMALL = {
    "epochs": 2,
    "batch_size": 8,
    "dataset.channels": CHANNELS,
    "dataset.patch_size": PATCH_SIZE,
    "model.inputs.spectrum.size": [CHANNELS],
    "model.operations.encoder.parameters.size": "tiny",
    "model.operations.encoder.parameters.patch_size": PATCH_SIZE,
}

OF_DECODER = {
    "model.inputs.mask.size": [CHANNELS // PATCH_SIZE],
    "model.operations.decoder.parameters.size": "tiny",
    "model.operations.decoder.parameters.patch_size": PATCH_SIZE,
}


def write_part(
    folder: Path, cores: tuple[str, ...], header: str, target: str | None = None
) -> None:
    """`spe/`, `target/`, info.csv and, in the training folder, val.csv with one spectrum of each
    core.
    """
    lines = {}
    (folder / "spe").mkdir(parents=True)
    if target:
        (folder / "target").mkdir()
    for core in cores:
        counts, targets = spectra(core)
        for row in range(SPECTRA):
            name = f"{core}_{row}.csv"
            (folder / "spe" / name).write_text("".join(f"{count}\n" for count in counts[row]))
            if target:
                (folder / "target" / name).write_text(str(TARGETS[target] * targets[row]))
            lines[name] = f"{name},{core},{10 * row + 5}"
    kept = [name for name in lines if folder.name == "train" and name.endswith("_5.csv")]
    rest = [name for name in lines if name not in kept]
    lists = {"info.csv": rest, **({"val.csv": kept} if kept else {})}
    for listing, names in lists.items():
        (folder / listing).write_text("\n".join([header, *(lines[name] for name in names)]) + "\n")


def write_compiled(path: Path) -> None:
    """One table of all spectra, channels as columns "0" and on; TOC% is empty for one core."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["composite_id", *range(CHANNELS), "core", "mid_depth_mm", "CaCO3%", "TOC%"])
        for core in (*TRAINED, "PS75-095-5", *TESTED):
            counts, targets = spectra(core)
            for row in range(SPECTRA):
                measured = "" if core == "PS75-095-5" else targets[row]
                table.writerow([f"{core}_{row}", *counts[row], core, 10 * row + 5, "", measured])


@shared_folder
def place(root: Path) -> None:
    """A workspace with the shipped recipe, small data as published, and its runs of a small
    network.
    """
    for kind in ("datasets", "models", "experiences"):
        (root / "specs" / kind).mkdir(parents=True)
        for path in (Path(__file__).resolve().parents[2] / "specs" / kind).glob("max_*.json"):
            shutil.copy(path, root / "specs" / kind)
    for part, cores in (("train", TRAINED), ("test", TESTED)):
        write_part(root / "data/max/pretrain" / part, cores, "dirname,core,composite_depth_mm")
        for target in TARGETS:
            write_part(
                root / "data/max/finetune" / target / part,
                cores,
                "dirname,core,mid_depth_mm",
                target,
            )
    write_compiled(root / "data/compiled.csv")
    train(root, "max_pretrain", **OF_DECODER)
    train(root, "max_toc")


def train(root: Path, experience: str, name: str | None = None, **changes: object) -> qexp.Run:
    name = name or f"{experience}_0"
    return qexp.run(
        experience, name=name, overrides={**SMALL, **changes}, device="cpu", workspace=root
    )


@pytest.fixture
def workspace(place: Path, tmp_path: Path) -> Path:
    """A copy, in which a test may train."""
    return shutil.copytree(place, tmp_path / "copy", symlinks=True)


@pytest.mark.heavy
def test_the_recipe_is_pretrained_and_fine_tuned_as_published(place: Path):
    pretrained, tuned = (
        qexp.open_run(name, workspace=place) for name in ("max_pretrain_0", "max_toc_0")
    )
    assert tuned.record["state"] == "done"
    assert tuned.spec["pretrain"]["run"] == "max_pretrain_0"
    assert [line["learning_rate"] for line in pretrained.metrics] == pytest.approx([0.5e-4, 0.6e-4])
    assert tuned.results.keys() == {"validation", "test"}
    assert {"r2", "r2_training_mean", "rmse"} <= set(tuned.results["test"]["TOC%"])
    with xarray.open_dataset(tuned.path / "results/test_predictions.nc") as predictions:
        assert predictions["TOC%_estimate"].shape == predictions["TOC%"].shape == (12,)


@pytest.mark.heavy
def test_spectra_without_targets_are_estimated_as_those_with_and_their_other_depth_is_told_of(
    place: Path, tmp_path: Path
):
    out, source = tmp_path / "zeroshot.csv", place / "data/max/pretrain/test"
    code, _, stderr = call("--workspace", place, "predict", "max_toc_0", source, "--output", out)
    assert code == 0
    assert "no column 'mid_depth_mm'" in stderr
    assert "rename 'composite_depth_mm'" in stderr
    found = {row["name"]: float(row["TOC%_estimate"]) for row in read_estimates(out)}
    with (place / "runs/max_toc_0/results/predictions.csv").open(newline="") as file:
        tested = {row["name"]: float(row["TOC%_estimate"]) for row in csv.DictReader(file)}
    assert found == pytest.approx(tested, rel=1e-4)


@pytest.mark.heavy
def test_runs_are_listed_and_chosen_by_targets_with_a_percent_sign(place: Path):
    columns = "name,test.TOC%.rmse"
    stdout = call(
        "--workspace",
        place,
        "ls",
        "--columns",
        columns,
        "--where",
        "results.test['TOC%'].rmse > 0",
        "--json",
    ).done()
    assert [run["name"] for run in json.loads(stdout)] == ["max_toc_0"]


@pytest.mark.heavy
def test_other_labelled_spectra_are_judged_and_told_apart_from_those_that_were_trained_on(
    workspace: Path,
):
    def judged(*options: str) -> str:
        source = workspace / "data/max/finetune/TOC%"
        return call(
            "--workspace", workspace, "evaluate", "max_toc_0", "--input", source, *options
        ).done()

    seen = judged("--part", "validation")
    assert "3 samples" in seen
    assert "evaluated on validation data" in seen
    (workspace / "data/max/finetune/TOC%/test/target/LV28-44-3_0.csv").write_text("")
    fresh = judged()
    assert "11 samples" in fresh
    assert (
        "independent of the training data: no spectrum, and no core of the same name, was used for"
        " training" in fresh
    )
    assert "r2_training_mean" in fresh
    made = {
        path.name for path in (workspace / "runs/max_toc_0/evaluations").iterdir() if path.is_dir()
    }
    assert {"TOC", "TOC_validation"} <= made  # of the folder TOC%


@pytest.mark.heavy
def test_the_compiled_table_is_trained_on_without_the_rows_that_have_no_target(workspace: Path):
    table = {
        "dataset.path": "compiled.csv",
        "dataset.columns": "",
        "dataset.missing": "drop",
        "pretrain": None,
    }
    held_out = {"split": {"type": "held_out", "parameters": {"by": "core", "values": list(TESTED)}}}
    run = train(workspace, "max_toc", "compiled", inner="random", **table, **held_out)
    with xarray.open_dataset(run.path / "results/test_predictions.nc") as predictions:
        assert set(predictions["core"].values) == set(TESTED)
    assert "TOC%" in run.results["validation"]
    validate = call("--workspace", workspace, "validate", run.path / "spec.json")
    assert "6 of 36 spectra are left out, because they have no number for 'TOC%'" in validate.stderr

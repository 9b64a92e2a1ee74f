import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray

import qexp
from qexp.errors import NotFoundError, QexpError
from qexp.kinds.matrix_figures import matrix_of
from qexp.physics.geometry import line_of_sight, pixel_axis
from qexp.physics.point import mogi_image

SMALL = {"depth": (0.0, 4.0, 8), "delta_volume": (0.0, 2.0, 4)}


@pytest.mark.heavy
def test_every_cell_is_the_models_estimate_of_the_image_that_its_true_values_make(run):
    table = qexp.matrix(run, "mogi_test", axes=SMALL)
    pixels = pixel_axis(64, torch.tensor([100.0]))
    look = line_of_sight(torch.zeros(1), torch.full((1,), 0.33))
    for i, j in ((0, 0), (3, 1), (7, 3)):
        depth, volume = float(table["depth"][i]), float(table["delta_volume"][j])
        image = mogi_image(
            torch.tensor([[0.0, 0.0, 1e3 * depth, 1e6 * volume]]), pixels, pixels, look
        )
        estimate = run.predict(displacement=image[0].numpy())
        assert float(table["depth_estimate"][i, j]) == pytest.approx(
            float(estimate["depth"]), rel=1e-4
        )
        assert float(table["delta_volume_estimate"][i, j]) == pytest.approx(
            float(estimate["delta_volume"]), rel=1e-4
        )
    truth = table["depth"]
    # centres: no axis touches its ends
    np.testing.assert_allclose(truth, np.arange(8) * 0.5 + 0.25)
    xarray.testing.assert_allclose(
        table["depth_error"], (table["depth_estimate"] - truth).rename("depth_error")
    )
    np.testing.assert_allclose(table["depth_relative_error"], table["depth_error"] / truth)


@pytest.mark.heavy
@pytest.mark.usefixtures("drawn")
def test_the_file_says_units_and_axes_and_vdis_arrays_have_its_order_of_axes(workspace, run, qexp):
    axes = ["--axis", "depth=0:4:8", "--axis", "delta_volume=0:2:4"]
    assert qexp("matrix", run.name, "--dataset", "mogi_test.json", *axes, "--npy").code == 0
    folder = run.path / "matrices/mogi_test"
    table = xarray.load_dataset(folder / "matrix.nc", engine="h5netcdf")
    assert dict(table.sizes) == {"depth": 8, "delta_volume": 4}
    assert table["depth"].attrs["units"] == "km"
    assert table["delta_volume_error"].attrs["units"] == "10⁶ m³"
    assert (folder / "matrix.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((folder / "record.json").read_text())
    assert record["axes"] == {"depth": [0.0, 4.0, 8], "delta_volume": [0.0, 2.0, 4]}
    assert record["mean_absolute_error"]["depth"] == pytest.approx(
        float(np.abs(table["depth_error"]).mean())
    )
    for name, ours in (
        ("matrix", "estimate"),
        ("dif_matrix", "error"),
        ("dif_n_matrix", "relative_error"),
    ):
        array = np.load(folder / f"depth_{name}.npy")
        assert array.shape == (4, 8)  # VDI's first varying variable, the depth, runs fastest
        np.testing.assert_array_equal(
            array, table[f"depth_{ours}"].transpose("delta_volume", "depth")
        )


@pytest.mark.heavy
def test_repeats_give_mean_bias_and_spread_over_the_noise_which_comes_from_the_seed(run):
    table = qexp.matrix(run, "mogi_noisy", axes=SMALL, repeats=3)
    np.testing.assert_allclose(
        table["depth_bias"], table["depth_mean"] - table["depth"], atol=1e-12
    )
    assert (table["depth_standard_deviation"] > 0).all()
    first, two = (
        qexp.matrix(run, "mogi_noisy", axes=SMALL, repeats=n, name=f"of_{n}") for n in (1, 2)
    )
    errors = np.stack([first["depth_error"], 2 * two["depth_bias"] - first["depth_error"]])
    np.testing.assert_allclose(two["depth_absolute_error"], abs(errors).mean(0), atol=1e-9)
    record = json.loads((two.folder / "record.json").read_text())
    assert record["mean_absolute_error"]["depth"] == pytest.approx(abs(errors).mean())
    titles = [axis.get_title() for axis in matrix_of(two.folder).axes]
    assert {"mean error of depth (km)", "mean |error| of depth (km)"} <= {*titles}
    assert "depth_absolute_error" not in first, "of one realisation it is that of the error"
    quiet = qexp.matrix(run, "mogi_test", axes=SMALL, repeats=3)
    np.testing.assert_allclose(quiet["depth_standard_deviation"], 0, atol=1e-6)
    seeds = {"first": 1, "same": 1, "other": 2}
    first, same, other = (
        qexp.matrix(run, "mogi_noisy", axes=SMALL, seed=seeds[name], name=name) for name in seeds
    )
    xarray.testing.assert_identical(first, same)
    assert not np.allclose(first["depth_estimate"], other["depth_estimate"])


@pytest.mark.heavy
def test_without_a_dataset_it_is_that_on_which_the_run_was_trained_whatever_its_file_says_now(
    workspace, run
):
    named = qexp.matrix(run, "mogi", axes=SMALL, name="named")
    path = workspace / "specs/datasets/mogi.json"
    path.write_text(path.read_text().replace('"incidence": 0.33', '"incidence": 0.7'))
    own = qexp.matrix(run, axes=SMALL)
    assert own.folder.name == "mogi"
    xarray.testing.assert_identical(own, named)
    assert not np.allclose(
        own["depth_error"], qexp.matrix(run, "mogi", axes=SMALL, name="changed")["depth_error"]
    )


OTHERWISE = {
    "axes": ({"axes": {"depth": (1.0, 3.0, 3), "delta_volume": (1.0, 2.0, 2)}}, "axes"),
    "cells": ({"axes": {"depth": (1.0, 3.0, 2), "delta_volume": (1.0, 2.0, 3)}}, "axes"),
    "fixed": ({"fixed": {"x": 0.5}}, "fixed values"),
    "repeats": ({"repeats": 2}, "repeats"),
    "seed": ({"seed": 1}, "seed"),
    "refine": ({"refine": True}, "refine"),
    "bound": ({"bound": True}, "bound"),
}


@pytest.mark.heavy
@pytest.mark.parametrize(("change", "named"), OTHERWISE.values(), ids=OTHERWISE)
def test_a_matrix_is_not_replaced_by_one_of_other_settings_unless_that_is_asked_for(
    run, change, named
):
    asked = {"axes": {"depth": (1.0, 3.0, 2), "delta_volume": (1.0, 2.0, 2)}}
    folder = qexp.matrix(run, "mogi_noisy", **asked).folder
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(
        QexpError, match=rf"'mogi_noisy' with other settings \({named}\).*another name.*force=True"
    ):
        qexp.matrix(run, "mogi_noisy", **asked | change)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.heavy
def test_a_matrix_of_other_settings_gets_another_name_or_replaces_the_first_where_that_is_asked_for(
    run,
):
    first = qexp.matrix(run, "mogi_noisy", axes=SMALL)
    other = qexp.matrix(run, "mogi_noisy", axes=SMALL, seed=1, name="other")
    assert other.folder.name == "other"
    assert run.directory.matrix_names() == ["mogi_noisy", "other"]
    xarray.testing.assert_identical(run.matrix("mogi_noisy"), first)
    xarray.testing.assert_identical(
        qexp.matrix(run, "mogi_noisy", axes=SMALL, seed=1, force=True), other
    )
    assert not [path.name for path in run.directory.matrices.iterdir() if path.name.startswith(".")]


@pytest.mark.heavy
def test_the_same_matrix_again_or_of_changed_data_or_of_an_earlier_version_is_left_as_it_is(
    workspace, run, qexp
):
    made = [
        "matrix",
        run.name,
        "--dataset",
        "mogi_test",
        "--axis",
        "depth=1:3:2",
        "--fix",
        "delta_volume=1",
    ]
    assert qexp(*made, "--name", "near").code == 0
    file = run.path / "matrices/near/matrix.nc"
    before = file.stat().st_mtime_ns
    again = qexp(*made, "--name", "near", "--npy")
    assert (again.code, "has the matrix 'near' already" in again.stderr) == (0, True)
    assert file.stat().st_mtime_ns == before
    assert file.with_name("depth_matrix.npy").is_file(), (
        "what an earlier command did not ask for is added"
    )
    assert qexp(*made, "--name", "near", "--force").code == 0
    assert file.stat().st_mtime_ns > before
    assert "not a valid name for a matrix" in qexp(*made, "--name", "../near").failed()

    assert qexp(*made).code == 0
    path = workspace / "specs/datasets/mogi_test.json"
    document = json.loads(path.read_text())
    path.write_text(
        json.dumps(
            {**document, "noise_model": {"type": "exponential", "parameters": {"range": 2.0}}}
        )
    )
    assert "of other data or other weights" in qexp(*made).failed()
    path.write_text(json.dumps({**document, "description": "the same"}))
    assert qexp(*made).code == 0
    record = run.path / "matrices/mogi_test/record.json"
    kept = json.loads(record.read_text())
    record.write_text(json.dumps({key: value for key, value in kept.items() if key != "digest"}))
    assert "of an earlier version of qexp" in qexp(*made).failed()
    assert qexp(*made, "--force").code == 0


@pytest.fixture(scope="module")
def seeds(finished, tmp_path_factory):
    """A workspace in which sound_0 and sound_1, of one spec, are done."""
    root = tmp_path_factory.mktemp("seeds") / "workspace"
    shutil.copytree(finished, root, ignore=shutil.ignore_patterns("matrices", "comparisons"))
    return root


ON_SOUND = {"axes": {"depth": (0.5, 3.5, 3), "delta_volume": (0.5, 3.5, 2)}}


@pytest.mark.heavy
def test_a_matrix_of_each_run_and_their_mean_bias_and_deviation_over_the_seeds(seeds):
    made = qexp.matrix("sound_[01]", "sound", **ON_SOUND, workspace=seeds)
    assert made.folder == seeds / "comparisons/matrices/sound_on_sound"
    of_runs = [
        qexp.open_run(name, workspace=seeds).matrix("sound") for name in ("sound_0", "sound_1")
    ]
    estimates = np.stack([one["depth_estimate"].values for one in of_runs])
    np.testing.assert_array_equal(made["depth_mean"], estimates.mean(0))
    np.testing.assert_allclose(
        made["depth_bias"], estimates.mean(0) - made["depth"].values[:, None], atol=1e-12
    )
    np.testing.assert_allclose(
        made["depth_standard_deviation"], abs(estimates[0] - estimates[1]) / np.sqrt(2)
    )
    assert made["depth_bias"].attrs["units"] == made["depth"].attrs["units"] == "km"
    assert made.attrs["runs"] == "sound_0, sound_1"
    record = json.loads((made.folder / "record.json").read_text())
    assert (record["runs"], record["seeds"]) == (["sound_0", "sound_1"], [0, 1])
    errors = abs(estimates - made["depth"].values[:, None])
    assert record["mean_absolute_error_of_one"]["depth"] == pytest.approx(errors.mean())
    said_of_both = "of one network (mean over seeds)", "of the mean of their estimates"
    assert all(words in str(made.view().parts[-1].columns) for words in said_of_both)
    said = []
    again = qexp.matrix(
        ["sound_0", "sound_1"], "sound", **ON_SOUND, tell=said.append, workspace=seeds
    )
    xarray.testing.assert_identical(again, made)
    assert len(said) == 3


@pytest.mark.heavy
def test_runs_of_an_experience_are_named_by_their_seeds(seeds, monkeypatch, qexp):
    monkeypatch.chdir(seeds)
    axes = [
        "--dataset",
        "sound",
        "--axis",
        "depth=0.5:3.5:2",
        "--axis",
        "delta_volume=0.5:3.5:2",
        "--name",
        "by_seeds",
    ]
    assert (
        "over 2 seeds: sound_0, sound_1" in qexp("matrix", "sound", "--seeds", "0:2", *axes).stderr
    )
    assert "no run 'sound_2'" in qexp("matrix", "sound", "--seeds", "2", *axes).failed(3)


@pytest.mark.heavy
def test_statistics_over_seeds_are_not_replaced_by_others_unless_that_is_asked_for(seeds):
    kept = qexp.matrix("sound_[01]", "sound", **ON_SOUND, name="kept", workspace=seeds)
    other = {
        "axes": {"depth": (1, 3, 2)},
        "fixed": {"delta_volume": 1},
        "name": "kept",
        "workspace": seeds,
    }
    for run in ("sound_0", "sound_1"):
        qexp.matrix(run, "sound", **other, force=True)
    with pytest.raises(
        QexpError, match=r"has a matrix 'sound_on_kept' with other settings \(axes, fixed values\)"
    ):
        qexp.matrix("sound_[01]", "sound", **other)
    assert (kept.folder / "matrix.nc").is_file()
    assert qexp.matrix("sound_[01]", "sound", **other, force=True).folder == kept.folder


@pytest.mark.heavy
def test_runs_that_differ_by_more_than_their_seeds_have_no_common_statistics(seeds, monkeypatch):
    monkeypatch.chdir(seeds)
    qexp.run("sound", name="other_2", seed=2, overrides={"epochs": 1}, device="cpu")
    shutil.copytree("runs/sound_1", "runs/twin")
    for runs, said in (
        (["sound_0", "other_2"], "these have 2 specs: sound_0; other_2"),
        (["sound_1", "twin"], "have the same seed and spec"),
    ):
        with pytest.raises(QexpError, match=said):
            qexp.matrix(runs, "sound", **ON_SOUND, name="refused")
        assert not list(Path("runs").glob("*/matrices/refused")), (
            "nothing is computed before that is known"
        )


@pytest.mark.heavy
def test_without_axes_the_dataset_s_own_grid_is_used_or_vdi_s(workspace, run, qexp):
    document = json.loads((workspace / "specs/datasets/mogi_test.json").read_text())
    assert document["matrix"]["resolution"] == 128
    qexp("matrix", run.name, "--dataset", "mogi_test").done()
    assert dict(run.matrix("mogi_test").sizes) == {"depth": 128, "delta_volume": 128}
    del document["matrix"]
    (workspace / "specs/datasets/as_in_vdi.json").write_text(json.dumps(document))
    qexp("matrix", run.name, "--dataset", "as_in_vdi").done()
    record = json.loads((run.path / "matrices/as_in_vdi/record.json").read_text())
    assert record["axes"] == {"depth": [0.0, 4.0, 128], "delta_volume": [0.0, 4.0, 128]}
    document["fixed"]["delta_volume"] = 1.0
    del document["varyings"]["delta_volume"], document["distributions"]["delta_volume"]
    (workspace / "specs/datasets/as_in_vdi.json").write_text(json.dumps(document))
    code, _, stderr = qexp("matrix", run.name, "--dataset", "as_in_vdi")
    assert (code, "give axes, for example --axis depth=0:4:128" in stderr) == (2, True)


@pytest.mark.parametrize(
    "ends", [(0, 4), np.linspace(0, 4, 5), (0, 4, 1.5), "0:4:3", (0, 4, "8"), (0, 4, True)]
)
def test_an_axis_that_is_none_is_refused_in_plain_words(run, ends):
    with pytest.raises(
        QexpError, match=r'axes\["depth"\]: give low, high and a whole number of cells'
    ):
        qexp.matrix(run, "mogi_test", axes={"depth": ends})


@pytest.mark.heavy
def test_axes_and_values_that_the_training_data_do_not_have_are_told_and_values_that_replace_its_own_stand_in_the_title(
    run,
):
    said = []
    metres = qexp.matrix(
        run,
        "mogi_test",
        axes={"depth": (500, 4000, 8)},
        fixed={"delta_volume": 1},
        warn=said.append,
    )
    assert "8 of 8 values of the axis depth are outside the training data: " in said.pop()
    assert not said
    assert len(matrix_of(metres.folder).texts) == 1
    moved = {"axes": SMALL, "fixed": {"x": 0.5}, "name": "moved", "warn": said.append}
    table = qexp.matrix(run, "mogi_test", **moved)
    assert said == ["x=0.5 is outside the training data: 0 km"]
    assert " at x 0.5 km" in matrix_of(table.folder).get_suptitle()


@pytest.mark.heavy
def test_a_new_matrix_has_no_picture_of_an_older_one(run, qexp, monkeypatch):
    made = (
        "matrix",
        run.name,
        "--dataset",
        "mogi_test",
        "--axis",
        "depth=0.5:4:4",
        "--fix",
        "delta_volume=1",
    )
    folder = run.path / "matrices/mogi_test"
    folder.mkdir(parents=True, exist_ok=True)
    for ending in ("png", "pdf", "svg"):
        (folder / f"matrix.{ending}").touch()
    monkeypatch.setenv("QEXP_FIGURES", "No")
    assert qexp(*made).code == 2, "'no' is meant"
    assert len(list(folder.iterdir())) == 3
    monkeypatch.setenv("QEXP_FIGURES", "no")
    code, stdout, _ = qexp(*made)
    assert (code, [Path(line).name for line in stdout.splitlines()[-1:]]) == (0, ["matrix.nc"])
    assert not list(folder.glob("matrix.p*")) + list(folder.glob("*.svg"))
    monkeypatch.setenv("QEXP_FIGURES", "yes")
    assert qexp(*made).code == 0, "the same matrix, whose picture is missing"
    assert (folder / "matrix.png").is_file()


@pytest.mark.heavy
@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize(
    "axes", [{"depth": (0.5, 4.0, 6)}, {**SMALL, "x": (-1.0, 1.0, 3)}], ids=["one", "three"]
)
def test_any_number_of_axes(run, axes):
    table = qexp.matrix(
        run, "mogi_test", axes=axes, fixed={} if "delta_volume" in axes else {"delta_volume": 1.0}
    )
    assert dict(table.sizes) == {name: cells for name, (_, _, cells) in axes.items()}
    assert np.isfinite(table["depth_estimate"]).all()
    assert (run.path / "matrices/mogi_test/matrix.png").is_file()


WRONG = [
    ("--axis", "depht=0:4:8", "did you mean 'depth'"),
    ("--axis", "depth=4:0:8", "must rise"),
    ("--axis", "depth=0:4", "variable=low:high:cells"),
    ("--axis", "depth=0:4:0", "at least one cell"),
    ("--axis", "depth=0:nan:4", "must rise"),
    ("--axis", "depth=-1:4:8", "--axis", "delta_volume=0:4:8", "greater than 0 km"),
    ("--axis", "depth=0:4:8", "--fix delta_volume"),
    ("--axis", "depth=0:4:8", "--fix", "delta_volume=zero", "variable=number"),
    ("--axis", "depth=0:4:8", "--fix", "volume=1", "no such variable"),
    ("--axis", "depth=0:4:8", "--axis", "depth=0:4:8", "twice"),
    ("--axis", "depth=0:4:100000", "--axis", "delta_volume=0:4:100000", "too many"),
    ("--repeats", "0", "at least one"),
    ("--device", "abacus", "no such device"),
]


def test_what_cannot_be_drawn_is_refused_with_advice(run, qexp):
    for *arguments, says in WRONG:
        assert says in qexp("matrix", run.name, "--dataset", "mogi_test", *arguments).refused()
    assert not (run.path / "matrices").exists()


def test_unknown_runs_datasets_and_matrices_are_refused_with_near_names_or_how_to_make_them(
    run, qexp
):
    with pytest.raises(NotFoundError, match="has no matrix 'mogi_test'; make it: qexp matrix"):
        run.matrix("mogi_test")
    assert "did you mean 'mogi_quick_1'" in qexp(
        "matrix", "mogi_quikc_1", "--dataset", "mogi_test"
    ).failed(3)
    assert "did you mean 'mogi_test'" in qexp("matrix", run.name, "--dataset", "mogi_tset").failed()


def test_a_dataset_of_another_size_and_a_run_that_is_not_done_are_refused(workspace, run, qexp):
    path = workspace / "specs/datasets/mogi_test.json"
    path.write_text(path.read_text().replace("[64, 64]", "[32, 32]"))
    assert "[32, 32, 1]" in qexp("matrix", run.name, "--dataset", "mogi_test").failed()
    record = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps({**record, "state": "interrupted"}))
    assert "interrupted, not done" in qexp("matrix", run.name, "--dataset", "mogi_test").failed()

"""Weights that other programs trained: networks of their layouts, built independently, estimate the
same here.
"""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import xarray
from safetensors.torch import load_file, save_file

import qexp
from qexp.api.handles import Run
from qexp.foreign.fitting import parse_rules, shipped
from qexp.kinds import networks
from qexp.kinds.tables import BUILT_IN
from tests import cores, domes, stones
from tests.conftest import SOUND, Specs, call, put
from tests.foreign_networks import (
    VDI_64,
    VDI_MODEL,
    Max,
    OneDCNN,
    Vdi,
    cnn_fields,
    cnn_weights,
    unet_fields,
    unet_weights,
    vdi_estimates,
    vdi_image,
    vdi_weights,
    write_h5,
    write_keras,
)

RANDOM = np.random.default_rng(3)

UNIT = {"type": "uniform", "parameters": {"a": 0.0, "b": 1.0}}

IMAGES = RANDOM.normal(size=(5, 8, 8)).astype(np.float32)


@pytest.fixture
def volcano(specs: Specs) -> Path:
    """A workspace with VDI's network for small images, and its weights in best.h5."""
    specs.write("dataset", put(SOUND["dataset"], "size", [8, 8]))
    specs.write("model", VDI_MODEL)
    specs.write("experience", {**SOUND["experience"], "transforms": {}})
    write_h5(Path("best.h5"), vdi_weights(np.random.default_rng(1)))
    return specs.root


@pytest.fixture
def sediment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with MAX's two networks for short spectra."""
    cores.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    for variable in ("QEXP_WORKSPACE", "QEXP_DATA"):
        monkeypatch.delenv(variable, raising=False)
    torch.manual_seed(0)
    return tmp_path


def imported(*arguments: str | Path, to: str = "old") -> Run:
    call("import-weights", *arguments, "--to", to).done()
    return qexp.open_run(to)


def refused(*arguments: str | Path, code: int = 2) -> str:
    """The error of an import, which leaves nothing behind."""
    found, _, stderr = call("import-weights", *arguments, "--to", "old")
    assert found == code, stderr
    assert not Path("runs").exists() or sorted(path.name for path in Path("runs").iterdir()) in (
        [],
        ["catalog.json"],
    )
    return stderr


# The networks


@pytest.mark.heavy
def test_vdi_s_network_estimates_as_a_forward_pass_in_numpy_does(volcano: Path):
    made = imported("best.h5", "--model", "sound").predict(displacement=IMAGES)
    expected = [vdi_estimates(image, vdi_weights(np.random.default_rng(1))) for image in IMAGES]
    for output in ("depth", "delta_volume"):
        np.testing.assert_allclose(
            made[output], [one[output] for one in expected], rtol=1e-4, atol=1e-4
        )


@pytest.mark.heavy
def test_weights_alone_and_an_archive_of_keras_3_give_the_same_network(volcano: Path):
    weights = vdi_weights(np.random.default_rng(1))
    write_h5(Path("alone.h5"), weights, within="")
    write_keras(Path("new.keras"), weights)
    first = load_file(imported("best.h5", "--model", "sound", to="best").directory.best_weights)
    for file in ("alone.h5", "new.keras"):
        found = load_file(
            imported(file, "--model", "sound", to=Path(file).stem).directory.best_weights
        )
        assert found.keys() == first.keys()
        assert all(torch.equal(found[name], first[name]) for name in first)


# VDI's images, whose horizontal part is turned by -90 degrees


@pytest.fixture(scope="module")
def vdi() -> Vdi:
    """A network that learned from VDI's own images."""
    torch.manual_seed(0)
    network, random = Vdi(), np.random.default_rng(0)
    truth = random.uniform(0.5, 4, (128, 2))
    images = np.stack([vdi_image(*row) for row in truth])
    network.learn(torch.from_numpy(images).float(), torch.from_numpy(truth).float(), epochs=25)
    return network


def write_vdi(vdi: Vdi, specs: Specs, **changes: Any) -> None:
    """The workspace of that network, in VDI's form, with changes of its dataset; and best.h5."""
    fixed = {
        "azimuth": 0.0,
        "incidence": 0.33,
        "x_res": 0.1,
        "y_res": 0.1,
        "x": 0.0,
        "y": 0.0,
        "noise": False,
    }
    specs.write("dataset", {**SOUND["dataset"], "size": [64, 64], "fixed": fixed, **changes})
    specs.write("model", VDI_64)
    specs.write("experience", {**SOUND["experience"], "transforms": {}})
    write_h5(Path("best.h5"), vdi.weights())


@pytest.mark.heavy
def test_a_network_of_vdi_gives_vdi_s_own_matrix(vdi: Vdi, specs: Specs):
    write_vdi(vdi, specs)
    code, _, stderr = call("import-weights", "best.h5", "--experience", "sound", "--to", "old")
    assert code == 0
    assert (
        "trained on images at azimuths +90°, as the run's dataset makes:"
        " dataset.fixed.azimuth=1.5707963" in stderr
    )
    axes = ("--axis", "depth=0.5:4.5:6", "--axis", "delta_volume=0.5:4.5:6")
    code, _, stderr = call("matrix", "old", "--dataset", "sound", *axes)
    assert code == 0
    assert (
        "old has weights that were trained on images at azimuths +90°: fixed.azimuth = 1.57"
        in stderr
    )
    table = xarray.load_dataset("runs/old/matrices/sound/matrix.nc", engine="h5netcdf")
    of_cells = [
        (depth, volume)
        for depth in table["depth"].values
        for volume in table["delta_volume"].values
    ]
    with torch.no_grad():
        images = torch.from_numpy(np.stack([vdi_image(*one) for one in of_cells])).float()
        expected = vdi(images).numpy().reshape(6, 6, 2)
    for number, output in enumerate(("depth", "delta_volume")):
        found = table[f"{output}_estimate"].transpose("depth", "delta_volume").values
        assert (
            np.abs(found - expected[..., number]).max()
            < 0.01 * np.abs(expected[..., number]).mean()
        )


@pytest.mark.heavy
def test_an_evaluation_on_a_dataset_shows_such_a_network_the_images_of_its_own(
    vdi: Vdi, specs: Specs
):
    write_vdi(vdi, specs)
    imported("best.h5", "--experience", "sound")
    for name, dataset in (("own", ()), ("named", ("--dataset", "sound"))):
        code, _, stderr = call("evaluate", "old", "--name", name, "--part", "test", *dataset)
        assert code == 0, stderr
        assert ("at azimuths +90°" in stderr) is bool(dataset)
    own, named = (
        json.loads(Path(f"runs/old/evaluations/{name}/record.json").read_text())
        for name in ("own", "named")
    )
    assert own["data"]["fixed"] == named["data"]["fixed"]
    assert own["results"] == named["results"]


@pytest.mark.heavy
def test_a_run_of_vdi_s_weights_that_was_imported_before_says_that_it_sees_other_images(
    vdi: Vdi, specs: Specs
):
    write_vdi(vdi, specs)
    file = imported("best.h5", "--experience", "sound").path / "run.json"
    record = json.loads(file.read_text())
    for key in ("azimuth", "remarks"):
        del record["foreign_weights"][key]
    file.write_text(json.dumps(record))
    axes = ("--axis", "depth=1:2:2", "--axis", "delta_volume=1:2:2")
    code, _, stderr = call("matrix", "old", "--dataset", "sound", *axes)
    assert code == 0
    assert "old was imported by an earlier qexp" in stderr
    assert "import best.h5 again" in stderr


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("changes", "remark"),
    [
        ({"fixed.x": 0.5}, "those of another azimuth only where x is 0; in sound it is not"),
        (
            {"fixed.x": ..., "varyings.x": [], "distributions.x": UNIT},
            "those of another azimuth only where x is 0",
        ),
    ],
)
def test_what_no_azimuth_makes_of_vdi_s_images_is_said(
    vdi: Vdi, specs: Specs, changes: dict[str, Any], remark: str
):
    write_vdi(vdi, specs)
    dataset = json.loads(Path("specs/datasets/sound.json").read_text())
    for path, value in changes.items():
        dataset = put(dataset, path, value)
    specs.write("dataset", dataset)
    code, _, stderr = call("import-weights", "best.h5", "--model", "sound", "--to", "old")
    assert code == 0
    assert remark in stderr
    assert remark in call("show", "old").stdout


@pytest.mark.heavy
def test_azimuths_that_a_network_takes_or_makes_are_vdi_s_and_the_images_stay(
    vdi: Vdi, specs: Specs
):
    write_vdi(vdi, specs)
    specs.write("model", json.loads(json.dumps(VDI_64).replace("delta_volume", "azimuth")))
    losses = {"depth": "mae", "azimuth": "mae"}
    changes = {"transforms": {}, "outputs": ["depth", "azimuth"], "losses": losses, "metrics": {}}
    specs.write("experience", {**SOUND["experience"], **changes})
    code, _, stderr = call("import-weights", "best.h5", "--model", "sound", "--to", "old")
    assert code == 0
    assert "but 'azimuth' is an input or output of it" in stderr
    assert qexp.open_run("old").spec["dataset"]["fixed"]["azimuth"] == 0


@pytest.mark.heavy
def test_an_azimuth_that_cannot_be_moved_is_an_error(vdi: Vdi, specs: Specs):
    write_vdi(vdi, specs, varyings={**SOUND["dataset"]["varyings"], "azimuth": []})
    dataset = json.loads(Path("specs/datasets/sound.json").read_text())
    exponential = {"type": "exponential", "parameters": {"l": 1.0}}
    specs.write("dataset", put(dataset, "distributions.azimuth", exponential))
    assert "'azimuth' must be +1.571 larger for these weights" in refused(
        "best.h5", "--model", "sound"
    )


def write_max(file: str, *, head: bool, within: str = "") -> Max:
    network = Max(head=head)
    state = network.state_dict()
    torch.save({within: state, "epoch": 3} if within else state, file)
    return network.eval()


@pytest.mark.heavy
@pytest.mark.parametrize("within", ["", "model"])
def test_max_s_regressor_estimates_the_same(sediment: Path, within: str):
    scratch = sediment / "specs/experiences/scratch.json"
    scaled = {"spectrum": {"type": "chain", "parameters": {"of": ["log1p"]}}, "toc": "standardize"}
    scratch.write_text(json.dumps({**cores.EXPERIENCES["scratch"], "transforms": scaled}))
    network = write_max("model.ckpt", head=True, within=within)
    torch.save(torch.tensor(2.0), "target_mean.pth")
    torch.save(torch.tensor(3.0), "target_std.pth")
    run = imported(
        "model.ckpt", "--experience", "scratch",
        "--also", "target_mean=target_mean.pth", "--also", "target_std=target_std.pth",
    )  # fmt: skip
    spectra = RANDOM.poisson(20, size=(4, cores.CHANNELS)).astype(np.float32)
    with torch.no_grad():
        expected = 3 * network.regressed(torch.from_numpy(np.log1p(spectra))) + 2
    np.testing.assert_allclose(
        run.predict(spectrum=spectra)["toc"], expected[:, 0], rtol=1e-4, atol=1e-4
    )
    call("predict", "old", "data/few/test", "--output", "estimates.csv").done()
    assert len(Path("estimates.csv").read_text().splitlines()) == 1 + cores.SPECTRA


@pytest.mark.heavy
def test_max_s_autoencoder_reconstructs_the_same_masked_patches(sediment: Path):
    network = write_max("model.ckpt", head=False)
    run = imported("model.ckpt", "--experience", "masked", "--set", "transforms={}")
    spectra = RANDOM.normal(size=(3, cores.CHANNELS)).astype(np.float32)
    numbers = RANDOM.random((3, cores.CHANNELS // cores.PATCH_SIZE)).astype(np.float32)
    seen = torch.from_numpy(np.sort(np.argsort(numbers, axis=1)[:, :4], axis=1))
    with torch.no_grad():
        expected = network.reconstructed(torch.from_numpy(spectra), seen).numpy()
    made = run.predict(spectrum=spectra, mask=numbers)["spectrum"].reshape(expected.shape)
    for index, of_one in enumerate(seen.tolist()):
        masked = [patch for patch in range(expected.shape[1]) if patch not in of_one]
        np.testing.assert_allclose(
            made[index, masked], expected[index, masked], rtol=1e-3, atol=1e-4
        )


def write_stones(root: Path) -> None:
    """The stones with DL-IM's network."""
    (root / "specs/experiences").mkdir(parents=True)
    for folder in ("datasets", "models"):
        (root / "specs" / folder).mkdir()
    stones.write(root)
    document = put(stones.MODEL, "operations.network", {"module": "one_d_cnn"})
    (root / "specs/models/stones.json").write_text(json.dumps(document))


@pytest.mark.heavy
def test_dl_im_s_network_and_its_scalers_estimate_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_stones(tmp_path)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    network = OneDCNN()
    network(torch.randn(64, 3))  # running means and variances of its own
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.randn(8, 3)).sum().backward()
    optimizer.step()
    state = {
        "epoch": 7,
        "state_dict": network.state_dict(),
        "best_rmse": 0.3,
        "optimizer": optimizer.state_dict(),
    }
    torch.save(state, "model_best.pth")
    run = imported("model_best.pth", "--model", "stones")

    rows = np.array([row[1:] for row in stones.table()], dtype=np.float64)
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)  # of the population, as scikit-learn's
    scaled = torch.from_numpy((rows - mean) / deviation).float()[:, :-1]
    with torch.no_grad():
        expected = network.eval()(scaled)[:, 0].numpy() * deviation[-1] + mean[-1]
    np.testing.assert_allclose(run.predict(colour=rows[:, :-1])["iron"], expected, rtol=1e-4)
    call("predict", "old", "data/stones.csv", "--output", "estimates.csv").done()
    lines = Path("estimates.csv").read_text().splitlines()
    (column,) = (at for at, name in enumerate(lines[0].split(",")) if name.split()[0] == "iron")
    np.testing.assert_allclose(
        [float(line.split(",")[column]) for line in lines[1:]], expected, rtol=1e-4
    )


DLE_NETWORKS = {
    "dle_cnn": ({"layers": 2, "filters": 6}, cnn_weights, cnn_fields),
    "dle_unet": (
        {"blocks": 2, "filters": 4, "upsampling": "convolved", "slope": 0.3},
        unet_weights,
        unet_fields,
    ),
}


@pytest.mark.heavy
@pytest.mark.parametrize("module", DLE_NETWORKS)
def test_dle_s_networks_estimate_as_forward_passes_in_numpy_do(specs: Specs, module: str):
    parameters, weights_of, forward = DLE_NETWORKS[module]
    domes.write_folders(Path("data/domes"), train=2)
    specs.write("dataset", domes.DATASET, "domes")
    operation = {"module": module, "parameters": {"outputs": 2, **parameters}}
    specs.write("model", put(domes.MODEL, "operations.network", operation), "domes")
    specs.write("experience", domes.EXPERIENCE, "domes")
    weights = weights_of(np.random.default_rng(6))
    write_h5(Path("model.h5"), weights)
    run = imported("model.h5", "--model", "domes")
    fields = RANDOM.normal(size=(2, 16, 16, 3)).astype(np.float32)
    scales = run.spec["dataset"]["inputs"], run.spec["dataset"]["outputs"]
    made = run.predict(
        **{name: fields[..., index] * scales[0][name] for index, name in enumerate(domes.FIELDS)}
    )
    expected = np.stack([forward(frame, weights) for frame in fields])
    for index, name in enumerate(("ubar", "vbar")):
        found = np.squeeze(made[name]) / scales[1][name]
        np.testing.assert_allclose(found, expected[..., index], rtol=1e-3, atol=1e-3)
    call("predict", "old", "data/domes/test/d0", "--output", "speeds.nc").done()


# The run


def test_such_a_run_is_done_and_says_what_it_is(volcano: Path):
    run = imported("best.h5", "--model", "sound", "--tag", "published", "--note", "from VDI")
    stdout = call("show", "old").done()
    lines = {
        line.split()[0]: line for line in stdout.splitlines() if line and not line.startswith(" ")
    }
    assert lines["kind"].split() == ["kind", "imported"]
    assert "best.h5 (keras_h5, sha256 " in lines["weights"]
    assert lines["rules"].endswith("vdi; left out: 1, state of the optimizer")
    record = run.record
    described = (record["state"], record["kind"], record["results"], record["tags"])
    assert described == ("done", "imported", {}, ["published"])
    hashed = hashlib.sha256(Path("best.h5").read_bytes()).hexdigest()
    assert record["foreign_weights"]["file"]["sha256"] == hashed
    account = json.loads((run.path / "weights.json").read_text())
    assert len(account["taken"]) == record["foreign_weights"]["taken"] == 20
    assert set(account["left_out"]) == {"optimizer_weights/Adam/iteration:0"}


@pytest.mark.heavy
def test_it_makes_matrices_and_passes_an_archive_and_the_doctor_who_finds_changed_weights(
    volcano: Path,
):
    run = imported("best.h5", "--model", "sound")
    assert run.path.is_dir()
    code, _, stderr = call("matrix", "old", "--dataset", "sound", "--axis", "depth=0.5:2:4",
                           "--axis", "delta_volume=0.5:2:4")  # fmt: skip
    assert code == 0, stderr
    assert call("export", "old", "--to", "old.zip").code == 0
    assert call("import", "old.zip", "--name", "again").code == 0
    assert call("reindex").code == 0
    code, stdout, _ = call("ls", "--json", "--where", "kind == 'imported'")
    assert [(one["name"], one["state"]) for one in json.loads(stdout)] == [
        ("again", "done"),
        ("old", "done"),
    ]
    assert call("compare", "old", "again").code == 0
    call("doctor").done()
    assert qexp.open_run("again").predict(displacement=IMAGES)["depth"].shape == (5,)
    weights = load_file(run.directory.best_weights)
    save_file(
        {name: tensor + 1 for name, tensor in weights.items()},
        run.directory.best_weights,
        {"qexp": "{}"},
    )
    code, stdout, stderr = call("doctor")
    assert code == 5
    assert "they were changed" in stdout + stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["verify", "old"], "which another program trained"),
        (["figures", "old"], "was not evaluated"),
        (["run", "sound", "--name", "old"], "with weights from elsewhere exists already"),
        (
            ["run", "sound", "--name", "old", "--resume"],
            "with weights from elsewhere exists already",
        ),
        (
            ["import-weights", "best.h5", "--model", "sound", "--to", "old"],
            "exists already; choose another name",
        ),
    ],
)
def test_what_cannot_be_done_with_it_is_said(volcano: Path, command: list[str], said: str):
    run = imported("best.h5", "--model", "sound")
    before = run.directory.best_weights.read_bytes()
    assert said in call(*command).failed()
    assert run.directory.best_weights.read_bytes() == before


@pytest.mark.heavy
def test_a_run_can_start_from_it_and_says_that_it_was_trained_on_unknown_spectra(sediment: Path):
    write_max("model.ckpt", head=False)
    imported("model.ckpt", "--experience", "masked")
    tuned = {
        **cores.EXPERIENCES["scratch"],
        "pretrain": {"run": "old", "operations": ["encoder"]},
        "epochs": 1,
    }
    (sediment / "specs/experiences/tuned.json").write_text(json.dumps(tuned))
    call("run", "tuned", "--device", "cpu").done()
    run = qexp.open_run("tuned_0")
    taken = load_file(run.path / "checkpoints/pretrained.safetensors")
    there = load_file(qexp.open_run("old").directory.best_weights)
    assert all(torch.equal(taken[name], there[name]) for name in there)
    assert "unknown spectra" in run.record["caution"]
    call("run", "scratch", "--pretrain", "tuned_0", "--set", "epochs=1", "--name", "third").done()
    assert "unknown spectra" in qexp.open_run("third").record["caution"]
    call("doctor").done()


@pytest.mark.heavy
def test_other_weights_give_runs_of_other_digests(volcano: Path):
    first = imported("best.h5", "--model", "sound").record["digest"]
    assert imported("best.h5", "--model", "sound", to="same").record["digest"] == first
    write_h5(Path("best.h5"), vdi_weights(np.random.default_rng(2)))
    assert imported("best.h5", "--model", "sound", to="other").record["digest"] != first


@pytest.mark.heavy
def test_fitted_transforms_see_the_training_part_alone(volcano: Path):
    document = put(SOUND["experience"], "transforms", {"displacement": "standardize"})
    Path("specs/experiences/sound.json").write_text(json.dumps(document))
    run = imported("best.h5", "--model", "sound", "--seed", "4")
    fitted = "fitted to the training data of sound, seed 4"
    assert run.record["foreign_weights"]["transforms"] == {"displacement": fitted}
    call(
        "run", "sound", "--seed", "4", "--set", "epochs=1", "--name", "trained", "--device", "cpu"
    ).done()
    name = "transforms.displacement.mean"
    trained = load_file(qexp.open_run("trained").directory.best_weights)[name]
    assert torch.equal(load_file(run.directory.best_weights)[name], trained)


# What does not fit


def changed(changes: Mapping[str, np.ndarray | None]) -> None:
    """Write best.h5 with some weights replaced, added or, with None, left out."""
    weights = vdi_weights(np.random.default_rng(1))
    for name, array in changes.items():
        group = next((one for one in weights if name in weights[one]), "more")
        weights.setdefault(group, {})
        if array is None:
            del weights[group][name]
        else:
            weights[group][name] = array
    write_h5(Path("best.h5"), weights)


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        (
            "more_dense_0/kernel",
            np.zeros((3, 4), np.float32),
            "left over: more_dense_0/kernel [3, 4]",
        ),
        (
            "gate/kernel",
            np.zeros((3, 4), np.float32),
            "left over: gate/kernel [3, 4], which no weight",
        ),
        ("to_depth_dense_1/kernel", None, "missing: network.operations.to_depth.3.weight [1, 5]"),
        (
            "to_depth_dense_1/kernel",
            np.zeros((5, 2), np.float32),
            "as [2, 5], but network.operations.to_depth.3",
        ),
        (
            "to_depth_dense_0/kernel",
            np.zeros((23, 5), np.float32),
            "to_depth_dense_0/kernel [23, 5] cannot be",
        ),
        (
            "to_depth_dense_1/kernel",
            np.zeros(5, np.float32),
            "to_depth_dense_1/kernel [5] cannot be rearranged",
        ),
        ("block_1_shortcut/bias", np.full(3, np.nan, np.float32), "values that are not finite"),
    ],
)
def test_what_does_not_fit_is_listed_and_nothing_is_written(
    volcano: Path, name: str, array: np.ndarray | None, said: str
):
    changed({name: array})
    assert said in refused("best.h5", "--model", "sound")


def test_all_misfits_are_listed_together(volcano: Path):
    changed(
        {
            "gate/kernel": np.zeros(2),
            "to_depth_dense_1/kernel": None,
            "block_1_shortcut/bias": np.zeros(4),
        }
    )
    said = refused("best.h5", "--model", "sound")
    assert all(
        word in said for word in ("gate/kernel", "to_depth.3.weight", "block_1.shortcut.bias")
    )


@pytest.mark.heavy
def test_positions_other_than_ours_and_a_network_of_another_program_are_errors_that_say_what_differs(
    sediment: Path,
):
    network = Max(head=True)
    with torch.no_grad():
        network.pos_embed[0, 3] += 0.1
    torch.save(network.state_dict(), "model.ckpt")
    assert "pos_embed differs from 'positions'" in refused("model.ckpt", "--experience", "scratch")
    torch.save(OneDCNN().state_dict(), "model.pth")
    said = refused("model.pth", "--experience", "scratch")
    assert "by the rules 'dl_im'" in said
    assert "the model has no single operation with the module 'one_d_cnn'" in said
    torch.save({"something": torch.ones(2)}, "model.pth")
    assert "rules that qexp has: dl_im, dle, max, vdi" in refused(
        "model.pth", "--experience", "scratch"
    )


@pytest.mark.heavy
def test_half_of_a_scaler_is_an_error(sediment: Path):
    write_max("model.ckpt", head=True)
    np.save("mean.npy", np.float64(2))
    said = refused("model.ckpt", "--experience", "scratch", "--also", "target_mean=mean.npy")
    assert "missing: transforms.toc.deviation" in said
    np.save("mean.npy", np.ones(3))
    said = refused("model.ckpt", "--experience", "scratch", "--also", "target_mean=mean.npy", "--also",
                   "target_std=mean.npy")  # fmt: skip
    assert "has 3 values, but 'toc' has 1" in said


def test_a_hostile_file_leaves_nothing_behind(volcano: Path):
    torch.save({"fc": Marking()}, "model.pth")
    assert "other than tensors" in refused("model.pth", "--model", "sound")
    assert not Path("executed").exists()


class Marking:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch executed",)


# Rules of one's own


@pytest.mark.heavy
def test_rules_of_one_s_own_rename_tensors(volcano: Path):
    weights = vdi_weights(np.random.default_rng(1))
    renamed = {
        name.replace("_", "-"): array for group in weights.values() for name, array in group.items()
    }
    save_file(
        {name: torch.from_numpy(array) for name, array in renamed.items()}, "renamed.safetensors"
    )
    assert "no rules are known" in refused("renamed.safetensors", "--model", "sound")
    document = shipped()["vdi"].document
    tensors = [{**one, "from": one["from"].replace("(?P<operation>.+)_", "(?P<operation>.+?)-").replace("_", "-")}
               for one in document["tensors"]]  # fmt: skip
    Path("mine.json").write_text(json.dumps({"description": "Mine.", "tensors": tensors}))
    said = refused("renamed.safetensors", "--model", "sound", "--map", "mine.json")
    assert "the model has no operation 'block-1' with the module 'resnet_block'" in said
    named = json.dumps({"description": "Mine.", "tensors": tensors}).replace(
        "(?P<operation>.+?)-", "(?P<of>.+)-"
    )
    assert "(?P<of>" in named
    model = json.loads(json.dumps(VDI_MODEL).replace("block_", "block-").replace("to_", "to-"))
    Path("specs/models/sound.json").write_text(json.dumps(model))
    run = imported("renamed.safetensors", "--model", "sound", "--map", "mine.json")
    assert run.record["foreign_weights"]["rules"] == "mine"


@pytest.mark.heavy
def test_a_variable_of_a_named_source_has_the_scaler_of_the_file_and_hands_it_on(specs: Specs):
    dotted = {"depth": "chamber.depth", "delta_volume": "chamber.delta_volume"}
    dataset = {**SOUND["dataset"], "size": [4, 4], "sources": [{"type": "mogi", "name": "chamber"}]}
    del dataset["generation_type"], dataset["matrix"]
    dataset["fixed"] = {
        {"x": "chamber.x", "y": "chamber.y"}.get(name, name): of
        for name, of in dataset["fixed"].items()
    }
    dataset |= {
        key: {dotted[name]: of for name, of in dataset[key].items()}
        for key in ("varyings", "distributions")
    }
    specs.write("dataset", dataset)
    model = {"inputs": {"displacement": {"size": [4, 4, 1]}}, "outputs": ["chamber.depth"]}
    model |= {"operations": {"dense": {"module": "denses", "parameters": {"filters": [1]}}}}
    branch = {"x_name": "displacement", "y_name": "chamber.depth", "operations": ["dense"]}
    specs.write("model", {**model, "branches": [branch]})
    depth = {
        "transforms": {"chamber.depth": "standardize"},
        "losses": {"chamber.depth": "mae"},
        "metrics": {},
    }
    specs.write("experience", {**SOUND["experience"], "outputs": ["chamber.depth"], **depth})
    weight = RANDOM.normal(size=(1, 16)).astype(np.float32)
    numbers = {"weight": weight, "middle": np.float32([2.5]), "width": np.float32([0.5])}
    save_file(
        {name: torch.from_numpy(array) for name, array in numbers.items()}, "theirs.safetensors"
    )
    scaler = [
        {"from": "middle", "variable": "chamber.depth", "to": "mean"},
        {"from": "width", "variable": "chamber.depth", "to": "deviation"},
    ]
    rules = [{"from": "weight", "module": "denses", "to": "{last}.weight"}, *scaler]
    Path("mine.json").write_text(json.dumps({"description": "Mine.", "tensors": rules}))
    save_file(
        {name: torch.from_numpy(numbers[name]) for name in ("weight", "middle")}, "half.safetensors"
    )
    assert "although other numbers" in refused(
        "half.safetensors", "--model", "sound", "--map", "mine.json"
    )
    run = imported("theirs.safetensors", "--model", "sound", "--map", "mine.json")
    images = RANDOM.normal(size=(5, 4, 4)).astype(np.float32)
    expected = 2.5 + 0.5 * images.reshape(5, 16) @ weight[0]
    np.testing.assert_allclose(
        run.predict(displacement=images)["chamber.depth"], expected, rtol=1e-5
    )
    assert run.record["foreign_weights"]["transforms"] == {"chamber.depth": "from the files"}
    said = call(
        "run", "sound", "--pretrain", "old", "--seed", "4", "--name", "grown", "--device", "cpu"
    )
    assert said.code == 0, said.stderr
    grown = load_file(qexp.open_run("grown").directory.best_weights)
    assert grown["transforms.chamber:depth.mean"].item() == 2.5


@pytest.mark.heavy
def test_normalisations_must_add_the_same_number_to_variances_as_there(volcano: Path):
    names = {
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }
    tensors = [
        {"from": f"(?P<operation>norm)/{there}", "to": here} for there, here in names.items()
    ]
    heads = {"from": "(?P<operation>to_.+)/kernel", "to": "1.weight",
             "steps": [{"permute": [1, 0]}, {"flattened": "channels_last"}]}  # fmt: skip
    Path("mine.json").write_text(json.dumps({"description": "Mine.", "tensors": [*tensors, heads]}))
    values = {
        f"norm/{name}": np.array([0.5 + index], np.float32) for index, name in enumerate(names)
    }
    weights = {"norm": values} | {
        head: {f"{head}/kernel": RANDOM.normal(size=(64, 1)).astype(np.float32)}
        for head in ("to_depth", "to_volume")
    }
    write_h5(Path("best.h5"), weights)
    with h5py.File("best.h5", "a") as content:
        del content["optimizer_weights"]
        layer = {"class_name": "BatchNormalization", "config": {"name": "norm", "epsilon": 0.001}}
        content.attrs["model_config"] = json.dumps(
            {"class_name": "Functional", "config": {"layers": [layer]}}
        )
    operations = {
        "norm": {"module": "batch_norm"},
        "to_depth": {"module": "denses", "parameters": {"filters": [1]}},
        "to_volume": {"module": "denses", "parameters": {"filters": [1]}},
    }
    first = {"x_name": "displacement", "y_name": "seen", "operations": ["norm"]}
    model = put(put(VDI_MODEL, "operations", operations), "branches.0", first)
    Path("specs/models/sound.json").write_text(json.dumps(model))
    said = refused("best.h5", "--model", "sound", "--map", "mine.json")
    assert (
        "norm/gamma: adds epsilon 0.001 to variances, but network.operations.norm.weight adds 1e-05"
        in said
    )
    Path("specs/models/sound.json").write_text(
        json.dumps(put(model, "operations.norm.parameters", {"epsilon": 0.001}))
    )
    run = imported("best.h5", "--model", "sound", "--map", "mine.json")
    gamma, beta, mean, variance = (array[0] for array in values.values())
    seen = gamma * (IMAGES - mean) / np.sqrt(variance + 0.001) + beta
    expected = seen.reshape(len(IMAGES), -1) @ weights["to_depth"]["to_depth/kernel"][:, 0]
    np.testing.assert_allclose(
        run.predict(displacement=IMAGES)["depth"], expected, rtol=1e-4, atol=1e-4
    )


def test_the_rules_in_the_documents_are_rules():
    text = (Path(__file__).parents[2] / "docs/how-to/weights-from-elsewhere.md").read_text(
        encoding="utf-8"
    )
    block = r'^```json\n(\{"description": "A network of ours".*?)^```$'
    (document,) = re.findall(block, text, re.MULTILINE | re.DOTALL)
    assert (
        len(parse_rules(json.loads(document), "documents", "weights-from-elsewhere.md").tensors)
        == 2
    )


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{", "is not valid JSON"),
        ([], "at $: [] is not of type 'object'"),
        ({"tensors": []}, "'description' is a required property"),
        ({"description": "", "tensors": [{"from": "("}]}, "at $.tensors[0]"),
        ({"description": "", "tensors": [{"from": "(", "to": "x"}]}, "is not a regular expression"),
        (
            {"description": "", "tensors": [{"from": "x", "to": "{layer}"}]},
            "'{layer}' is not a group of 'from'",
        ),
        (
            {"description": "", "tensors": [{"from": "x", "to": "x", "steps": [{"turn": 1}]}]},
            "$.tensors[0].steps[0]",
        ),
    ],
)
def test_wrong_rules_are_errors_that_say_where(volcano: Path, document: Any, said: str):
    Path("mine.json").write_text(document if isinstance(document, str) else json.dumps(document))
    assert said in refused("best.h5", "--model", "sound", "--map", "mine.json")


@pytest.mark.slow
def test_names_of_rules_models_and_experiences_that_do_not_exist_are_errors(volcano: Path):
    assert "did you mean 'vdi'?" in refused("best.h5", "--model", "sound", "--map", "vdl", code=3)
    assert "no such file" in refused("best.h5", "--model", "sound", "--map", "gone.json", code=3)
    assert "no such file" in refused("gone.h5", "--model", "sound", code=3)
    assert "no model 'soun'; did you mean 'sound'?" in refused("best.h5", "--model", "soun")
    assert "did you mean 'sound'?" in refused("best.h5", "--experience", "soun")
    assert "give --experience" in refused("best.h5")
    assert "a seed is a whole number from 0 on" in refused(
        "best.h5", "--model", "sound", "--seed", "-1"
    )
    Path("specs/experiences/program.json").write_text('{"type": "command", "command": ["true"]}')
    assert "runs a program and has no network" in refused("best.h5", "--experience", "program")
    assert "write NAME=FILE" in refused("best.h5", "--model", "sound", "--also", "mean")


@pytest.mark.heavy
def test_a_model_with_several_experiences_needs_one_unless_they_are_alike(volcano: Path):
    alike = {**SOUND["experience"], "transforms": {}, "epochs": 7}
    Path("specs/experiences/alike.json").write_text(json.dumps(alike))
    assert imported("best.h5", "--model", "sound", to="first").record["experience"] == "alike"
    Path("specs/experiences/other.json").write_text(json.dumps(SOUND["experience"]))
    stderr = call("import-weights", "best.h5", "--model", "sound", "--to", "second").failed()
    assert "alike, other, sound; choose with --experience" in stderr
    assert imported("best.h5", "--experience", "other", to="second").record["experience"] == "other"


@pytest.mark.heavy
def test_a_model_without_an_experience_gets_the_dataset_that_fits_and_no_transforms(volcano: Path):
    Path("specs/experiences/sound.json").unlink()
    specs = Specs(volcano, {"model": VDI_MODEL}, "alone")
    run = imported("best.h5", "--model", "alone", to="first")
    assert (run.record["dataset"], run.spec["transforms"]) == ("sound", {})
    expected = vdi_estimates(IMAGES[0], vdi_weights(np.random.default_rng(1)))
    assert run.predict(displacement=IMAGES[0])["depth"] == pytest.approx(
        expected["depth"], rel=1e-4
    )
    assert call("matrix", "first", "--dataset", "sound", "--axis", "depth=1:2:2", "--axis",
                "delta_volume=1:2:2").code == 0  # fmt: skip
    specs.write("dataset", put(SOUND["dataset"], "size", [8, 8]), "another")
    stderr = call("import-weights", "best.h5", "--model", "alone", "--to", "second").failed()
    assert (
        "these datasets have its inputs and outputs: another, sound; name a dataset with --dataset"
        in stderr
    )
    assert (
        imported("best.h5", "--model", "alone", "--dataset", "another", to="second").record[
            "dataset"
        ]
        == "another"
    )
    specs.write("dataset", SOUND["dataset"], "larger")
    stderr = call(
        "import-weights", "best.h5", "--model", "alone", "--dataset", "larger", "--to", "third"
    ).failed()
    assert "the model 'alone' with the dataset 'larger' at $.inputs[0]" in stderr


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["stones", "domes", "few", "many"])
def test_a_model_alone_fits_datasets_of_all_kinds(specs: Specs, kind: str):
    """Weights in the names of qexp itself, by rules of one line."""
    cores.write(Path())
    stones.write(Path())
    domes.write_folders(Path("data/domes"), train=1)
    specs.write("dataset", domes.DATASET, "domes")
    model = {"stones": stones.MODEL, "domes": domes.MODEL, "few": cores.MODELS["regressor"]}.get(
        kind
    )
    specs.write("model", with_empty_branch(model or cores.MODELS["masked"]), "alone")
    rule = {"from": "(?P<operation>[^.]+)\\.(?P<name>.+)", "to": "{name}"}
    Path("own.json").write_text(json.dumps({"description": "qexp's own names", "tensors": [rule]}))
    network = network_of(json.loads(Path("specs/models/alone.json").read_text()))
    save_file(network, "own.safetensors")
    run = imported("own.safetensors", "--model", "alone", "--map", "own.json", "--dataset", kind)
    assert run.record["dataset"] == kind
    found = load_file(run.directory.best_weights)
    assert all(
        torch.equal(found[f"network.operations.{name}"], tensor) for name, tensor in network.items()
    )


def with_empty_branch(model: dict[str, Any]) -> dict[str, Any]:
    """The model, whose outputs come from a last branch without operations, as in DL-IM's models of
    eight bands.
    """
    *before, last = model["branches"]
    passed_on = {"x_name": "passed_on", "y_name": last["y_name"], "operations": []}
    return {**model, "branches": [*before, {**last, "y_name": "passed_on"}, passed_on]}


def network_of(model: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Random weights of a model, `operation.weight` → tensor."""
    network = networks.network_of(model, model["inputs"], model["outputs"], BUILT_IN)
    return {name: torch.rand(one.shape) for name, one in network.operations.state_dict().items()}


@pytest.mark.heavy
def test_a_killed_import_leaves_no_run(volcano: Path, monkeypatch: pytest.MonkeyPatch):
    """Killed at the moment at which the weights are written."""
    program = (
        "import os, signal\n"
        "from qexp.networks import checkpoint\n"
        "write = checkpoint.write\n"
        "def killed(*given):\n"
        "    write(*given)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "checkpoint.write = killed\n"
        "import qexp\n"
        "qexp.import_weights('best.h5', 'old', model='sound')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, cwd=volcano)
    assert done.returncode == -signal.SIGKILL
    code, stdout, _ = call("ls", "--json")
    assert (code, json.loads(stdout)) == (0, [])
    assert imported("best.h5", "--model", "sound").state == "done"

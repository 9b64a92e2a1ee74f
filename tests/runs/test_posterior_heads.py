"""A run whose model ends in a posterior head: from its spec to predictions with intervals."""

import json
import warnings
from pathlib import Path

import numpy as np
import pandas
import pytest
import scipy.stats
import xarray

import qexp as package
from qexp.base.outputs import QUANTILES
from qexp.errors import QexpError
from qexp.networks.heads import HEADS
from tests.conftest import SOUND, Specs, call, copied, put, shared_folder, without_unit

MODEL = {
    **SOUND["model"],
    "operations": {
        "block": {"module": "conv", "parameters": {"filters": [4]}},
        "dense": {"module": "denses", "parameters": {"filters": [8], "bias": True}},
        "posterior": {"module": "gaussian_posterior"},
    },
    "branches": [
        {
            "x_name": "displacement",
            "y_name": ["depth", "delta_volume"],
            "operations": ["block", "dense", "posterior"],
        }
    ],
}
EXPERIENCE = {
    **SOUND["experience"],
    "losses": "negative_log_likelihood",
    "transforms": {"displacement": {"type": "asinh", "parameters": {"scale": 0.01}}},
}
DATASET = put(
    put(SOUND["dataset"], "fixed.noise", 0.01), "varyings", {"depth": [], "delta_volume": []}
)
DOCUMENTS = {"dataset": DATASET, "model": MODEL, "experience": EXPERIENCE}


@shared_folder
def with_posterior(root: Path) -> None:
    """A workspace in which sound_0, which has a posterior head, is done; for reading only."""
    Specs(root, DOCUMENTS)
    assert call("run", "sound", "--seed", "0", "--workspace", root).code == 0


@pytest.fixture
def here(with_posterior, tmp_path, monkeypatch):
    return copied(with_posterior, tmp_path, monkeypatch)


def test_the_loss_is_of_all_outputs_estimates_are_medians_and_priors_score_outputs_and_bound_posteriors(
    here,
):
    run = package.open_run("sound_0")
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    assert list(json.loads(lines[0])["train"]["losses"]) == ["posterior"]
    assert set(run.results["test"]) == {"depth", "delta_volume"}
    found = xarray.load_dataset(run.path / "results/test_predictions.nc", engine="h5netcdf")
    assert found["quantile"].values.tolist() == list(QUANTILES)
    for name in ("depth", "delta_volume"):
        quantiles = found[f"{name}_quantile"]
        assert (quantiles.diff("quantile") > 0).all()
        np.testing.assert_allclose(
            quantiles.sel(quantile=0.5), found[f"{name}_estimate"], rtol=1e-6
        )
        assert quantiles.attrs["units"] == found[name].attrs["units"]

    spec = json.loads((here / "runs/sound_0/spec.json").read_text())
    for name in ("depth", "delta_volume"):
        expected = {"distribution": spec["dataset"]["distributions"][name]}
        assert spec["transforms"][name] == {"type": "normal_score", "parameters": expected}
    drawn = run.posterior(displacement=np.zeros((3, 16, 16)), draws=2000)
    assert 0.5 <= drawn["delta_volume"].min() <= drawn["delta_volume"].max() <= 3
    assert drawn["depth"].min() > 0


def test_draws_are_what_arviz_takes_and_have_the_quantiles_and_estimates_of_the_run(here):
    run = package.open_run("sound_0")
    images = np.random.default_rng(1).normal(0, 0.02, (5, 16, 16)).astype(np.float32)
    drawn = run.posterior(displacement=images, draws=20_000, seed=3)
    assert drawn["depth"].dims == ("chain", "draw", "sample")
    assert drawn["depth"].attrs["units"] == "km"
    assert drawn.identical(run.posterior(displacement=images, draws=20_000, seed=3))
    for name, estimates in run.predict(displacement=images).items():
        below = (drawn[name] < xarray.DataArray(estimates, dims="sample")).mean(("chain", "draw"))
        np.testing.assert_allclose(below, 0.5, atol=0.015)
    assert run.posterior(displacement=images[0], draws=7)["depth"].shape == (1, 7)
    with pytest.raises(QexpError, match="0 draws: at least one"):
        run.posterior(displacement=images, draws=0)


@pytest.mark.heavy
@pytest.mark.parametrize("ending", ["nc", "csv", "parquet"])
def test_predictions_of_files_have_the_ends_of_the_interval(here, ending):
    np.save("images.npy", np.random.default_rng(1).normal(0, 0.02, (5, 16, 16)).astype(np.float32))
    assert call("predict", "sound_0", "images.npy", "--output", f"made.{ending}").code == 0
    drawn = package.open_run("sound_0").posterior(displacement=np.load("images.npy"), draws=20_000)
    read = {"csv": pandas.read_csv, "parquet": pandas.read_parquet, "nc": xarray.load_dataset}[
        ending
    ]
    found = read(f"made.{ending}")
    found = found.rename(columns=without_unit) if ending == "csv" else found
    for name in ("depth", "delta_volume"):
        below = [
            (drawn[name].values[0] < found[f"{name}_{end}"].values).mean(0)
            for end in ("low", "high")
        ]
        np.testing.assert_allclose(below, [[0.05] * 5, [0.95] * 5], atol=0.015)
    ranks = [
        scipy.stats.spearmanr(*(drawn[name].values[0, :, image] for name in drawn))[0]
        for image in range(5)
    ]
    np.testing.assert_allclose(found["depth_delta_volume_correlation"], ranks, atol=0.1)


@pytest.mark.heavy
def test_files_of_draws_are_those_of_the_posterior_in_whatever_chunks_images_are_read(here):
    import arviz

    np.save(
        "images.npy", np.random.default_rng(1).normal(0, 0.02, (300, 16, 16)).astype(np.float32)
    )
    asked = ["predict", "sound_0", "images.npy", "--draws", "500", "--interval", "0.5"]
    for name, chunk in (("one", "300"), ("other", "1")):
        said = call(*asked, "--output", f"{name}.nc", "--chunk", chunk)
        assert said.code == 0
        assert said.stdout.split() == [f"{name}.nc", f"{name}_posterior.nc"]
    one, other = (arviz.from_netcdf(f"{name}_posterior.nc").posterior for name in ("one", "other"))
    assert one.identical(other)
    assert one.sizes == {"chain": 1, "draw": 500, "sample": 300}
    estimates = xarray.load_dataset("one.nc", engine="h5netcdf")
    assert one["sample"].values.tolist() == estimates["name"].values.tolist()
    for name in ("depth", "delta_volume"):
        below = (one[name].values[0] < estimates[f"{name}_low"].values).mean(axis=0)
        assert below.mean() == pytest.approx(0.25, abs=0.01)
    before = Path("one_posterior.nc").stat().st_mtime_ns
    assert "exists already" in call(*asked, "--output", "one.nc").stderr
    assert Path("one_posterior.nc").stat().st_mtime_ns == before
    Path("one_posterior.nc").unlink()
    assert call(*asked, "--output", "one.nc").code == 0
    assert arviz.from_netcdf("one_posterior.nc").posterior.identical(other)
    again = call(*asked[:-2], "--output", "one.nc")
    assert (again.code, "see --interval" in again.stderr) == (2, True)
    for words in ((), ("--draws", "8")):
        assert (
            "see --draws"
            in call(*asked[:3], *words, "--interval", "0.5", "--output", "one.nc").failed()
        )


def test_impossible_intervals_and_draws_are_refused_and_nothing_is_written(here):
    np.save("images.npy", np.zeros((2, 16, 16), np.float32))
    words = ("predict", "sound_0", "images.npy", "--output", "made.nc")
    for option, value, why in (
        ("--interval", "90", "between 0"),
        ("--interval", "0", "between 0"),
        ("--draws", "0", "at least one"),
    ):
        assert why in call(*words, option, value).failed()
    assert not list(here.glob("made*"))


@pytest.mark.heavy
@pytest.mark.usefixtures("drawn")
def test_figures_matrices_verification_and_export_go_on_working(here):
    assert call("figures", "sound_0").code == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        assert call("matrix", "sound_0", "--dataset", "sound").code == 0
    record = json.loads((here / "runs/sound_0/matrices/sound/record.json").read_text())
    assert record["held_out"] == {"depth": [], "delta_volume": []}
    assert call("verify", "sound_0").code == 0
    assert call("export", "sound_0", "--format", "onnx", "--to", "out").code == 0
    assert call("limit", "sound_0").code == 0


@pytest.mark.heavy
@pytest.mark.parametrize("name", HEADS)
def test_every_head_resumes_with_the_same_bits(here, name):
    specs = Specs(
        here, {**DOCUMENTS, "model": put(MODEL, "operations.posterior.module", name)}, "again"
    )
    specs.write("experience", {**EXPERIENCE, "model": "again", "dataset": "again", "epochs": 4})
    assert call("run", "again", "--seed", "1").code == 0
    whole = (here / "runs/again_1/checkpoints/best.safetensors").read_bytes()
    assert call("run", "again", "--seed", "1", "--name", "other", "--set", "epochs=4").code == 0
    assert (here / "runs/other/checkpoints/best.safetensors").read_bytes() == whole
    assert np.isfinite(package.open_run("again_1").results["test"]["depth"]["mae"])


@pytest.mark.heavy
@pytest.mark.parametrize("name", HEADS)
def test_a_network_that_leaves_makes_the_medians(here, name):
    import onnxruntime

    specs = Specs(
        here, {**DOCUMENTS, "model": put(MODEL, "operations.posterior.module", name)}, "again"
    )
    specs.write("experience", {**EXPERIENCE, "model": "again", "dataset": "again"})
    assert call("run", "again", "--seed", "1").code == 0
    said = call("export", "again_1", "--format", "onnx", "--physical", "--to", "out")
    if name == "flow_posterior":
        assert said.code == 2
        assert "the medians of 'posterior', a flow_posterior, need draws" in said.stderr
        return
    images = np.random.default_rng(1).normal(0, 0.02, (5, 1, 16, 16)).astype(np.float32)
    session = onnxruntime.InferenceSession(
        here / "out" / "model.onnx", providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    made = dict(zip(names, session.run(None, {"displacement": images}), strict=True))
    for output, values in package.open_run("again_1").predict(displacement=images[:, 0]).items():
        np.testing.assert_allclose(made[output][:, 0], values, rtol=1e-4)


MISTAKES = {
    "another loss": (
        "experience",
        "losses",
        {"depth": "mae", "delta_volume": "mse"},
        "whose loss is 'negative_log",
    ),
    "an unbounded transform": (
        "experience",
        "transforms.delta_volume",
        "log",
        "reach from 0.00248 to 403, but",
    ),
    "an angle": (
        "experience",
        "transforms.depth",
        "angle",
        "a posterior head makes one number of each value",
    ),
    "a forgotten output": (
        "experience",
        "outputs",
        ["depth"],
        "makes 'delta_volume', too, which is not listed",
    ),
    "not the last": (
        "model",
        "branches.0.operations",
        ["block", "posterior", "dense"],
        "which ends a branch; leave",
    ),
    "a distribution of no name": (
        "experience",
        "transforms.depth",
        {"type": "normal_score", "parameters": {"distribution": {"type": "lognormal"}}},
        "did you mean 'log_normal'?",
    ),
}


@pytest.mark.heavy
def test_mistakes_are_said_where_they_are(specs, problems):
    path_of_experience = specs.spoil("experience", ("losses", "negative_log_likelihood"))
    said = problems(path_of_experience)
    assert len(said) == 2
    assert all(
        "is for outputs of a posterior head; end the branch of" in problem for problem in said
    )
    for kind, path, value, complaint in MISTAKES.values():
        Specs(specs.root, {**DOCUMENTS, kind: put(DOCUMENTS[kind], path, value)})
        said = problems(path_of_experience)
        assert any(complaint in problem for problem in said), said

"""Networks that learn an angle across its period: small images of a dike that opens, its strike in
all directions.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray

import qexp
from qexp.base.outputs import PERIOD
from qexp.base.quantities import nearest
from qexp.base.seeds import Seeds
from qexp.errors import SpecError
from qexp.kinds.objects import data_kind, dataset_of, initial_model, recipe_of
from qexp.kinds.rows.figures import held_out
from qexp.kinds.tables import tables_of
from qexp.networks.training import Trainer
from qexp.observations.observation import Observation, Track
from tests.conftest import SOUND, Specs, call, shared_folder

DATASET = {
    "type": "generated",
    "generation_type": "okada",
    "angles": "degrees",
    "size": [12, 12],
    "fixed": {
        **{
            "azimuth": 0.0,
            "incidence": 0.0,
            "x_res": 0.7,
            "y_res": 0.7,
            "x": 0.0,
            "y": 0.0,
            "noise": 0.001,
        },
        **{
            "depth": 2.0,
            "length": 2.0,
            "width": 1.0,
            "dip": 45.0,
            "strike_slip": 0.0,
            "dip_slip": 0.0,
            "opening": 1.0,
        },
    },
    "varyings": {"strike": [[0.0, 0.05], [0.5, 0.55], [0.95, 1.0]]},
    "distributions": {"strike": {"type": "uniform", "parameters": {"a": 0, "b": 360}}},
}
MODEL = {
    "inputs": {"displacement": {"size": [12, 12, 1]}},
    "outputs": ["strike"],
    "operations": {
        "halve": {"module": "average_pooling", "parameters": {"pool_size": 2}},
        "dense": {"module": "denses", "parameters": {"filters": [24, 2]}},
    },
    "branches": [{"x_name": "displacement", "y_name": "strike", "operations": ["halve", "dense"]}],
}
ANGLE = {"type": "angle", "parameters": {"period": 360}}
EXPERIENCE = {
    **SOUND["experience"],
    "model": "dike",
    "dataset": "dike",
    "outputs": ["strike"],
    "sizes": [384, 32, 200],
    "epochs": 12,
    "batch_size": 32,
    "learning_rate": 0.005,
    "losses": {"strike": "mse"},
    "metrics": {},
    "transforms": {
        "displacement": {"type": "scale", "parameters": {"typical": 0.05}},
        "strike": ANGLE,
    },
}


@shared_folder
def dikes(root: Path) -> None:
    """A workspace with the specs above, and one trained run."""
    Specs(root, {"dataset": DATASET, "model": MODEL, "experience": EXPERIENCE}, "dike")
    qexp.run("dike", seed=0, device="cpu", workspace=root)


@pytest.fixture
def run(dikes: Path) -> Any:
    return qexp.open_run("dike_0", workspace=dikes)


def test_strikes_on_both_sides_of_north_are_estimated_and_predicted_as_well_as_those_around_south(
    run, dikes
):
    with xarray.open_dataset(run.path / "results/test_predictions.nc") as table:
        truth, estimate = table["strike"].values, table["strike_estimate"].values
        assert table["strike_estimate"].attrs[PERIOD] == 360
    assert ((estimate >= 0) & (estimate < 360)).all()
    error = np.abs(nearest(estimate, truth, 360) - truth)
    for part in (truth < 18, (truth > 170) & (truth < 200), truth > 342):
        assert part.sum() > 20
        assert error[part].mean() < 5  # by chance it is 90
    assert run.record["results"]["test"]["strike"]["mae"] == pytest.approx(error.mean(), rel=1e-4)
    samples = qexp.samples("dike", "test", count=40, workspace=dikes)
    estimates = run.predict(displacement=samples["displacement"].values)["strike"]
    assert ((estimates >= 0) & (estimates < 360)).all()
    truth = samples["strike"].values
    assert np.abs(nearest(estimates, truth, 360) - truth).mean() < 5


def test_a_matrix_over_the_strike_has_small_errors_in_the_first_and_in_the_last_cell(dikes):
    call(
        "matrix", "dike_0", "--dataset", "dike", "--axis", "strike=0:360:24", "--workspace", dikes
    ).done()
    with xarray.open_dataset(dikes / "runs/dike_0/matrices/dike/matrix.nc") as table:
        assert np.abs(table["strike_error"].values).max() < 15
        np.testing.assert_allclose(
            table["strike_relative_error"], table["strike_error"] / 180, rtol=1e-6
        )


@pytest.mark.heavy
def test_a_training_that_is_interrupted_and_resumed_has_the_same_weights(run, dikes, tmp_path):
    spec, tables, seeds = run.spec, tables_of(run.directory), Seeds(0)
    dataset = dataset_of(spec["dataset"], tables)

    def trainer() -> Trainer:
        model, cpu = initial_model(spec, tables, seeds), torch.device("cpu")
        data = data_kind(spec["dataset"]).data(spec, dataset, tables, seeds, cpu)
        return Trainer(model, data, recipe_of(spec, tables), seeds, cpu, tmp_path)

    class Silent:
        def __getattr__(self, name: str) -> Any:
            return lambda *_: None

    answers = iter([False] * 20 + [True])
    assert not trainer().run(Silent(), lambda: next(answers))
    again = trainer()
    assert again.resume() == 1
    assert again.run(Silent(), lambda: False)
    for name in ("best.safetensors", "last.safetensors"):
        assert (tmp_path / name).read_bytes() == (run.path / "checkpoints" / name).read_bytes()


DIP = {
    "dataset": {
        **DATASET,
        "fixed": {
            **{name: value for name, value in DATASET["fixed"].items() if name != "dip"},
            "strike": 0.0,
        },
        "varyings": {"dip": [[0.4, 0.6]]},
        "distributions": {"dip": {"type": "uniform", "parameters": {"a": 10, "b": 80}}},
    },
    "model": {**MODEL, "outputs": ["dip"], "branches": [{**MODEL["branches"][0], "y_name": "dip"}]},
    "outputs": ["dip"],
    "losses": {"dip": "mse"},
    "transforms": {"dip": "angle"},
}
"""A quantity that is not known to repeat."""

WRONG = [
    (
        "dike",
        {"transforms.strike": "angle"},
        'repeats after 360 °; set "period" to 360.0, or to 180.0',
    ),
    ("dike", {"transforms.displacement": "angle"}, "which only outputs can have"),
    (
        "dike",
        {"model.operations.dense.parameters.filters": [24, 1]},
        "makes [2] of its values; give it a",
    ),
    ("dike", DIP, "values from 10 to 80 ° span more than one period of 6.283185307"),
    ("slopes", {"baselines": ["mean"]}, "'aspect' is learned as two"),
    ("slopes", {"transforms.aspect": "angle"}, "span more than one period of 6.283185307"),
]


@pytest.mark.parametrize(("name", "overrides", "words"), WRONG)
def test_an_angle_that_does_not_fit_or_cannot_be_done_with_rows_is_refused(
    dikes, slopes, name, overrides, words
):
    workspace = {"dike": dikes, "slopes": slopes}[name]
    with pytest.raises(SpecError) as refused:
        qexp.run(
            name, seed=1, name="refused", device="cpu", workspace=workspace, overrides=overrides
        )
    assert words in str(refused.value)
    assert not (workspace / "runs/refused").exists()


@pytest.mark.heavy
def test_an_inversion_does_not_take_a_strike_near_north_for_the_edge_of_what_was_trained(
    run, dikes
):
    spec, tables = run.spec, tables_of(run.directory)
    source = dataset_of(spec["dataset"], tables)
    image = source.observe({"strike": np.array([0.4])}, Seeds(0).torch("cpu", "seen"))[
        "displacement"
    ]
    axis = (np.arange(12) - 6) * 700.0
    x, y = (coordinates.ravel() for coordinates in np.meshgrid(axis, axis))
    up = np.tile([0.0, 0.0, 1.0], (x.size, 1))
    track = Track(
        "from above",
        "radar",
        x,
        y,
        image.double().numpy().ravel(),
        np.full(x.size, 0.001),
        up,
        np.ones(x.size, bool),
    )
    estimates = qexp.invert(Observation((track,)), run="dike_0", workspace=dikes, centre=(0.0, 0.0))
    assert np.abs(nearest(estimates.parameters["strike"].value, 0.4, 360) - 0.4) < 6
    assert not any("strike" in name for name in estimates.network["outside"])


SLOPES = {
    "type": "tabular", "path": "slopes.csv", "inputs": {"gradient": ["east", "north"]},
    "outputs": {"aspect": "aspect"}, "units": {"aspect": "°"},
}  # fmt: skip
ASPECTS = {
    "model": "slopes", "dataset": "slopes", "inputs": ["gradient"], "outputs": ["aspect"],
    "split": {"type": "k_fold", "parameters": {"folds": 3, "repeats": 2}},
    "inner": {"type": "k_fold", "parameters": {"folds": 2}},
    "epochs": 40, "batch_size": 16, "optimizer": "adam", "learning_rate": 0.01,
    "transforms": {"gradient": "standardize", "aspect": ANGLE}, "losses": {"aspect": "mse"},
}  # fmt: skip


@shared_folder
def slopes(root: Path) -> None:
    """A workspace with a table of slopes and the directions that they face, and a run with networks
    of folds.
    """
    random = np.random.default_rng(4)
    facing, steep = random.uniform(0, 360, 120), random.uniform(0.8, 1.2, 120)
    radians = np.radians(facing) + random.normal(0, 0.03, 120)
    lines = [
        f"{e},{n},{a}"
        for e, n, a in zip(steep * np.sin(radians), steep * np.cos(radians), facing, strict=True)
    ]
    (root / "data").mkdir()
    (root / "data/slopes.csv").write_text("\n".join(["east,north,aspect", *lines]))
    network = {"module": "mlp", "parameters": {"units": [12], "outputs": 2, "activation": "tanh"}}
    model = {
        "inputs": {"gradient": {"size": [2]}},
        "outputs": ["aspect"],
        "operations": {"network": network},
        "branches": [{"x_name": "gradient", "y_name": "aspect", "operations": ["network"]}],
    }
    Specs(root, {"dataset": SLOPES, "model": model, "experience": ASPECTS}, "slopes")
    qexp.run("slopes", seed=0, device="cpu", workspace=root)


@pytest.mark.slow
def test_means_over_folds_and_repeats_of_rows_that_face_north_point_north(slopes):
    run = qexp.open_run("slopes_0", workspace=slopes)
    with xarray.open_dataset(run.path / "results/test_predictions.nc") as table:
        truth, estimate = table["aspect"].values, table["aspect_estimate"].values
        spread = table["aspect_spread"].values
    assert ((estimate >= 0) & (estimate < 360)).all()
    error = nearest(estimate, truth, 360) - truth
    assert ((truth < 10) | (truth > 350)).sum() > 3
    assert np.abs(error).max() < 25  # one mean by the longer way round would be off by up to 180
    assert spread.max() < 30
    rmse = np.sqrt(np.mean(error**2))
    assert run.record["results"]["test"]["aspect"]["rmse"] == pytest.approx(rmse, rel=1e-6)
    assert run.record["comparison"][0]["rmse"] == pytest.approx(rmse, rel=1e-6)
    _, figure = next(held_out(run.directory))
    offsets = [collection.get_offsets() for collection in figure.axes[0].collections]
    points = np.concatenate(
        [of_collection for of_collection in offsets if len(of_collection) > 100]
    )
    assert np.abs(points[:, 1] - points[:, 0]).max() == pytest.approx(np.abs(error).max(), rel=1e-6)

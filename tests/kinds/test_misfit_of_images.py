"""`qexp predict --misfit`: images that the simulator of a run could not have made are told from
those that it could.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray

import qexp as package
from qexp.base.seeds import Seeds
from qexp.inference.misfit import ImageMisfit
from qexp.kinds.images.experiment import generated_of
from qexp.kinds.tables import BUILT_IN
from tests.conftest import SOUND, Specs, call, copied, put, shared_folder

COUNT, FEW = 200, 30
NOISE = 0.01
DATASET = {
    **SOUND["dataset"],
    "size": [32, 32],
    "fixed": {**SOUND["dataset"]["fixed"], "x_res": 0.2, "y_res": 0.2, "noise": NOISE},
    "varyings": {"depth": [], "delta_volume": []},
    "distributions": {
        "depth": {"type": "uniform", "parameters": {"a": 1.0, "b": 3.0}},
        "delta_volume": {"type": "uniform", "parameters": {"a": 5.0, "b": 10.0}},
    },
}
OUTPUTS = ["depth", "delta_volume"]
MODEL = {
    "inputs": {"displacement": {"size": [32, 32, 1]}},
    "outputs": OUTPUTS,
    "operations": {
        "pool": {"module": "average_pooling", "parameters": {"pool_size": 4}},
        "dense": {"module": "mlp", "parameters": {"units": [16], "outputs": 8}},
        "posterior": {"module": "gaussian_posterior"},
    },
    "branches": [
        {
            "x_name": "displacement",
            "y_name": ["depth", "delta_volume"],
            "operations": ["pool", "dense", "posterior"],
        }
    ],
}
EXPERIENCE = {
    **SOUND["experience"],
    "sizes": [512, 64, 64],
    "epochs": 15,
    "batch_size": 64,
    "losses": "negative_log_likelihood",
    "transforms": {"displacement": {"type": "scale", "parameters": {"typical": 0.1}}},
}
DOCUMENTS = {"dataset": DATASET, "model": MODEL, "experience": EXPERIENCE}


@shared_folder
def simulator(root: Path) -> None:
    """A workspace with a run on point sources in white noise; for reading only."""
    Specs(root, DOCUMENTS)
    assert call("run", "sound", "--seed", "0", "--workspace", root).code == 0


@pytest.fixture
def here(simulator, tmp_path, monkeypatch):
    return copied(simulator, tmp_path, monkeypatch)


def images(count=FEW, **changes):
    """Images of new sources, as the dataset or a changed one makes them, (sample, height,
    width).
    """
    source = generated_of({**DATASET, "noise_model": {"type": "white"}, **changes}, BUILT_IN)
    made = source.sample(source.test, count, Seeds(5), ("another",), torch.device("cpu"))
    return made["displacement"][:, 0].numpy()


def p_values(made, *options):
    np.save("images.npy", made)
    done = call("predict", "sound_0", "images.npy", "--output", "made.nc", "--misfit", *options)
    assert done.code == 0, done.stderr
    found = xarray.load_dataset("made.nc", engine="h5netcdf")
    return found["misfit_p"].values, found["features_p"].values, done.stderr


@pytest.mark.heavy
def test_images_of_the_simulator_are_found_to_be_such(here):
    misfit, features, said = p_values(images(COUNT))
    for found in (misfit, features):
        assert (found < 0.05).mean() < 0.1
        assert found.max() > 0.5
    assert "0 that the simulator could hardly have made" in said or "1 that the simulator" in said


@pytest.mark.heavy
def test_views_that_err_in_opposite_ways_do_not_hide_each_other():
    """A quarter of the image is raised in one view and lowered in the other by four tenths of the
    noise.
    """
    other = {"azimuth_1": 3.1, "incidence_1": 0.6, "x_res_1": 0.2, "y_res_1": 0.2}
    document = {**DATASET, "noise_model": {"type": "white"}, "fixed": {**DATASET["fixed"], **other}}
    source = generated_of(document, BUILT_IN)
    made = source.sample(source.test, 40, Seeds(5), ("views",), torch.device("cpu"))
    truth = {name: made[name].numpy().ravel() for name in OUTPUTS}
    shown = {name: made[name].numpy() for name in ("displacement", "displacement_1")}
    test = ImageMisfit(source, OUTPUTS)
    right = test(shown, truth)
    for sign, image in zip((1, -1), shown.values(), strict=True):
        image[:, 0, :16, :16] += sign * 0.4 * NOISE
    wrong = test(shown, truth)
    assert (right < 0.05).mean() < 0.1
    assert (wrong < 0.001).mean() > 0.5


@pytest.mark.heavy
def test_a_spheroid_stronger_noise_an_atmosphere_that_was_not_declared_and_unwrapping_errors_are_noticed(
    here,
):
    shape = {"depth": 2.0, "semi_major": 1.4, "semi_minor": 0.5, "strike": 0.6, "plunge": 0.3}
    pressure = {"pressure_over_mu": {"type": "uniform", "parameters": {"a": 0.01, "b": 0.02}}}
    spheroid = {
        "generation_type": "yang",
        "fixed": {**DATASET["fixed"], **shape},
        "distributions": pressure,
    }
    corner = np.zeros((32, 32), np.float32)
    corner[:8, :10] = 0.028  # half a wavelength of a C-band radar [m]
    for wrong in (
        images(**spheroid, varyings={"pressure_over_mu": []}),
        images(fixed={**DATASET["fixed"], "noise": 1.5 * NOISE}),
        images(noise_model={"type": "exponential", "parameters": {"range": 2.0}}),
        images() + corner,
    ):
        misfit, _, said = p_values(wrong, "--overwrite")
        assert (misfit < 0.001).mean() > 0.9
        assert "that the simulator could hardly have made (residuals with p < 0.001 or" in said


@pytest.mark.heavy
def test_features_tell_images_that_have_nothing_of_the_training_data(here):
    _, features, _ = p_values(-3 * images())  # upside down
    assert (features < 0.01).mean() > 0.9
    assert json.loads(Path("made.nc.json").read_text())["unlike"] > 0.9 * FEW


@pytest.mark.heavy
def test_an_image_that_is_absurd_to_the_network_alone_is_counted(here):
    """A source stronger than any in training: to least squares it is a perfect one."""
    strong = {
        **DATASET["distributions"],
        "delta_volume": {"type": "uniform", "parameters": {"a": 200.0, "b": 400.0}},
    }
    misfit, features, said = p_values(images(distributions=strong))
    assert (misfit > 0.001).mean() > 0.9
    assert (
        json.loads(Path("made.nc.json").read_text())["unlike"]
        == (features < 0.005).sum() + (misfit < 0.001).sum()
    )
    assert f"{FEW} that the simulator could hardly have made" in said, said
    assert "or features with p < 0.005" in said
    assert f"{FEW} with estimates outside 99 % of the training data (" in said, (
        "at the ends of their priors"
    )


@pytest.mark.heavy
def test_features_are_those_of_the_last_layers_also_where_branches_without_operations_lead_on(here):
    """`validate` has laid such a network out, so that it also trains, predicts and has features."""
    seen = {"x_name": "displacement", "y_name": "image", "operations": []}
    dense = {"x_name": "image", "y_name": "both", "operations": ["pool", "dense"]}
    split = {"x_name": "both", "y_name": ["depth", "delta_volume"], "operations": []}
    dense_2 = {"module": "mlp", "parameters": {"units": [16], "outputs": 2}}
    operations = {"pool": MODEL["operations"]["pool"], "dense": dense_2}
    for name, branches in (
        ("plain", [{**split, "x_name": "displacement", "operations": ["pool", "dense"]}]),
        ("detour", [seen, dense, split]),
    ):
        specs = Specs(
            here, {"model": {**MODEL, "operations": operations, "branches": branches}}, name
        )
        specs.write(
            "experience",
            {**EXPERIENCE, "model": name, "epochs": 1, "losses": dict.fromkeys(OUTPUTS, "mse")},
        )
        assert call("validate").code == 0
        assert call("run", name, "--seed", "0").code == 0
    np.save("images.npy", images(FEW))
    made = {}
    for name in ("plain", "detour"):
        done = call("predict", f"{name}_0", "images.npy", "--output", f"{name}.csv", "--misfit")
        assert done.code == 0, done.stderr
        made[name] = Path(f"{name}.csv").read_text()
    assert made["detour"] == made["plain"]


@pytest.mark.heavy
def test_a_file_without_p_values_is_not_taken_for_one_with_them(here):
    np.save("images.npy", images()[:3])
    words = ("predict", "sound_0", "images.npy", "--output", "made.csv")
    assert call(*words).code == 0
    assert "misfit_p" not in Path("made.csv").read_text()
    assert call(*words, "--misfit").code == 2
    assert call(*words, "--misfit", "--overwrite").code == 0
    assert "misfit_p" in Path("made.csv").read_text()
    assert json.loads(Path("made.csv.json").read_text())["unlike"] == 0
    assert package.predict("sound_0", "images.npy", "made.csv", misfit=True)[0].made is False


@pytest.mark.heavy
def test_where_there_is_no_likelihood_the_error_says_why(here):
    specs = Specs(here, {**DOCUMENTS, "dataset": put(DATASET, "fixed.noise", 0.0)}, "quiet")
    specs.write("experience", {**EXPERIENCE, "model": "quiet", "dataset": "quiet", "epochs": 1})
    assert call("run", "quiet", "--seed", "0").code == 0
    np.save("images.npy", images()[:3])
    said = call("predict", "quiet_0", "images.npy", "--output", "made.csv", "--misfit")
    assert said.code == 2
    assert "--misfit: 'displacement' has no noise in the training data, so" in said.stderr
    assert (
        "train on a dataset with noise like that of the observed data, such as mogi_noisy"
        in said.stderr
    )
    assert not Path("made.csv").exists()

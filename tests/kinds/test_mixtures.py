"""Runs that tell classes of generated images, and estimate what their sources are like."""

import csv
import json

import numpy as np
import pytest
import xarray

from tests.conftest import call
from tests.inference.test_classes import DOCUMENT, SIZE

OUTPUTS = ["kind", "depth", "delta_volume", "x"]

MODEL = {
    "inputs": {"displacement": {"size": [SIZE, SIZE, 1]}},
    "outputs": OUTPUTS,
    "operations": {
        "dense": {"module": "denses", "parameters": {"filters": [16], "bias": True}},
        "bend": {"module": "activation", "parameters": {"activation": "silu"}},
        "classes": {"module": "classes", "parameters": {"classes": 3}},
        "posterior": {"module": "gaussian_posterior"},
        "one": {"module": "denses", "parameters": {"filters": [1], "bias": True}},
    },
    "branches": [
        {"x_name": "displacement", "y_name": "features", "operations": ["dense", "bend"]},
        {"x_name": "features", "y_name": "kind", "operations": ["classes"]},
        {"x_name": "features", "y_name": ["depth", "delta_volume"], "operations": ["posterior"]},
        {"x_name": "features", "y_name": "x", "operations": ["one"]},
    ],
}

EXPERIENCE = {
    "model": "sound", "dataset": "sound", "inputs": ["displacement"], "outputs": OUTPUTS,
    "split": [0.8, 0.2], "sizes": [200, 60, 50], "epochs": 3, "batch_size": 25,
    "optimizer": "adam", "learning_rate": 1e-3,
    "transforms": {
        "displacement": {"type": "scale", "parameters": {"typical": 0.02}},
        "depth": "log", "x": {"type": "scale", "parameters": {"typical": 2.0}},
    },
    "losses": {name: "mse" if name == "x" else "negative_log_likelihood" for name in OUTPUTS},
}  # fmt: skip


@pytest.mark.heavy
def test_classes_and_their_own_parameters_are_learned_scored_predicted_and_limited(specs, tmp_path):
    for kind, document in {"dataset": DOCUMENT, "model": MODEL, "experience": EXPERIENCE}.items():
        specs.write(kind, document)
    call("run", "sound", "--seeds", "0:2").done()  # side by side
    folder = tmp_path / "runs/sound_0"
    results = json.loads((folder / "run.json").read_text())["results"]["test"]
    test = xarray.load_dataset(folder / "results/test_predictions.nc")
    there = test["kind"].values != "none"
    for name in OUTPUTS[1:]:
        assert (np.isfinite(test[name].values) == there).all()
        error = np.abs(test[f"{name}_estimate"].values - test[name].values)[there].mean()
        assert results[name]["mae"] == pytest.approx(error, rel=1e-4)
    names = list(DOCUMENT["classes"]["kind"])
    probabilities = np.stack([test[f"kind_probability_{name}"].values for name in names], axis=1)
    assert probabilities.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    of_truth = probabilities[np.arange(50), [names.index(name) for name in test["kind"].values]]
    assert results["kind"]["log_score"] == pytest.approx(-np.log(of_truth).mean(), rel=1e-4)

    found = json.loads(call("limit", "sound_0", "--json").done())["classes"]["kind"]
    assert found["network"]["log_score"] == pytest.approx(results["kind"]["log_score"], rel=1e-4)
    assert found["exact"]["log_score"] < found["network"]["log_score"] - 0.2
    assert found["excess"] > 3 * found["excess_error"]
    shown = call("show", "sound_0").stdout
    assert "evidence of each class in the first 50 test samples" in shown
    assert "name a run" in call("limit", "sound").failed()

    images = test["kind"].size
    np.save("images.npy", np.zeros((images, SIZE, SIZE), np.float32))
    call("predict", "sound_0", "images.npy", "--output", "estimates.csv").done()
    with (tmp_path / "estimates.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == images
    assert sum(float(rows[0][f"kind_probability_{name}"]) for name in names) == pytest.approx(1.0)
    assert rows[0]["kind_estimate"] in names

"""What a network learns to do with offsets and ramps, on small images of sources between 1 and 3 km
deep.
"""

import pytest

import qexp
from tests.conftest import SOUND, Specs

WHITE = {"type": "white", "parameters": {"standard_deviation": 0.002}}
SHIFTS = [
    {"type": "offset", "parameters": {"standard_deviation": 0.03}},
    {"type": "ramp", "parameters": {"slope": 0.004}},
]
UNIFORM = {"type": "uniform", "parameters": {"a": 1, "b": 3}}
DATASET = {
    **{key: value for key, value in SOUND["dataset"].items() if key != "matrix"},
    "size": [24, 24],
    "fixed": {"azimuth": 0.0, "incidence": 0.33, "x_res": 0.3, "y_res": 0.3, "x": 0.0, "y": 0.0},
    "varyings": {"depth": [[0.3, 0.5]], "delta_volume": [[0.3, 0.5]]},
    "distributions": {"depth": UNIFORM, "delta_volume": UNIFORM},
}
MODEL = {
    "inputs": {"displacement": {"size": [24, 24, 1]}},
    "outputs": ["depth", "delta_volume"],
    "operations": {
        "average": {"module": "average_pooling", "parameters": {"pool_size": 2}},
        "dense": {
            "module": "denses",
            "parameters": {"filters": [64, 64], "activation": "silu", "bias": True},
        },
        "depth": {"module": "denses", "parameters": {"filters": [1], "bias": True}},
        "volume": {"module": "denses", "parameters": {"filters": [1], "bias": True}},
    },
    "branches": [
        {"x_name": "displacement", "y_name": "features", "operations": ["average", "dense"]},
        {"x_name": "features", "y_name": "depth", "operations": ["depth"]},
        {"x_name": "features", "y_name": "delta_volume", "operations": ["volume"]},
    ],
}
EXPERIENCE = {
    **SOUND["experience"],
    "split": [0.8, 0.2],
    "sizes": [2000, 100, 400],
    "epochs": 10,
    "batch_size": 32,
    "keep": "last",
    "optimizer": {"type": "adamw", "parameters": {"weight_decay": 0.01}},
    "learning_rate": 0.003,
    "schedule": {"type": "one_cycle", "parameters": {"warm_up": 0.1}},
    "transforms": {
        "displacement": {"type": "scale", "parameters": {"typical": 0.03}},
        "depth": "log",
        "delta_volume": "log",
    },
    "losses": "mae",
}


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    """(trained with, seen) → the mean absolute error of each output; `plain` has white noise,
    `shifted` all of it.
    """
    root = tmp_path_factory.mktemp("offsets")
    for name, noise in (("plain", [WHITE]), ("shifted", [WHITE, *SHIFTS])):
        experience = {**EXPERIENCE, "dataset": name, "model": name}
        Specs(
            root,
            {
                "dataset": {**DATASET, "noise_model": noise},
                "model": MODEL,
                "experience": experience,
            },
            name,
        )
    errors_by_pair = {}
    for trained in ("plain", "shifted"):
        run = qexp.run(trained, device="cpu", workspace=root)
        for evaluated in ("plain", "shifted"):
            results = run.evaluate(evaluated, device="cpu", workspace=root).record.results["test"]
            errors_by_pair[trained, evaluated] = {
                name: results[name]["mae"] for name in EXPERIENCE["outputs"]
            }
    return errors_by_pair


@pytest.mark.heavy
@pytest.mark.parametrize("output", EXPERIENCE["outputs"])
def test_a_network_trained_with_offsets_and_ramps_is_not_fooled_by_them(errors, output):
    assert errors["shifted", "shifted"][output] < 1.6 * errors["shifted", "plain"][output]
    # The signal of such a source is a few centimetres, and its depth is found to a few per cent all
    # the same.
    assert errors["shifted", "shifted"][output] < 0.1


@pytest.mark.heavy
@pytest.mark.parametrize("output", EXPERIENCE["outputs"])
def test_a_network_trained_without_them_is_fooled(errors, output):
    assert errors["plain", "shifted"][output] > 5 * errors["plain", "plain"][output]
    assert errors["plain", "shifted"][output] > 5 * errors["shifted", "shifted"][output]

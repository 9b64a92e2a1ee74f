"""A network for two sources in several views: names with dots, degrees, a mask as an input."""

import json
import re

import numpy as np
import pytest
import xarray

from qexp.kinds.matrix_figures import matrix_of
from tests.conftest import SOUND, Specs, call

UNIFORM = {"type": "uniform", "parameters": {"a": 1.0, "b": 3.0}}

DATASET = {
    "type": "generated",
    "sources": [{"type": "mogi", "name": "chamber"}, {"type": "mogi", "name": "lens"}],
    "angles": "degrees",
    "size": [8, 8],
    "views": [
        {
            "name": "up",
            "heading": -12,
            "incidence": 34,
            "mask": "land.npy",
            "x_res": 0.5,
            "y_res": 0.5,
        },
        {
            "name": "stations",
            "type": "gnss",
            "points": [[0, 0], [1, -1]],
            "errors": [0.001, 0.001, 0.003],
        },
    ],
    "fixed": {
        "chamber.x": 0,
        "chamber.y": 0,
        "lens.x": 1,
        "lens.y": 1,
        "lens.delta_volume": 1,
        "noise": 0.001,
    },
    "varyings": {
        "chamber.depth": [[0.2, 0.3]],
        "chamber.delta_volume": [[0.2, 0.3]],
        "lens.depth": [[0.4, 0.5]],
    },
    "distributions": dict.fromkeys(
        ("chamber.depth", "chamber.delta_volume", "lens.depth"), UNIFORM
    ),
    "matrix": {"axes": {"chamber.depth": [1, 3], "lens.depth": [1, 3]}, "resolution": 3},
}

MODEL = {
    "inputs": {
        "displacement": {"size": [8, 8, 1]},
        "mask": {"size": [8, 8, 1]},
        "displacement_1": {"size": [2, 1, 3]},
    },
    "outputs": ["chamber.depth"],
    "operations": {
        "channels": {"module": "concatenate"},
        "halve": {"module": "max_pooling"},
        "flat": {"module": "flatten"},
        "flat_too": {"module": "flatten"},
        "join": {"module": "concatenate"},
        "dense": {"module": "denses", "parameters": {"filters": [8, 1]}},
    },
    "branches": [
        {
            "x_name": ["displacement", "mask"],
            "y_name": "seen",
            "operations": ["channels", "halve", "flat"],
        },
        {"x_name": "displacement_1", "y_name": "stations", "operations": ["flat_too"]},
        {
            "x_name": ["seen", "stations"],
            "y_name": "chamber.depth",
            "operations": ["join", "dense"],
        },
    ],
}

EXPERIENCE = {
    **SOUND["experience"],
    "dataset": "volcano",
    "model": "volcano",
    "inputs": ["displacement", "mask", "displacement_1"],
    "outputs": ["chamber.depth"],
    "epochs": 1,
    "losses": {"chamber.depth": "mae"},
    "metrics": {},
    "transforms": {
        "displacement": {"type": "asinh", "parameters": {"scale": 0.01}},
        "chamber.depth": "standardize",
    },
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("views")
    (root / "data").mkdir()
    mask = np.ones((8, 8))
    mask[:2] = 0
    np.save(root / "data/land.npy", mask)
    Specs(root, {"dataset": DATASET, "model": MODEL, "experience": EXPERIENCE}, "volcano")
    call("--workspace", root, "run", "volcano", "--device", "cpu").done()
    return root


@pytest.fixture
def inside(trained, monkeypatch):
    monkeypatch.chdir(trained)
    return trained


@pytest.mark.heavy
def test_the_run_keeps_what_its_views_are_and_results_of_a_variable_with_a_dot_are_listed_and_filtered(
    inside, qexp
):
    column = "test.chamber.depth.mae"
    rows = json.loads(
        qexp("ls", "--json", "--columns", f"name,{column}", "--where", f"{column} < 9").stdout
    )
    assert rows[0]["name"] == "volcano_0"
    assert 0 < rows[0][column] < 9
    dataset = json.loads((inside / "runs/volcano_0/spec.json").read_text())["dataset"]
    assert dataset["fixed"]["incidence"] == 34
    assert dataset["angles"] == "degrees"
    assert [view["type"] for view in dataset["views"]] == ["radar", "gnss"]
    assert "incidence" not in dataset["views"][0]
    assert len(dataset["fingerprints"]["land.npy"]) == 64


@pytest.mark.heavy
def test_the_matrix_of_two_variables_of_two_sources_has_their_units(inside, qexp):
    fixed = ("--fix", "chamber.delta_volume=2", "--fix", "heading=-11")
    qexp("matrix", "volcano_0", "--dataset", "volcano", *fixed).done()
    matrix = xarray.open_dataset(inside / "runs/volcano_0/matrices/volcano/matrix.nc")
    assert matrix["chamber.depth_estimate"].dims == ("chamber.depth", "lens.depth")
    assert (
        matrix["chamber.depth_estimate"].attrs["units"]
        == matrix["lens.depth"].attrs["units"]
        == "km"
    )
    assert matrix.attrs["fixed_heading"] == -11
    refused = qexp("matrix", "volcano_0", "--dataset", "volcano", *fixed, "--fix", "incidence=91")
    assert "--fix incidence: must be at most 90 °" in refused.stderr


@pytest.mark.heavy
def test_the_figure_of_a_matrix_names_the_view_whose_direction_is_an_axis(inside, qexp):
    axes = ("--axis", "chamber.depth=1:3:2", "--axis", "heading=-13:-11:2")
    fixed = ("--fix", "chamber.delta_volume=2", "--fix", "lens.depth=2")
    qexp("matrix", "volcano_0", "--dataset", "volcano", *axes, *fixed, "--name", "headings").done()
    assert (
        matrix_of(inside / "runs/volcano_0/matrices/headings").axes[0].get_ylabel()
        == "true up heading (°)"
    )


@pytest.mark.heavy
def test_the_look_shows_images_points_and_stations_in_their_units(inside, qexp, drawn):
    output = qexp("data", "show", "volcano", "--out", "figures", "--count", "2")
    assert output.code == 0, output.stderr
    assert re.search(r"up heading −12(\.0+)? ?°", output.stdout + output.stderr)
    assert re.search(r"displacement +up .*\ndisplacement_1 +stations ", output.stdout)
    rows = json.loads(qexp("data", "show", "volcano", "--count", "2", "--json").stdout)["variables"]
    assert [row["view"] for row in rows] == ["", "", "", "up", "stations"]
    assert (inside / "figures/train_samples.png").is_file()


@pytest.mark.heavy
def test_a_run_whose_mask_has_changed_says_so_and_one_that_has_not_is_the_same_run(inside, qexp):
    again = qexp("run", "volcano", "--dry-run")
    assert "done" in again.stdout + again.stderr
    before = (inside / "data/land.npy").read_bytes()
    np.save(inside / "data/land.npy", np.ones((8, 8)))
    try:
        stderr = qexp("evaluate", "volcano_0", "--part", "test").failed()
        assert "land.npy has changed since the run was prepared" in stderr
        assert "--name" in qexp("run", "volcano").stderr  # another digest under the same name
    finally:
        (inside / "data/land.npy").write_bytes(before)


@pytest.mark.heavy
def test_a_dataset_whose_angles_are_in_another_unit_will_do_if_the_network_reads_and_estimates_none(
    inside, qexp
):
    other = {**DATASET, "angles": "radians"}
    other["views"] = [
        {**DATASET["views"][0], "heading": -0.2, "incidence": 0.6},
        DATASET["views"][1],
    ]
    Specs(inside, {"dataset": other}, "radians")
    assert qexp("evaluate", "volcano_0", "--dataset", "radians").code == 0


@pytest.mark.heavy
def test_the_value_of_one_variable_with_a_dot_is_changed_on_the_command_line(inside, qexp):
    qexp("validate", "specs/datasets/volcano.json").done()
    short = ("run", "volcano", "--name", "x_0", "--set")
    assert "'lens.depth' is fixed and varies" in qexp(*short, "dataset.fixed.lens.depth=2").stderr
    stderr = qexp(*short, "dataset.fixed.lens.x=a").stderr
    assert "$.fixed['lens.x']" in stderr or "lens.x: must be a number" in stderr

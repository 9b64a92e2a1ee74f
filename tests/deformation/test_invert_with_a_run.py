"""Inversions that start at a network's estimate: its grid, its views, and what lies outside of its
training data.
"""

import dataclasses
import json
import re

import numpy as np
import pytest
import xarray

import qexp
from qexp.deformation.by_network import (
    SeenView,
    fill_gaps,
    image_of,
    peak_of,
    values_nearby,
    without_edge,
)
from qexp.errors import QexpError
from qexp.kinds.images.inversion import estimates_of_test
from qexp.observations.observation import Observation, write_observation
from tests.conftest import SOUND, Specs, call, write_dense
from tests.deformation.observed import CRS, ORIGIN, SOURCE, observed
from tests.inference.tracks import ASCENDING, track

UNIFORM = {"depth": (0.8, 3.0), "delta_volume": (0.5, 6.0), "x": (-1.5, 1.5), "y": (-1.5, 1.5)}
OUTPUTS = list(UNIFORM)
INPUTS = ["displacement", "displacement_1", "mask_1"]
VIEWS = {"": (37.7, -10.4), "_1": (33.97, 190.3)}
"""Suffix → incidence and heading of the tracks of `observed` [degrees]."""

DATASET = {
    "type": "generated",
    "generation_type": "mogi",
    "angles": "degrees",
    "size": [16, 16],
    "views": [{"name": "ascending"}, {"name": "descending"}],
    "fixed": {
        "noise": 0.005,
        **{f"{name}{view}": 0.5 for view in VIEWS for name in ("x_res", "y_res")},
        **{
            f"{name}{view}": angle
            for view, of in VIEWS.items()
            for name, angle in zip(("incidence", "heading"), of, strict=True)
        },
    },
    "varyings": {name: [[0.4, 0.6]] for name in UNIFORM},
    "distributions": {
        name: {"type": "uniform", "parameters": {"a": low, "b": high}}
        for name, (low, high) in UNIFORM.items()
    },
    "noise_model": [
        {"type": "white"},
        {"type": "offset", "parameters": {"standard_deviation": 0.03}},
        {"type": "decorrelation", "parameters": {"share": 0.2, "patch_size": 2.0}, "views": [1]},
    ],
}
MODEL = {
    "inputs": {name: {"size": [16, 16, 1]} for name in INPUTS},
    "outputs": OUTPUTS,
    "operations": {
        "join": {"module": "concatenate"},
        "look": {"module": "conv", "parameters": {"filters": [4]}},
        "halve": {"module": "max_pooling"},
        **{
            f"to_{name}": {"module": "denses", "parameters": {"filters": [8, 1]}}
            for name in OUTPUTS
        },
    },
    "branches": [
        {"x_name": INPUTS, "y_name": "seen", "operations": ["join", "look", "halve"]},
        *({"x_name": "seen", "y_name": name, "operations": [f"to_{name}"]} for name in OUTPUTS),
    ],
}
EXPERIENCE = {
    **SOUND["experience"],
    "model": "chamber",
    "dataset": "chamber",
    "inputs": INPUTS,
    "outputs": OUTPUTS,
    "sizes": [256, 32, 32],
    "epochs": 4,
    "batch_size": 32,
    "learning_rate": 3e-3,
    "losses": dict.fromkeys(OUTPUTS, "mse"),
    "metrics": {},
    "transforms": {name: {"type": "scale", "parameters": {"typical": 0.03}} for name in INPUTS[:2]},
}


def train(root, dataset, model, experience):
    Specs(root, {"dataset": dataset, "model": model, "experience": experience}, "chamber")
    call("run", "chamber", "--seed", "0", "--device", "cpu", "--workspace", root).done()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A workspace with a run on two views with offsets, of which one has masks, and an
    observation.
    """
    root = tmp_path_factory.mktemp("run")
    train(root, DATASET, MODEL, EXPERIENCE)
    write_observation(observed(), root / "obs.nc")
    return root


def invert(place, *options, observation="obs.nc"):
    return call("invert", "chamber_0", place / observation, "--workspace", place, *options)


@pytest.mark.heavy
def test_starts_near_an_estimate_are_as_far_off_as_the_network_was_on_test_samples(place):
    directory = qexp.open_run("chamber_0", workspace=place).directory
    with xarray.open_dataset(directory.results / "test_predictions.nc") as table:
        estimates = {name: float(table[f"{name}_estimate"][5]) for name in OUTPUTS}
        truth = {name: float(table[name][5]) for name in OUTPUTS}
        count = table.sizes["sample"]
    of_test = estimates_of_test(directory, OUTPUTS)
    near = values_nearby(of_test, estimates, count, seed=0)
    assert len(near) == count
    assert any(
        all(one[name] == pytest.approx(truth[name], rel=1e-4) for name in OUTPUTS) for one in near
    )
    assert values_nearby(of_test, estimates, 4, seed=3) == values_nearby(
        of_test, estimates, 4, seed=3
    )
    assert values_nearby(of_test, estimates, 0, seed=3) == []
    said = invert(place, "--refine", "--starts", "5")
    assert "5 starts ended there" in said.stderr
    # what the training data were made with
    assert said.stderr.splitlines()[-1].startswith("mogi: reduced χ²")


@pytest.mark.heavy
def test_an_exported_network_tells_which_image_is_of_which_view(place, tmp_path):
    made = qexp.export_network("chamber_0", to=tmp_path / "network", workspace=place)
    views = {one["name"]: one.get("view") for one in made.about["inputs"]}
    assert views == {
        "displacement": "ascending",
        "displacement_1": "descending",
        "mask_1": "descending",
    }
    assert "; view 'descending'; in m" in (made.folder / "README.md").read_text()


@pytest.mark.heavy
def test_the_refined_estimate_is_the_minimum_that_a_search_finds(place):
    refined = json.loads(invert(place, "--refine", "--json").done())
    searched = qexp.invert(place / "obs.nc", starts=8).document()
    for name, of in searched["parameters"].items():
        assert refined["parameters"][name]["value"] == pytest.approx(of["value"], rel=1e-6)
        assert refined["parameters"][name]["standard_error"] == pytest.approx(
            of["standard_error"], rel=1e-4
        )
    assert refined["chi2_reduced"] == pytest.approx(searched["chi2_reduced"], rel=1e-9)
    network = refined["network"]
    assert network["run"] == "chamber_0"
    assert network["views"] == {"displacement": "ascending", "displacement_1": "descending"}
    assert network["parameters"].keys() == searched["parameters"].keys()
    assert np.hypot(network["centre"][0] - SOURCE[0], network["centre"][1] - SOURCE[1]) < 2000


@pytest.mark.heavy
def test_priors_of_a_posterior_are_the_distributions_of_the_training_data(place):
    made = qexp.invert(
        place / "obs.nc", run="chamber_0", posterior=True, draws=500, workspace=place
    )
    posterior = made.posterior
    assert posterior.parameters["depth"].prior == "of the training data"
    assert (posterior.parameters["depth"].least, posterior.parameters["depth"].largest) == (
        0.8,
        3.0,
    )
    centre = made.document()["network"]["centre"]
    east = posterior.parameters["east"]
    assert (east.least - centre[0], east.largest - centre[0]) == pytest.approx((-1500, 1500))
    assert (
        abs(posterior.parameters["depth"].median - SOURCE[2] / 1e3)
        < 4 * posterior.parameters["depth"].deviation
    )
    narrow = qexp.invert(
        place / "obs.nc",
        run="chamber_0",
        posterior=True,
        draws=500,
        bounds={"depth": (1.6, 2.0)},
        workspace=place,
    )
    assert narrow.posterior.all[:, 2].min() >= 1.6
    assert narrow.posterior.parameters["depth"].is_cut


@pytest.mark.heavy
def test_without_refinement_the_result_is_the_network_s_and_has_no_errors(place):
    said = invert(place, "--json")
    assert "--refine gives standard errors" in said.stderr
    elsewhere = invert(place, "--centre", f"{ORIGIN[0] + 4000},{ORIGIN[1] + 4000}")
    assert (
        "by BIC" in said.stderr,
        "by BIC the network's estimate does not" in elsewhere.stderr,
    ) == (False, True)
    document = json.loads(said.done())
    for name, of in document["parameters"].items():
        assert of["value"] == pytest.approx(document["network"]["parameters"][name])
        assert of["standard_error"] is of["scaled_error"] is of["interval95"] is None
    refined = json.loads(invert(place, "--refine", "--json").stdout)
    assert document["iterations"] == 0
    assert document["chi2_reduced"] > refined["chi2_reduced"]


@pytest.mark.heavy
def test_a_network_that_knows_no_offsets_sees_images_without_them_where_that_explains_more(
    tmp_path,
):
    train(tmp_path, {**DATASET, "noise_model": DATASET["noise_model"][::2]}, MODEL, EXPERIENCE)
    level = observed(offsets=(0.0, 0.0))
    near = observed(offsets=(0.0, 0.0), size=6)  # whose edge lies above the source
    seen = {
        "as it is": (level, "none"),
        "raised": (observed(offsets=(0.5, 0.5)), "per-track"),
        "near": (near, "per-track"),
    }
    subtracted, estimates = {}, {}
    for name, (observation, offsets) in seen.items():
        made = qexp.invert(
            observation, run="chamber_0", workspace=tmp_path, offsets=offsets, centre=ORIGIN
        )
        subtracted[name] = sum(
            "was taken for its offset and subtracted" in text for text in made.remarks
        )
        estimates[name] = made.network["parameters"]["delta_volume"]
    assert subtracted == {"as it is": 0, "raised": 2, "near": 0}
    assert estimates["raised"] == pytest.approx(estimates["as it is"], abs=1)


@pytest.mark.heavy
def test_the_network_sees_the_same_whatever_the_coordinates_of_the_observation(place):
    moved = Observation(
        tuple(dataclasses.replace(t, x=t.x - 3e4, y=t.y + 5e4) for t in observed().tracks)
    )
    here, there = (
        qexp.invert(one, run="chamber_0", workspace=place, centre=centre).parameters
        for one, centre in ((observed(), ORIGIN), (moved, (ORIGIN[0] - 3e4, ORIGIN[1] + 5e4)))
    )
    assert there["east"].value == pytest.approx(here["east"].value - 3e4, abs=1e-3)
    assert there["depth"].value == pytest.approx(here["depth"].value, rel=1e-6)


@pytest.mark.heavy
def test_what_the_network_was_not_trained_on_is_said(place):
    loud = Observation(
        tuple(dataclasses.replace(t, displacement=100 * t.displacement) for t in observed().tracks),
        CRS,
    )
    made = qexp.invert(loud, run="chamber_0", workspace=place, refine=True)
    outside = [
        one
        for one in made.network["outside"]
        if "lies outside the range of the network's training data" in one
    ]
    assert [one.partition(" lies ")[0] for one in outside] == [one.name for one in loud.tracks]
    for one in outside:
        numbers = re.fullmatch(
            r".*greatest value (\S+) m \(in training (\S+) to (\S+) m\), standard deviation .*", one
        )
        value, low, high = map(float, numbers.groups())
        assert low < high < value
        assert one in made.remarks
    assert made.parameters["delta_volume"].value == pytest.approx(300, rel=0.1)
    quiet = qexp.invert(observed(), run="chamber_0", workspace=place, refine=True)
    assert not any("training data" in one for one in quiet.remarks)


FLOWN = {
    "": ("heading", "right", (347.6, 351.6)),
    "_1": ("heading", "right", (188.3, 192.3)),
    "_2": ("azimuth", "right", (167.7, 171.7)),
    "_3": ("heading", "left", (168.0, 172.0)),
}
"""Suffix → what gives the direction, the side to which the satellite looks, and the range of
training data [degrees]; the tracks of `observed` fly at -10.4 and -169.7 if they look to the right.
"""


@pytest.mark.heavy
def test_a_network_is_given_angles_as_it_was_trained_on_them(tmp_path):
    """192 and -168 degrees are the same direction, and one that is seen to the left is flown the
    other way round.
    """
    names = [f"displacement{view}" for view in FLOWN]
    angles = [f"{base}{view}" for view, (base, _, _) in FLOWN.items()]
    dataset = {
        **{key: value for key, value in DATASET.items() if key not in ("noise_model", "size")},
        "size": [8, 8],
        "fixed": {"noise": 0.005, "x": 0.0, "y": 0.0, "delta_volume": 3.0},
        "varyings": {"depth": [[0.4, 0.6]], **{name: [] for name in angles}},
        "distributions": {"depth": DATASET["distributions"]["depth"]},
        "views": [{"look": look} for _, look, _ in FLOWN.values()],
    }
    for view, (base, _, (low, high)) in FLOWN.items():
        dataset["distributions"][f"{base}{view}"] = {
            "type": "uniform",
            "parameters": {"a": low, "b": high},
        }
        dataset["fixed"] |= {f"{name}{view}": 1.0 for name in ("x_res", "y_res")}
        dataset["fixed"][f"incidence{view}"] = 33.97 if view in ("_1", "_2") else 37.7
    write_dense(
        tmp_path, "chamber", dataset, ["depth"], [*names, *angles], transforms={"depth": "log"}
    )
    qexp.run("chamber", seed=0, device="cpu", workspace=tmp_path)
    flown = dict(zip(("ascending", "descending"), observed(offsets=(0.0, 0.0)).tracks, strict=True))
    tracks = [flown[name] for name in ("ascending", "descending", "descending", "ascending")]
    seen = Observation(
        tuple(dataclasses.replace(one, name=f"{n}") for n, one in enumerate(tracks)), CRS
    )
    made = qexp.invert(seen, run="chamber_0", workspace=tmp_path)
    assert not [one for one in made.network["outside"] if any(name in one for name in angles)]
    run = qexp.open_run("chamber_0", workspace=tmp_path)
    arrays = {name: np.random.default_rng(0).normal(0, 0.01, (2, 8, 8)) for name in names}
    middles = {
        f"{base}{view}": np.full(2, (low + high) / 2)
        for view, (base, _, (low, high)) in FLOWN.items()
    }
    turned = {
        name: values - turn
        for (name, values), turn in zip(middles.items(), (360, 360, 0, -720), strict=True)
    }
    expected = run.predict(**arrays, **middles)["depth"]
    np.testing.assert_allclose(run.predict(**arrays, **turned)["depth"], expected, rtol=1e-6)


@pytest.mark.heavy
def test_observations_that_do_not_fit_the_network_are_refused(place, tmp_path):
    seen = observed()
    steep = dataclasses.replace(seen.tracks[1], direction=np.tile([0.1, 0.0, 0.995], (196, 1)))
    looks = zip("ab", LOOKS, strict=True)
    sparse = [
        track(name, look, SOURCE, origin=ORIGIN, size=5, spacing=2000.0) for name, look in looks
    ]
    cases = {
        "takes 2 views": Observation(seen.tracks[:1], CRS),
        "no track is seen from the direction of the run's 'displacement_1'": Observation(
            (seen.tracks[0], steep), CRS
        ),
        "points of track 'a' are 2000 m apart": Observation(tuple(sparse), CRS),
    }
    for words, observation in cases.items():
        with pytest.raises(QexpError) as refused:
            qexp.invert(observation, run="chamber_0", workspace=place)
        assert words in str(refused.value)
    assert (
        "give the centre of the deformation with --centre"
        in invert(place, "--centre", "0,0").failed()
    )


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--source", "mogi"], "a network knows its sources"),
        (["--fix", "depth=2"], "add --refine"),
        (["--centre", "1"], "write EAST,NORTH in metres"),
    ],
)
def test_options_that_a_network_does_not_go_with_are_refused(place, options, words):
    assert words in invert(place, *options).failed()


@pytest.mark.heavy
def test_a_run_that_is_not_there_and_options_without_a_run_are_refused(place):
    assert call("invert", place / "obs.nc", "--run", "nobody_7", "--workspace", place).code == 3
    assert "--run" in call("invert", place / "obs.nc", "--refine").failed()


LOOKS = tuple(one.direction[0] for one in observed().tracks)
VIEW = SeenView("displacement", 8, 8, (500.0, 500.0), ASCENDING[None], None)


def test_pixels_are_means_of_their_points_around_the_origin_of_the_image():
    points = track(size=16, spacing=250.0, origin=(125.0, 125.0))
    points.displacement[:] = points.x + 10 * points.y
    values = image_of(points, VIEW, (0.0, 0.0))
    columns, rows = np.meshgrid((np.arange(8) - 4) * 500.0, (np.arange(8) - 4) * 500.0)
    inner = np.s_[1:-1, 1:-1]
    np.testing.assert_allclose(values[inner], (columns + 10 * rows)[inner], atol=1e-6)


def test_the_mean_of_a_cell_fills_all_pixels_of_the_cell():
    points = track(size=2, spacing=1000.0, origin=(750.0, 750.0))
    points.displacement[:] = [1, 2, 3, 4]
    sixteen = {"spread": np.full((4, 2), 250 * np.sqrt(15 / 12)), "count": np.full(4, 16.0)}
    values = image_of(dataclasses.replace(points, **sixteen), VIEW, (-500.0, -500.0))
    assert sorted(values[np.isfinite(values)]) == sorted([1, 2, 3, 4] * 4)
    np.testing.assert_allclose(values[4:6, 4:6], values[4, 4])


def test_gaps_of_a_plane_are_filled_by_the_plane_and_the_edge_by_the_nearest():
    plane = np.add.outer(np.arange(8.0), 2 * np.arange(8.0))
    gappy = plane.copy()
    gappy[3:5, 2:6] = np.nan
    gappy[0, 0] = np.nan
    whole = fill_gaps(gappy)
    np.testing.assert_allclose(whole[3:5, 2:6], plane[3:5, 2:6])
    assert whole[0, 0] in (plane[0, 1], plane[1, 0])
    level, offset = without_edge(plane + 5)
    np.testing.assert_allclose(level + offset, plane + 5)
    assert offset == pytest.approx(np.median(plane) + 5)


def test_the_largest_displacement_is_near_the_source():
    east, north = peak_of(observed().tracks, 500.0)
    assert np.hypot(east - SOURCE[0], north - SOURCE[1]) < 1500


@pytest.mark.heavy
def test_a_network_with_a_posterior_head_gives_intervals(tmp_path):
    operations = {
        name: one for name, one in MODEL["operations"].items() if not name.startswith("to_")
    }
    dense = {"module": "denses", "parameters": {"filters": [8]}}
    operations |= {"dense": dense, "head": {"module": "gaussian_posterior"}}
    branches = [
        MODEL["branches"][0],
        {"x_name": "seen", "y_name": OUTPUTS, "operations": ["dense", "head"]},
    ]
    experience = {**EXPERIENCE, "losses": "negative_log_likelihood"}
    train(tmp_path, DATASET, {**MODEL, "operations": operations, "branches": branches}, experience)
    made = qexp.invert(observed(), run="chamber_0", workspace=tmp_path)
    for name, (low, high) in UNIFORM.items():
        of = made.parameters[{"x": "east", "y": "north"}.get(name, name)]
        assert of.interval95[0] < of.value < of.interval95[1]
        assert of.interval95[1] - of.interval95[0] < (high - low) * (1000 if name in "xy" else 1)
    assert any("the estimate and its intervals are the network's" in one for one in made.remarks)

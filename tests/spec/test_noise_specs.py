"""Declared noise in specs: what is refused and why, and what becomes of a sound declaration."""

import json

import numpy as np
import pytest
import torch

from qexp.base.seeds import Seeds
from qexp.base.workspace import Workspace
from qexp.kinds.experiments import experience
from qexp.kinds.objects import dataset_of, initial_model
from qexp.kinds.tables import BUILT_IN
from tests.conftest import SOUND, located, put

WHITE = {"type": "white", "parameters": {"standard_deviation": 0.01}}
ATMOSPHERE = {"type": "exponential", "parameters": {"range": 2.0, "sill": 2e-5}}
OFFSET = {"type": "offset", "parameters": {"standard_deviation": 0.02}}
HIDING = {"type": "decorrelation", "parameters": {"share": 0.3, "patch_size": 1.0}}

REFUSED = [
    ([], ": must have at least 1 item"),
    ([WHITE, {"type": "pink"}], "[1].type: no noise model 'pink'; known: "),
    ([WHITE, "gaussian"], "[1]: 'gaussian' needs parameters: {"),
    (
        [put(ATMOSPHERE, "parameters.sill", 0)],
        "[0].parameters.sill: must be greater than 0, but is the number 0",
    ),
    (
        {"type": "exponential", "parameters": {"range": 1, "nugget": 1e-6}},
        ".parameters: 'nugget' needs 'sill' [m²]",
    ),
    ([{**WHITE, "views": [0, 1]}], "[0].views[1]: no view 1; the dataset has 1, numbered from 0"),
    ([{**WHITE, "views": ["ascending"]}], "[0].views[0]: no view 'ascending'"),
    ([{**WHITE, "views": [0, 0]}], "[0].views: must not repeat an item"),
    ([{**WHITE, "view": [0]}], "[0].view: unknown key 'view'; did you mean 'views'?"),
    (
        [OFFSET, "white"],
        (
            "[1]: 'white' has no amplitude: declare it among its parameters, or give the dataset a"
            " 'noise'"
        ),
    ),
    (
        [WHITE, {"type": "stratified", "parameters": {"slope": 0.01}}],
        "[1]: needs the elevation of its view ('displacement')",
    ),
    (
        [{"type": "power_law", "parameters": {"difference_at_1_km": 1e200}}],
        "[0].parameters.difference_at_1_km: must be at most 1000000, but is the number 1e+200",
    ),
    (
        [put(HIDING, "parameters.share", 1.5)],
        "[0].parameters.share: must be less than 1, but is the number 1.5",
    ),
]


@pytest.mark.parametrize(("noise_model", "complaint"), REFUSED)
def test_noise_with_one_fault_gets_one_complaint_at_the_fault(
    specs, problems, noise_model, complaint
):
    (message,) = problems(specs.spoil("dataset", ("noise_model", noise_model)))
    assert message.startswith(f"specs/datasets/sound.json at $.noise_model{complaint}")


STATIONS = {"type": "gnss", "points": [[0, 0], [1, 2]], "errors": [0.002, 0.002, 0.005]}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ([("noise_model", [WHITE]), ("fixed.noise", 0.1)], "scales nothing"),
        ([("fixed", {"x": 0.0, "y": 0.0, "noise": 0.01}), ("views", [STATIONS])],
         "scales nothing: stations have 'errors'"),
    ],
)  # fmt: skip
def test_a_noise_that_scales_nothing_is_refused(specs, problems, changes, complaint):
    (message,) = problems(specs.spoil("dataset", *changes))
    assert message.startswith(located("dataset", "fixed.noise", complaint))


def resolved(specs, noise_model, *changes):
    specs.spoil("dataset", ("noise_model", noise_model), *changes)
    return experience("sound", {}, Workspace(specs.root))


def test_a_list_is_resolved_to_its_long_form_and_amplitudes_only_where_they_are_declared(specs):
    dataset = resolved(
        specs, ["white", {**ATMOSPHERE, "views": [0]}], ("fixed.noise", 0.1)
    ).document["dataset"]
    assert dataset["noise_model"] == [
        {"type": "white", "parameters": {}},
        {**ATMOSPHERE, "views": [0]},
    ]


def samples_of(document, count=50):
    dataset = dataset_of(document, BUILT_IN)
    seeds = Seeds(3)
    return dataset.sample(
        dataset.parts([0.7, 0.3], seeds)["train"], count, seeds, ("train", 1), torch.device("cpu")
    )


def declared(noise_model, **fixed):
    dataset = {**SOUND["dataset"], "noise_model": noise_model}
    return {**dataset, "fixed": {**dataset["fixed"], **fixed}}


def test_single_noise_with_an_amplitude_is_the_one_scaled_by_noise():
    scaled = samples_of(declared({"type": "white"}, noise=0.01))["displacement"]
    torch.testing.assert_close(samples_of(declared(WHITE))["displacement"], scaled)


def test_a_component_that_is_added_to_a_list_leaves_the_noise_of_the_others():
    other = {"type": "white", "parameters": {"standard_deviation": 0.5}}
    quiet = samples_of(declared("white"))["displacement"]
    few = samples_of(declared([WHITE]))["displacement"]
    alone = samples_of(declared([OFFSET]))["displacement"]
    many = samples_of(declared([OFFSET, WHITE]))["displacement"]
    torch.testing.assert_close(many - quiet, (few - quiet) + (alone - quiet), rtol=1e-4, atol=1e-6)
    # A second one of the same type has random numbers of its own.
    second = (samples_of(declared([WHITE, other]))["displacement"] - few).flatten().double()
    assert second.std().item() == pytest.approx(0.5, rel=0.05)
    assert abs(torch.corrcoef(torch.stack([second, (few - quiet).flatten().double()]))[0, 1]) < 0.05


def test_views_have_masks_where_something_hides_their_pixels():
    second = {"azimuth_1": 1.0, "incidence_1": 0.4, "x_res_1": 0.4, "y_res_1": 0.4}
    samples = samples_of(declared([WHITE, {**HIDING, "views": [1]}], **second))
    assert "mask" not in samples
    assert samples["mask_1"].shape == samples["displacement_1"].shape
    assert torch.equal(samples["mask_1"] == 0, samples["displacement_1"] == 0)
    assert 0 < (samples["mask_1"] == 0).double().mean() < 0.6
    shapes = dataset_of(declared([WHITE, {**HIDING, "views": [1]}], **second), BUILT_IN).shapes()
    assert {name: tuple(value.shape[1:]) for name, value in samples.items()} == shapes


def test_noise_follows_the_elevation_of_a_grid_and_lies_on_scattered_points(specs):
    elevation = np.random.default_rng(2).uniform(0, 2000, (16, 16))
    (specs.root / "data").mkdir(exist_ok=True)
    np.save(specs.root / "data/elevation.npy", elevation)
    points = [[float(x), float(y)] for x, y in np.random.default_rng(3).uniform(-3, 3, (12, 2))]
    views = [
        {"elevation": "elevation.npy"},
        {"name": "descending", "points": points, "azimuth": 1.0, "incidence": 0.4},
    ]
    stratified = {"type": "stratified", "parameters": {"slope": 0.01}, "views": [0]}
    one_range = {
        "type": "gaussian",
        "parameters": {"range": 2.0, "sill": 1e-4},
        "views": ["descending"],
    }
    document = {**SOUND["dataset"], "views": views, "noise_model": [stratified, one_range]}
    dataset = dataset_of(document, BUILT_IN, Workspace(specs.root))
    values = {"depth": np.full(500, 1.0), "delta_volume": np.full(500, 1.0)}
    quiet = dataset.signals(values)
    noisy = dataset.observe(values, torch.Generator().manual_seed(1))
    layers = (noisy["displacement"] - quiet["displacement"]).double().flatten(1).numpy()
    above = (elevation - elevation.mean()).ravel() / 1e3
    slopes = layers @ above / (above @ above)
    np.testing.assert_allclose(layers, slopes[:, None] * above, atol=1e-6)
    assert slopes.std() == pytest.approx(0.01, rel=0.15)
    field = (noisy["displacement_1"] - quiet["displacement_1"]).double()[:, 0, :, 0].numpy()
    squared = np.square(np.array(points)[:, None] - np.array(points)).sum(-1)
    np.testing.assert_allclose(np.cov(field.T), 1e-4 * np.exp(-squared / 4), atol=0.3e-4)
    assert np.std(field) == pytest.approx(0.01, rel=0.1)


@pytest.mark.heavy
def test_a_network_that_sees_the_mask_is_trained_and_looked_at(specs, qexp):
    specs.spoil("dataset", ("noise_model", [ATMOSPHERE, OFFSET, HIDING]))
    model = put(SOUND["model"], "inputs.mask", {"size": [16, 16, 1]})
    model = put(model, "operations.join", {"module": "concatenate"})
    model = put(model, "branches.0", {**model["branches"][0], "x_name": ["displacement", "mask"]})
    specs.write(
        "model", put(model, "branches.0.operations", ["join", *model["branches"][0]["operations"]])
    )
    specs.spoil("experience", ("inputs", ["displacement", "mask"]), ("epochs", 1))
    for command in (
        ("run", "sound", "--device", "cpu"),
        ("matrix", "sound_0", "--dataset", "sound"),
        ("data", "show", "sound", "--count", "2"),
    ):
        qexp(*command).done()
    spec = json.loads((specs.root / "runs/sound_0/spec.json").read_text())
    types = [component["type"] for component in spec["dataset"]["noise_model"]]
    assert types == ["exponential", "offset", "decorrelation"]


def test_matched_filters_say_what_they_need_of_the_noise(specs, problems):
    filters = {"variable": "depth", "low": 0.5, "high": 4.0, "count": 4}
    specs.spoil(
        "model",
        ("operations.sources", {"module": "matched_filters", "parameters": filters}),
        ("operations.to_depth.parameters.filters", [1]),
        ("branches.0.operations", ["sources"]),
    )
    specs.spoil("dataset", ("noise_model", [OFFSET]))
    (message,) = problems(specs.root / "specs/experiences/sound.json")
    assert message.startswith(
        "specs/models/sound.json at $.operations.sources: matched filters need the inverse of"
    )
    spec = resolved(specs, [OFFSET, WHITE, HIDING]).document
    filters = initial_model(spec, BUILT_IN, Seeds(0)).network.operations["sources"].filters
    assert filters.isfinite().all()
    # An offset of 2 cm is known to be there: hardly anything of it passes a filter.
    assert (filters.sum(1).abs() * 0.02).max() < 0.2

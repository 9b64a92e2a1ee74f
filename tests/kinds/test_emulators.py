"""Runs that map parameters to images: as sources of an observation, and in place of the simulator
of matrices. What they are made of is in `test_parts_of_emulators.py`.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray

import qexp
from qexp.errors import QexpError
from qexp.kinds.images.emulator import Emulator
from qexp.observations.observation import Observation, Track, write_observation
from qexp.physics.geometry import line_of_sight
from qexp.physics.point import mogi, mogi_image
from qexp.spec.reading import digest
from qexp.store.directory import RunDirectory
from tests.conftest import call, copied, prepare_with, shared_folder
from tests.inference.tracks import track

# no other worker waits for what this one trains
pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("emulators")]

SIDE, STEP, COUNT = 32, 400.0, 900
"""Pixels of an image, their size [m], and simulations."""
ANGLES = {"azimuth": 0.2, "incidence": 0.6, "azimuth_1": 3.0, "incidence_1": 0.6}
LOOKS = [
    line_of_sight(*(torch.tensor([ANGLES[name + suffix]]) for name in ("azimuth", "incidence")))[
        0
    ].double()
    for suffix in ("", "_1")
]
PLACE = (426_000.0, 4_519_000.0)
SOURCE = (PLACE[0] + 700.0, PLACE[1] - 500.0, 2200.0, 5e6)
TRUTH = {"east": SOURCE[0], "north": SOURCE[1], "depth": 2.2, "delta_volume": 5.0}
IMAGES = ["displacement", "displacement_1"]


def simulations(path):
    """Images around a source, in pixels whose coordinates are not symmetric about it."""
    random = np.random.default_rng(0)
    depth, volume = random.uniform(1.5, 4.0, COUNT), random.uniform(1.0, 10.0, COUNT)
    at = (np.arange(SIDE) - SIDE / 2 + 0.5) * STEP + 1000
    source = torch.tensor(np.stack([0 * depth, 0 * depth, 1e3 * depth, 1e6 * volume], axis=1))
    along = torch.from_numpy(at).expand(COUNT, -1)
    views = [mogi_image(source, along, along, look.expand(COUNT, -1)).numpy() for look in LOOKS]
    variables = {
        "displacement": (("sample", "y", "x"), views[0], {"units": "m"}),
        "other": (("sample", "y", "x"), views[1], {"units": "m"}),
        "depth": ("sample", depth, {"units": "km"}),
        "volume": ("sample", 1e6 * volume, {"units": "m3"}),
    }
    sides = {axis: (axis, at, {"units": "m"}) for axis in ("x", "y")}
    xarray.Dataset(variables, sides).to_netcdf(path, engine="h5netcdf")


def branch(image):
    return {"x_name": "features", "y_name": image, "operations": [image]}


MODEL = {
    "inputs": {"depth": {"size": [1]}, "delta_volume": {"size": [1]}},
    "outputs": IMAGES,
    "operations": {
        "join": {"module": "concatenate"},
        "hidden": {
            "module": "mlp",
            "parameters": {"units": [64, 64], "outputs": 64, "activation": "silu"},
        },
        **{
            name: {"module": "denses", "parameters": {"filters": [16], "bias": True}}
            for name in IMAGES
        },
    },
    "branches": [
        {
            "x_name": ["depth", "delta_volume"],
            "y_name": "features",
            "operations": ["join", "hidden"],
        },
        *map(branch, IMAGES),
    ],
}


def chain(*of):
    return {"type": "chain", "parameters": {"of": of}}


COMPONENTS = {"type": "principal_components", "parameters": {"count": 16}}
EXPERIENCE = {
    "model": "decoder",
    "dataset": "elements",
    "inputs": ["depth", "delta_volume"],
    "outputs": IMAGES,
    "split": [0.8, 0.1],
    "epochs": 60,
    "batch_size": 32,
    "optimizer": "adam",
    "learning_rate": 0.005,
    "schedule": {"type": "one_cycle", "parameters": {"warm_up": 0.1}},
    "transforms": {
        **dict.fromkeys(("depth", "delta_volume"), chain("log", "standardize")),
        **dict.fromkeys(
            IMAGES, chain({"type": "asinh", "parameters": {"scale": 0.05}}, COMPONENTS)
        ),
    },
    "losses": dict.fromkeys(IMAGES, "mse"),
    "metrics": dict.fromkeys(IMAGES, "rmse"),
}
INVERSE = {
    "inputs": {"displacement": {"size": [SIDE, SIDE, 1]}},
    "outputs": ["depth", "delta_volume"],
    "operations": {"dense": {"module": "denses", "parameters": {"filters": [16, 1], "bias": True}}},
    "branches": [
        {"x_name": "displacement", "y_name": name, "operations": ["dense"]}
        for name in ("depth", "delta_volume")
    ],
}
INVERSE_EXPERIENCE = {
    **EXPERIENCE,
    **{
        key: dict.fromkeys(INVERSE["outputs"], value)
        for key, value in (("losses", "mse"), ("metrics", "mae"))
    },
    **{
        "model": "inverse",
        "dataset": "emulated",
        "inputs": ["displacement"],
        "outputs": INVERSE["outputs"],
    },
    **{"transforms": {}, "epochs": 1},
}
DATASET = {
    "type": "simulated",
    "path": "elements.nc",
    "observations": ["displacement", "displacement_1"],
    "columns": {"displacement_1": "other", "delta_volume": "volume"},
    "varyings": {"depth": [], "delta_volume": []},
    "fixed": ANGLES,
}

STATIONS = [[0.5, 0.2], [-1.5, 2.0], [3.0, -1.0], [-2.5, -2.5], [1.0, 4.0], [5.0, 3.0]]
"""East and north of the source [km]."""


def displacements(depth, volume):
    """Of the stations, (sample, component, station) [m]."""
    source = torch.tensor(np.stack([0 * depth, 0 * depth, 1e3 * depth, 1e6 * volume], axis=1))
    return mogi(source, 1e3 * torch.tensor(STATIONS, dtype=torch.float64)).mT.numpy()


def network_of_one(observed, name, dataset):
    """The specs of a network that learns one observation, with a dataset."""
    operations = {of: MODEL["operations"][of] for of in ("join", "hidden")}
    operations[observed] = MODEL["operations"][IMAGES[0]]
    branches = [MODEL["branches"][0], branch(observed)]
    numbers = {of: EXPERIENCE["transforms"][of] for of in EXPERIENCE["inputs"]}
    learned = {
        "outputs": [observed],
        "losses": {observed: "mse"},
        "metrics": {observed: "rmse"},
        "transforms": {**numbers, observed: EXPERIENCE["transforms"][IMAGES[0]]},
        "epochs": 40,
    }
    return {
        f"datasets/{name}": dataset,
        f"models/of_{name}": {
            **MODEL,
            "outputs": [observed],
            "operations": operations,
            "branches": branches,
        },
        f"experiences/of_{name}": {**EXPERIENCE, **learned, "model": f"of_{name}", "dataset": name},
    }


def network_of_stations(path):
    """Displacements of stations as files have them, beside images, and the specs of networks that
    learn them.
    """
    random = np.random.default_rng(1)
    depth, volume = random.uniform(1.5, 4.0, COUNT), random.uniform(1.0, 10.0, COUNT)
    source = torch.tensor(np.stack([0 * depth, 0 * depth, 1e3 * depth, 1e6 * volume], axis=1))
    along = torch.from_numpy((np.arange(SIDE) - SIDE / 2) * STEP).expand(COUNT, -1)
    image = mogi_image(source, along, along, LOOKS[0].expand(COUNT, -1)).numpy()
    np.savez(
        path,
        depth=depth,
        delta_volume=volume,
        displacement=displacements(depth, volume),
        image=image,
    )
    view = {"type": "gnss", "points": STATIONS}
    dataset = {
        **DATASET,
        "path": path.name,
        "observations": IMAGES[:1],
        "columns": {},
        "fixed": {},
        "views": [view],
    }
    columns = {IMAGES[0]: "image", IMAGES[1]: IMAGES[0]}
    sides = {"x_res": STEP / 1e3, "y_res": STEP / 1e3}
    fixed = {name: ANGLES[name] for name in ("azimuth", "incidence")} | sides
    both = {"observations": IMAGES, "columns": columns, "fixed": fixed, "views": [{}, view]}
    return {"datasets/both": {**dataset, **both}, **network_of_one(IMAGES[0], "stations", dataset)}


@shared_folder
def emulators(root):
    """A workspace with an emulator, and one that was hardly trained."""
    for kind in ("datasets", "models", "experiences"):
        (root / "specs" / kind).mkdir(parents=True)
    (root / "data").mkdir()
    simulations(root / "data/elements.nc")
    noisy = {"extends": "elements", "fixed": {**ANGLES, "noise": 0.003}}
    for place, spec in {
        "datasets/elements": DATASET,
        "datasets/noisy": noisy,
        "datasets/emulated": {**noisy, "emulator": "decode_0"},
        "models/decoder": MODEL,
        "experiences/decode": EXPERIENCE,
        **network_of_stations(root / "data/stations.npz"),
    }.items():
        (root / f"specs/{place}.json").write_text(json.dumps(spec))
    qexp.run("decode", seed=0, device="cpu", workspace=root)
    qexp.run("of_stations", seed=0, device="cpu", workspace=root)
    qexp.run(
        "decode", name="both", seed=0, overrides={"dataset": "both"}, device="cpu", workspace=root
    )
    (root / "specs/models/inverse.json").write_text(json.dumps(INVERSE))
    (root / "specs/experiences/inverse.json").write_text(json.dumps(INVERSE_EXPERIENCE))
    qexp.run("inverse", seed=0, device="cpu", workspace=root)
    qexp.run("decode", name="rough", seed=1, overrides={"epochs": 3}, device="cpu", workspace=root)


@pytest.fixture
def workspace(emulators, tmp_path, monkeypatch):
    return copied(emulators, tmp_path, monkeypatch)


def observation(**changes):
    tracks = [
        track(
            name,
            look.numpy(),
            SOURCE,
            None,
            seed=seed,
            origin=PLACE,
            size=14,
            spacing=500.0,
            **changes,
        )
        for seed, (name, look) in enumerate(zip(("ascending", "descending"), LOOKS, strict=True))
    ]
    return Observation(tuple(tracks), "EPSG:32633")


def test_an_emulator_finds_the_source_that_its_kernel_finds_and_is_as_certain(workspace):
    data = observation()
    exact, emulated = (qexp.invert(data, source=source) for source in ("mogi", "run:decode_0"))
    for name, true in TRUTH.items():
        ours, kernel = emulated.parameters[name], exact.parameters[name]
        assert abs(ours.value - kernel.value) < kernel.standard_error
        assert 0.98 < ours.standard_error / kernel.standard_error < 1.3
        assert ours.interval95[0] < true < ours.interval95[1]
        assert ours.unit == kernel.unit
    compared = qexp.invert(data, source=["mogi", "run:decode_0"]).rivals
    assert {rival["source"] for rival in compared} == {"mogi", "run:decode_0"}


def test_what_an_emulator_errs_makes_intervals_wider_so_that_they_hold_the_truth(workspace):
    rough = qexp.invert(observation(), source="run:rough")
    better = qexp.invert(observation(), source="run:decode_0")
    assert (
        rough.parameters["depth"].standard_error > 1.5 * better.parameters["depth"].standard_error
    )
    for name, true in TRUTH.items():
        estimate = rough.parameters[name]
        assert estimate.interval95[0] < true < estimate.interval95[1]


def test_errors_are_those_of_test_samples_like_the_source_where_and_as_large_as_its_signal_is(
    workspace,
):
    path = workspace / "runs/rough/results/test_images.nc"
    kept = xarray.load_dataset(path, engine="h5netcdf")
    samples = xarray.load_dataset(path.with_name("test_predictions.nc"), engine="h5netcdf")
    share = np.where(samples["depth"].values[: kept.sizes["sample"]] < 2.7, 0.1, 0.0)[
        :, None, None, None
    ]
    for (
        image
    ) in IMAGES:  # shallow sources are made too strong by a tenth; and all lie where no other does
        made = kept[f"{image}_estimate"].values
        for name, values in ((f"{image}_estimate", made), (image, (1 - share) * made)):
            moved = [
                np.roll(of, (number % 5 - 2, number % 7 - 3), axis=(1, 2))
                for number, of in enumerate(values)
            ]
            kept[name] = kept[name].dims, np.stack(moved)
    kept.to_netcdf(path, engine="h5netcdf")
    emulator = Emulator(RunDirectory(workspace / "runs/rough"))
    for depth, expected in ((1.9e3, 0.1), (3.8e3, 0.0)):
        values = {"depth": torch.tensor([depth]), "delta_volume": torch.tensor([5e6])}
        images, (mean, deviations, _) = emulator(values), emulator.errors(values)
        for image, of in images.items():
            assert (mean[image] - expected * of).abs().max() < 0.03 * of.abs().max()
            assert deviations[image].square().sum(dim=0).sqrt().max() < 0.04 * of.abs().max()
    kept.isel(sample=slice(5)).to_netcdf(path, engine="h5netcdf")
    assert any(
        "errors here are hardly known" in remark
        for remark in qexp.invert(observation(), source="run:rough").remarks
    )


def test_a_track_that_is_seen_from_beside_the_images_says_so_and_its_intervals_hold_the_source(
    workspace,
):
    tilted = LOOKS[0] + torch.tensor([0.0, 0.06, 0.0])
    across = (tilted / tilted.norm()).numpy()
    data = track("ascending", across, SOURCE, None, seed=0, origin=PLACE, size=14, spacing=500.0)
    found = qexp.invert(Observation((data,), "EPSG:32633"), source="run:decode_0")
    assert any("'ascending' is seen from 3." in remark for remark in found.remarks)
    for name, true in TRUTH.items():
        low, high = found.parameters[name].interval95
        assert low < true < high
    assert not any(
        "seen from" in remark
        for remark in qexp.invert(observation(), source="run:decode_0").remarks
    )


def test_images_for_the_limit_are_computed_once_whatever_the_number_of_samples(
    workspace, monkeypatch
):
    made, call = [], Emulator.__call__
    monkeypatch.setattr(
        Emulator, "__call__", lambda self, values: made.append(values) or call(self, values)
    )
    each = []
    for count in (2, 4):
        limit = qexp.limit("emulated", samples=count)
        each.append(sum(len(values["depth"]) for values in made))
        made.clear()
    assert each[1] < 1.01 * each[0]
    assert max(of.difference for of in limit.variables.values()) < 0.01


def test_the_observation_of_an_emulator_may_have_any_name_and_any_unit_of_length(workspace):
    elements = {
        "observations": ["uplift"],
        "columns": {"uplift": "displacement", "delta_volume": "volume"},
    }
    view = {"azimuth": ANGLES["azimuth"], "incidence": ANGLES["incidence"]}
    dataset = {**DATASET, **elements, "fixed": {}, "views": [view], "units": {"uplift": "cm"}}
    for place, spec in network_of_one("uplift", "uplift", dataset).items():
        (workspace / f"specs/{place}.json").write_text(json.dumps(spec))
    qexp.run("of_uplift", seed=0, device="cpu")
    data = Observation(observation().tracks[:1], "EPSG:32633")
    found = qexp.invert(data, source="run:of_uplift_0").parameters
    assert found["delta_volume"].value == pytest.approx(TRUTH["delta_volume"], rel=0.5)


def test_images_of_which_nothing_says_where_north_is_are_said_to_be_presumed_in_the_shell_too(
    workspace,
):
    prepare_with(workspace / "runs/decode_0", lambda spec: spec["dataset"].update(middles={}))
    write_observation(observation(), Path("seen.nc"))
    words = "rows of the images that run:decode_0 learned count as running northwards"
    assert f"warning: {words}" in call("invert", "seen.nc", "--source", "run:decode_0").stderr


def test_the_prior_of_a_posterior_is_the_range_of_the_emulator_also_where_data_hardly_show_a_source(
    workspace,
):
    weak = (*SOURCE[:2], 3500.0, 2e4)
    data = track(
        "ascending", LOOKS[0].numpy(), weak, None, seed=0, origin=PLACE, size=14, spacing=500.0
    )
    posterior = qexp.invert(
        Observation((data,), "EPSG:32633"), source="run:decode_0", posterior=True
    ).posterior
    assert 1.5 < posterior.parameters["depth"].low < posterior.parameters["depth"].high < 4.0


def test_images_stay_where_their_centre_is_given_or_move_with_the_source(workspace):
    at = qexp.invert(observation(), source="run:decode_0", centre=SOURCE[:2])
    assert set(at.parameters) == {"depth", "delta_volume"}
    assert at.parameters["depth"].value == pytest.approx(TRUTH["depth"], rel=0.03)
    shifted = qexp.invert(
        observation(), source="run:decode_0", centre=(SOURCE[0] - 1000, SOURCE[1])
    )
    assert shifted.chi2_reduced > 2 * at.chi2_reduced


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bounds": {"depth": (1.0, 3.0)}}, "known only for depth from 1.50"),
        ({"fixed": {"depth": 9.0}}, "known only for depth from 1.50"),
        ({"centre": (PLACE[0] + 5000.0, PLACE[1])}, "some lie outside"),
        ({"source": "run:missing"}, "missing"),
    ],
)
def test_an_emulator_is_not_asked_beyond_what_it_knows(workspace, changes, words):
    with pytest.raises(QexpError, match=words):
        qexp.invert(observation(), **{"source": "run:decode_0", **changes})


def gnss_network(**changes):
    noise = np.random.default_rng(5).normal(0, 0.002, (3, len(STATIONS)))
    observed = displacements(np.array([2.2]), np.array([5.0]))[0] + noise
    x, y = np.tile(1e3 * np.array(STATIONS).T, 3) + np.array(PLACE)[:, None]
    direction, errors = np.eye(3).repeat(len(STATIONS), axis=0), np.full(observed.size, 0.002)
    network = Track(
        "gnss",
        "gnss",
        x,
        y,
        observed.ravel(),
        errors,
        direction,
        np.ones(observed.size, dtype=bool),
    )
    return replace(network, **changes)


def test_an_emulator_of_stations_knows_them_at_their_places(workspace):
    gnss = gnss_network()
    found = qexp.invert(Observation((gnss,)), source="run:of_stations_0", centre=PLACE).parameters
    for name, true in (("depth", 2.2), ("delta_volume", 5.0)):
        assert found[name].interval95[0] < true < found[name].interval95[1]
    moved = Observation((replace(gnss, x=gnss.x + 300),))
    with pytest.raises(QexpError, match="it knows no other places"):
        qexp.invert(moved, source="run:of_stations_0", centre=PLACE)
    with pytest.raises(QexpError, match="does not move"):
        qexp.invert(Observation((gnss,)), source="run:of_stations_0")


def test_an_emulator_of_images_and_stations_has_all_components_at_the_stations_alone(workspace):
    source, gnss = (*PLACE, *SOURCE[2:]), gnss_network()
    radar = track(
        "ascending", LOOKS[0].numpy(), source, None, seed=0, origin=PLACE, size=14, spacing=500.0
    )
    asked = {"source": "run:both", "centre": PLACE}
    together, alone = (
        qexp.invert(Observation(of), **asked).parameters for of in ((radar, gnss), (radar,))
    )
    exact = qexp.invert(
        Observation((radar, gnss)), source="mogi", fixed={"east": PLACE[0], "north": PLACE[1]}
    )
    for name, true in (("depth", 2.2), ("delta_volume", 5.0)):
        of_kernel, found = exact.parameters[name], together[name]
        assert found.interval95[0] < true < found.interval95[1]
        assert 0.9 < found.standard_error / of_kernel.standard_error < 1.5
        assert found.standard_error < 0.8 * alone[name].standard_error
    with pytest.raises(QexpError, match="'gnss' is not seen from where"):
        qexp.invert(Observation((radar, replace(gnss, x=gnss.x + 300))), **asked)


def test_images_are_predicted_in_python_and_evaluated(workspace):
    images = qexp.open_run("decode_0").predict(depth=[2.0, 3.0], delta_volume=[3.0, 4.0])
    assert images["displacement"].shape == (2, 1, SIDE, SIDE)
    evaluation = qexp.evaluate("decode_0", part="validation")
    assert evaluation.record.results["validation"]["displacement"]["rmse"] < 0.001


def test_networks_that_are_no_emulators_are_refused(workspace):
    qexp.run("decode", name="noisy", overrides={"dataset": "noisy", "epochs": 1}, device="cpu")
    with pytest.raises(QexpError, match="noise or hidden pixels"):
        qexp.invert(observation(), source="run:noisy")
    away = replace(observation().tracks[0], direction=np.tile([0.0, 0.6, 0.8], (196, 1)))
    with pytest.raises(QexpError, match="seen from"):
        qexp.invert(Observation((away,)), source="run:decode_0")


def test_matrices_of_simulations_in_files_are_made_through_an_emulator(workspace):
    run = "inverse_0"
    matrix = qexp.matrix(run, axes={"depth": (1.0, 4.0, 6), "delta_volume": (2.0, 8.0, 3)})
    assert "images by the emulator decode_0" in (matrix.folder / "record.json").read_text()
    cells = matrix["depth_estimate"]
    assert bool(cells.isnull().sel(depth=[1.25], method="nearest").all())
    assert bool(cells.sel(depth=slice(1.6, 4.0)).notnull().all())


AT = "--axis", "depth=1.5:4:2", "--axis", "delta_volume=2:8:2"


def test_a_removed_emulator_is_named_with_what_takes_images_from_it_and_other_commands_do_without(
    workspace,
):
    with pytest.warns(UserWarning, match="has 'decode_0' as its emulator") as warned:
        call("rm", "decode_0", "--yes")
    said = " ".join(str(warning.message) for warning in warned)
    assert "specs/datasets/emulated.json has" in said
    assert "inverse_0 has" in said
    for words in (
        ("evaluate", "inverse_0", "--dataset", "noisy", "--part", "all"),
        ("verify", "inverse_0"),
        ("show", "inverse_0"),
    ):
        assert call(*words).code == 0
    for words in (
        ("matrix", "inverse_0", *AT),
        ("limit", "--run", "inverse_0"),
        ("run", "inverse", "--seed", "1"),
    ):
        refused = call(*words)
        assert refused.code in (2, 3)
        assert "there is no run 'decode_0'" in refused.stderr
        assert "qexp restore decode_0" in refused.stderr
    call("restore", "decode_0")
    assert call("matrix", "inverse_0", *AT).code == 0


def test_a_byte_that_has_changed_in_the_weights_is_said_wherever_they_are_used(workspace):
    weights = workspace / "runs/decode_0/checkpoints/best.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    write_observation(observation(), Path("observation.nc"))
    for words in (
        ("invert", "observation.nc", "--source", "run:decode_0"),
        ("evaluate", "decode_0", "--part", "all"),
        ("run", "decode", "--seed", "5", "--pretrain", "decode_0"),
    ):
        said = call(*words)
        assert "its bytes have changed since the run was done" in said.stderr, words
        assert said.code == 5
    assert "its bytes have changed" in call("doctor").stdout


# What was pulled, or is named by a spec, executes no code of its own.

MARKS = """
from pathlib import Path
Path("{mark}").write_text("executed")
"""


def with_code(run, mark):
    """A run whose code leaves a mark where it is executed, with the digest that it then has."""
    (run / "code").mkdir(exist_ok=True)
    (run / "code/extensions.py").write_text(MARKS.format(mark=mark))
    prepare_with(run, lambda spec: None)


PULLED = {"archive": "remote/decode_0/1", "time": "2026-01-01T00:00:00.000+00:00"}


def pulled(run, **record):
    document = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**document, "imported": PULLED, **record}))


COMMANDS = [
    ("ls",),
    ("show", "inverse_0"),
    ("report", "inverse_0", "--to", "report.html"),
    ("compare", "inverse_0", "decode_0"),
    ("figures", "inverse_0"),
    ("matrix", "inverse_0", *AT),
    ("evaluate", "inverse_0", "--part", "all"),
    ("evaluate", "inverse_0", "--dataset", "noisy", "--part", "all"),
    ("limit", "named", "--samples", "2"),
    ("calibrate", "inverse_0", "--observations", "20"),
    ("verify", "inverse_0"),
    ("rerun", "inverse_0"),
    ("predict", "inverse_0", "few.nc", "--to", "estimates.nc"),
    ("predict", "inverse_0", "few.nc", "--to", "refined.nc", "--refined"),
    ("invert", "observation.nc", "--run", "inverse_0"),
    ("invert", "observation.nc", "--source", "run:decode_0"),
    ("export", "inverse_0", "--to", "inverse.zip"),
    ("doctor",),
    ("validate", "specs/datasets/named.json"),
    ("data", "show", "named"),
    ("data", "simulate", "named", "--count", "3"),
    ("run", "inverse", "--set", "dataset=named"),
    ("run", "pretrained", "--seed", "2"),
]


@pytest.mark.parametrize("key", ["found_emulator", "emulator", "lineage", "pulled"])
def test_no_command_executes_the_code_of_a_folder_that_a_pulled_run_or_a_spec_names(
    workspace, tmp_path, key
):
    mark, elsewhere = tmp_path / "mark", tmp_path / "elsewhere/runs/decode_0"
    shutil.copytree(workspace / "runs/decode_0", elsewhere)
    place = workspace / "runs/decode_0" if key == "pulled" else elsewhere
    with_code(place, mark)
    if key == "lineage":
        prepare_with(place, lambda spec: spec["dataset"].update(type="of_its_code"))
    named = "decode_0" if key == "pulled" else str(place)
    where = {"found_emulator": named} if key == "found_emulator" else {"emulator": named}
    ancestor = {
        name: json.loads((place / "run.json").read_text())[name] for name in ("digest", "seed")
    }
    run = workspace / "runs/inverse_0"
    spec = json.loads((workspace / "runs/inverse_0/spec.json").read_text())
    if key == "lineage":
        whole = digest(spec, ancestor["digest"])
        pulled(run, lineage=[{"name": named, **ancestor}], digest=whole)
    else:
        prepare_with(run, lambda spec: spec["dataset"].update(where))
        pulled(run)
    if key == "pulled":
        pulled(place)
    (workspace / "specs/datasets/named.json").write_text(
        json.dumps({"extends": "noisy", "emulator": named})
    )
    pretrained = {"extends": "inverse", "pretrain": named}
    (workspace / "specs/experiences/pretrained.json").write_text(json.dumps(pretrained))
    write_observation(observation(), Path("observation.nc"))
    xarray.open_dataset("data/elements.nc").isel(sample=slice(2)).to_netcdf(
        "few.nc", engine="h5netcdf"
    )
    ended = {}
    of_run = (
        [("matrix", "inverse_0", *AT), ("limit", "--run", "inverse_0")]
        if key in ("emulator", "pulled")
        else []
    )
    for words in (*COMMANDS, *of_run):
        ended[words] = said = call(*words)
        assert not mark.exists(), words
        assert said.code in (0, 2, 3, 4), (words, said)
    refused = {words for words, said in ended.items() if "decode_0" in said.stderr}
    assert {"validate", "data", "run"} <= {words[0] for words in refused}
    assert refused >= {*of_run}
    if key == "pulled":
        said = ended["matrix", "inverse_0", *AT].stderr
        assert (
            "if you trust it, remove the run, and pull or import it again with --trust-code" in said
        )

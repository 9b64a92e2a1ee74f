"""First specs for files of data can be run as they are, and replace nothing."""

import csv
import json

import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet

from qexp.observations.observation import CorrelatedNoise, Observation, Track, write_observation
from qexp.physics.point import mogi
from tests import domes
from tests.conftest import call

SOIL = "sample,field,red (1),infrared (1),moisture (%)\n" + "".join(
    f"{row},{'abcde'[row % 5]},0.{row % 7 + 1},0.{row % 4 + 2},{row % 9}.5\n" for row in range(20)
)


@pytest.fixture
def bare(tmp_path, monkeypatch):
    assert call("init", tmp_path, "--kind", "bare").code == 0
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "soil.csv").write_text(SOIL)
    return tmp_path


def test_a_dataset_of_rows_says_what_the_header_says(bare, qexp):
    qexp("new", "dataset", "soil", "data/soil.csv", "--group", "field").done()
    assert json.loads((bare / "specs/datasets/soil.json").read_text()) == {
        "type": "tabular", "path": "soil.csv", "inputs": {"features": ["red (1)", "infrared (1)"]},
        "outputs": {"moisture": "moisture (%)"}, "units": {"moisture": "%", "features": "1"},
        "identifiers": ["sample"], "groups": {"field": {"column": "field"}},
    }  # fmt: skip


def test_units_in_a_file_of_types_are_those_of_the_dataset(bare, qexp):
    units = {"red": "nm", "infrared": "nm", "moisture": "%"}
    fields = [
        pyarrow.field(name, pyarrow.float64(), metadata={"unit": units[name]}) for name in units
    ]
    table = pyarrow.table([[0.1, 0.3], [0.4, 0.2], [7.5, 8.1]], schema=pyarrow.schema(fields))
    parquet.write_table(table, bare / "data" / "soil.parquet")
    qexp("new", "dataset", "soil", "data/soil.parquet").done()
    made = json.loads((bare / "specs/datasets/soil.json").read_text())
    assert made["units"] == {"moisture": "%", "features": "nm"}


def test_specs_are_not_replaced_and_images_are_told_what_would_work(bare, qexp):
    qexp("new", "dataset", "soil", "data/soil.csv").done()
    before = (bare / "specs/datasets/soil.json").read_text()
    assert "exists already" in qexp("new", "experience", "soil", "data/soil.csv").refused()
    assert (bare / "specs/datasets/soil.json").read_text() == before
    (bare / "data" / "look.tif").write_bytes(b"II*")
    assert "qexp predict RUN FILE" in qexp("new", "dataset", "look", "data/look.tif").refused()
    assert (
        "no column 'moist'"
        in qexp("new", "dataset", "other", "data/soil.csv", "--output", "moist").refused()
    )
    assert not (bare / "specs/datasets/other.json").exists()


@pytest.mark.parametrize("fields", [2, 3, 5])
def test_the_epoch_is_chosen_on_whole_groups_too_unless_there_are_two(bare, qexp, fields):
    lines = [
        line for line in SOIL.splitlines() if line.split(",")[1] in ("field", *"abcde"[:fields])
    ]
    (bare / "data" / "soil.csv").write_text("\n".join(lines))
    qexp("new", "experience", "soil", "data/soil.csv", "--group", "field").done()
    made = json.loads((bare / "specs/experiences/soil.json").read_text())
    by_field = {"type": "group_k_fold", "parameters": {"by": "field", "folds": min(3, fields - 1)}}
    assert made["inner"] == (
        by_field if fields > 2 else {"type": "k_fold", "parameters": {"folds": 3}}
    )
    assert ("no inner fold could hold out one" in made.get("description", "")) == (fields == 2)
    qexp("validate", "specs/experiences/soil.json").done()


def test_an_output_of_names_is_a_class_beside_outputs_of_numbers(bare, qexp):
    names = ["clay", "sand", "NA", "silt"]
    lines = [f"{line},{names[row % 4]}" for row, line in enumerate(SOIL.splitlines()[1:])]
    (bare / "data" / "soil.csv").write_text("\n".join([f"{SOIL.splitlines()[0]},kind", *lines]))
    asked = ["--output", "kind", "--output", "moisture (%)"]
    qexp("new", "experience", "soil", "data/soil.csv", *asked).done()
    made = json.loads((bare / "specs/datasets/soil.json").read_text())
    assert made["classes"] == {"kind": ["clay", "sand", "silt"]}
    assert made["units"] == {"moisture": "%", "features": "1"}
    assert made["missing"] == "drop"
    made = json.loads((bare / "specs/experiences/soil.json").read_text())
    assert made["losses"] == {"moisture": "mse", "kind": "negative_log_likelihood"}
    assert made["split"] == {"type": "k_fold", "parameters": {"folds": 5}}  # 5 rows of a class
    (bare / "data" / "many.csv").write_text("\n".join([f"{SOIL.splitlines()[0]},kind", *lines * 3]))
    qexp("new", "experience", "many", "data/many.csv", "--output", "kind").done()
    made = json.loads((bare / "specs/experiences/many.json").read_text())
    assert made["split"]["parameters"] == {"folds": 5, "stratify": "kind"}
    asked = ["--output", "field", "--group", "field"]
    assert "'field' is none" in qexp("new", "dataset", "x", "data/soil.csv", *asked).refused()


@pytest.mark.heavy
def test_new_experiences_train_as_they_are(bare, qexp):
    qexp("new", "dataset", "soil", "data/soil.csv", "--group", "field").done()
    qexp("new", "experience", "soil").done()
    assert qexp("run", "soil", "--set", "epochs=1").code == 0
    qexp("new", "experience", "fields", "data/soil.csv", "--output", "field").done()
    assert qexp("run", "fields", "--set", "epochs=1").code == 0
    domes.write(bare)
    path = json.loads((bare / "specs/datasets/domes.json").read_text())["path"]
    qexp("new", "experience", "flow", path, "--output", "ubar").done()
    assert qexp("run", "flow", "--set", "epochs=1", "--set", "patches=[32,8]").code == 0


# Simulations in files.

RANDOM = np.random.default_rng(0)
DEPTH, VOLUME = RANDOM.uniform(1, 5, 200), RANDOM.uniform(1, 10, 200)
UPLIFT = (
    0.24
    * (VOLUME * DEPTH)[:, None, None]
    / (DEPTH[:, None, None] ** 2 + np.square(np.arange(16.0) - 8)) ** 1.5
)
UPLIFT = np.broadcast_to(UPLIFT, (200, 16, 16))


def write_table(path, **columns):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([list(columns), *zip(*columns.values(), strict=True)])


def dataset_named(bare, name):
    return json.loads((bare / f"specs/datasets/{name}.json").read_text())


def test_arrays_of_one_axis_are_the_parameters_of_those_of_more(bare, qexp):
    site, number = np.repeat(np.arange(50), 4), np.arange(200)
    arrays = {
        "depth": DEPTH,
        "volume": VOLUME,
        "number": number,
        "same": np.ones(200),
        "site": site,
    }
    objects = np.array([{}] * 200, dtype=object)
    np.savez(bare / "data/alone.npz", uplift=UPLIFT, zero=np.array(3.0), objects=objects, **arrays)
    with pytest.warns(UserWarning, match="'objects' holds object"):
        qexp("new", "experience", "alone", "data/alone.npz", "--group", "site").done()
    assert dataset_named(bare, "alone") == {
        "type": "simulated", "path": "alone.npz", "observations": ["uplift"], "groups": "site",
        "varyings": {"depth": [], "volume": []},
    }  # fmt: skip
    experience = json.loads((bare / "specs/experiences/alone.json").read_text())
    assert experience["inputs"] == ["uplift"]
    assert experience["losses"] == "negative_log_likelihood"
    qexp("new", "dataset", "one", "data/alone.npz", "--output", "depth").done()
    assert dataset_named(bare, "one")["varyings"] == {"depth": []}
    assert (
        "none of the parameters"
        in qexp("new", "dataset", "two", "data/alone.npz", "--output", "deep").refused()
    )
    several = qexp(
        "new", "dataset", "two", "data/alone.npz", "--group", "site", "--group", "number"
    ).refused()
    assert "by one column" in several


def test_parameters_are_taken_from_the_table_beside_with_their_units(bare, qexp):
    folder = bare / "data" / "runs 1.5"
    folder.mkdir()
    np.savez(folder / "my.elements.npz", displacement=UPLIFT)
    write_table(
        folder / "my.elements.csv",
        number=range(200),
        **{"depth (m)": 1000 * DEPTH},
        delta_volume=VOLUME,
    )
    qexp("new", "experience", "elements", "data/runs 1.5/my.elements.npz").done()
    assert dataset_named(bare, "elements") == {
        "type": "simulated",
        "path": "runs 1.5/my.elements.npz",
        "parameters": "runs 1.5/my.elements.csv",
        "observations": ["displacement"],
        "varyings": {"depth": [], "delta_volume": []},
        "columns": {"depth": "depth (m)"},
    }
    write_table(folder / "my.elements.parquet", depth=DEPTH)
    assert (
        "which table" in qexp("new", "dataset", "other", "data/runs 1.5/my.elements.npz").refused()
    )


def test_files_without_parameters_or_observations_say_what_is_needed(bare, qexp):
    np.savez(bare / "data/bare.npz", uplift=UPLIFT, count=np.ones(200))
    assert (
        "no parameters: columns of a table"
        in qexp("new", "dataset", "a", "data/bare.npz").refused()
    )
    np.savez(bare / "data/single.npz", uplift=UPLIFT[:1], depth=DEPTH[:1])
    assert "no parameters" in qexp("new", "dataset", "a", "data/single.npz").refused()
    np.savez(bare / "data/lines.npz", depth=DEPTH)
    assert "no observations" in qexp("new", "dataset", "a", "data/lines.npz").refused()
    np.savez(bare / "data/classes.npz", uplift=UPLIFT, kind=np.arange(200) // 2 % 3)
    assert (
        "'kind', with 3 whole numbers"
        in qexp("new", "experience", "a", "data/classes.npz").refused()
    )
    assert not list((bare / "specs").rglob("a.json"))


@pytest.fixture
def pictures(bare):
    folder = bare / "data" / "pictures"
    folder.mkdir()
    for number in range(3, 200):
        np.save(folder / f"{number}.npy", UPLIFT[number])
    names = [f"{number}.npy" for number in range(200)]
    write_table(folder / "table.csv", site=["a"] * 200, picture=names, depth=DEPTH, volume=VOLUME)
    return folder


def test_a_folder_of_images_has_a_table_with_a_column_that_names_them(bare, qexp, pictures):
    qexp("new", "experience", "pictures", pictures).done()
    assert "3 of 200 simulations have missing" in qexp("validate").stderr
    assert dataset_named(bare, "pictures") == {
        "type": "simulated",
        "path": "pictures",
        "parameters": "pictures/table.csv",
        "files": "picture",
        "observations": ["observed"],
        "varyings": {"depth": [], "volume": []},
    }
    (pictures / "table.csv").rename(bare / "data" / "pictures.csv")
    qexp("new", "dataset", "beside", "data/pictures").done()
    assert dataset_named(bare, "beside")["parameters"] == "pictures.csv"
    write_table(pictures / "other.csv", depth=DEPTH)
    assert "which table" in qexp("new", "dataset", "two", pictures).refused()


def test_images_that_no_column_names_or_that_are_elsewhere_or_of_other_shapes_are_refused(
    bare, qexp, pictures
):
    np.save(pictures / "9.npy", UPLIFT[9, :8])
    assert (
        "9.npy: 'observed' has the shape (8, 16)"
        in qexp("new", "dataset", "shapes", pictures).refused()
    )
    np.save(bare / "data" / "outside.npy", UPLIFT[0])
    names = ["../outside.npy", *(f"{number}.npy" for number in range(1, 200))]
    write_table(pictures / "table.csv", picture=names, depth=DEPTH)
    assert (
        "'../outside.npy' lies elsewhere" in qexp("new", "dataset", "outside", pictures).refused()
    )
    write_table(pictures / "table.csv", picture=["no.npy"] * 200, depth=DEPTH)
    assert "no column names files of" in qexp("new", "dataset", "unnamed", pictures).refused()


# Observations.

SIGHTS = {"ascending": (-0.753, -0.113, 0.648), "descending": (0.439, -0.088, 0.894)}


def track(name, sight, count=900, volume=5e6, noise=None):
    places = np.random.default_rng(len(name)).uniform(-8000, 8000, (count, 2))
    source = torch.tensor([[500.0, -800.0, 2500.0, volume]], dtype=torch.float64)
    moved = mogi(source, torch.from_numpy(places))[0].numpy() @ sight + 0.01
    direction = np.tile(np.array(sight) / np.linalg.norm(sight), (count, 1))
    return Track(
        name,
        "radar",
        *(places + np.array([430e3, 4520e3])).T,
        moved,
        np.full(count, 0.002),
        direction,
        np.full(count, True),
        noise=noise,
    )


def observe(bare, *tracks):
    write_observation(Observation(tracks), bare / "unrest.nc")


def test_an_observation_gets_a_dataset_with_its_views_and_its_noise(bare, qexp):
    noise = CorrelatedNoise("exponential", 1e-5, 2000.0, 4e-6)
    observe(
        bare,
        track("ascending", SIGHTS["ascending"], noise=noise),
        track("2 down", SIGHTS["descending"], 700),
    )
    qexp("new", "--from", "unrest.nc").done()
    dataset = dataset_named(bare, "unrest")
    ascending, descending = dataset["views"]
    assert ascending["name"] == "ascending"
    assert "name" not in descending
    assert (ascending["heading"], ascending["incidence"]) == pytest.approx((-8.5, 49.6), abs=0.1)
    assert (descending["heading"], descending["incidence"]) == pytest.approx(
        (-168.7, 26.6), abs=0.1
    )
    side, pixel = dataset["size"][0], ascending["x_res"]
    assert 16 <= side * pixel < 16 + 8 * pixel
    noises = {
        (one["type"], *one.get("views", [])): one["parameters"] for one in dataset["noise_model"]
    }
    assert set(noises) == {
        ("offset",), ("exponential", 0), ("decorrelation", 0), ("white", 1), ("decorrelation", 1)
    }  # fmt: skip
    assert noises["exponential", 0]["range"] == 2
    assert noises["exponential", 0]["sill"] == 1e-5
    assert 1e-6 < noises["exponential", 0]["nugget"] <= 4e-6
    priors = {
        name: list(one["parameters"].values()) for name, one in dataset["distributions"].items()
    }
    assert priors["x"] == pytest.approx([-4, 4], rel=0.02)
    assert priors["depth"][0] < 2.5 < priors["depth"][1]
    assert priors["delta_volume"][0] < 5 < priors["delta_volume"][1]


def test_a_subsiding_ground_has_a_source_that_loses_volume(bare, qexp):
    observe(bare, track("only", SIGHTS["ascending"], volume=-5e6))
    qexp("new", "experience", "down", "unrest.nc").done()
    values = dataset_named(bare, "down")["distributions"]["delta_volume"]["parameters"]["values"]
    assert values[0] < -5 < values[-1] < 0


def test_an_observation_that_no_network_can_take_is_told_what_can(bare, qexp):
    up = track("up", (0.0, 0.0, 1.0), 6)
    stations = Track(
        "gnss", "gnss", up.x, up.y, up.displacement, up.error, up.direction, up.observed
    )
    observe(bare, stations)
    assert "without one: qexp invert" in qexp("new", "experience", "unrest", "unrest.nc").refused()
    observe(bare, track("still", SIGHTS["ascending"], volume=0.0))
    assert "the same everywhere" in qexp("new", "experience", "unrest", "unrest.nc").refused()
    assert (
        "leave them out"
        in qexp("new", "experience", "unrest", "unrest.nc", "--output", "depth").refused()
    )
    assert "give both" in qexp("new", "experience").refused()


@pytest.mark.heavy
def test_a_network_for_an_observation_inverts_it(bare, qexp):
    observe(bare, *(track(name, sight) for name, sight in SIGHTS.items()))
    qexp("new", "--from", "unrest.nc").done()
    spec = bare / "specs/experiences/unrest.json"
    spec.write_text(
        json.dumps(json.loads(spec.read_text()) | {"epochs": 1, "sizes": [256, 64, 64]})
    )
    assert qexp("run", "unrest").code == 0
    said = qexp("invert", "unrest_0", "unrest.nc", "--refine", "--json").done()
    depth = json.loads(said)["parameters"]["depth"]["value"]
    assert depth == pytest.approx(2.5, rel=0.05)


@pytest.mark.heavy
def test_an_experience_for_simulations_trains_as_it_is(bare, qexp):
    np.savez(bare / "data/alone.npz", uplift=UPLIFT, depth=DEPTH, volume=VOLUME)
    qexp("new", "experience", "alone", "data/alone.npz").done()
    assert qexp("run", "alone", "--set", "epochs=1").code == 0


@pytest.mark.parametrize(("gap", "said"), [("", True), ("0.5", False)])
def test_what_becomes_of_rows_with_gaps_is_said(workspace, qexp, gap, said):
    rows = [f"{number % 7},{number % 5 + 0.25},{number % 3}" for number in range(20)]
    (workspace / "data/gaps.csv").write_text("\n".join(["a,b,y", f"{gap},0.25,1", *rows]) + "\n")
    written = qexp("new", "dataset", "gaps", "data/gaps.csv")
    assert written.code == 0
    assert ("rows with gaps are left out" in written.stderr) is said

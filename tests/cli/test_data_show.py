"""A look at data: samples, numbers and figures of a part of a dataset, before anything is trained
on it.
"""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray

import qexp as package
from qexp.base.seeds import Seeds
from qexp.base.workspace import Workspace
from qexp.errors import QexpError, SpecError
from qexp.kinds.experiments import experience, open_dataset, spec_cache
from qexp.kinds.objects import data_kind
from qexp.kinds.options import ShowOptions
from qexp.kinds.rows.folds import Folds
from qexp.physics.point import mogi
from qexp.runs.look import Look, look
from tests import domes, stones
from tests.conftest import call, shared_folder

pytestmark = pytest.mark.xdist_group("data that are made up")  # no other worker waits for them

SHIPPED = {
    "mogi": ["train_histograms", "train_samples"],
    "mogi_two_views": ["train_histograms", "train_samples"],
    "lunar_tio2": [
        "all_histograms",
        "all_samples_angles",
        "all_samples_reflectance",
        "all_tio2_by_mission",
    ],
    "ice": ["train_frames", "train_histograms", "train_samples", "train_thk_by_folder"],
    "xrf_toc": ["train_histograms", "train_samples", "train_toc_by_core"],
    "xrf_pretrain": ["train_histograms", "train_samples", "train_total_counts_by_core"],
}
"""Dataset → its figures."""


@shared_folder
def _looked_at(root: Path) -> None:
    assert call("init", root).code == 0
    stones.write(root)
    domes.write(root)


@pytest.fixture
def home(_looked_at: Path, made_up_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with the shipped examples, stones and domes, to be read only."""
    monkeypatch.chdir(_looked_at)
    monkeypatch.delenv("QEXP_WORKSPACE", raising=False)
    return _looked_at


def numbers(
    home: Path,
    dataset: str | None,
    part: str | None = None,
    experience: str | None = None,
    count: int = 1,
) -> Look:
    """What there is to see but the figures."""
    return look(Workspace(home), ShowOptions(dataset, part, count, experience=experience), None)


# Samples


@pytest.mark.heavy
def test_the_samples_of_an_experience_are_those_of_its_run_with_that_seed(home):
    mogi = experience("mogi_quick", {}, Workspace(home))
    data = data_kind(mogi.document["dataset"]).data(
        mogi.document, mogi.dataset, mogi.tables, Seeds(5), torch.device("cpu")
    )
    for part, of_run in {
        "train": data.train(1),
        "validation": data.validation,
        "test": data.test,
    }.items():
        samples = package.samples(part=part, count=4, seed=5, experience="mogi_quick")
        for name in ("depth", "delta_volume"):
            np.testing.assert_array_equal(samples[name].values, of_run[name][:4, 0].numpy())
        np.testing.assert_allclose(
            samples["displacement"].values, of_run["displacement"][:4, 0].numpy(), rtol=1e-5
        )


def test_samples_of_the_test_part_lie_in_the_held_out_intervals_and_the_others_do_not(home):
    _, _, dataset = open_dataset("mogi", spec_cache(Workspace(home)))
    for part, inside in (("train", False), ("test", True)):
        values = package.samples("mogi", part, 100)["depth"].values
        ends = [
            dataset.distributions["depth"].quantile(np.array(quantile))
            for quantile in dataset.test["depth"]
        ]
        held_out = np.logical_or.reduce([(low <= values) & (values <= high) for low, high in ends])
        assert (held_out == inside).all()


@pytest.mark.heavy
def test_another_seed_gives_other_samples_and_the_same_seed_the_same(home):
    for name in ("mogi", "stones", "domes"):
        first, again, other = (package.samples(name, count=5, seed=seed) for seed in (1, 1, 2))
        assert first.identical(again)
        assert not first.equals(other)


def test_rows_are_those_of_the_file_with_their_row_numbers_and_units(home):
    samples = package.samples("stones", count=7)
    lines = (home / "data/stones.csv").read_text().splitlines()
    for index in range(7):
        name, *colours, iron = lines[int(samples["row"].values[index]) - 1].split(",")
        assert str(samples["stone"].values[index]) == name
        np.testing.assert_allclose(
            samples["colour"].values[index], [float(colour) for colour in colours]
        )
        assert float(samples["iron"].values[index]) == float(iron)
    assert samples["colour_column"].values.tolist() == list(stones.COLUMNS)
    assert samples["iron"].attrs["units"] == "wt%"


def test_the_folds_of_an_experience_on_rows_are_parts_with_the_rows_that_they_hold_out(home):
    on_rows = experience("stones", {}, Workspace(home))
    folds = Folds(
        on_rows.document, on_rows.dataset, on_rows.tables, Seeds(0), torch.device("cpu")
    ).folds
    look = numbers(home, None, folds[1].name, "stones", count=50)
    assert list(look.parts) == ["all", *(fold.name for fold in folds)]
    assert look.samples["row"].values.tolist() == on_rows.dataset.row_numbers(
        folds[1].test.tolist()
    )


@pytest.mark.heavy
def test_patches_are_cut_from_the_frames_that_they_name_and_have_ice_in_their_centre(home):
    samples = package.samples("domes", "test", 6)
    for index in range(6):
        patch = samples.isel(sample=index)
        with xarray.open_dataset(home / f"data/domes/test/{patch['folder'].item()}/ex.nc") as file:
            row, column = int(patch["row"]), int(patch["column"])
            cut = file["thk"].values[int(patch["frame"]), row : row + 16, column : column + 16]
            assert float(patch["time"]) == 10.0 * int(patch["frame"])
        np.testing.assert_array_equal(patch["thk"].values, cut)
        assert cut[8, 8] > 1
    assert samples["ubar"].attrs["units"] == "m a-1"


def test_spectra_come_with_their_target_core_and_energies(home, made_up_data):
    samples = package.samples("xrf_toc", "test", 2)
    for index in range(2):
        spectrum = next(
            (made_up_data / "xrf/toc/test/spe").glob(f"{samples['name'].values[index]}*")
        )
        counts = [float(number) for number in spectrum.read_text().split()]
        np.testing.assert_allclose(samples["spectrum"].values[index], counts)
    assert samples["toc"].attrs["units"] == "wt%"
    assert samples["energy"].values[:2].tolist() == pytest.approx([0.01, 0.03])


# Numbers


def test_the_table_holds_the_numbers_of_all_rows(home):
    (line,) = [row for row in numbers(home, "stones").summary if row["variable"] == "iron"]
    iron = np.array([row[4] for row in stones.table()])
    expected = [iron.min(), *np.percentile(iron, (5, 50, 95)), iron.max()]
    assert [line[key] for key in ("minimum", "5 %", "median", "95 %", "maximum")] == pytest.approx(
        expected
    )
    assert (line["unit"], line["n"], line["missing"]) == ("wt%", stones.ROWS, 0)


def test_values_that_are_missing_are_counted_by_column(workspace):
    rows = stones.table()
    rows[3][2] = rows[5][2] = rows[5][4] = ""
    stones.write(workspace, rows)
    (workspace / "specs/datasets/stones.json").write_text(
        json.dumps({**stones.DATASET, "missing": "drop"})
    )
    summary = numbers(workspace, "stones").summary
    assert [row["variable"] for row in summary] == [
        "colour red",
        "colour green",
        "colour blue",
        "iron",
    ]
    assert [row["missing"] for row in summary] == [0, 2, 0, 1]
    assert summary[-1]["n"] == stones.ROWS - 2


def test_the_typical_values_of_fields_are_a_piece_of_a_valid_dataset_and_keep_the_direction_of_vectors(
    workspace, qexp
):
    domes.write(workspace)
    proposal = numbers(workspace, "domes").proposal
    assert set(proposal["inputs"]) == set(domes.FIELDS)
    assert proposal["outputs"]["ubar"] == proposal["outputs"]["vbar"]
    ice = package.samples("domes", count=100)
    assert (
        0.5 * float(ice["thk"].max()) <= proposal["inputs"]["thk"] <= 1.5 * float(ice["thk"].max())
    )
    document = {key: value for key, value in domes.DATASET.items() if key != "mapping"}
    (workspace / "specs/datasets/scaled.json").write_text(json.dumps({**document, **proposal}))
    assert qexp("validate", "specs/datasets/scaled.json").code == 0


def test_the_typical_value_of_an_image_is_a_transform_of_a_valid_experience(workspace, qexp):
    spec = json.loads(Path("specs/experiences/mogi_quick.json").read_text())
    Path("specs/experiences/scaled.json").write_text(
        json.dumps({**spec, **numbers(workspace, "mogi").proposal})
    )
    assert qexp("validate", "specs/experiences/scaled.json").code == 0


# Figures, and the command


@pytest.mark.heavy
def test_a_figure_by_group_shows_which_groups_are_held_out(workspace, tmp_path):
    stones.write(
        workspace, split={"type": "held_out", "parameters": {"by": "quarry", "values": ["B"]}}
    )
    titles = {}
    for part in ("train", "test"):
        look = package.show_data(
            part=part, count=1, experience="stones", out=tmp_path, formats=("svg",)
        )
        assert list(look.parts) == ["train", "test"]
        assert {str(name)[0] == "B" for name in look.samples["stone"].values} == {part == "test"}
        titles[part] = (tmp_path / f"{part}_iron_by_quarry.svg").read_text(encoding="utf-8")
    assert "<!-- B (6) -->" in titles["train"]
    assert "<!-- test -->" in titles["train"]
    assert titles["train"] == titles["test"]


@pytest.mark.heavy
@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_kind_has_figures(home, tmp_path, name):
    look = package.show_data(name, count=2, out=tmp_path / "seen")
    assert sorted(path.name for path in look.figures) == [
        f"{figure}.png" for figure in SHIPPED[name]
    ]
    assert set(look.figures) == set((tmp_path / "seen").iterdir())
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in look.figures)


def test_a_picture_of_a_sample_of_a_class_has_its_name(home, tmp_path):
    look = package.show_data("mechanism", count=6, formats=("svg",), out=tmp_path)
    document = json.loads((home / "specs/datasets/mechanism.json").read_text())
    names = list(document["classes"]["mechanism"])
    drawn = re.findall("<!-- (mogi|sill|dike|none) -->", look.figures[0].read_text("utf-8"))
    assert drawn == [names[int(code)] for code in look.samples["mechanism"].values]
    assert len(set(drawn)) > 1
    [counted] = [one["classes"] for one in look.summary if "classes" in one]
    assert list(counted) == names
    assert min(counted.values()) > 0.8 * sum(counted.values()) / len(names)


@pytest.mark.heavy
def test_figures_of_the_same_data_have_the_same_bytes_in_every_format(home, tmp_path):
    looks = [
        package.show_data("stones", count=2, out=tmp_path / name, formats=("png", "pdf", "svg"))
        for name in "ab"
    ]
    assert len(looks[0].figures) == 9
    for first, second in zip(*(shown_data.figures for shown_data in looks), strict=True):
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.heavy
def test_inputs_of_unlike_sizes_are_all_drawn_by_the_share_of_rows_below(home, tmp_path, qexp):
    lines = [f"{60 + row},{row % 7 / 100},{1000 + row},{row}" for row in range(20)]
    (tmp_path / "melts.csv").write_text("\n".join(["SiO2,H2O,T,eta", *lines]))
    inputs = {"oxides": ["SiO2", "H2O"], "heat": ["T"]}
    document = {
        "type": "tabular",
        "path": str(tmp_path / "melts.csv"),
        "inputs": inputs,
        "outputs": {"eta": ["eta"]},
    }
    (tmp_path / "melts.json").write_text(json.dumps(document))
    qexp(
        "data",
        "show",
        tmp_path / "melts.json",
        "--count",
        "1",
        "--format",
        "svg",
        "--out",
        tmp_path / "drawn",
    ).done()
    drawn = {
        path.stem: path.read_text(encoding="utf-8") for path in (tmp_path / "drawn").glob("*.svg")
    }
    assert sorted(drawn) == ["all_histograms", "all_samples"]
    assert all(
        f"<!-- {text} -->" in drawn["all_samples"]
        for text in ("SiO2", "H2O", "heat", "rows below (%)")
    )


@pytest.mark.heavy
def test_data_that_stand_in_say_so_in_numbers_and_figures(home, tmp_path, qexp):
    words = ["lunar_feo_features", "--count", "1", "--format", "svg", "--out", tmp_path, "--json"]
    caution = json.loads(qexp("data", "show", *words).done())["caution"]
    assert caution == "made with stand-in data"
    drawing = (tmp_path / "all_feo_by_mission.svg").read_text(encoding="utf-8")
    assert caution in " ".join(re.findall("<!-- (.*?) -->", drawing, re.DOTALL)), (
        "whatever its title's lines are"
    )


@pytest.mark.heavy
def test_the_command_prints_a_table_then_typical_values_then_the_paths_of_the_figures(
    workspace, qexp
):
    code, stdout, stderr = qexp("data", "show", "mogi", "--part", "test", "--count", "2")
    assert code == 0
    header, depth, volume, displacement, proposal, *paths = stdout.splitlines()
    assert header.split() == [
        "variable",
        "unit",
        "n",
        "minimum",
        "5",
        "%",
        "median",
        "95",
        "%",
        "maximum",
        "max",
        "|value|",
        "missing",
    ]
    assert [line.split()[0] for line in (depth, volume, displacement)] == [
        "depth",
        "delta_volume",
        "displacement",
    ]
    assert json.loads(proposal)["transforms"]["displacement"]["type"] == "scale"
    assert paths == ["figures/mogi/test_samples.png", "figures/mogi/test_histograms.png"]
    assert all(Path(path).is_file() for path in paths)
    assert "mogi, test (other parts: train)" in stderr
    assert not Path("runs").exists()


WRONG = {
    "nope": "no dataset 'nope'; known: ",
    "mogi_quick": "'mogi_quick' is an experience; show its data with --experience mogi_quick",
    "--experience half_width": "'half_width' has no dataset that qexp could open",
    "": "name a dataset, or an experience with --experience",
    "mogi --part trian": "--part trian: 'mogi' has no such part; did you mean 'train'?",
    "stones --part test": "known: all (an experience divides it further: --experience NAME)",
    "mogi --count 0": "--count 0: at least one sample",
    "mogi --count 101": "--count 101: at most 100 can be shown; `qexp.samples` gives any number",
    "mogi --format gif": "no format 'gif' for figures; choose from png, pdf, svg",
    "mogi --style none.mplstyle": "--style none.mplstyle: there is no such file",
    "ice --experience mogi_quick": (
        "the dataset of 'mogi_quick' is 'mogi', not 'ice'; leave 'ice' out"
    ),
    "mogi --at depth=1": (
        "'delta_volume' varies but is not an axis; give it a value, for example the median: --at"
    ),
    "mogi --at depth=1,volume=2": "--at volume: no such variable",
    "mogi --at depth=-1,delta_volume=2": "--at depth: must be greater than 0 km",
    "mogi --at depth=one": "--at depth=one: write variable=number",
    "mogi --at depth=1,delta_volume=1 --over depth=1:2:2": "--at depth: it is an axis",
    "mogi --over depth=1:2:25 --at delta_volume=1": "a figure shows up to 24 images on a side",
    "mogi --over depth=1:2:100000 --at delta_volume=1": "too many",
    "mogi --at depth=1,delta_volume=1 --count 3": "leave out --part",
    "mogi --noise --part test": "leave out --part",
}


@pytest.mark.parametrize("line", WRONG)
def test_what_cannot_be_shown_is_refused_with_what_would_work_and_nothing_is_written(
    home, tmp_path, qexp, line
):
    code, stdout, stderr = qexp("data", "show", *line.split(), "--out", tmp_path / "figures")
    assert (code in (2, 3), stdout, WRONG[line] in stderr) == (True, "", True), stderr
    assert not (tmp_path / "figures").exists()


def test_a_dataset_with_a_problem_is_told_as_validate_tells_it(workspace):
    spec = json.loads(Path("specs/datasets/mogi.json").read_text())
    spec["distributions"]["depth"]["type"] = "lognormal"
    Path("specs/datasets/mogi.json").write_text(json.dumps(spec))
    with pytest.raises(SpecError, match="did you mean 'log_normal'"):
        package.samples("mogi")
    with pytest.raises(QexpError, match=r"specs/datasets/mogi\.json at"):
        package.samples(experience="mogi_quick")


def test_python_gets_more_samples_than_can_be_shown(workspace):
    assert package.samples("mogi", "test", 101).sizes["sample"] == 101


AT = {"depth": 1.0, "delta_volume": 2.0}


def test_an_image_at_chosen_values_is_that_of_its_source_without_noise(workspace):
    images = package.images("mogi_noisy", AT)
    np.testing.assert_array_equal(
        images["displacement"], package.images("mogi", AT)["displacement"]
    )
    source = torch.tensor([[0.0, 0.0, 1000.0, 2e6]], dtype=torch.float64)
    x, y = np.meshgrid(images["x"], images["y"])
    east, _, up = mogi(source, torch.tensor(1000 * np.stack([x.ravel(), y.ravel()], -1)))[0].T
    expected = -math.sin(0.33) * east + math.cos(0.33) * up
    np.testing.assert_allclose(
        images["displacement"].values.ravel(), expected, atol=1e-5 * float(expected.max())
    )
    noisy = [
        package.images("mogi_noisy", AT, noise=True, seed=seed)["displacement"].values
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(noisy[0], noisy[1])
    assert 0.005 < np.std(noisy[0] - images["displacement"].values) < 0.02
    assert not np.array_equal(noisy[0], noisy[2])


@pytest.mark.heavy
def test_images_over_two_variables_are_those_of_each_cell(workspace):
    images = package.images("mogi", over={"depth": (1.0, 3.0, 2), "delta_volume": (0.0, 4.0, 4)})
    assert images["displacement"].dims == ("depth", "delta_volume", "y", "x")
    assert images["depth"].values.tolist() == [1.5, 2.5]
    single = package.images("mogi", {"depth": 2.5, "delta_volume": 1.5})["displacement"]
    np.testing.assert_allclose(images["displacement"][1, 1], single, rtol=1e-6)
    for line in ("--over depth=1:3:2 --over delta_volume=0:4:4", "--at depth=1,delta_volume=2"):
        stdout = call("data", "show", "mogi", *line.split(), "--out", "figures").done()
        assert stdout == "figures/at_displacement.png\n"
        assert Path(stdout.strip()).read_bytes().startswith(b"\x89PNG")

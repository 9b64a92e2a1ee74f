"""Experiences on gridded fields: what of them is right, and what is said of the rest."""

import shutil

import pytest

from qexp.base.workspace import Workspace
from qexp.kinds.experiments import experience
from qexp.runs.order import Order, read_overrides
from qexp.runs.plan import sweep
from qexp.spec.experiences import caution
from tests import domes
from tests.conftest import Specs

SIZES_OF_32 = [(f"inputs.{name}.size", [32, 32, 1]) for name in domes.FIELDS]
DOCUMENTS = {"dataset": domes.DATASET, "model": domes.MODEL, "experience": domes.EXPERIENCE}


UNMAPPED = ("mapping", ...)


def listed(**inputs):
    """Changes of the dataset: inputs and outputs in place of a mapping."""
    return [UNMAPPED, ("inputs", inputs), ("outputs", {"ubar": 1})]


def network(module, **parameters):
    return ("operations.network", {"module": module, "parameters": parameters})


@pytest.fixture
def workspace(specs):
    domes.write(specs.root)
    return Workspace(specs.root)


@pytest.fixture
def spoil(specs, workspace):
    return Specs(specs.root, DOCUMENTS, "domes").spoil


def resolved(workspace, *overrides):
    return experience("domes", read_overrides("--set", overrides), workspace)


@pytest.fixture
def validate(workspace, qexp):
    return lambda *files: qexp("validate", "specs/experiences/domes.json", *files)


def test_an_experience_on_fields_is_right(validate):
    assert validate("specs/datasets/domes.json") == (0, "", "2 specs are right\n")


def test_a_mapping_is_written_out_and_every_field_divided_by_its_typical_value(workspace):
    spec = resolved(workspace).document
    assert spec["dataset"]["inputs"] == {"thk": 2000, "slopsurfx": 1.5, "slopsurfy": 1.5}
    assert spec["dataset"]["outputs"] == {"ubar": 1000, "vbar": 1000}
    assert spec["dataset"]["units"] == {
        "thk": "m",
        "slopsurfx": "",
        "slopsurfy": "",
        "ubar": "m a-1",
        "vbar": "m a-1",
    }
    assert spec["transforms"]["thk"] == {"type": "scale", "parameters": {"typical": 2000}}
    transforms = resolved(workspace, 'transforms.thk="asinh"').document["transforms"]
    assert transforms["thk"]["type"] == "asinh"
    assert transforms["ubar"] == {"type": "scale", "parameters": {"typical": 1000}}


def test_inputs_and_outputs_may_be_listed_with_typical_values_or_named_by_a_folder_of_2dto2d_dle(
    spoil, workspace
):
    inputs, outputs = {"thk": None, "slopsurfx": 0.5, "slopsurfy": 0.5}, {"ubar": None, "vbar": 100}
    spoil("dataset", UNMAPPED, ("inputs", inputs), ("outputs", outputs))
    dataset = resolved(workspace).document["dataset"]
    assert dataset["inputs"] == {"thk": 2000, "slopsurfx": 0.5, "slopsurfy": 0.5}
    assert dataset["outputs"] == {"ubar": 1000, "vbar": 100}
    folder = workspace.root / "data/mapping"
    folder.mkdir()
    (folder / "fieldin.dat").write_text("thk 300.000000 \nslopsurfx 0.5 \nslopsurfy 0.5 \n")
    (folder / "fieldout.dat").write_text("ubar 50.0 \nvbar 60.0 \n")
    spoil("dataset", ("mapping", "mapping"))
    assert resolved(workspace).document["dataset"]["outputs"] == {"ubar": 50, "vbar": 60}


def test_every_output_says_where_the_test_folders_were_trained_on(spoil, workspace):
    assert caution(resolved(workspace).document) == ""
    spoil("dataset", ("include_test_in_train", True))
    assert caution(resolved(workspace).document) == "trained on the test data"


def test_a_dataset_tells_the_command_that_makes_it_and_is_waited_for(spoil, validate, qexp):
    spoil("dataset", ("path", "valleys"), ("made_by", "qexp data ice --out data/valleys"))
    code, _, stderr = validate()
    assert (code, "make it with: qexp data ice --out data/valleys" in stderr) == (0, True)
    assert stderr.endswith("0 specs are right, 1 waits for data\n")
    assert "make it with: qexp data ice --out data/valleys" in qexp("run", "domes").failed()


def test_a_resolved_experience_is_a_valid_one_with_the_same_digest(specs, workspace):
    first = resolved(workspace)
    specs.write("experience", first.document, "again")
    again = experience("again", {}, workspace)
    assert (again.document, again.digest) == (first.document, first.digest)


@pytest.mark.heavy
def test_recomputed_slopes_are_another_digest_and_the_key_is_left_out_where_it_changes_nothing(
    workspace,
):
    plain = resolved(workspace)
    assert resolved(workspace, "dataset.recompute_slopes=false").digest == plain.digest
    anew = resolved(workspace, "dataset.recompute_slopes=true")
    assert anew.digest != plain.digest
    assert anew.document["dataset"]["recompute_slopes"] is True


def test_of_one_training_folder_the_last_frames_can_be_kept_and_the_message_says_so(
    workspace, validate
):
    for name in ("d1", "d2"):
        shutil.rmtree(workspace.root / "data/domes/train" / name)
    assert '{"type": "time_block", "parameters": {"by": "folder"}}' in validate().failed()
    split = 'split={"type": "time_block", "parameters": {"by": "folder", "share": 0.3}}'
    assert resolved(workspace, split).document["split"]["type"] == "time_block"


def test_other_fields_are_another_digest_and_another_place_is_not(workspace, tmp_path, monkeypatch):
    first = resolved(workspace)
    shutil.move(workspace.root / "data/domes", tmp_path / "elsewhere/domes")
    monkeypatch.setenv("QEXP_DATA", str(tmp_path / "elsewhere"))
    assert resolved(workspace).digest == first.digest
    shutil.copytree(tmp_path / "elsewhere/domes/train/d0", tmp_path / "elsewhere/domes/train/d9")
    assert resolved(workspace).digest != first.digest


@pytest.mark.parametrize(
    ("kind", "changes", "complaint"),
    [
        ("dataset", [("path", "dome")], "$.path: there is no folder 'dome'; looked for"),
        (
            "dataset",
            [("mapping", "f3")],
            "$.mapping: no mapping and no folder 'f3'; did you mean 'f13'?",
        ),
        (
            "dataset",
            [("inputs", {"thk": 1})],
            "$.inputs: the mapping already names inputs and outputs",
        ),
        (
            "dataset",
            [UNMAPPED],
            "the key 'inputs' is missing; list its variables, or name a 'mapping'",
        ),
        (
            "dataset",
            listed(thk=0, slopsurfx=1, slopsurfy=1),
            "$.inputs.thk: a field cannot be divided by 0; give a",
        ),
        (
            "dataset",
            listed(usurf=None),
            "$.inputs.usurf: 2Dto2D-DLE has no typical value for 'usurf'",
        ),
        ("dataset", listed(thk=1, ubar=1), "$.outputs.ubar: 'ubar' is also an input"),
        (
            "dataset",
            [("patch_size", 40)],
            "$.patch_size: a patch of 40 × 40 cells is larger than the frames of",
        ),
        ("dataset", [("patch_size", 0)], "$.patch_size: must not be 0, but is the number 0"),
        ("dataset", [("path", "")], "$.path: must have at least 1 character, but is the text"),
        (
            "dataset",
            [("threshold", 1e5)],
            "in the test part: no patch of d0 has more than 100000 m of ice",
        ),
        ("dataset", [("stepping", 0)], "$.stepping: must be at least 1"),
        ("dataset", [("patch", 8)], "$.patch: unknown key 'patch'; did you mean 'path'?"),
        (
            "experience",
            [("split", [0.8, 0.2])],
            "$.split: frames of the train folders are kept for validation by",
        ),
        (
            "experience",
            [("split", {"type": "k_fold"})],
            "$.split: makes 5 parts, but only one can be kept for",
        ),
        (
            "experience",
            [("split.parameters.by", "site")],
            "$.split.parameters.by: frames have no column 'site'",
        ),
        (
            "experience",
            [("split.parameters.share", 0.9)],
            "$.split.parameters.share: 0.9 of 3 different 'folder'",
        ),
        (
            "experience",
            [("inner", "k_fold")],
            "$.inner: 'inner' is for tabular and spectra datasets, but this one is",
        ),
        ("experience", [("sizes", [9, 9, 9])], "$.sizes: 'sizes' is for generated datasets"),
        (
            "experience",
            [("batch_size", 25)],
            "$.batch_size: a batch of 25 is larger than the 24 training patches",
        ),
        (
            "experience",
            [("metrics", {"ubar": "median_relative_error"})],
            "needs all values at once",
        ),
        (
            "experience",
            [("metrics", {"ubar": ["mae", "r2_training_mean"]})],
            "drawn again in every epoch; use 'r2'",
        ),
        ("experience", [("transforms", {"ubar": "log"})], "$.transforms.ubar: "),
        (
            "experience",
            [("inputs", ["thk", "slopsurfx", "slopsurfz"])],
            "the dataset has no 'slopsurfz'",
        ),
        ("model", SIZES_OF_32, "its shape in the dataset is [16, 16, 1], but the model's input is"),
        (
            "model",
            [("operations.network.parameters.outputs", 3)],
            "3 channels cannot be divided among ubar, vbar",
        ),
        (
            "model",
            [network("denses", filters=[4, 2])],
            "model makes [1] for 'ubar', but its values are [16, 16, 1]",
        ),
        (
            "model",
            [network("conv", filters=[2], stride=2)],
            "the model makes [8, 8, 1] for 'ubar', but its values are",
        ),
    ],
)
def test_what_is_wrong_is_said(spoil, validate, kind, changes, complaint):
    spoil(kind, *changes)
    assert complaint in validate().failed()


def test_a_u_net_whose_patches_cannot_be_halved_so_often_is_refused(spoil, validate):
    spoil("dataset", ("patch_size", 12))
    sizes = [(f"inputs.{name}.size", [12, 12, 1]) for name in domes.FIELDS]
    spoil("model", *sizes, network("dle_unet", outputs=2, filters=4))
    assert (
        "patches must be a multiple of 8 cells, but are 12 × 12; change patch_size"
        in validate().failed()
    )


FIXED = """
from torch import nn
from qexp.extend import Entry
def fixed(shape, /):
    return nn.Sequential(nn.Flatten(), nn.Linear(768, 512), nn.Unflatten(1, (2, 16, 16)))
MODULES = {'fixed': Entry(fixed, {}, 'One size only.', {'module': 'fixed'})}
"""


def test_a_network_that_takes_patches_alone_is_refused_where_frames_are_larger(
    workspace, spoil, validate
):
    (workspace.root / "specs/extensions.py").write_text(FIXED)
    spoil("model", ("operations.network", {"module": "fixed"}))
    complaint = (
        "in the test part: the network takes patches of 16 x 16 cells, but not frames of 20 x 24"
        " cells"
    )
    assert f"$.model: {complaint}" in validate().failed()


@pytest.mark.heavy
def test_cells_of_several_sizes_are_warned_of_and_nothing_is_wrong(workspace, validate, qexp):
    domes.rewrite(
        workspace.root / "data/domes/train/d1",
        lambda data: data.assign_coords(x=data["x"] * 2, y=data["y"] * 2),
    )
    for code, _, stderr in (validate(), qexp("run", "domes", "--set", "epochs=1")):
        assert (code, "warning: " in stderr, "the cells have different sizes" in stderr) == (
            0,
            True,
            True,
        )
        assert "200 × 200 m in d0, d2, d0; 400 × 400 m in d1" in " ".join(stderr.split())


def test_test_folders_with_the_fields_of_training_folders_are_said_and_are_a_caution(
    workspace, validate
):
    folder = next(workspace.root.rglob("train/d1"))
    shutil.copytree(folder, folder.parent.parent / "test/another_name")
    code, _, stderr = validate()
    words = "1 of 2 test folders have the fields of training folders"
    assert (code, f"$.split: {words}: another_name; take them out" in stderr) == (0, True), stderr
    (plan,) = sweep(Order(["domes"], [0]), workspace)
    assert plan.caution == words
    (folder / "ex.nc").write_bytes((folder.with_name("d0") / "ex.nc").read_bytes())
    assert words not in validate().stderr

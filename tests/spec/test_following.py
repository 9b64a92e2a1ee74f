"""Specs that follow their dataset are the specs that one would have written out for it."""

import pytest

from qexp.base.workspace import Workspace
from qexp.kinds.experiments import experience
from qexp.runs.order import read_overrides
from qexp.spec.reading import FROM_DATASET, follow_dataset
from tests import domes
from tests.conftest import SOUND, Specs, put
from tests.spec import test_tabular_specs as on_rows

FOLLOWING = {
    "dataset": domes.DATASET,
    "model": {
        **put(domes.MODEL, "operations.network.parameters.outputs", FROM_DATASET),
        "inputs": FROM_DATASET,
        "outputs": FROM_DATASET,
        "branches": [
            {"x_name": FROM_DATASET, "y_name": FROM_DATASET, "operations": ["join", "network"]}
        ],
    },
    "experience": {
        **domes.EXPERIENCE,
        "model": "following",
        "inputs": FROM_DATASET,
        "outputs": FROM_DATASET,
        "losses": "mae",
    },
}


@pytest.fixture
def workspace(specs):
    domes.write(specs.root)
    Specs(specs.root, FOLLOWING, "following")
    return Workspace(specs.root)


def resolved(workspace, name, *overrides):
    return experience(name, read_overrides("--set", overrides), workspace)


def test_a_following_experience_is_resolved_to_what_could_have_been_written_out(workspace):
    following, written = resolved(workspace, "following"), resolved(workspace, "domes")
    assert following.document == written.document
    assert following.digest == written.digest


@pytest.mark.heavy
def test_another_mapping_and_patch_size_are_two_values(workspace):
    spec = resolved(workspace, "following", "dataset.mapping=f13", "dataset.patch_size=8").document
    inputs = ["thk", "slopsurfx", "slopsurfy", "arrhenius", "slidingco"]
    outputs = ["ubar", "vbar", "uvelsurf", "vvelsurf"]
    assert (spec["inputs"], spec["outputs"]) == (inputs, outputs)
    assert spec["model"]["inputs"] == {name: {"size": [8, 8, 1]} for name in inputs}
    assert spec["model"]["branches"] == [
        {"x_name": inputs, "y_name": outputs, "operations": ["join", "network"]}
    ]
    assert spec["model"]["operations"]["network"]["parameters"]["outputs"] == 4
    assert spec["losses"] == {name: {"type": "mae", "parameters": {}} for name in outputs}


def test_the_sizes_alone_may_follow(workspace, specs):
    specs.write(
        "model",
        put(domes.MODEL, "inputs", {name: {"size": FROM_DATASET} for name in domes.FIELDS}),
        "domes",
    )
    assert resolved(workspace, "domes", "dataset.patch_size=8").document["model"]["inputs"][
        "thk"
    ] == {"size": [8, 8, 1]}


def test_rows_and_simulated_images_may_be_followed_as_well(specs):
    (specs.root / "data" / "moon").mkdir(parents=True)
    (specs.root / "data" / "moon" / "rows.csv").write_text(on_rows.rows())
    Specs(specs.root, on_rows.DOCUMENTS, "rows")
    both = {"inputs": FROM_DATASET, "outputs": FROM_DATASET}
    specs.write("model", {**on_rows.MODEL, **both}, "following")
    specs.write("experience", {**on_rows.EXPERIENCE, **both, "model": "following"}, "following")
    workspace = Workspace(specs.root)
    assert resolved(workspace, "following").digest == resolved(workspace, "rows").digest
    sound = resolved(workspace, "sound").digest
    specs.spoil(
        "model", ("inputs", {name: {"size": FROM_DATASET} for name in SOUND["model"]["inputs"]})
    )
    assert resolved(workspace, "sound").digest == sound


@pytest.mark.heavy
def test_a_mapping_with_inputs_that_the_network_does_not_read_is_refused(workspace, qexp):
    stderr = qexp(
        "--workspace", workspace.root, "run", "domes", "--set", "dataset.mapping=f13", "--dry-run"
    ).failed()
    assert (
        "$.mapping: the mapping 'f13' has inputs that the network does not read: 'arrhenius',"
        " 'slidingco'" in stderr
    )


@pytest.mark.parametrize(
    ("name", "override", "complaint"),
    [
        ("following", 'inputs=["thk","slopsurfx","depth"]', "the dataset has no 'depth'"),
        (
            "following",
            "inputs=dataset",
            '$.inputs: the only text that is possible here is "from dataset"',
        ),
        (
            "following",
            "model.outputs=dataset",
            '$.outputs: the only text that is possible here is "from dataset"',
        ),
        (
            "following",
            'model.inputs={"thk":{"size":"from data"}}',
            "$.inputs.thk.size: the only text that is possible",
        ),
        (
            "following",
            "model.operations.network.parameters.outputs=all",
            'must be a whole number or "from dataset"',
        ),
        (
            "following",
            "model.operations.network.parameters.layers=from dataset",
            "layers: must be a whole number",
        ),
        ("following", "losses=mea", "$.losses.ubar: no loss 'mea'; did you mean 'mae'?"),
        ("following", "dataset.path=nowhere", "$.path: there is no folder 'nowhere'"),
        (
            "following",
            'model.branches=[{"x_name":"from datasets","y_name":"from dataset","operations":[]}]',
            "no input or earlier branch is called 'from datasets'",
        ),
        (
            "sound",
            "inputs=from dataset",
            "$.inputs: this dataset does not say which variables are inputs; list them",
        ),
    ],
)
def test_what_the_dataset_cannot_decide_is_said_and_nothing_else(
    workspace, qexp, name, override, complaint
):
    stderr = qexp(
        "--workspace", workspace.root, "run", name, "--set", override, "--dry-run"
    ).failed()
    assert complaint in stderr
    assert "Traceback" not in stderr


def test_a_model_that_follows_is_right_by_itself(workspace, qexp):
    assert (
        qexp("validate", workspace.root / "specs/models/following.json").messages()
        == "1 spec is right\n"
    )


@pytest.mark.parametrize(
    "junk", [None, 3, "from dataset", ["from dataset"], {"x": "from dataset"}, [[1], {}]]
)
def test_any_json_can_be_asked_to_follow(junk):
    for document in (
        {"model": junk},
        {"model": {"inputs": junk, "operations": junk, "branches": junk}},
    ):
        follow_dataset(
            {**document, "inputs": junk, "outputs": junk, "losses": junk}, {"x": [1]}, None
        )

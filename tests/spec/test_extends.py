"""A spec that extends another one means what one would have written out, and its errors name the
file to mend.
"""

import json

import pytest
from jsonschema import Draft202012Validator

from qexp.base.workspace import Workspace
from qexp.errors import SpecError
from qexp.kinds.experiments import experience
from qexp.kinds.tables import BUILT_IN
from qexp.runs.order import read_overrides
from qexp.spec.schema import editor_schema
from tests.conftest import SOUND, put


def resolved(specs, name, *overrides):
    return experience(name, read_overrides("--set", overrides), Workspace(specs.root))


def written(specs, kind, name, document):
    path = specs.root / "specs" / f"{kind}s" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def refused(specs, name):
    with pytest.raises(SpecError) as error:
        resolved(specs, name)
    return str(error.value)


def test_objects_are_merged_and_other_values_replaced_and_null_removes_a_key_along_a_chain(specs):
    adamw = {"type": "adamw", "parameters": {"weight_decay": 0.1}}
    written(
        specs,
        "experience",
        "first",
        {"extends": "sound", "optimizer": adamw, "precision": "float64"},
    )
    second = {"extends": "first", "sizes": [8, 4, 4], "losses": {"depth": "mse"}, "precision": None}
    written(
        specs,
        "experience",
        "second",
        {**second, "optimizer": {"parameters": {"weight_decay": 0.2}}},
    )
    changed = {
        **SOUND["experience"],
        "optimizer": put(adamw, "parameters.weight_decay", 0.2),
        "sizes": [8, 4, 4],
    }
    written(specs, "experience", "whole", put(changed, "losses.depth", "mse"))
    extending, whole = resolved(specs, "second"), resolved(specs, "whole")
    assert extending.document == whole.document
    assert extending.digest == whole.digest
    assert (
        resolved(specs, "second", "epochs=3").digest == resolved(specs, "whole", "epochs=3").digest
    )


def test_an_entry_of_another_type_is_replaced_with_its_parameters_and_a_text_is_its_type(specs):
    adamw = {"type": "adamw", "parameters": {"weight_decay": 0.1}}
    written(specs, "experience", "long", {"extends": "sound", "optimizer": adamw})
    sgd = {"type": "sgd", "parameters": {"momentum": 0.9}}
    written(specs, "experience", "other", {"extends": "long", "optimizer": sgd})
    optimizer = resolved(specs, "other").document["optimizer"]
    assert (optimizer["type"], optimizer["parameters"]["momentum"]) == ("sgd", 0.9)
    assert optimizer["parameters"]["weight_decay"] == 0
    written(specs, "experience", "short", {"extends": "sound", "optimizer": "adamw"})
    written(
        specs,
        "experience",
        "within",
        {"extends": "short", "optimizer": {"parameters": {"weight_decay": 0.1}}},
    )
    assert (
        resolved(specs, "within").document["optimizer"]
        == resolved(specs, "long").document["optimizer"]
    )


def test_a_dataset_and_a_model_extend_theirs_also_inside_an_experience(specs):
    noise = {"fixed": {"noise": 0.01}}
    written(specs, "dataset", "noisy", {"extends": "sound", **noise})
    written(
        specs,
        "model",
        "wider",
        {"extends": "sound", "operations": {"block": {"parameters": {"filters": [4, 4]}}}},
    )
    written(
        specs, "experience", "named", {"extends": "sound", "dataset": "noisy", "model": "wider"}
    )
    inside = {"extends": "sound", "dataset": {"extends": "sound", **noise}, "model": "wider"}
    written(specs, "experience", "inside", inside)
    fixed = {"fixed": {**SOUND["dataset"]["fixed"], "noise": 0.01}}
    written(specs, "dataset", "whole", {**SOUND["dataset"], **fixed})
    written(
        specs, "experience", "whole", {**SOUND["experience"], "dataset": "whole", "model": "wider"}
    )
    assert (
        resolved(specs, "named").digest
        == resolved(specs, "inside").digest
        == resolved(specs, "whole").digest
    )
    assert resolved(specs, "named").document["model"]["operations"]["block"]["parameters"][
        "filters"
    ] == [4, 4]


@pytest.mark.parametrize(("typed", "said"), [("extend", True), ("exteds", True), ("extent", False)])
def test_a_slip_in_extends_is_named_and_not_all_that_is_then_missing(specs, typed, said):
    written(specs, "experience", "slip", {typed: "sound", "epochs": 3})
    with pytest.raises(SpecError) as raised:
        resolved(specs, "slip")
    messages = [problem.message for problem in raised.value.problems]
    assert (messages == [f"unknown key '{typed}'; did you mean 'extends'?"]) == said


PROGRAM = {
    "type": "command",
    "command": ["python", "fit.py", "{parameters}"],
    "parameters": {"rate": 0.5, "steps": 3},
}
OWN = {"losses": {"depth": {"type": "twice", "parameters": {"scale": 3}}, "delta_volume": "mae"}}

NOISY = {**SOUND["experience"], "dataset": put(SOUND["dataset"], "fixed.noise", 0.01)}
SETS = {  # parent, child, what the child means, and a value on the command line
    "dataset": (
        SOUND["experience"],
        {"dataset": {"extends": "sound", "fixed": {"noise": 0.01}}},
        NOISY,
        "dataset.fixed.x_res=0.2",
    ),
    "program": (
        PROGRAM,
        {"parameters": {"steps": 4}},
        put(PROGRAM, "parameters.steps", 4),
        "parameters.rate=2",
    ),
    "own entry": (
        {**SOUND["experience"], **OWN},
        {"losses": {"depth": {"parameters": {"scale": 4}}}},
        put({**SOUND["experience"], **OWN}, "losses.depth.parameters.scale", 4),
        "losses.delta_volume=mse",
    ),
}


@pytest.mark.parametrize("what", SETS)
def test_a_key_that_the_parent_says_may_be_set(specs, what):
    parent, child, whole, override = SETS[what]
    entry = (
        "Entry(lambda scale=2.0: abs, {'properties': {'scale': {'type': 'number'}}}, '', {'type':"
        " 'twice'})"
    )
    (specs.root / "specs/extensions.py").write_text(
        f"from qexp.extend import Entry\nLOSSES = {{'twice': {entry}}}"
    )
    written(specs, "experience", "parent", parent)
    written(specs, "experience", "child", {"extends": "parent", **child})
    written(specs, "experience", "whole", whole)
    assert resolved(specs, "child", override).digest == resolved(specs, "whole", override).digest
    assert resolved(specs, "child", override).digest != resolved(specs, "child").digest


def test_a_path_is_of_the_folder_of_the_file_in_which_it_stands(specs):
    written(specs, "dataset", "noisy", {"extends": "sound", "fixed": {"noise": 0.01}})
    base = specs.root / "bases" / "base.json"
    base.parent.mkdir()
    base.write_text(json.dumps({**SOUND["experience"], "dataset": "data/own.json"}))
    (base.parent / "data").mkdir()
    (base.parent / "data" / "own.json").write_text(json.dumps({"extends": "noisy"}))
    written(specs, "experience", "child", {"extends": "../../bases/base.json", "epochs": 3})
    child = resolved(specs, "child")
    assert (child.dataset_name, child.document["dataset"]["fixed"]["noise"]) == ("own", 0.01)


def test_an_error_names_the_file_and_place_where_the_wrong_value_stands(specs):
    written(
        specs, "dataset", "base", put(SOUND["dataset"], "distributions.depth.parameters.sigma", -1)
    )
    beside_it = {"depth": {"parameters": {"mu": 0.5}}}
    written(specs, "dataset", "data", {"extends": "base", "size": [16], "distributions": beside_it})
    wrong = {
        "extends": "sound",
        "dataset": {"extends": "data", "fixed": {"noise": "none"}},
        "epochs": 0,
    }
    written(specs, "experience", "middle", wrong)
    written(
        specs,
        "experience",
        "child",
        {"extends": "middle", "losses": {"depth": "mea"}, "batch_size": None},
    )
    message = refused(specs, "child")
    for place in (
        "experiences/child.json at $.losses.depth:",
        "experiences/child.json at $: the key 'batch_size' is missing",
        "experiences/middle.json at $.epochs:",
        "experiences/middle.json at $.dataset.fixed.noise:",
        "datasets/data.json at $.size:",
        "datasets/base.json at $.distributions.depth.parameters.sigma:",
    ):
        assert place in message, message


def test_a_parent_that_cannot_be_found_or_is_of_another_kind_or_leads_back_is_refused(specs):
    written(specs, "model", "only_model", SOUND["model"])
    for name, extends, words in (
        ("near", "soud", "near.json at $.extends: no experience 'soud'; did you mean 'sound'?"),
        ("kind", "only_model", "no experience 'only_model': it is a model"),
        (
            "path",
            "../models/only_model.json",
            "is among the models; a spec extends one of its own kind",
        ),
        (
            "number",
            3,
            (
                "$.extends: must be the name or path of the experience that is extended, but is the"
                " number 3"
            ),
        ),
        ("self", "self", "$.extends: a circle: self → self"),
        ("third", "first", "second.json at $.extends: a circle: first → second → first"),
    ):
        written(specs, "experience", "first", {"extends": "second"})
        written(specs, "experience", "second", {"extends": "first"})
        written(specs, "experience", name, {"extends": extends})
        assert words in refused(specs, name)


@pytest.mark.parametrize("kind", ["dataset", "model", "experience"])
def test_editors_ask_of_an_extending_spec_no_key_and_of_others_all(kind):
    validator = Draft202012Validator(editor_schema(kind, BUILT_IN))
    assert validator.is_valid({"extends": "sound", "description": "other"})
    assert validator.is_valid(SOUND[kind])
    assert not validator.is_valid({"extends": "sound", "descripton": "other"})
    assert not validator.is_valid({"description": "other"})

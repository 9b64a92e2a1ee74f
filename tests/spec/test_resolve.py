import json
import os
from functools import partial

import numpy
import pytest

from qexp.base.workspace import Workspace
from qexp.errors import QexpError
from qexp.kinds.experiments import experience
from qexp.runs.order import read_overrides
from qexp.spec import resolution
from tests.conftest import SOUND, put


@pytest.fixture
def workspace(specs):
    return Workspace(specs.root)


@pytest.fixture
def resolved(workspace):
    """The whole, checked document of the sound experience under overrides."""

    def of(*overrides, reference="sound"):
        return experience(reference, read_overrides("--set", overrides), workspace)

    return of


def complaints(call, *arguments):
    with pytest.raises(QexpError) as caught:
        call(*arguments)
    return str(caught.value).splitlines()


# References


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_spec_is_found_by_name_and_by_path_also_from_elsewhere(
    workspace, tmp_path_factory, monkeypatch, elsewhere
):
    if elsewhere:
        monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    file = workspace.specs / "models" / "sound.json"
    inside = ("sound", "sound.json", "specs/models/sound.json", "./specs/models/sound.json")
    for reference in (*inside, str(file), os.path.relpath(file)):
        assert resolution.locate("model", reference, workspace).samefile(file)


def test_a_name_is_looked_up_among_specs_of_its_kind_only_and_answered_with_the_nearest(
    specs, workspace
):
    specs.write("model", {}, "only_a_model")
    assert resolution.locate("model", "only_a_model", workspace).is_file()
    assert (
        "no dataset 'only_a_model'"
        in complaints(resolution.locate, "dataset", "only_a_model", workspace)[0]
    )
    specs.write("dataset", {}, "etna_noisy")
    for reference in ("etna_noisi", "etna-noisy.json", "ETNA_NOISY"):
        assert (
            "did you mean 'etna_noisy'?"
            in complaints(resolution.locate, "dataset", reference, workspace)[0]
        )
    for reference in ("vesuvius", "a" * 300):  # no file can have such a long name
        assert (
            "known: etna_noisy, sound"
            in complaints(resolution.locate, "dataset", reference, workspace)[0]
        )


def test_an_experience_may_refer_to_a_spec_beside_it(specs, workspace):
    folder = specs.root / "elsewhere"
    (folder / "mine").mkdir(parents=True)
    (folder / "mine" / "near.json").write_text(
        json.dumps({**SOUND["dataset"], "description": "near"})
    )
    (folder / "first.json").write_text(
        json.dumps({**SOUND["experience"], "dataset": "mine/near.json"})
    )
    loaded = resolution.experience("elsewhere/first.json", [], workspace)
    assert loaded.document["dataset"]["description"] == "near"
    assert (loaded.name, loaded.dataset_name, loaded.model_name) == ("first", "near", "sound")


def test_a_reference_that_leads_nowhere_is_reported_where_it_stands(specs, workspace):
    specs.spoil("experience", ("dataset", "soond"))
    assert complaints(resolution.experience, "sound", [], workspace) == [
        "specs/experiences/sound.json at $.dataset: no dataset 'soond'; did you mean 'sound'?"
    ]


def test_a_file_found_by_name_is_called_by_its_path_from_here(specs, workspace):
    specs.write("experience", "{", "torn")
    assert complaints(resolution.experience, "torn", [], workspace)[0].startswith(
        "specs/experiences/torn.json at $: not valid JSON at line 1, column 2"
    )
    specs.write("dataset", "[]", "torn")
    specs.spoil("experience", ("dataset", "torn"))
    assert complaints(resolution.experience, "sound", [], workspace) == [
        "specs/datasets/torn.json at $: must be an object {…}, but is a list []"
    ]


# Overrides


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("epochs=20", "epochs", 20),
        ("learning_rate=3e-4", "learning_rate", 3e-4),
        ("sizes=[16, 8, 8]", "sizes", [16, 8, 8]),
        ("sizes.0=32", "sizes", [32, 4, 4]),
        ("sizes.2=5", "sizes", [8, 4, 5]),
        ("dataset.fixed.noise=0.01", "dataset.fixed.noise", 0.01),
        ("dataset.varyings.depth.1.0=0.75", "dataset.varyings.depth", [[0.1, 0.2], [0.75, 0.8]]),
        ("model.branches.1.operations.0=to_volume", "model.branches.1.operations.0", "to_volume"),
        (
            "model.operations.block.parameters.filters=[2,4]",
            "model.operations.block.parameters.filters",
            [2, 4],
        ),
        ("optimizer.parameters.epsilon=1e-8", "optimizer.parameters.epsilon", 1e-8),
        ("optimizer.type=sgd", "optimizer.type", "sgd"),
        ("optimizer=sgd", "optimizer.type", "sgd"),
        ("losses.depth=huber", "losses.depth", {"type": "huber", "parameters": {"delta": 1.0}}),
        (
            "losses.depth.type=huber",
            "losses.depth",
            {"type": "huber", "parameters": {"delta": 1.0}},
        ),
        (
            'transforms={"depth": "standardize"}',
            "transforms",
            {"depth": {"type": "standardize", "parameters": {"deviation": "channel"}}},
        ),
        ("gradient_clip=null", "gradient_clip", None),
        ("gradient_clip=2", "gradient_clip", 2),
        ("description=a = b, and so on", "description", "a = b, and so on"),
        ('description="20"', "description", "20"),
    ],
)
def test_an_override_sets_one_value_of_the_whole_experience(resolved, override, path, value):
    resolved_spec = resolved(override)
    spec = resolved_spec.document
    for step in path.split("."):
        spec = spec[int(step) if isinstance(spec, list) else step]
    assert spec == value
    (override_text,) = resolved_spec.overrides
    assert read_overrides("--set", [override_text]) == read_overrides("--set", [override])


def test_an_override_changes_nothing_else_and_no_file(specs, resolved):
    before = {path: path.read_text() for path in (specs.root / "specs").rglob("*.json")}
    plain, changed = resolved().document, resolved("dataset.fixed.noise=0.01").document
    assert changed["dataset"]["fixed"].pop("noise") == 0.01
    assert plain["dataset"]["fixed"].pop("noise") == 0.0
    assert changed == plain
    resolved("model.operations.block.parameters.filters=[4]", "epochs=7")
    assert {path: path.read_text() for path in (specs.root / "specs").rglob("*.json")} == before


def test_parameters_of_something_given_by_its_bare_name_can_be_set(specs, resolved):
    specs.spoil("experience", ("optimizer", "adamw"), ("schedule", "cosine"))
    spec = resolved(
        "optimizer.parameters.weight_decay=0.1", "schedule.parameters.final=0.2"
    ).document
    assert spec["optimizer"]["type"] == "adamw"
    assert spec["optimizer"]["parameters"]["weight_decay"] == 0.1
    assert spec["schedule"] == {"type": "cosine", "parameters": {"final": 0.2}}


def test_another_dataset_can_be_put_in_by_name_and_changed_in_the_same_breath(specs, resolved):
    specs.write("dataset", put(SOUND["dataset"], "fixed.incidence", 0.5), "other")
    resolved_spec = resolved("dataset.fixed.noise=0.02", "dataset=other")
    assert resolved_spec.dataset_name == "other"
    assert resolved_spec.document["dataset"]["fixed"]["incidence"] == 0.5
    assert resolved_spec.document["dataset"]["fixed"]["noise"] == 0.02


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("epoch=20", "at $.epoch: unknown key 'epoch'; did you mean 'epochs'?"),
        ("dataset.fixd.noise=1", "at $.fixd: unknown key 'fixd'; did you mean 'fixed'?"),
        ("model.operations.block.parameters.filter=[8]",
         "at $.operations.block.parameters.filter: unknown key 'filter'; "
         "did you mean 'filters'?"),
        ("optimizer.parameters.momentum=0.1",
         "at $.optimizer.parameters.momentum: unknown key 'momentum'; "
         "known: betas, epsilon, weight_decay"),
        ("datset.fixed.noise=1", "at $.datset: unknown key 'datset'; did you mean"),
        ("epochs=twenty", 'at $.epochs: must be a whole number, but is the text "twenty"'),
        ("epochs=", 'at $.epochs: must be a whole number, but is the text ""'),
        ("sizes.1=0", "at $.sizes[1]: must be at least 1"),
        ("dataset=soond", "at $.dataset: no dataset 'soond'; did you mean 'sound'?"),
        ("dataset=5", "at $.dataset: must be a text or an object {…}"),
    ],
)  # fmt: skip
def test_an_override_is_held_to_the_schema_like_the_file_itself(resolved, override, complaint):
    (message,) = complaints(resolved, override)
    assert message.startswith(f'overrides["{override.partition("=")[0]}"] {complaint}')


@pytest.mark.parametrize(
    "override", ["epochs", "=20", ".epochs=20", "dataset..noise=1", "epochs.=3", "", "="]
)
def test_an_override_that_is_not_written_as_a_path_and_a_value_says_how_to(override):
    assert complaints(partial(read_overrides, "--set"), [override]) == [
        f"--set {override}: write key.path=value, for example --set epochs=20"
    ]


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        *(
            (text, "give a finite one")
            for text in ("NaN", "Infinity", "-Infinity", "[1, NaN]", '{"a": Infinity}')
        ),
        ("1e999", "give a finite one"),
        ('{"type": "adam", "type": "sgd"}', "this key is given twice"),
        ("1" * 5000, "not a number of sensible size"),
        ("[" * 100_000, "nested too deeply"),
    ],
    ids=lambda text: text[:20],
)
def test_an_override_that_no_spec_could_hold_is_refused_in_words(value, complaint):
    assert complaint in complaints(partial(read_overrides, "--set"), [f"learning_rate={value}"])[0]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ((1, 2), [1, 2]),
        (numpy.float64(0.5), 0.5),
        (numpy.arange(2), [0, 1]),
        ({"a": (3.0,)}, {"a": [3]}),
        ("1", "1"),
    ],
)
def test_an_override_of_python_becomes_what_json_holds_and_its_text_means_the_same(value, kept):
    change = resolution.override("key", value)
    assert change.value == kept
    assert read_overrides("--set", [change.text]) == {"key": kept}


@pytest.mark.parametrize("value", [{1, 2}, object(), float("nan"), b"x"])
def test_an_override_that_json_cannot_hold_is_refused(value):
    assert complaints(resolution.override, "key", value)


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("sizes.3=1", "sizes is a list of 3; number its items from 0"),
        ("sizes.first=1", "sizes is a list of 3; number its items from 0"),
        ("sizes.-1=1", "sizes is a list of 3; number its items from 0"),
        ("epochs.many=1", "epochs has no keys, it is the number 2"),
        ("dataset.size.0.x=1", "dataset.size.0 has no keys, it is the number 16"),
    ],
)
def test_an_override_of_what_cannot_be_there_says_what_is(resolved, override, hint):
    assert complaints(resolved, override) == [f'overrides["{override.removesuffix("=1")}"]: {hint}']


# Defaults


def test_every_default_is_written_out_and_what_was_given_outweighs_it(specs, resolved):
    spec = resolved().document
    adam = {"betas": [0.9, 0.999], "epsilon": 1e-7, "weight_decay": 0.0}
    assert spec["optimizer"] == {"type": "adam", "parameters": adam}
    for entry, name in (
        (spec["schedule"], "constant"),
        (spec["losses"]["depth"], "mae"),
        (spec["transforms"]["depth"], "log"),
        (spec["dataset"]["noise_model"], "white"),
    ):
        assert entry == {"type": name, "parameters": {}}
    convolution = spec["model"]["operations"]["block"]["parameters"]
    assert convolution.pop("filters") == [4]
    assert convolution.keys() >= {"kernel_size", "stride", "padding", "activation", "bias"}
    assert spec.keys() >= {"gradient_clip", "precision", "pretrain", "additional_callbacks"}
    optimizer = {"type": "adam", "parameters": {"epsilon": 0.5}}
    specs.spoil("experience", ("optimizer", optimizer), ("precision", "bfloat16"))
    spec = resolved().document
    assert spec["optimizer"]["parameters"] == {
        "betas": [0.9, 0.999],
        "epsilon": 0.5,
        "weight_decay": 0.0,
    }
    assert spec["precision"] == "bfloat16"


def test_a_whole_document_is_itself_a_valid_experience_and_stays_as_it_is(specs, resolved):
    resolved_spec = resolved()
    specs.write("experience", resolved_spec.document, "whole")
    again = resolved(reference="whole")
    assert (again.document, again.digest) == (resolved_spec.document, resolved_spec.digest)


LONG_FORMS = [
    ("experience", "optimizer", "adam", {"type": "adam"}),
    ("experience", "optimizer", "adam", {"type": "adam", "parameters": {}}),
    (
        "experience",
        "optimizer",
        "adam",
        {"parameters": {"epsilon": 1e-07, "betas": [0.9, 0.999]}, "type": "adam"},
    ),
    ("experience", "schedule", ..., "constant"),
    ("experience", "losses.depth", "mae", {"type": "mae"}),
    ("experience", "losses.depth", "huber", {"type": "huber", "parameters": {"delta": 1}}),
    ("experience", "metrics.depth", "mse", ["mse"]),
    ("experience", "metrics", ..., {}),
    ("dataset", "size", [16, 16], [16.0, 16.0]),
    ("experience", "transforms", ..., {}),
    ("experience", "limits", ..., {}),
    ("experience", "additional_callbacks", ..., []),
    ("experience", "additional_callbacks", ["early_stopping"], [{"type": "early_stopping"}]),
    ("experience", "additional_callbacks", ["early_stopping"], [["early_stopping"]]),
    (
        "experience",
        "additional_callbacks",
        ["early_stopping"],
        [["early_stopping", {"patience": 10}]],
    ),
    ("experience", "gradient_clip", ..., None),
    ("experience", "learning_rate", 1e-4, 0.0001),
    ("experience", "description", ..., "words"),
    ("experience", "$schema", ..., "qexp:experience"),
    ("dataset", "noise_model", ..., "white"),
    ("dataset", "noise_model", "white", {"type": "white"}),
    ("dataset", "fixed.noise", False, 0),
    ("dataset", "description", ..., "words"),
    ("dataset", "$schema", ..., "qexp:dataset"),
    (
        "model",
        "operations.halve",
        {"module": "max_pooling"},
        {"module": "max_pooling", "parameters": {"pool_size": 2}},
    ),
    ("model", "$schema", ..., "qexp:model"),
]


@pytest.mark.parametrize(("kind", "path", "short", "long"), LONG_FORMS)
def test_short_and_long_forms_have_one_digest(specs, resolved, kind, path, short, long):
    digests = set()
    for value in (short, long):
        specs.spoil(kind, (path, value))
        digests.add(resolved().digest)
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("experience", "optimizer", {"type": "adam", "parameters": {"epsilon": 1e-8}}),
        ("experience", "metrics.depth", ["mse"]),
        ("experience", "gradient_clip", 1.0),
        ("dataset", "fixed.noise", 0.001),
        ("dataset", "varyings.depth", [[0.1, 0.2]]),
        ("model", "operations.halve.parameters", {"strides": 1}),
    ],
)
def test_a_change_that_means_something_gives_another_digest(specs, resolved, kind, path, value):
    before = resolved().digest
    specs.spoil(kind, (path, value))
    assert resolved().digest != before


def test_where_the_specs_lie_makes_no_difference_to_the_digest(specs, resolved):
    before = resolved()
    specs.spoil("experience", *((kind, SOUND[kind]) for kind in ("dataset", "model")))
    inlined = resolved()
    assert (inlined.document, inlined.digest) == (before.document, before.digest)

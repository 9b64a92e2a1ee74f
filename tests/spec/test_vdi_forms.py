"""Specs as Volcano Deep Inversion writes them load unchanged; forms that it gave up are answered
with the new ones.
"""

import json

import pytest

from qexp.base.workspace import Workspace
from qexp.kinds.experiments import experience
from qexp.kinds.networks import model_of
from qexp.kinds.objects import dataset_of
from qexp.kinds.tables import BUILT_IN
from tests.conftest import put

LOG_NORMAL = {"type": "log_normal", "parameters": {"mu": 0, "sigma": 1}}

ONE_VIEW_DATASET = {
    "type": "generated",
    "generation_type": "mogi",
    "fixed": {
        "noise": False,
        "azimuth": 0.3,
        "incidence": 0.6,
        "x_res": 0.1,
        "y_res": 0.1,
        "x": 0,
        "y": 0,
    },
    "varyings": {"depth": [[0.3, 0.45], [0.8, 0.9]], "delta_volume": [[0.3, 0.45], [0.8, 0.9]]},
    "distributions": {
        "noise": {"type": "exponential", "parameters": {"l": 120}},
        "azimuth": {"type": "uniform", "parameters": {"a": 0, "b": 6.283}},
        "incidence": {"type": "uniform", "parameters": {"a": 0, "b": 1}},
        "x_res": {"type": "uniform", "parameters": {"a": 9, "b": 11}},
        "y_res": {"type": "uniform", "parameters": {"a": 9, "b": 11}},
        "x": {"type": "normal", "parameters": {"mu": 0, "sigma": 1}},
        "y": {"type": "normal", "parameters": {"mu": 0, "sigma": 1}},
        "depth": LOG_NORMAL,
        "delta_volume": LOG_NORMAL,
    },
}

ONE_VIEW_MODEL = {
    "inputs": {"displacement": {"size": [64, 64, 1]}},
    "outputs": ["delta_volume", "depth"],
    "operations": {
        "block": {"module": "resnet_block", "parameters": {"filters": [4, 4]}},
        "down_sample": {"module": "max_pooling"},
        "relu": {"module": "activation", "parameters": {"activation": "relu"}},
        "denses_1": {"module": "denses", "parameters": {"filters": [8, 1]}},
        "denses_2": {"module": "denses", "parameters": {"filters": [8, 1]}},
        "depth": {"module": "activation", "parameters": {"activation": "relu"}},
        "delta_volume": {"module": "activation", "parameters": {"activation": "relu"}},
    },
    "branches": [
        {
            "x_name": "displacement",
            "y_name": "middle",
            "operations": ["block", "relu", "down_sample", "down_sample"],
        },
        {"x_name": "middle", "y_name": "delta_volume", "operations": ["denses_1", "delta_volume"]},
        {"x_name": "middle", "y_name": "depth", "operations": ["denses_2", "depth"]},
    ],
}

EXPERIENCE = {
    "model": "cnn",
    "dataset": "volcano",
    "inputs": ["displacement"],
    "outputs": ["delta_volume", "depth"],
    "split": [0.75, 0.25],
    "sizes": [900, 300, 300],
    "epochs": 60,
    "batch_size": 30,
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "additional_callbacks": [["reduce_on_plateau", {"patience": 8}]],
    "losses": {"depth": "mae", "delta_volume": "mre"},
    "metrics": {"depth": "mse", "delta_volume": ["mse", "mre"]},
}

TWO_VIEW_DATASET = {
    **ONE_VIEW_DATASET,
    "fixed": {
        **ONE_VIEW_DATASET["fixed"],
        "azimuth_1": 2.1,
        "incidence_1": 0.5,
        "x_res_1": 0.2,
        "y_res_1": 0.2,
    },
}

TWO_VIEW_MODEL = {
    "inputs": {"displacement": {"size": [64, 64, 1]}, "displacement_1": {"size": [64, 64, 1]}},
    "outputs": ["depth", "delta_volume"],
    "operations": {
        "attention": {"module": "attention", "parameters": {"filters": [4, 8]}},
        "block": {"module": "resnet_block", "parameters": {"filters": [4, 4]}},
        "concatenation": {"module": "concatenation"},
        "down_sample": {"module": "max_pooling"},
        "denses_1": {"module": "denses", "parameters": {"filters": [1]}},
        "denses_2": {"module": "denses", "parameters": {"filters": [1]}},
    },
    "branches": [
        {
            "x_name": "displacement",
            "y_name": "seen",
            "operations": ["block", "attention", "down_sample"],
        },
        {
            "x_name": "displacement_1",
            "y_name": "seen_1",
            "operations": ["block", "attention", "down_sample"],
        },
        {
            "x_name": ["seen", "seen_1"],
            "y_name": "middle",
            "operations": ["concatenation", "down_sample"],
        },
        {"x_name": "middle", "y_name": "depth", "operations": ["denses_1"]},
        {"x_name": "middle", "y_name": "delta_volume", "operations": ["denses_2"]},
    ],
}


@pytest.fixture
def vdi(specs):
    """A workspace of specs in VDI's style, with an experience on one view and one on two."""
    specs.write("dataset", ONE_VIEW_DATASET, "volcano")
    specs.write("dataset", TWO_VIEW_DATASET, "volcano_twice")
    specs.write("model", ONE_VIEW_MODEL, "cnn")
    specs.write("model", TWO_VIEW_MODEL, "cnn_twice")
    specs.write("experience", EXPERIENCE, "once")
    two_views = {
        "model": "cnn_twice",
        "dataset": "volcano_twice",
        "inputs": ["displacement", "displacement_1"],
    }
    specs.write("experience", {**EXPERIENCE, **two_views}, "twice")
    return specs


def test_specs_in_vdi_style_are_right(vdi, qexp):
    assert qexp("validate") == (0, "", "9 specs are right\n")


def test_what_vdi_leaves_out_is_written_out(vdi):
    whole = experience("once", {}, Workspace(vdi.root)).document
    assert whole["dataset"]["size"] == [64, 64]
    assert whole["dataset"]["fixed"]["noise"] == 0.0
    assert whole["optimizer"]["type"] == "adam"
    assert whole["metrics"] == {"depth": ["mse"], "delta_volume": ["mse", "mre"]}
    (callback,) = whole["additional_callbacks"]
    assert (callback["type"], callback["parameters"]["patience"]) == ("reduce_on_plateau", 8)
    assert callback["parameters"].keys() > {"patience", "factor"}


def test_two_views_give_a_network_of_two_inputs_that_share_their_weights(vdi):
    whole = experience("twice", {}, Workspace(vdi.root)).document
    dataset, model = dataset_of(whole["dataset"], BUILT_IN), model_of(whole, BUILT_IN)
    assert list(model.network.inputs) == ["displacement", "displacement_1"]
    assert all(dataset.shapes()[name] == shape for name, shape in model.network.inputs.items())
    joined_features = 16 * 16 * 16
    assert model.network.operations["denses_1"][1].in_features == joined_features


def test_a_second_view_must_be_whole(vdi, problems):
    assert problems(vdi.write("dataset", put(TWO_VIEW_DATASET, "fixed.x_res_1", ...))) == [
        "specs/datasets/sound.json at $.fixed: 'x_res_1' has no value; put it in 'fixed' or in"
        " 'varyings' (width of a pixel, eastwards, in km)"
    ]


def test_parameters_as_keras_names_them_are_taken(vdi, qexp):
    pooling = {"pool_size": [2, 2], "strides": [2, 2], "padding": "same"}
    one_view = put(ONE_VIEW_MODEL, "operations.down_sample.parameters", pooling)
    vdi.write("model", put(one_view, "operations.relu.parameters.activation", "swish"), "cnn")
    vdi.write(
        "model",
        put(TWO_VIEW_MODEL, "operations.concatenation.parameters", {"axis": 3}),
        "cnn_twice",
    )
    assert qexp("validate") == (0, "", "9 specs are right\n")


def test_pools_and_joins_that_are_told_kerass_defaults_are_those_that_are_told_nothing(vdi):
    plain = experience("twice", {}, Workspace(vdi.root))
    defaults = {"down_sample.parameters.padding": "valid", "concatenation.parameters.axis": -1}
    told = {f"model.operations.{key}": value for key, value in defaults.items()}
    assert experience("twice", told, Workspace(vdi.root)).digest == plain.digest
    assert plain.document["model"]["operations"]["down_sample"]["parameters"] == {
        "pool_size": 2,
        "strides": None,
    }
    changed = experience(
        "twice", {"model.operations.down_sample.parameters.padding": "same"}, Workspace(vdi.root)
    )
    assert changed.document["model"]["operations"]["down_sample"]["parameters"]["padding"] == "same"


def with_callback(vdi, name="reduce_on_plateau", **parameters):
    return vdi.write(
        "experience", {**EXPERIENCE, "additional_callbacks": [[name, parameters]]}, "once"
    )


@pytest.mark.slow
def test_callbacks_as_keras_writes_them_are_those_that_are_told_nothing(vdi):
    with_callback(vdi, patience=8)
    plain = experience("once", {}, Workspace(vdi.root))
    for mode, verbose in (("auto", 1), ("min", True), ("auto", 0)):
        with_callback(vdi, patience=8, monitor="val_loss", mode=mode, verbose=verbose)
        assert experience("once", {}, Workspace(vdi.root)).document == plain.document
    with_callback(vdi, patience=0, monitor="loss")
    (callback,) = experience("once", {}, Workspace(vdi.root)).document["additional_callbacks"]
    assert (callback["parameters"]["monitor"], callback["parameters"]["patience"]) == ("loss", 0)


@pytest.mark.parametrize("name", ["reduce_on_plateau", "early_stopping"])
@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("monitor", "val_mae", "'val_loss'"),
        ("monitor", "val_mae", "'loss'"),
        ("mode", "max", "the lower it is"),
    ],
)
def test_what_else_keras_monitors_is_an_error_that_says_what_would_work(
    vdi, problems, name, key, value, named
):
    (said,) = problems(with_callback(vdi, name, **{key: value}))
    assert said.startswith(f"specs/experiences/once.json at $.additional_callbacks[0][1].{key}: ")
    assert named in said
    assert said.endswith(f'not the text "{value}"')


def test_views_are_joined_along_their_channels_only(vdi, problems):
    assert problems(
        vdi.write("model", put(TWO_VIEW_MODEL, "operations.concatenation.parameters", {"axis": 1}))
    ) == [
        "specs/models/sound.json at $.branches[2].operations[0]: operation 'concatenation': joins"
        " channels or features, the last axis: 'axis' must be -1 or 3, but is 1"
    ]


# Forms that VDI gave up


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["log_normal", 0, 1], {"type": "log_normal", "parameters": {"mu": 0, "sigma": 1}}),
        (["uniform", 0.5, 4], {"type": "uniform", "parameters": {"a": 0.5, "b": 4}}),
        (["exponential", 0.2], {"type": "exponential", "parameters": {"l": 0.2}}),
    ],
)
def test_a_distribution_as_a_list_is_answered_with_its_new_form(vdi, qexp, problems, old, new):
    (message,) = problems(vdi.write("dataset", put(ONE_VIEW_DATASET, "distributions.depth", old)))
    where, _, shown = message.partition("write ")
    assert where.startswith(
        "specs/datasets/sound.json at $.distributions.depth: a distribution as a list is an old"
    )
    assert json.loads(shown) == new
    assert (
        qexp(
            "validate", vdi.write("dataset", put(ONE_VIEW_DATASET, "distributions.depth", new))
        ).code
        == 0
    )


def test_every_distribution_as_a_list_is_reported_and_so_is_what_else_is_wrong(vdi, problems):
    lists = {"depth": ["log_normal", 0, 1], "delta_volume": ["log_normal", 0, 1]}
    document = {**ONE_VIEW_DATASET, "distributions": lists, "size": [64, 0]}
    assert [line.partition(": ")[0] for line in problems(vdi.write("dataset", document))] == [
        "specs/datasets/sound.json at $.distributions.delta_volume",
        "specs/datasets/sound.json at $.distributions.depth",
        "specs/datasets/sound.json at $.size[1]",
    ]


def test_a_list_that_never_was_a_distribution_is_no_old_form(vdi, problems):
    document = {
        **ONE_VIEW_DATASET,
        "distributions": {"depth": ["levy", 0, 1], "delta_volume": LOG_NORMAL},
    }
    (said,) = problems(vdi.write("dataset", document))
    assert said.startswith(
        "specs/datasets/sound.json at $.distributions.depth: must be an object {…}, but is a list"
    )


def test_a_model_as_a_graph_is_answered_with_inputs_and_branches_of_its_own(vdi, problems):
    old = {
        "architecture": "graph",
        "operations": {
            "image": {"module": "input", "parameters": {"size": [32, 32, 1]}},
            "conv_1": {"module": "conv", "parameters": {"filters": [4]}},
            "pool": {"module": "max_pooling"},
        },
        "graph": {"image": "conv_1", "conv_1": "pool"},
    }
    (said,) = problems(vdi.write("model", old))
    assert said.startswith(
        "specs/models/sound.json at $: a model with 'graph' is an old form, which VDI refuses,"
        " too; "
    )
    assert '"inputs": {"image": {"size": [32, 32, 1]}}' in said
    assert (
        '"branches": [{"x_name": "image", "y_name": "middle", "operations": ["conv_1", "pool"]}'
        in said
    )


@pytest.mark.parametrize("graph", [{"a": "b", "b": "a"}, [1, 2], None, {}, {"a": {"b": "c"}}])
def test_any_model_with_a_graph_is_an_old_form_whatever_the_graph(vdi, problems, graph):
    for operations in ({}, None, {"a": {"module": "input"}}, {"a": 3}):
        (said,) = problems(vdi.write("model", {"graph": graph, "operations": operations}))
        assert "a model with 'graph' is an old form" in said

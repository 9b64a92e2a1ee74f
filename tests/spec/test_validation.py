"""Each case spoils one place of a sound spec; `qexp validate` must say where, what is wrong, and what would work."""

import json

import pytest


def test_sound_specs_are_right(specs, qexp):
    code, stdout, stderr = qexp("validate")
    assert (code, stdout, stderr) == (0, "", "3 specs are right\n")


OUTPUTS = ("depth", "delta_volume")

# Datasets

NORMAL = {"type": "normal", "parameters": {"mu": 2.0, "sigma": 0.5}}

DATASETS = {
    "a name that is no distribution": (
        "distributions.depth.type",
        "log_norml",
        "$.distributions.depth.type: no distribution 'log_norml'; did you mean 'log_normal'?",
    ),
    "a name that is no generator": ("generation_type", "mogy", "$.generation_type: no generator 'mogy'; did you mean"),
    "a type that is not generated": (
        "type",
        "generatd",
        "$.type: no dataset type 'generatd'; did you mean 'generated'",
    ),
    "a name that is no noise model": (
        "noise_model",
        "pink",
        "$.noise_model: no noise model 'pink'; known: decorrelation, exponential",
    ),
    "a noise model without its range": (
        "noise_model",
        "exponential",
        "$.noise_model: 'exponential' needs parameters: {",
    ),
    "a range of no width": (
        "noise_model",
        {"type": "exponential", "parameters": {"range": 0}},
        "$.noise_model.parameters.range: must be greater than 0, but is the number 0",
    ),
    "a key that may be misspelt": ("sizes", [8, 8], "$.sizes: unknown key 'sizes'; did you mean 'size'?"),
    "a size of one number": ("size", [16], "$.size: must have at least 2 items, but is a list [16]"),
    "a size of nothing": ("size", [16, 0], "$.size[1]: must be at least 1, but is the number 0"),
    "half a pixel": ("size", [16.5, 16], "$.size[0]: must be a whole number, but is the number 16.5"),
    "an unknown fixed variable": (
        "fixed.viscosity",
        1.0,
        "$.fixed.viscosity: no variable 'viscosity'; known: azimuth, delta_volume, depth",
    ),
    "an image among the fixed variables": (
        "fixed.displacement",
        1.0,
        "$.fixed.displacement: this dataset has no 'displacement'; known: azimuth",
    ),
    "an unknown distributed variable": (
        "distributions.dept",
        NORMAL,
        "$.distributions.dept: no variable 'dept'; did you mean 'depth'?",
    ),
    "a missing variable": (
        "fixed.incidence",
        ...,
        "$.fixed: 'incidence' has no value; put it in 'fixed' or in 'varyings' (angle between",
    ),
    "a truth where a number is needed": ("fixed.x", True, "$.fixed.x: must be a number, but is true"),
    "a falsehood where a number is needed": ("fixed.x", False, "$.fixed.x: must be a number, but is false"),
    "a text where a number is needed": ("fixed.x", "0", '$.fixed.x: must be a number, but is the text "0"'),
    "noise that is a text": ("fixed.noise", "much", "$.fixed.noise: must be a number or true or false, but is"),
    "negative noise": ("fixed.noise", -0.1, "$.fixed.noise: must be at least 0 m, but is -0.1"),
    "a pixel of no width": ("fixed.x_res", 0.0, "$.fixed.x_res: must be greater than 0 km, but is 0"),
    "an incidence beyond the horizon": ("fixed.incidence", 1.6, "$.fixed.incidence: must be at most 1.5708 rad"),
    "a varying variable without a distribution": (
        "distributions.depth",
        ...,
        "$.varyings.depth: 'depth' varies but has no distribution; add $.distributions.depth, for example {",
    ),
    "an interval that falls": (
        "varyings.depth.0",
        [0.4, 0.2],
        "$.varyings.depth[0]: the interval must increase, but goes from 0.4 to 0.2",
    ),
    "an interval of no width": ("varyings.depth.0", [0.1, 0.1], "$.varyings.depth[0]: the interval must increase"),
    "an interval below 0": (
        "varyings.depth.0",
        [-0.1, 0.2],
        "$.varyings.depth[0]: quantiles lie between 0 and 1, but the interval goes from -0.1 to 0.2",
    ),
    "an interval above 1": ("varyings.depth.1", [0.9, 1.01], "$.varyings.depth[1]: quantiles lie between 0 and 1"),
    "overlapping intervals": (
        "varyings.depth.1",
        [0.15, 0.5],
        "$.varyings.depth[1]: starts at 0.15, before the preceding interval ends at 0.2; sort them, without overlap",
    ),
    "intervals in disorder": ("varyings.depth", [[0.5, 0.6], [0.1, 0.2]], "$.varyings.depth[1]: starts at 0.1, before"),
    "an interval of three numbers": ("varyings.depth.0", [0.1, 0.2, 0.3], "$.varyings.depth[0]: must have at most 2"),
    "an interval that is no list": ("varyings.depth", [0.1], "$.varyings.depth[0]: must be a list […], but is the num"),
    "a test part that takes everything": (
        "varyings.depth",
        [[0, 1]],
        "$.varyings.depth: the test part takes all quantiles; leave some for training and validation",
    ),
    "nothing that varies": ("varyings", {}, "$.varyings: must have at least 1 key, but"),
    "a depth that may be negative": (
        "distributions.depth",
        NORMAL,
        "$.distributions.depth: 'normal' reaches down to -inf, but depth must be greater than 0 km; use a log_normal,",
    ),
    "a depth from below zero on": (
        "distributions.depth",
        {"type": "uniform", "parameters": {"a": -1, "b": 4}},
        "$.distributions.depth: 'uniform' reaches down to -1, but depth must be greater than 0 km",
    ),
    "bounds in disorder": (
        "distributions.depth",
        {"type": "uniform", "parameters": {"a": 4, "b": 1}},
        "$.distributions.depth.parameters: 'a' must be less than 'b', but 4 is not less than 1",
    ),
    "a distribution without its width": (
        "distributions.depth.parameters.sigma",
        ...,
        "$.distributions.depth.parameters: the key 'sigma' is missing",
    ),
    "a distribution of negative width": (
        "distributions.depth.parameters.sigma",
        -1,
        "$.distributions.depth.parameters.sigma: must be greater than 0, but is the number -1",
    ),
    "a distribution with another one's parameter": (
        "distributions.depth.parameters.a",
        1,
        "$.distributions.depth.parameters.a: unknown key 'a'; known: mu, sigma",
    ),
    "a distribution without parameters": (
        "distributions.depth.parameters",
        ...,
        "$.distributions.depth: the key 'parameters' is missing",
    ),
    "a distribution by its bare name": (
        "distributions.depth",
        "log_normal",
        "$.distributions.depth: must be an object",
    ),
    "a matrix axis that falls": (
        "matrix.axes.depth",
        [4, 0],
        "$.matrix.axes.depth: the axis must increase, but goes from",
    ),
    "a matrix axis that is no variable": (
        "matrix.axes.dept",
        [0, 4],
        "$.matrix.axes.dept: no variable 'dept'; did you mean 'depth'?",
    ),
    "a matrix of no cells": ("matrix.resolution", 0, "$.matrix.resolution: must be at least 1"),
}


@pytest.mark.parametrize(("path", "value", "complaint"), DATASETS.values(), ids=DATASETS)
def test_a_dataset_with_one_fault_gets_one_complaint_at_the_fault(specs, problems, path, value, complaint):
    (message,) = problems(specs.spoil("dataset", (path, value)))
    assert message.startswith(f"specs/datasets/sound.json at {complaint}")


def test_bounds_are_open_so_that_a_depth_may_be_uniform_from_zero_on(specs, qexp):
    distribution = {"type": "uniform", "parameters": {"a": 0, "b": 4}}
    code, _, stderr = qexp("validate", specs.spoil("dataset", ("distributions.depth", distribution)))
    assert code == 0, stderr


def test_touching_test_intervals_are_right(specs, qexp):
    code, _, stderr = qexp("validate", specs.spoil("dataset", ("varyings.depth", [[0, 0.2], [0.2, 0.3], [0.9, 1]])))
    assert code == 0, stderr


def test_an_interval_is_held_against_all_before_it_not_only_the_last(specs, problems):
    message = problems(specs.spoil("dataset", ("varyings.depth", [[0.1, 0.5], [0.2, 0.3], [0.4, 0.6]])))
    assert [line.partition(": ")[0] for line in message] == [
        "specs/datasets/sound.json at $.varyings.depth[1]",
        "specs/datasets/sound.json at $.varyings.depth[2]",
    ]


def test_test_intervals_that_take_everything_together_are_refused(specs, problems):
    (message,) = problems(specs.spoil("dataset", ("varyings.depth", [[0, 0.5], [0.5, 1]])))
    assert message.startswith("specs/datasets/sound.json at $.varyings.depth: the test part takes all quantiles")


def test_a_matrix_axis_through_values_that_cannot_be_is_refused(specs, problems):
    (message,) = problems(specs.spoil("dataset", ("matrix.axes.depth", [-1, 4])))
    assert message.startswith("specs/datasets/sound.json at $.matrix.axes.depth: ")


def test_a_distribution_beyond_all_numbers_is_refused(specs, problems):
    (message,) = problems(specs.spoil("dataset", ("distributions.depth.parameters.mu", 1000)))
    assert message.startswith("specs/datasets/sound.json at $.distributions.depth.parameters: ")


ABSURD_DATASETS = {
    "a list where VDI's old form had a name": ("distributions.depth", [["log_normal"], 0, 1]),
    "a mean of 400 digits": ("distributions.depth.parameters.mu", 10**400),
    "an angle of 400 digits": ("fixed.incidence", -(10**400)),
    "a quantile of 400 digits": ("varyings.depth.1.1", 10**400),
}


@pytest.mark.parametrize(("path", "value"), ABSURD_DATASETS.values(), ids=ABSURD_DATASETS)
def test_an_absurd_dataset_gets_a_complaint_and_no_traceback(specs, problems, path, value):
    assert problems(specs.spoil("dataset", (path, value)))


# Models

CHAIN = ["block", "look", "halve"]

MODELS = {
    "an unknown key": ("output", [], "$.output: unknown key 'output'; did you mean 'outputs'?"),
    "no inputs": ("inputs", {}, "$.inputs: must have at least 1 key, but"),
    "an input without a size": ("inputs.displacement", {}, "$.inputs.displacement: the key 'size' is missing"),
    "an input of no height": ("inputs.displacement.size.0", 0, "$.inputs.displacement.size[0]: must be at least 1"),
    "an unknown module": (
        "operations.block.module",
        "convv",
        "$.operations.block.module: no module 'convv'; did you mean 'conv'?",
    ),
    "an operation without a module": ("operations.halve", {}, "$.operations.halve: the key 'module' is missing"),
    "an unknown parameter": (
        "operations.block.parameters.kernal_size",
        3,
        "$.operations.block.parameters.kernal_size: unknown key 'kernal_size'; did you mean 'kernel_size'?",
    ),
    "an unknown activation": (
        "operations.block.parameters.activation",
        "leaky_rely",
        "$.operations.block.parameters.activation: no choice 'leaky_rely'; did you mean 'leaky_relu'?",
    ),
    "a number instead of a list of filters": (
        "operations.block.parameters.filters",
        4,
        "$.operations.block.parameters.filters: must be a list […], but is the number 4",
    ),
    "a truth instead of a number of pixels": (
        "operations.block.parameters.kernel_size",
        True,
        "$.operations.block.parameters.kernel_size: must be a whole number, but is true",
    ),
    "an operation that is not there": (
        "branches.0.operations.3",
        "halv",
        "$.branches[0].operations[3]: no operation 'halv'; did you mean 'halve'?",
    ),
    "a start that is not there": (
        "branches.1.x_name",
        "sen",
        "$.branches[1].x_name: no input or earlier branch is called 'sen'; did you mean 'seen'?",
    ),
    "one start of several that is not there": (
        "branches.0.x_name",
        ["displacement", "displacement_1"],
        "$.branches[0].x_name: no input or earlier branch is called 'displacement_1'; did you mean 'displacement'?",
    ),
    "no start": ("branches.0.x_name", [], "$.branches[0].x_name: must have at least 1 item"),
    "a branch without an end": ("branches.0.y_name", ..., "$.branches[0]: the key 'y_name' is missing"),
    "an output that no branch makes": (
        "outputs",
        ["depth", "delta_volume", "strike"],
        "$.outputs[2]: no branch ends in 'strike'; known: delta_volume, depth, seen",
    ),
    "an output twice": ("outputs", ["depth", "depth"], "$.outputs: must not repeat an item"),
    "several starts that nothing joins": (
        "branches.1.x_name",
        ["displacement", "seen"],
        "$.branches[1].operations[0]: operation 'to_depth': takes one input; join several with a 'concatenate' first",
    ),
    "several starts and no operation at all": (
        "branches.1",
        {"x_name": ["displacement", "seen"], "y_name": "depth", "operations": []},
        "$.branches[1].operations: several inputs, but no operation that joins them; add a 'concatenate'",
    ),
    "attention of a wrong width": (
        "operations.look.parameters.filters",
        [2, 9],
        "$.branches[0].operations[1]: operation 'look': 9 channels from filters [2, 9], but its input has 4; "
        "set the last to 4",
    ),
    "an image pooled to nothing": (
        "branches.0.operations",
        [*CHAIN, "halve", "halve", "halve", "halve"],
        "$.branches[0].operations[6]: operation 'halve' does not fit its input [1, 1, 4]",
    ),
    "a kernel larger than the image": (
        "operations.block.parameters",
        {"filters": [4], "kernel_size": 17, "padding": "valid"},
        "$.branches[0].operations[0]: operation 'block' does not fit its input [16, 16, 1]: ",
    ),
    "a pooling of what is no image": (
        "operations.look",
        {"module": "flatten"},
        "$.branches[0].operations[2]: operation 'halve': needs an image [height, width, channels], "
        "but its input is [1024]",
    ),
    "an operation used twice on different widths": (
        "branches.0.operations",
        ["block", "block"],
        "$.branches[0].operations[1]: operation 'block' does not fit its input [16, 16, 4]: ",
    ),
    "an operation with a name that torch needs": (
        "branches.1.operations",
        ["keys"],
        "$.branches[1].operations[0]: no operation 'keys'",
    ),
}


@pytest.mark.parametrize(("path", "value", "complaint"), MODELS.values(), ids=MODELS)
def test_a_model_with_one_fault_gets_one_complaint_at_the_fault(specs, problems, path, value, complaint):
    (message,) = problems(specs.spoil("model", (path, value)))
    assert message.startswith(f"specs/models/sound.json at {complaint}")


def test_branches_that_are_joined_must_be_of_one_size(specs, problems):
    message = problems(
        specs.spoil(
            "model",
            ("operations.join", {"module": "concatenate"}),
            ("branches.1", {"x_name": ["displacement", "seen"], "y_name": "depth", "operations": ["join"]}),
        )
    )
    assert message == [
        "specs/models/sound.json at $.branches[1].operations[0]: operation 'join': "
        "cannot join inputs of sizes [16, 16, 1], [4, 4, 4]"
    ]


@pytest.mark.parametrize("name", ["keys", "type", "train", "forward"])
def test_an_operation_may_not_bear_a_name_that_torch_needs(specs, problems, name):
    spoilt = specs.spoil(
        "model", (f"operations.{name}", {"module": "flatten"}), ("branches.1.operations", [name, "to_depth"])
    )
    (message,) = problems(spoilt)
    assert message.startswith("specs/models/sound.json at $.operations: ")
    assert name in message
    assert message.endswith("rename that operation")


@pytest.mark.parametrize("name", ["a.b", "1st", "", "a b", "ä"])
def test_an_operation_needs_a_plain_name(specs, problems, name):
    model = json.loads((specs.root / "specs/models/sound.json").read_text())
    model["operations"][name] = {"module": "flatten"}
    (message,) = problems(specs.write("model", model))
    assert message.startswith(f"specs/models/sound.json at $.operations: '{name}' is not a name; use letters, digits")


@pytest.mark.parametrize("again", ["average_pooling", "attention"])
def test_an_operation_used_again_on_what_is_no_image_any_more_is_refused(specs, problems, again):
    parameters = {"filters": [2, 4]} if again == "attention" else {}
    spoilt = specs.spoil(
        "model",
        ("operations.again", {"module": again, "parameters": parameters}),
        ("operations.mean", {"module": "global_average"}),
        ("branches.0.operations", ["block", "again", "mean", "again"]),
    )
    (message,) = problems(spoilt)
    assert message.startswith("specs/models/sound.json at $.branches[0].operations[3]: operation 'again' does not fit")


ABSURD_MODELS = {
    "an input of a whole number with a point": ("inputs.displacement.size", [16.0, 16, 1]),
    "filters that are whole numbers with a point": ("operations.block.parameters.filters", [4.0]),
    "a window that is a whole number with a point": ("operations.halve.parameters", {"pool_size": 2.0}),
    "an input larger than all memory": ("inputs.displacement.size", [10**12, 10**12, 1]),
    "filters beyond all numbers": ("operations.block.parameters.filters", [10**30]),
}


@pytest.mark.parametrize(("path", "value"), ABSURD_MODELS.values(), ids=ABSURD_MODELS)
def test_an_absurd_model_gets_a_complaint_or_works_but_no_traceback(specs, qexp, path, value):
    code, _, stderr = qexp("validate", specs.spoil("model", (path, value)))
    assert code in (0, 2), stderr


# Experiences

EXPERIENCES = {
    "an unknown key": ("epoch", 3, "$.epoch: unknown key 'epoch'; did you mean 'epochs'?"),
    "a key in another spelling": ("batch-size", 3, "$.batch-size: unknown key 'batch-size'; did you mean 'batch_size'"),
    "no epochs": ("epochs", 0, "$.epochs: must be at least 1, but is the number 0"),
    "half an epoch": ("epochs", 2.5, "$.epochs: must be a whole number, but is the number 2.5"),
    "a truth for a number of epochs": ("epochs", True, "$.epochs: must be a whole number, but is true"),
    "a part without samples": ("sizes", [8, 0, 4], "$.sizes[1]: must be at least 1, but is the number 0"),
    "two sizes": ("sizes", [8, 4], "$.sizes: must have at least 3 items"),
    "a batch larger than the training part": (
        "batch_size",
        9,
        "$.batch_size: a batch of 9 is larger than the 8 training samples",
    ),
    "shares that make too much": (
        "split",
        [0.7, 0.4],
        "$.split: the shares must add up to at most 1, but their sum is 1.1",
    ),
    "three shares": ("split", [0.5, 0.3, 0.2], "$.split: must have at most 2 items"),
    "a share that is no number": ("split", [0.7, "rest"], '$.split[1]: must be a number, but is the text "rest"'),
    "a rate of zero": ("learning_rate", 0, "$.learning_rate: must be greater than 0"),
    "an unknown metric": ("metrics.depth", ["mse", "r22"], "$.metrics.depth[1]: no metric 'r22'; did you mean 'r2'?"),
    "an unknown bare metric": ("metrics.depth", "r22", "$.metrics.depth: no metric 'r22'; did you mean 'r2'?"),
    "an unknown loss": ("losses.depth", "hubr", "$.losses.depth: no loss 'hubr'; did you mean 'huber'?"),
    "an unknown transform": ("transforms.depth", "logg", "$.transforms.depth: no transform 'logg'; did you mean 'log'"),
    "an unknown schedule": ("schedule", "cosin", "$.schedule: no schedule 'cosin'; did you mean 'cosine'?"),
    "an unknown optimizer": ("optimizer", "adma", "$.optimizer: no optimizer 'adma'; did you mean 'adam"),
    "an unknown parameter of the optimizer": (
        "optimizer",
        {"type": "adam", "parameters": {"epsilom": 1e-7}},
        "$.optimizer.parameters.epsilom: unknown key 'epsilom'; did you mean 'epsilon'?",
    ),
    "a decay out of its range": (
        "optimizer",
        {"type": "adam", "parameters": {"betas": [0.9, 1.0]}},
        "$.optimizer.parameters.betas[1]: must be less than 1, but is the number 1",
    ),
    "parameters that do not go together": (
        "optimizer",
        {"type": "sgd", "parameters": {"nesterov": True}},
        "$.optimizer.parameters: 'nesterov' needs a 'momentum' greater than 0",
    ),
    "an unknown callback": (
        "additional_callbacks",
        [["reduce_on_plato", {}]],
        "$.additional_callbacks[0][0]: no callback 'reduce_on_plato'; did you mean 'reduce_on_plateau'?",
    ),
    "an unknown parameter of a callback": (
        "additional_callbacks",
        ["early_stopping", ["reduce_on_plateau", {"patienc": 8}]],
        "$.additional_callbacks[1][1].patienc: unknown key 'patienc'; did you mean 'patience'?",
    ),
    "a patience of less than no epochs": (
        "additional_callbacks",
        [{"type": "early_stopping", "parameters": {"patience": -1}}],
        "$.additional_callbacks[0].parameters.patience: must be at least 0",
    ),
    "an unknown precision": ("precision", "float16", "$.precision: no precision 'float16'; did you mean"),
    "a gradient clipped to nothing": ("gradient_clip", 0, "$.gradient_clip: must be greater than 0"),
    "a loss of what is no output": ("losses.dept", "mae", "$.losses.dept: 'dept' is not an output; did you mean 'dep"),
    "a metric of what is no output": ("metrics.x", "mae", "$.metrics.x: 'x' is not an output; known: delta_volume"),
    "a transform of what is neither": (
        "transforms.incidence",
        "standardize",
        "$.transforms.incidence: 'incidence' is neither input nor output; known: delta_volume, depth, displacement",
    ),
    "an output twice": ("outputs", ["depth", "delta_volume", "depth"], "$.outputs: must not repeat an item"),
    "no outputs": ("outputs", [], "$.outputs: must have at least 1 item"),
    "a logarithm of what may be negative": (
        "transforms.displacement",
        "log",
        "$.transforms.displacement: a logarithm needs positive values, but they reach down to -inf; "
        "use asinh or scale for 'displacement'",
    ),
    "an input that the dataset does not make": (
        "inputs",
        ["displacement", "displacement_1"],
        "$.inputs[1]: the dataset has no 'displacement_1'; did you mean 'displacement'?",
    ),
    "a dataset that is not there": ("dataset", "sund", "$.dataset: no dataset 'sund'; did you mean 'sound'?"),
    "a model that is not there": ("model", "sund.json", "$.model: no model 'sund'; did you mean 'sound'?"),
    "a number for a dataset": ("dataset", 3, "$.dataset: must be a text or an object {…}, but is the number 3"),
    "a number for a run to start from": ("pretrain", 3, "$.pretrain: must be a text or null, but is the number 3"),
}


@pytest.mark.parametrize(("path", "value", "complaint"), EXPERIENCES.values(), ids=EXPERIENCES)
def test_an_experience_with_one_fault_gets_one_complaint_at_the_fault(specs, problems, path, value, complaint):
    (message,) = problems(specs.spoil("experience", (path, value)))
    assert message.startswith(f"specs/experiences/sound.json at {complaint}")


def test_the_share_of_a_part_may_carry_an_error_of_rounding(specs, qexp):
    assert sum([0.9, 0.1 - 1e-16]) != 1
    code, _, stderr = qexp("validate", specs.spoil("experience", ("split", [0.9, 0.1 - 1e-16])))
    assert code == 0, stderr


def test_all_training_samples_may_be_one_batch(specs, qexp):
    code, _, stderr = qexp("validate", specs.spoil("experience", ("batch_size", 8)))
    assert code == 0, stderr


def test_a_beta_may_be_a_whole_number(specs, qexp):
    optimizer = {"type": "adam", "parameters": {"betas": [0, 0.999]}}
    code, _, stderr = qexp("validate", specs.spoil("experience", ("optimizer", optimizer)))
    assert code == 0, stderr


@pytest.mark.parametrize("transform", ["log", "standardize"])
def test_a_transform_that_a_constant_zero_does_not_stand_is_refused(specs, problems, transform):
    specs.spoil("model", ("outputs", ["depth", "x"]), ("branches.2.y_name", "x"))
    (message,) = problems(
        specs.spoil(
            "experience",
            ("outputs", ["depth", "x"]),
            ("losses", {"depth": "mae", "x": "mae"}),
            ("transforms", {"x": transform}),
        )
    )
    assert message.startswith("specs/experiences/sound.json at $.transforms.x: ")


def test_a_last_batch_of_one_sample_is_refused_where_a_channel_is_normalised_over_the_batch(specs, problems):
    specs.spoil("model", ("operations.norm", {"module": "batch_norm"}), ("branches.1.operations", ["to_depth", "norm"]))
    assert problems(specs.spoil("experience", ("sizes", [9, 4, 4])))


def test_a_typical_value_of_zero_is_refused_in_words(specs, problems):
    scale = {"type": "scale", "parameters": {"typical": 0}}
    (message,) = problems(specs.spoil("experience", ("transforms.depth", scale)))
    assert "$.transforms.depth.parameters.typical: must not be 0" in message


def test_a_number_of_epochs_that_no_record_could_hold_is_refused(specs, problems):
    assert problems(specs.spoil("experience", ("epochs", 2**70)))


def test_a_fault_in_a_dataset_that_stands_in_the_experience_is_pointed_at_there(specs, problems):
    dataset = json.loads((specs.root / "specs/datasets/sound.json").read_text())
    (message,) = problems(specs.spoil("experience", ("dataset", {**dataset, "size": [16, 0]})))
    assert message.startswith("specs/experiences/sound.json at $.dataset.size[1]: must be at least 1")


# Whether the three fit each other


def test_an_input_must_be_of_the_size_that_the_dataset_makes(specs, problems):
    specs.spoil("dataset", ("size", [16, 24]))
    assert problems("specs/experiences/sound.json") == [
        "specs/experiences/sound.json at $.inputs[0]: "
        "its shape in the dataset is [16, 24, 1], but the model's input is [16, 16, 1]"
    ]


MATCHED = {"module": "matched_filters", "parameters": {"variable": "depth", "low": 0.1, "high": 10, "count": 4}}


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"variable": "x"}, "variable: 'x' does not vary in the dataset; known: delta_volume, depth"),
        ({"variable": "dept"}, "variable: 'dept' does not vary in the dataset; did you mean 'depth'?"),
    ],
)
def test_filters_are_matched_to_values_of_a_variable_that_varies(specs, problems, parameters, complaint):
    parameters = {**MATCHED["parameters"], **parameters}
    branches = [{"x_name": "displacement", "y_name": "depth", "operations": ["likeness", "to_depth"]}]
    file = specs.spoil("model", ("operations.likeness", {**MATCHED, "parameters": parameters}))
    model = json.loads(file.read_text())
    model["operations"]["to_depth"] = {"module": "denses", "parameters": {"filters": [1]}}
    specs.write("model", {**model, "branches": branches, "outputs": ["depth"]})
    file = specs.spoil("experience", ("outputs", ["depth"]), ("losses", {"depth": "mae"}), ("metrics", {}))
    assert problems(file) == [f"specs/models/sound.json at $.operations.likeness.parameters.{complaint}"]


def test_samples_that_are_drawn_anew_have_no_training_mean_to_compare_with(specs, problems):
    file = specs.spoil("experience", ("metrics", {"depth": ["mae", "r2_training_mean"]}))
    (message,) = problems(file)
    assert (
        "$.metrics.depth: 'r2_training_mean' compares with the mean of the training targets, but samples are" in message
    )


def test_filters_are_matched_to_what_the_dataset_makes_and_nothing_later(specs, problems):
    file = specs.spoil("model", ("operations.likeness", MATCHED))
    model = json.loads(file.read_text())
    model["operations"]["pool"] = {"module": "average_pooling"}
    model["operations"]["to_depth"] = {"module": "denses", "parameters": {"filters": [1]}}
    branches = [{"x_name": "displacement", "y_name": "depth", "operations": ["pool", "likeness", "to_depth"]}]
    specs.write("model", {**model, "branches": branches, "outputs": ["depth"]})
    file = specs.spoil("experience", ("outputs", ["depth"]), ("losses", {"depth": "mae"}), ("metrics", {}))
    assert problems(file) == [
        "specs/models/sound.json at $.branches[0].operations[1]: 'likeness' is matched to an image of the dataset; "
        "put it first in a branch from 'displacement'"
    ]


def test_the_values_that_filters_are_matched_to_must_rise(specs, problems):
    parameters = {**MATCHED["parameters"], "low": 20}
    specs.spoil(
        "model",
        ("operations.likeness", {**MATCHED, "parameters": parameters}),
        ("branches.0.operations", ["likeness"]),
    )
    (message, *_) = problems("specs/models/sound.json")
    assert "'likeness'" in message
    assert "'low' (20) must be less than 'high' (10)" in message


def test_an_output_must_be_of_the_size_of_its_variable(specs, problems):
    specs.spoil("model", ("operations.to_depth.parameters.filters", [3, 2]))
    assert problems("specs/experiences/sound.json") == [
        "specs/experiences/sound.json at $.outputs[0]: "
        "the model makes [2] for 'depth', but its values are [1]; end the branch with that shape"
    ]


def test_an_output_must_be_made_by_dataset_and_model(specs, problems):
    file = specs.spoil(
        "experience", ("outputs", ["depth", "incidence", "strike"]), ("losses", dict.fromkeys(["depth"], "mae"))
    )
    experience = json.loads(file.read_text())
    experience |= {"losses": dict.fromkeys(experience["outputs"], "mae")}
    assert problems(specs.write("experience", experience)) == [
        "specs/experiences/sound.json at $.outputs[1]: the model has no output 'incidence'; known: delta_volume, depth",
        "specs/experiences/sound.json at $.outputs[2]: the dataset has no 'strike'; known: azimuth, delta_volume, "
        "depth, displacement, incidence, noise, x, x_res, y, y_res",
    ]


def test_an_input_must_be_known_to_the_model_and_one_of_the_model_must_be_listed(specs, problems):
    specs.spoil("model", ("inputs", {"image": {"size": [16, 16, 1]}}), ("branches.0.x_name", "image"))
    assert problems("specs/experiences/sound.json") == [
        "specs/experiences/sound.json at $.inputs[0]: the model has no input 'displacement'; known: image",
        "specs/experiences/sound.json at $.inputs: the model needs the input 'image', which is not listed",
    ]


def test_a_logarithm_of_a_variable_that_can_be_negative_is_refused(specs, problems):
    specs.spoil("dataset", ("distributions.delta_volume", NORMAL))
    assert problems(specs.spoil("experience", ("transforms.delta_volume", "log"))) == [
        "specs/experiences/sound.json at $.transforms.delta_volume: a logarithm needs positive values, but they reach "
        "down to -inf; use asinh or scale for 'delta_volume'"
    ]


def test_a_model_without_any_weights_has_nothing_to_train(specs, problems):
    specs.spoil(
        "model",
        ("operations", {"mean": {"module": "global_average"}}),
        ("branches", [{"x_name": "displacement", "y_name": name, "operations": ["mean"]} for name in OUTPUTS]),
    )
    (message,) = problems("specs/experiences/sound.json")
    assert message.startswith("specs/experiences/sound.json at $.model: no operation of the model has weights")


# All at once


def test_all_problems_of_a_dataset_are_reported_together(specs, problems):
    message = problems(
        specs.spoil(
            "dataset",
            ("varings", {}),
            ("size", [0, 16]),
            ("fixed.x", "nought"),
            ("distributions.depth.type", "log_norml"),
            ("distributions.delta_volume.parameters.b", ...),
            ("matrix.resolution", "fine"),
        )
    )
    assert [line.partition(" at ")[2].partition(": ")[0] for line in message] == [
        "$.distributions.delta_volume.parameters",
        "$.distributions.depth.type",
        "$.fixed.x",
        "$.matrix.resolution",
        "$.size[0]",
        "$.varings",
    ]


def test_all_that_a_schema_cannot_say_is_reported_together_too(specs, problems):
    message = problems(
        specs.spoil(
            "dataset",
            ("fixed.x_res", -1),
            ("varyings.depth", [[0.5, 0.4], [0.9, 1.2]]),
            ("varyings.delta_volume", [[0.5, 0.6], [0.5, 0.7]]),
            ("distributions.delta_volume", ...),
        )
    )
    assert [line.partition(" at ")[2].partition(": ")[0] for line in message] == [
        "$.fixed.x_res",
        "$.varyings.depth[0]",
        "$.varyings.depth[1]",
        "$.varyings.delta_volume[1]",
        "$.varyings.delta_volume",
    ]


def test_a_key_that_is_missing_is_connected_with_one_that_is_misspelt(specs, problems):
    dataset = json.loads((specs.root / "specs/datasets/sound.json").read_text())
    dataset["varings"] = dataset.pop("varyings")
    missing, unknown = problems(specs.write("dataset", dataset))
    assert missing.startswith("specs/datasets/sound.json at $: the key 'varyings' is missing (")
    assert missing.endswith("; is 'varings' meant to be it?")
    assert unknown == "specs/datasets/sound.json at $.varings: unknown key 'varings'; did you mean 'varyings'?"


def test_an_experience_reports_what_is_wrong_with_its_dataset_and_model_in_their_own_files(specs, problems):
    specs.spoil("dataset", ("fixed.x_res", -1.0))
    specs.spoil("model", ("operations.look.parameters.filters", [2, 5]))
    message = problems(specs.spoil("experience", ("batch_size", 9)))
    assert [line.partition(": ")[0] for line in message] == [
        "specs/experiences/sound.json at $.batch_size",
        "specs/datasets/sound.json at $.fixed.x_res",
        "specs/models/sound.json at $.branches[0].operations[1]",
    ]


def test_a_problem_is_told_once_however_many_files_lead_to_it(specs, problems, qexp):
    specs.spoil("dataset", ("fixed.x_res", -1.0))
    (specs.root / "specs/experiences/second.json").write_text((specs.root / "specs/experiences/sound.json").read_text())
    message = problems()
    assert len(message) == 1
    assert message[0].startswith("specs/datasets/sound.json at $.fixed.x_res")
    assert qexp("validate").stderr.splitlines()[-1] == "4 specs, 1 with problems"


def test_the_kind_of_a_file_outside_the_folders_is_told_from_what_it_holds(specs, problems):
    for kind in ("dataset", "model", "experience"):
        folder = {"dataset": "datasets", "model": "models", "experience": "experiences"}[kind]
        document = json.loads((specs.root / "specs" / folder / "sound.json").read_text())
        (specs.root / f"my_{kind}.json").write_text(json.dumps({**document, "descriptoin": 1}))
        (message,) = problems(f"my_{kind}.json")
        assert message.startswith(f"my_{kind}.json at $.descriptoin: unknown key 'descriptoin'")


def test_a_file_that_is_no_spec_at_all_is_reported_like_one(specs, problems):
    assert problems(specs.write("dataset", "{'a': 1}"))[0].startswith(
        "specs/datasets/sound.json at $: not valid JSON at line 1, column 2"
    )
    assert problems("specs/datasets/nosuch.json") == ["specs/datasets/nosuch.json at $: there is no such file"]
    assert problems("specs") == ["specs at $: cannot be read: Is a directory"]

"""Each case spoils one place of a sound spec; `qexp validate` must say where, what is wrong, and
what would work.
"""

import json

import pytest

from tests.conftest import SOUND, located, put

UNMADE = ["depth", "incidence", "strike"]

NORMAL = {"type": "normal", "parameters": {"mu": 2.0, "sigma": 0.5}}

FAULTS = {
    "dataset": [
        (
            "distributions.depth.type",
            "log_norml",
            "no distribution 'log_norml'; did you mean 'log_normal'?",
        ),
        ("generation_type", "mogy", "no generator 'mogy'; did you mean"),
        ("type", "generatd", "no dataset type 'generatd'; did you mean 'generated'"),
        ("noise_model", "pink", "no noise model 'pink'; known: decorrelation, exponential"),
        ("noise_model", "exponential", "'exponential' needs parameters: {"),
        (
            "noise_model",
            {"type": "exponential", "parameters": {"range": 0}},
            "$.noise_model.parameters.range: must be greater than 0, but is the number 0",
        ),
        ("sizes", [8, 8], "unknown key 'sizes'; did you mean 'size'?"),
        ("size", [16], "must have at least 2 items, but is a list [16]"),
        ("size", [16, 0], "$.size[1]: must be at least 1, but is the number 0"),
        ("size", [16.5, 16], "$.size[0]: must be a whole number, but is the number 16.5"),
        ("fixed.viscosity", 1.0, "no variable 'viscosity'; known: azimuth, delta_volume, depth"),
        ("fixed.displacement", 1.0, "this dataset has no 'displacement'; known: azimuth"),
        ("distributions.dept", NORMAL, "no variable 'dept'; did you mean 'depth'?"),
        (
            "fixed.incidence",
            ...,
            "$.fixed: 'incidence' has no value; put it in 'fixed' or in 'varyings' (angle between",
        ),
        ("fixed.x", True, "must be a number, but is true"),
        ("fixed.x", False, "must be a number, but is false"),
        ("fixed.x", "0", 'must be a number, but is the text "0"'),
        ("fixed.noise", "much", "must be a number or true or false, but is"),
        ("fixed.noise", -0.1, "must be at least 0 m, but is -0.1"),
        ("fixed.x_res", 0.0, "must be greater than 0 km, but is 0"),
        ("fixed.incidence", 1.6, "must be at most 1.5708 rad"),
        (
            "distributions.depth",
            ...,
            (
                "$.varyings.depth: 'depth' varies but has no distribution; add"
                " $.distributions.depth, for example {"
            ),
        ),
        ("varyings.depth.0", [0.4, 0.2], "the interval must increase, but goes from 0.4 to 0.2"),
        ("varyings.depth.0", [0.1, 0.1], "the interval must increase"),
        (
            "varyings.depth.0",
            [-0.1, 0.2],
            "quantiles lie between 0 and 1, but the interval goes from -0.1 to 0.2",
        ),
        ("varyings.depth.1", [0.9, 1.01], "quantiles lie between 0 and 1"),
        (
            "varyings.depth.1",
            [0.15, 0.5],
            "starts at 0.15, before the preceding interval ends at 0.2; sort them, without overlap",
        ),
        ("varyings.depth", [[0.5, 0.6], [0.1, 0.2]], "$.varyings.depth[1]: starts at 0.1, before"),
        ("varyings.depth.0", [0.1, 0.2, 0.3], "must have at most 2"),
        ("varyings.depth", [0.1], "$.varyings.depth[0]: must be a list […], but is the num"),
        (
            "varyings.depth",
            [[0, 1]],
            "the test part takes all quantiles; leave some for training and validation",
        ),
        ("varyings", {}, "must have at least 1 key, but"),
        (
            "distributions.depth",
            NORMAL,
            "'normal' reaches down to -inf, but depth must be greater than 0 km; use a log_normal,",
        ),
        (
            "distributions.depth",
            {"type": "uniform", "parameters": {"a": -1, "b": 4}},
            "'uniform' reaches down to -1, but depth must be greater than 0 km",
        ),
        (
            "distributions.depth",
            {"type": "uniform", "parameters": {"a": 4, "b": 1}},
            "$.distributions.depth.parameters: 'a' must be less than 'b', but 4 is not less than 1",
        ),
        (
            "distributions.depth.parameters.sigma",
            ...,
            "$.distributions.depth.parameters: the key 'sigma' is missing",
        ),
        (
            "distributions.depth.parameters.sigma",
            -1,
            "must be greater than 0, but is the number -1",
        ),
        ("distributions.depth.parameters.a", 1, "unknown key 'a'; known: mu, sigma"),
        (
            "distributions.depth.parameters",
            ...,
            "$.distributions.depth: the key 'parameters' is missing",
        ),
        ("distributions.depth", "log_normal", "must be an object"),
        ("matrix.axes.depth", [4, 0], "the axis must increase, but goes from"),
        ("matrix.axes.dept", [0, 4], "no variable 'dept'; did you mean 'depth'?"),
        ("matrix.resolution", 0, "must be at least 1"),
        ("varyings.depth", [[0, 0.5], [0.5, 1]], "the test part takes all quantiles"),
        ("matrix.axes.depth", [-1, 4], ""),
        ("distributions.depth.parameters.mu", 1000, "$.distributions.depth.parameters: "),
    ],
    "model": [
        ("output", [], "unknown key 'output'; did you mean 'outputs'?"),
        ("inputs", {}, "must have at least 1 key, but"),
        ("inputs.displacement", {}, "the key 'size' is missing"),
        ("inputs.displacement.size.0", 0, "must be at least 1"),
        ("operations.block.module", "convv", "no module 'convv'; did you mean 'conv'?"),
        ("operations.halve", {}, "the key 'module' is missing"),
        (
            "operations.block.parameters.kernal_size",
            3,
            "unknown key 'kernal_size'; did you mean 'kernel_size'?",
        ),
        (
            "operations.block.parameters.activation",
            "leaky_rely",
            "no choice 'leaky_rely'; did you mean 'leaky_relu'?",
        ),
        (
            "operations.block.parameters.activation",
            "PReLU",
            "'PReLU' is a layer of Keras that learns a slope for each of its inputs, and no",
        ),
        (
            "operations.block.parameters.filters",
            4,
            "must be a list […], but is the number 4; write [4]",
        ),
        ("operations.block.parameters.kernel_size", True, "must be a whole number, but is true"),
        ("branches.0.operations.3", "halv", "no operation 'halv'; did you mean 'halve'?"),
        (
            "branches.1.x_name",
            "sen",
            "no input or earlier branch is called 'sen'; did you mean 'seen'?",
        ),
        (
            "branches.0.x_name",
            ["displacement", "displacement_1"],
            "no input or earlier branch is called 'displacement_1'; did you mean 'displacement'?",
        ),
        ("branches.0.x_name", [], "must have at least 1 item"),
        ("branches.0.y_name", ..., "$.branches[0]: the key 'y_name' is missing"),
        (
            "outputs",
            ["depth", "delta_volume", "strike"],
            "$.outputs[2]: no branch ends in 'strike'; known: delta_volume, depth, seen",
        ),
        ("outputs", ["depth", "depth"], "must not repeat an item"),
        (
            "branches.1.x_name",
            ["displacement", "seen"],
            (
                "$.branches[1].operations[0]: operation 'to_depth': takes one input; join several"
                " with a 'concatenate' first"
            ),
        ),
        (
            "branches.1",
            {"x_name": ["displacement", "seen"], "y_name": "depth", "operations": []},
            (
                "$.branches[1].operations: several inputs, but no operation that joins them; add a"
                " 'concatenate'"
            ),
        ),
        (
            "operations.look.parameters.filters",
            [2, 9],
            (
                "$.branches[0].operations[1]: operation 'look': 9 channels from filters [2, 9], but"
                " its input has 4; set the last to 4"
            ),
        ),
        (
            "branches.0.operations",
            ["block", "look", *["halve"] * 5],
            "$.branches[0].operations[6]: operation 'halve' does not fit its input [1, 1, 4]",
        ),
        (
            "operations.block.parameters",
            {"filters": [4], "kernel_size": 17, "padding": "valid"},
            "$.branches[0].operations[0]: operation 'block' does not fit its input [16, 16, 1]: ",
        ),
        (
            "operations.look",
            {"module": "flatten"},
            (
                "$.branches[0].operations[2]: operation 'halve': needs an image [height, width,"
                " channels], but its input is [1024]"
            ),
        ),
        (
            "branches.0.operations",
            ["block", "block"],
            "$.branches[0].operations[1]: operation 'block' does not fit its input [16, 16, 4]: ",
        ),
        ("branches.1.operations", ["keys"], "$.branches[1].operations[0]: no operation 'keys'"),
        *(
            (
                f"operations.{name}",
                {"module": "flatten"},
                f"$.operations: '{name}' is not a name; use letters, digits",
            )
            for name in ("1st", "a b", "ä")
        ),
    ],
    "experience": [
        ("epoch", 3, "unknown key 'epoch'; did you mean 'epochs'?"),
        ("batch-size", 3, "unknown key 'batch-size'; did you mean 'batch_size'"),
        ("epochs", 0, "must be at least 1, but is the number 0"),
        ("epochs", 2.5, "must be a whole number, but is the number 2.5"),
        ("epochs", True, "must be a whole number, but is true"),
        ("sizes", [8, 0, 4], "$.sizes[1]: must be at least 1, but is the number 0"),
        (
            "sizes",
            [8, 4],
            (
                "must have at least 3 items, but is a list [8, 4]; they are samples for training"
                " (per epoch), validation and test"
            ),
        ),
        ("batch_size", 9, "a batch of 9 is larger than the 8 training samples"),
        ("split", [0.7, 0.4], "the shares must add up to at most 1, but their sum is 1.1"),
        ("split", [0.5, 0.3, 0.2], "must have at most 2 items"),
        ("split", [0.7, "rest"], '$.split[1]: must be a number, but is the text "rest"'),
        ("learning_rate", 0, "must be greater than 0"),
        (
            "metrics.depth",
            ["mse", "r22"],
            "$.metrics.depth[1]: no metric 'r22'; did you mean 'r2'?",
        ),
        ("metrics.depth", "r22", "no metric 'r22'; did you mean 'r2'?"),
        ("losses.depth", "hubr", "no loss 'hubr'; did you mean 'huber'?"),
        ("transforms.depth", "logg", "no transform 'logg'; did you mean 'log'"),
        ("schedule", "cosin", "no schedule 'cosin'; did you mean 'cosine'?"),
        ("optimizer", "adma", "no optimizer 'adma'; did you mean 'adam"),
        (
            "optimizer",
            {"type": "adam", "parameters": {"epsilom": 1e-7}},
            "$.optimizer.parameters.epsilom: unknown key 'epsilom'; did you mean 'epsilon'?",
        ),
        (
            "optimizer",
            {"type": "adam", "parameters": {"betas": [0.9, 1.0]}},
            "$.optimizer.parameters.betas[1]: must be less than 1, but is the number 1",
        ),
        (
            "optimizer",
            {"type": "sgd", "parameters": {"nesterov": True}},
            "$.optimizer.parameters: 'nesterov' needs a 'momentum' greater than 0",
        ),
        (
            "additional_callbacks",
            [["reduce_on_plato", {}]],
            (
                "$.additional_callbacks[0][0]: no callback 'reduce_on_plato'; did you mean"
                " 'reduce_on_plateau'?"
            ),
        ),
        (
            "additional_callbacks",
            ["early_stopping", ["reduce_on_plateau", {"patienc": 8}]],
            "$.additional_callbacks[1][1].patienc: unknown key 'patienc'; did you mean 'patience'?",
        ),
        (
            "additional_callbacks",
            [{"type": "early_stopping", "parameters": {"patience": -1}}],
            "$.additional_callbacks[0].parameters.patience: must be at least 0",
        ),
        ("precision", "float16", "no precision 'float16'; did you mean"),
        ("gradient_clip", 0, "must be greater than 0"),
        ("losses.dept", "mae", "'dept' is not an output; did you mean 'dep"),
        ("metrics.x", "mae", "'x' is not an output; known: delta_volume"),
        (
            "transforms.incidence",
            "standardize",
            "'incidence' is neither input nor output; known: delta_volume, depth, displacement",
        ),
        ("outputs", ["depth", "delta_volume", "depth"], "must not repeat an item"),
        ("outputs", [], "must have at least 1 item"),
        (
            "transforms.displacement",
            "log",
            (
                "a logarithm needs positive values, but they reach down to -inf; use asinh or scale"
                " for 'displacement'"
            ),
        ),
        (
            "inputs",
            ["displacement", "displacement_1"],
            "$.inputs[1]: the dataset has no 'displacement_1'; did you mean 'displacement'?",
        ),
        ("dataset", "sund", "no dataset 'sund'; did you mean 'sound'?"),
        ("model", "sund.json", "no model 'sund'; did you mean 'sound'?"),
        ("dataset", 3, "must be a text or an object {…}, but is the number 3"),
        ("pretrain", 3, "must be a text or null, but is the number 3"),
        (
            "transforms.depth",
            {"type": "scale", "parameters": {"typical": 0}},
            "$.transforms.depth.parameters.typical: must not be 0",
        ),
        (
            "metrics",
            {"depth": ["mae", "r2_training_mean"]},
            (
                "$.metrics.depth: 'r2_training_mean' compares with the mean of the training"
                " targets, but samples are"
            ),
        ),
        (
            "dataset",
            put(SOUND["dataset"], "size", [16, 0]),
            "$.dataset.size[1]: must be at least 1",
        ),
    ],
}


@pytest.mark.parametrize(
    ("kind", "path", "value", "complaint"),
    [(kind, *fault) for kind, faults in FAULTS.items() for fault in faults],
)
def test_a_spec_with_one_fault_gets_one_complaint_at_the_fault(
    specs, problems, kind, path, value, complaint
):
    (message,) = problems(specs.spoil(kind, (path, value)))
    assert message.startswith(located(kind, path, complaint))


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        # bounds are open
        ("dataset", "distributions.depth", {"type": "uniform", "parameters": {"a": 0, "b": 4}}),
        # test intervals that touch
        ("dataset", "varyings.depth", [[0, 0.2], [0.2, 0.3], [0.9, 1]]),
        ("model", "inputs.displacement.size", [16.0, 16, 1]),
        ("model", "operations.block.parameters.filters", [4.0]),
        ("model", "operations.halve.parameters", {"pool_size": 2.0}),
        ("experience", "split", [0.9, 0.1 - 1e-16]),  # an error of rounding
        ("experience", "batch_size", 8),  # all training samples
        ("experience", "optimizer", {"type": "adam", "parameters": {"betas": [0, 0.999]}}),
    ],
)
def test_what_is_at_the_edge_of_what_is_possible_is_right(specs, qexp, kind, path, value):
    assert qexp("validate", specs.spoil(kind, (path, value))) == (0, "", "1 spec is right\n")


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        # a list where VDI's old form had a name
        ("dataset", "distributions.depth", [["log_normal"], 0, 1]),
        ("dataset", "distributions.depth.parameters.mu", 10**400),
        ("dataset", "fixed.incidence", -(10**400)),
        ("dataset", "varyings.depth.1.1", 10**400),
        ("model", "inputs.displacement.size", [10**12, 10**12, 1]),
        ("model", "operations.block.parameters.filters", [10**30]),
        ("experience", "epochs", 2**70),
    ],
)
def test_an_absurd_value_gets_a_complaint_and_no_traceback(specs, problems, kind, path, value):
    assert problems(specs.spoil(kind, (path, value)))


def test_sound_specs_are_right(specs, qexp):
    assert qexp("validate") == (0, "", "3 specs are right\n")


def test_a_value_of_a_command_that_lacks_its_brackets_is_shown_with_them(specs, qexp):
    said = qexp("run", "sound", "--set", "sizes=8,4", "--dry-run").stderr
    assert said.endswith(
        """but is the text "8,4"; write [8,4], or in a shell --set 'sizes=[8,4]'\n"""
    )


def test_a_name_stands_for_the_specs_that_have_it(specs, qexp):
    assert qexp("validate", "sound") == (0, "", "3 specs are right\n")
    assert "no spec 'soundd'; did you mean 'sound'?" in qexp("validate", "soundd").stderr


# Models


@pytest.mark.parametrize("name", ["keys", "type", "train", "forward"])
def test_an_operation_may_not_bear_a_name_that_torch_needs(specs, problems, name):
    spoilt = specs.spoil(
        "model",
        (f"operations.{name}", {"module": "flatten"}),
        ("branches.1.operations", [name, "to_depth"]),
    )
    (message,) = problems(spoilt)
    assert message.startswith("specs/models/sound.json at $.operations: ")
    assert name in message
    assert message.endswith("rename that operation")


@pytest.mark.parametrize("name", ["a.b", ""])
def test_an_operation_needs_a_name_without_dots(specs, problems, name):
    model = {
        **SOUND["model"],
        "operations": {**SOUND["model"]["operations"], name: {"module": "flatten"}},
    }
    (message,) = problems(specs.write("model", model))
    assert message.startswith(
        f"specs/models/sound.json at $.operations: '{name}' is not a name; use letters, digits"
    )


@pytest.mark.parametrize(
    "again",
    [{"module": "average_pooling"}, {"module": "attention", "parameters": {"filters": [2, 4]}}],
)
def test_an_operation_used_again_on_what_is_no_image_any_more_is_refused(specs, problems, again):
    spoilt = specs.spoil(
        "model",
        ("operations.again", again),
        ("operations.mean", {"module": "global_average"}),
        ("branches.0.operations", ["block", "again", "mean", "again"]),
    )
    (message,) = problems(spoilt)
    assert message.startswith(
        "specs/models/sound.json at $.branches[0].operations[3]: operation 'again' does not fit"
    )


# Experiences


@pytest.mark.parametrize("transform", ["log", "standardize"])
def test_a_transform_that_a_constant_zero_does_not_stand_is_refused(specs, problems, transform):
    specs.spoil("model", ("outputs", ["depth", "x"]), ("branches.2.y_name", "x"))
    file = specs.spoil(
        "experience",
        ("outputs", ["depth", "x"]),
        ("losses", {"depth": "mae", "x": "mae"}),
        ("transforms", {"x": transform}),
    )
    (message,) = problems(file)
    assert message.startswith("specs/experiences/sound.json at $.transforms.x: ")


def test_a_last_batch_of_one_sample_is_refused_where_a_channel_is_normalised_over_the_batch(
    specs, problems
):
    specs.spoil(
        "model",
        ("operations.norm", {"module": "batch_norm"}),
        ("branches.1.operations", ["to_depth", "norm"]),
    )
    assert problems(specs.spoil("experience", ("sizes", [9, 4, 4])))


# Whether the three fit each other, and all problems at once


TOGETHER = {
    "an input must be of the size that the dataset makes": (
        {"dataset": [("size", [16, 24])]},
        [
            "experiences $.inputs[0]: its shape in the dataset is [16, 24, 1], but the model's"
            " input is [16, 16, 1]"
        ],
    ),
    "an output must be of the size of its variable": (
        {"model": [("operations.to_depth.parameters.filters", [3, 2])]},
        [
            "experiences $.outputs[0]: the model makes [2] for 'depth', but its values are [1]; end"
            " the branch with that shape"
        ],
    ),
    "an output must be made by dataset and model": (
        {"experience": [("outputs", UNMADE), ("losses", dict.fromkeys(UNMADE, "mae"))]},
        [
            (
                "experiences $.outputs[2]: the dataset has no 'strike'; known: azimuth,"
                " delta_volume, depth, displacement, incidence, noise, x, x_res, y, y_res"
            ),
            (
                "experiences $.outputs[1]: the model has no output 'incidence'; known:"
                " delta_volume, depth"
            ),
        ],
    ),
    "an input must be known to the model, and each of the model must be listed": (
        {"model": [("inputs", {"image": {"size": [16, 16, 1]}}), ("branches.0.x_name", "image")]},
        [
            "experiences $.inputs[0]: the model has no input 'displacement'; known: image",
            "experiences $.inputs: the model needs the input 'image', which is not listed",
        ],
    ),
    "a logarithm is of a variable that cannot be negative": (
        {
            "dataset": [("distributions.delta_volume", NORMAL)],
            "experience": [("transforms.delta_volume", "log")],
        },
        [
            "experiences $.transforms.delta_volume: a logarithm needs positive values, but they"
            " reach down to -inf; use asinh or scale for 'delta_volume'"
        ],
    ),
    "a model without any weights has nothing to train": (
        {
            "model": [
                ("operations.block", {"module": "global_average"}),
                (
                    "branches",
                    [
                        {"x_name": "displacement", "y_name": output, "operations": ["block"]}
                        for output in SOUND["model"]["outputs"]
                    ],
                ),
            ]
        },
        [
            "experiences $.model: no operation of the model has weights, so that nothing can be"
            " trained; add one, as 'denses'"
        ],
    ),
    "branches that are joined must be of one size": (
        {
            "model": [
                ("operations.join", {"module": "concatenate"}),
                (
                    "branches.1",
                    {"x_name": ["displacement", "seen"], "y_name": "depth", "operations": ["join"]},
                ),
            ]
        },
        [
            "models $.branches[1].operations[0]: operation 'join': cannot join inputs of sizes [16,"
            " 16, 1], [4, 4, 4]"
        ],
    ),
    "each is told in its own file": (
        {
            "dataset": [("fixed.x_res", -1.0)],
            "model": [("operations.look.parameters.filters", [2, 5])],
            "experience": [("batch_size", 9)],
        },
        [
            "experiences $.batch_size",
            "datasets $.fixed.x_res",
            "models $.branches[0].operations[1]",
        ],
    ),
    "a misspelt name and wrong values, and nothing that follows from them": (
        {
            "experience": [
                ("outputs.0", "depht"),
                ("learning_rate", "fast"),
                ("epoch", 3),
                ("schedule", "cosin"),
                ("optimizer", {"type": "sgd", "parameters": {"nesterov": True}}),
            ]
        },
        [
            "experiences $.outputs[0]: the dataset has no 'depht'; did you mean 'depth'?",
            "experiences $.epoch: unknown key 'epoch'",
            "experiences $.learning_rate: must be a number",
            "experiences $.schedule: no schedule 'cosin'",
            "experiences $.optimizer.parameters: 'nesterov' needs",
        ],
    ),
    "a misspelt name is told also where the model is wrong": (
        {
            "model": [("operations.block.module", "convv")],
            "experience": [("inputs", ["displacment"])],
        },
        [
            "experiences $.inputs[0]: the dataset has no 'displacment'",
            "models $.operations.block.module",
        ],
    ),
}


def brief(messages):
    return [message.removeprefix("specs/").replace("/sound.json at ", " ") for message in messages]


@pytest.mark.parametrize(("spoilt", "messages"), TOGETHER.values(), ids=TOGETHER)
def test_problems_between_the_specs_are_told_where_they_are(specs, problems, spoilt, messages):
    for kind, changes in ({"experience": []} | spoilt).items():
        specs.spoil(kind, *changes)
    told = brief(problems("specs/experiences/sound.json"))
    assert len(told) == len(messages)
    assert all(line.startswith(message) for line, message in zip(told, messages, strict=True))


@pytest.mark.parametrize(
    ("changes", "places"),
    [
        (
            [
                ("varings", {}),
                ("size", [0, 16]),
                ("fixed.x", "nought"),
                ("distributions.depth.type", "log_norml"),
                ("distributions.delta_volume.parameters.b", ...),
                ("matrix.resolution", "fine"),
            ],
            (
                "distributions.delta_volume.parameters distributions.depth.type fixed.x"
                " matrix.resolution size[0] varings"
            ),
        ),
        # All that a schema cannot say.
        (
            [
                ("fixed.x_res", -1),
                ("varyings.depth", [[0.5, 0.4], [0.9, 1.2]]),
                ("distributions.delta_volume", ...),
                ("varyings.delta_volume", [[0.5, 0.6], [0.5, 0.7]]),
            ],
            (
                "fixed.x_res varyings.depth[0] varyings.depth[1] varyings.delta_volume[1]"
                " varyings.delta_volume"
            ),
        ),
        # An interval is held against all before it, not only the last.
        (
            [("varyings.depth", [[0.1, 0.5], [0.2, 0.3], [0.4, 0.6]])],
            "varyings.depth[1] varyings.depth[2]",
        ),
    ],
)
def test_all_problems_of_a_dataset_are_told_together(specs, problems, changes, places):
    messages = brief(problems(specs.spoil("dataset", *changes)))
    assert [line.partition(": ")[0] for line in messages] == [
        f"datasets $.{place}" for place in places.split()
    ]


def matched_filters(specs, operations, **parameters):
    """Specs of one output, to which a branch with filters matched to its values leads."""
    filters = {"variable": "depth", "low": 0.1, "high": 10, "count": 4, **parameters}
    specs.spoil(
        "model",
        ("operations.likeness", {"module": "matched_filters", "parameters": filters}),
        ("operations.to_depth", {"module": "denses", "parameters": {"filters": [1]}}),
        (
            "branches",
            [
                {
                    "x_name": "displacement",
                    "y_name": "depth",
                    "operations": [*operations, "to_depth"],
                }
            ],
        ),
        ("outputs", ["depth"]),
    )
    return specs.spoil(
        "experience", ("outputs", ["depth"]), ("losses", {"depth": "mae"}), ("metrics", {})
    )


@pytest.mark.parametrize(
    ("operations", "parameters", "complaint"),
    [
        (
            ["likeness"],
            {"variable": "x"},
            (
                "operations.likeness.parameters.variable: 'x' does not vary in the dataset; known:"
                " delta_volume, depth"
            ),
        ),
        (
            ["likeness"],
            {"variable": "dept"},
            (
                "operations.likeness.parameters.variable: 'dept' does not vary in the dataset; did"
                " you mean 'depth'?"
            ),
        ),
        (
            ["likeness"],
            {"low": 20},
            (
                "branches[0].operations[0]: operation 'likeness' does not fit its input [16, 16,"
                " 1]: 'low' (20) must be less than 'high' (10)"
            ),
        ),
        (
            ["halve", "likeness"],
            {},
            (
                "branches[0].operations[1]: 'likeness' is matched to an image of the dataset; put"
                " it first in a branch from 'displacement'"
            ),
        ),
    ],
)
def test_filters_are_matched_to_images_of_rising_values_of_a_variable_that_varies(
    specs, problems, operations, parameters, complaint
):
    assert brief(problems(matched_filters(specs, operations, **parameters))) == [
        f"models $.{complaint}"
    ]


def test_a_key_that_is_missing_is_connected_with_one_that_is_misspelt(specs, problems):
    missing, unknown = problems(
        specs.spoil("dataset", ("varings", SOUND["dataset"]["varyings"]), ("varyings", ...))
    )
    assert missing.startswith("specs/datasets/sound.json at $: the key 'varyings' is missing (")
    assert missing.endswith("; is 'varings' meant to be it?")
    assert (
        unknown
        == "specs/datasets/sound.json at $.varings: unknown key 'varings'; did you mean 'varyings'?"
    )


def test_a_problem_is_told_once_however_many_files_lead_to_it(specs, problems, qexp):
    specs.spoil("dataset", ("fixed.x_res", -1.0))
    specs.write("experience", SOUND["experience"], "second")
    (message,) = problems()
    assert message.startswith("specs/datasets/sound.json at $.fixed.x_res")
    assert qexp("validate").stderr.splitlines()[-1] == "4 specs, 1 with problems"


def test_the_kind_of_a_file_outside_the_folders_is_told_from_what_it_holds(specs, problems):
    for kind, document in SOUND.items():
        (specs.root / f"my_{kind}.json").write_text(json.dumps({**document, "descriptoin": 1}))
        (message,) = problems(f"my_{kind}.json")
        assert message.startswith(f"my_{kind}.json at $.descriptoin: unknown key 'descriptoin'")


def test_a_file_that_is_no_spec_at_all_is_reported_like_one(specs, problems):
    assert problems(specs.write("dataset", "{'a': 1}"))[0].startswith(
        "specs/datasets/sound.json at $: not valid JSON at line 1, column 2"
    )
    assert problems("specs/datasets/nosuch.json") == [
        "specs/datasets/nosuch.json at $: there is no such file"
    ]
    assert problems("specs") == ["specs at $: cannot be read: Is a directory"]

"""A network that leaves qexp estimates what it estimated inside, where neither qexp nor, for ONNX,
torch is.
"""

import copy
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import qexp
from qexp.base.tables import built
from qexp.errors import QexpError
from qexp.export.graphs import FORMATS, Graph, GraphError, NamedTensor, capture
from qexp.export.network import dle_fields, export_network, transform_document
from qexp.kinds.networks import load_model
from qexp.kinds.options import PredictOptions
from qexp.kinds.rows.prediction import row_model
from qexp.networks.estimator import Estimator
from qexp.networks.heads import HEADS
from qexp.networks.layers import ACTIVATIONS
from qexp.networks.modules import EXAMPLE_SHAPE, EXAMPLE_SHAPES, MODULES, JoiningEntry
from qexp.networks.network import Network, Operation
from qexp.networks.portable import Positional
from qexp.networks.transforms import TRANSFORMS, Scale, Standardize
from qexp.runs.options import ExportOptions
from qexp.store.directory import RunDirectory
from tests import cores, domes, stones
from tests.conftest import SOUND, MadeOnce, Specs, call, put, shared_folder
from tests.networks.parts import initialised, operation

GRAPH_FORMATS = {name: kind for name, kind in FORMATS.items() if kind.capture is capture}
"""Those of a captured graph; Keras's is written layer by layer."""

RELATIVE = 1e-5
"""Of a field's largest magnitude."""

REFUSED = {
    "onnx": ["qexp", "torch", "onnx", "onnxscript"],
    "torchscript": ["qexp", "onnx", "onnxscript"],
}

ELSEWHERE = """
import sys
refused = sys.argv[1].split(",")
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in refused:
            raise ImportError(name + " is not to be had here")
sys.meta_path.insert(0, Refuse())
"""

ASK_ALL = """
import json, pathlib, numpy
def ask(folder):
    network = json.loads((folder / "network.json").read_text())
    inputs, outputs = ([one["name"] for one in network[key]] for key in ("inputs", "outputs"))
    if (folder / "model.onnx").exists():
        import onnxruntime
        session = onnxruntime.InferenceSession(folder / "model.onnx")
        assert [one.name for one in session.get_inputs()] == inputs
        assert [one.name for one in session.get_outputs()] == outputs
        call = lambda values: session.run(None, values)
    else:
        import torch
        model = torch.jit.load(folder / "model.pt")
        call = lambda values: [one.numpy() for one in model(*[torch.from_numpy(values[name]) for name in inputs])]
    for file in sorted(folder.glob("ask_*.npz")):
        made = dict(zip(outputs, call(dict(numpy.load(file))), strict=True))
        numpy.savez(file.with_name(file.name.replace("ask", "said")), **made)
for line in sys.stdin:
    ask(pathlib.Path(line.strip()))
    print("asked", flush=True)
"""

OWN_MODULES = """
import torch
from qexp.extend import Entry

def convolved(shape, /):
    layers = torch.nn.Unflatten(1, (1, -1)), torch.nn.Conv1d(1, 2, 2), torch.nn.Flatten(), torch.nn.Linear(4, 1)
    return torch.nn.Sequential(*layers)

MODULES = {"convolved": Entry(build=convolved, parameters={}, help="Convolutions.", example={"module": "convolved"})}
"""
"""A module that cannot be stacked for batches of every size."""

Values = Mapping[str, np.ndarray]


def elsewhere(
    script: str, refused: Iterable[str], *arguments: object, cwd: Path | None = None
) -> str:
    """What a process without some packages, and without anything of ours on its path, prints."""
    words = [
        sys.executable,
        "-I",
        "-c",
        ELSEWHERE + script,
        ",".join(refused),
        *map(str, arguments),
    ]
    done = subprocess.run(words, capture_output=True, text=True, cwd=cwd, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def processes() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """A process for each format, which asks the networks of the folders that it is told."""
    pipe, words = subprocess.PIPE, [sys.executable, "-I", "-c", ELSEWHERE + ASK_ALL]
    started = {
        format: subprocess.Popen([*words, ",".join(refused)], stdin=pipe, stdout=pipe, text=True)
        for format, refused in REFUSED.items()
    }
    yield started
    for process in started.values():
        process.communicate()


Evaluate = Callable[..., list[dict[str, np.ndarray]]]


@pytest.fixture
def evaluate(processes) -> Evaluate:
    """`said(folder, values, ...)`: what the network in a folder makes of inputs, where qexp is
    not.
    """

    def ask(folder: Path, *questions: Values) -> list[dict[str, np.ndarray]]:
        format = next(
            format for format, kind in GRAPH_FORMATS.items() if (folder / kind.file).exists()
        )
        for index, values in enumerate(questions):
            np.savez(folder / f"ask_{index}.npz", **values)
        print(folder, file=processes[format].stdin, flush=True)
        assert processes[format].stdout.readline() == "asked\n", "see what the process says above"
        return [dict(np.load(folder / f"said_{index}.npz")) for index in range(len(questions))]

    return ask


def require_close(theirs: Values, ours: Values) -> None:
    assert theirs.keys() == ours.keys()
    for name, values in ours.items():
        assert np.isfinite(values).all()
        assert theirs[name].shape == values.shape
        np.testing.assert_allclose(
            theirs[name], values, rtol=0, atol=RELATIVE * np.abs(values).max()
        )


def numbers(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def arrays(made: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy() for name, value in made.items()}


def network_of(inputs: Mapping[str, tuple[int, ...]], builders: Mapping[str, Callable]) -> Network:
    """A network with an output for each builder, made of the inputs that its name begins, or else
    of all.

    A builder gets the shape of its input; of one that joins several, the shapes.
    """
    sources = {
        name: [each for each in inputs if each.startswith(f"{name}_")] or [*inputs]
        for name in builders
    }
    joining = [name for name in builders if isinstance(MODULES.get(name), JoiningEntry)]
    operations = {name: Operation(build, joins=name in joining) for name, build in builders.items()}
    branches = [(tuple(sources[name]), (f"y_{name}",), (name,)) for name in builders]
    network = initialised(inputs, [f"y_{name}" for name in builders], operations, branches)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):  # as if it had been trained
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    return network.eval()


def write(folder: Path, module: nn.Module, network: Network) -> Graph:
    """The graph of a network that no run has trained, in a folder for each format, like those of
    `export_network`.
    """
    shapes = list(network.inputs.values())
    flat = Positional(copy.deepcopy(module), network.inputs, network.outputs)
    try:
        graph = capture(flat, shapes, free_frame=True)
    except GraphError:
        graph = capture(flat, shapes, free_frame=False)
    inputs = [NamedTensor(*of_one, "") for of_one in zip(network.inputs, graph.inputs, strict=True)]
    outputs = [
        NamedTensor(*of_one, "") for of_one in zip(network.outputs, graph.outputs, strict=True)
    ]
    document = {
        key: [{"name": one.name} for one in named]
        for key, named in (("inputs", inputs), ("outputs", outputs))
    }
    for format, kind in GRAPH_FORMATS.items():
        (folder / format).mkdir(parents=True)
        (folder / format / kind.file).write_bytes(kind.write(graph, inputs, outputs, {}))
        (folder / format / "network.json").write_text(json.dumps(document))
    return graph


def require_same(evaluate: Evaluate, folder: Path, module: nn.Module, *questions: Values) -> None:
    """Whether what `write` has written makes what the module makes."""
    tensors = [
        {name: torch.from_numpy(values) for name, values in question.items()}
        for question in questions
    ]
    with torch.no_grad():
        ours = [arrays(module(question)) for question in tensors]
    for format in GRAPH_FORMATS:
        for theirs, expected in zip(evaluate(folder / format, *questions), ours, strict=True):
            require_close(theirs, expected)


# Modules and transforms


EXAMPLES = {
    name: lambda shape, entry=entry: entry.build(shape, **entry.example.get("parameters", {}))
    for name, entry in MODULES.items()
    if name not in HEADS
}

OF_ROWS = {*EXAMPLE_SHAPES, "denses", "mlp", "flatten", "matched_filters"}

OF_FRAMES = {name: build for name, build in EXAMPLES.items() if name not in OF_ROWS}
"""Modules that take images of all sizes."""


@pytest.mark.heavy
def test_every_module_of_images_leaves_as_it_is_for_any_batch_and_frame(evaluate, tmp_path):
    activations = {
        "activations": lambda shape: nn.Sequential(*(build() for build in ACTIVATIONS.values()))
    }
    network = network_of({"x": EXAMPLE_SHAPE}, OF_FRAMES | activations)
    assert write(tmp_path / "out", network, network).inputs == [
        ("batch", EXAMPLE_SHAPE[0], "height", "width")
    ]
    frames = [EXAMPLE_SHAPE[1:], (21, 18), (9, 40)]
    questions = [
        {"x": numbers(batch, EXAMPLE_SHAPE[0], *frame)} for batch in (1, 5) for frame in frames
    ]
    require_same(evaluate, tmp_path / "out", network, *questions)


@pytest.mark.heavy
@pytest.mark.parametrize(("given", "estimated"), [("x", "layer_norm"), ("layer_norm", "linear")])
def test_inputs_and_outputs_may_be_called_as_operations_of_torch(
    evaluate, tmp_path, given, estimated
):
    layers = Operation(
        lambda shape: nn.Sequential(
            nn.LayerNorm(4), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 1)
        )
    )
    branches = [((given,), (estimated,), ("layers",))]
    network = initialised({given: (4,)}, [estimated], {"layers": layers}, branches).eval()
    write(tmp_path / "out", network, network)
    require_same(evaluate, tmp_path / "out", network, {given: numbers(3, 4)})


@pytest.mark.heavy
def test_every_other_module_leaves_as_it_is_for_any_batch(evaluate, tmp_path):
    builders = {name: build for name, build in EXAMPLES.items() if name in OF_ROWS}
    shapes = {name: EXAMPLE_SHAPES.get(name, [EXAMPLE_SHAPE]) for name in builders}
    inputs = {
        f"{name}_{index}": shape
        for name, of_name in shapes.items()
        for index, shape in enumerate(of_name)
    }
    network = network_of(inputs, builders)
    assert write(tmp_path / "out", network, network).inputs == [
        ("batch", *shape) for shape in inputs.values()
    ]
    questions = [
        {
            name: numbers(batch, *shape, seed=seed)
            for seed, (name, shape) in enumerate(inputs.items())
        }
        for batch in (1, 5)
    ]
    require_same(evaluate, tmp_path / "out", network, *questions)


class RoundedUp(nn.Module):
    """Fills a frame up to a multiple of 3, by an amount that is counted downwards, and makes cells
    of 3.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.deep = nn.Conv2d(channels, 2, 3, stride=3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        missing = [-(-side // 3) * 3 - side for side in x.shape[-2:]]
        return self.deep(nn.functional.pad(x, (0, missing[1], 0, missing[0])))


FILLED = {
    "rounded_up": lambda shape: RoundedUp(shape[0]),
    "same": lambda shape: MODULES["conv"].build(shape, filters=[3, 4], kernel_size=4, stride=3),
    "valid": (
        lambda shape: MODULES["conv"].build(
            shape, filters=[3], kernel_size=2, stride=2, padding="valid"
        )
    ),
    "unet": (
        lambda shape: MODULES["dle_unet"].build(
            shape, outputs=1, blocks=4, filters=2, upsampling="convolved"
        )
    ),
    "max": lambda shape: MODULES["max_pooling"].build(shape, [3, 2], [2, 3], "same"),
    "average": lambda shape: MODULES["average_pooling"].build(shape, [4, 2], [3, 1], "same"),
}


@pytest.mark.heavy
def test_frames_are_filled_up_by_what_their_own_size_asks_for(evaluate, tmp_path):
    network = network_of({"x": (2, 8, 16)}, FILLED)
    assert write(tmp_path / "out", network, network).inputs == [("batch", 2, "height", "width")]
    frames = [(8, 16), (9, 9), (10, 31), (64, 5), (23, 22)]
    require_same(
        evaluate, tmp_path / "out", network, *({"x": numbers(2, 2, *frame)} for frame in frames)
    )


@pytest.mark.heavy
def test_every_transform_is_inside_a_physical_network(evaluate, tmp_path):
    inputs = {f"x_{name}": (3,) for name in TRANSFORMS}
    outputs = [f"y_{name}" for name in TRANSFORMS]
    transforms = {
        f"{side}_{name}": built(TRANSFORMS, TRANSFORMS[name].example)
        for name in TRANSFORMS
        for side in "xy"
    }
    operations = {
        name: Operation(
            lambda shape, numbers=transforms[f"y_{name}"].shape((3,))[0]: nn.Linear(
                shape[0], numbers
            )
        )
        for name in TRANSFORMS
    }
    branches = [((f"x_{name}",), (f"y_{name}",), (name,)) for name in TRANSFORMS]
    network = initialised(inputs, outputs, operations, branches)
    positive = np.exp(numbers(40, 3) / 3)
    for variable, transform in list(transforms.items()):
        of_inputs_alone, of_outputs_alone = transform.needs_own, transform.shape((1,))[0] > 1
        if of_outputs_alone if variable in inputs else of_inputs_alone:
            del transforms[variable]
        else:
            transform.fit(torch.from_numpy(positive))
    model = Estimator(network, transforms).eval()
    write(tmp_path / "out", model, network)
    require_same(
        evaluate,
        tmp_path / "out",
        model,
        *[dict.fromkeys(inputs, positive[:batch]) for batch in (1, 5)],
    )


def by_hand(
    transform: Mapping, value: np.ndarray, key: str, own: np.ndarray | None = None
) -> np.ndarray:
    """A transform as `network.json` tells it, applied by one who has numpy alone."""
    for step in transform.get("steps", [])[:: 1 if key == "formula" else -1]:
        value = by_hand(step, value, key)
    if "steps" in transform:
        return value
    fitted = {name: np.array(numbers) for name, numbers in transform["fitted"].items()}
    return eval(
        transform[key], vars(np) | transform["parameters"] | fitted | {"value": value, "own": own}
    )


@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_transform_can_be_applied_and_undone_by_what_is_told_of_it(name):
    example = TRANSFORMS[name].example
    values = np.exp(numbers(40, 3))
    transform = built(TRANSFORMS, example)
    transform.fit(torch.from_numpy(values))
    document = json.loads(json.dumps(transform_document(example, [transform], TRANSFORMS)))
    there = by_hand(document, values, "formula")
    np.testing.assert_allclose(there, transform(torch.from_numpy(values)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        by_hand(document, there, "inverse", values), values, rtol=1e-4, atol=1e-5
    )


@pytest.mark.heavy
def test_a_transform_keeps_signs_and_the_digits_of_numbers_near_zero(evaluate, tmp_path):
    network = network_of({"x": (1, 4, 4)}, {"x": lambda shape: nn.Identity()})
    values = np.array([-20, -1e-3, -1e-9, -0.0, 0.0, 1e-9, 1e-3, 20], dtype=np.float32)
    question = np.broadcast_to(values[:, None, None, None], (8, 1, 4, 4))
    for variable, expected in (
        ("x", np.arcsinh(question / 0.01)),
        ("y_x", np.sinh(question) * 0.01),
    ):
        model = Estimator(network, {variable: built(TRANSFORMS, TRANSFORMS["asinh"].example)})
        write(tmp_path / variable, model, network)
        for format in GRAPH_FORMATS:
            [made] = evaluate(tmp_path / variable / format, {"x": question})
            np.testing.assert_allclose(made["y_x"], expected, rtol=1e-5)


# Runs


@shared_folder
def several(root: Path) -> None:
    """A workspace with runs that have networks of folds: alike, of two layouts, of convolutions;
    one with a caution.
    """
    Specs(root)
    stones.write(root)
    (root / "specs" / "extensions.py").write_text(OWN_MODULES)
    logarithms = {
        "colour": {"type": "chain", "parameters": {"of": ["log_ratios", "standardize"]}},
        "iron": {"type": "chain", "parameters": {"of": ["log", "standardize"]}},
    }
    convolutions = {"module": "one_d_cnn", "parameters": {"filters": [3, 4]}}
    for name, changes in {
        "alike": {"transforms": logarithms},
        "chosen": {
            "select": {"model.operations.network.parameters.units": [[2], [7]]},
            "keep": "last",
        },
        "convolved": {"model": put(stones.MODEL, "operations.network", convolutions)},
        "unstacked": {"model": put(stones.MODEL, "operations.network", {"module": "convolved"})},
        "cautious": stones.AS_PUBLISHED,
    }.items():
        document = {**stones.EXPERIENCE, **changes}
        path = root / "specs" / "experiences" / f"{name}.json"
        path.write_text(
            json.dumps({key: value for key, value in document.items() if value is not None})
        )
        call("run", name, "--device", "cpu", "--workspace", root).done()


def run_of(workspace: Path, name: str) -> RunDirectory:
    return RunDirectory(workspace / "runs" / name)


def images(count: int) -> np.ndarray:
    return 0.02 * numbers(count, 1, 16, 16)


@pytest.fixture
def exported(made_once: MadeOnce, tmp_path: Path) -> Callable[..., Path]:
    """`exported(workspace, name, format, physical)`: a copy of a run's exported folder, which is
    made once.
    """

    def copied(workspace: Path, name: str, format: str = "onnx", physical: bool = True) -> Path:
        key = f"{name}_{format}_{'physical' if physical else 'bare'}"

        def make(folder: Path) -> None:
            export_network(
                run_of(workspace, name), ExportOptions(folder / "out", format, physical=physical)
            )

        return shutil.copytree(made_once(f"exported.{key}", make) / "out", tmp_path / key)

    return copied


@pytest.mark.heavy
@pytest.mark.parametrize("format", GRAPH_FORMATS)
def test_a_run_leaves_in_units_and_estimates_what_it_estimates(
    finished, format, evaluate, exported
):
    run = qexp.open_run("sound_0", workspace=finished)
    folder = exported(finished, "sound_0", format)
    questions = [{"displacement": images(count)} for count in (1, 5)]
    for question, theirs in zip(questions, evaluate(folder, *questions), strict=True):
        ours = run.predict(displacement=question["displacement"][:, 0])
        require_close({name: values[:, 0] for name, values in theirs.items()}, ours)


@pytest.mark.heavy
@pytest.mark.parametrize("format", GRAPH_FORMATS)
def test_a_run_leaves_bare_with_transforms_that_can_be_applied_by_hand(
    finished, format, evaluate, exported
):
    run = qexp.open_run("sound_0", workspace=finished)
    folder = exported(finished, "sound_0", format, physical=False)
    about = json.loads((folder / "network.json").read_text())
    question = images(5)
    [seen] = about["inputs"]
    [made] = evaluate(
        folder, {"displacement": by_hand(seen["transform"], question, "formula").astype(np.float32)}
    )
    for port in about["outputs"]:
        if port["transform"]:
            made[port["name"]] = by_hand(port["transform"], made[port["name"]], "inverse")
    require_close(
        {name: values[:, 0] for name, values in made.items()},
        run.predict(displacement=question[:, 0]),
    )


BY_FORMAT = {
    "onnx": ["alike_0", "chosen_0", "convolved_0", "unstacked_0", "cautious_0"],
    "torchscript": ["alike_0", "unstacked_0"],
}
"""Both formats are written from one graph: those that differ in the structure of their graph are in
both.
"""


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("format", "name"), [(format, name) for format in GRAPH_FORMATS for name in BY_FORMAT[format]]
)
def test_networks_of_folds_leave_together_with_their_mean_and_spread(
    several, name, format, evaluate, exported
):
    directory = run_of(several, name)
    folder = exported(several, name, format)
    about = json.loads((folder / "network.json").read_text())
    rows = np.random.default_rng(3).uniform(0.1, 0.9, (5, 3)).astype(np.float32)
    for question in (rows, rows[:1]):
        [theirs] = evaluate(folder, {"colour": question})
        model = row_model(directory, PredictOptions("", "", device="cpu"))
        ours = model.estimate(question)["iron"].each(lambda values: values[:, None])
        require_close(theirs, {"iron": ours.middle, "iron_spread": ours.spread})
    # on inner parts, where there are any that choose epochs
    members = 1 if name in ("chosen_0", "cautious_0") else 3
    assert about["networks"] == members * len(directory.all_folds())
    assert about.get("caution") == (stones.CAUTION if name == "cautious_0" else None)


@pytest.mark.heavy
def test_a_run_with_networks_of_folds_has_its_transforms_inside_or_does_not_leave(
    several, tmp_path
):
    with pytest.raises(QexpError, match=r"alike_0 has 12 networks.*add physical=True"):
        export_network(run_of(several, "alike_0"), ExportOptions(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


OF_SPECTRA = [
    *(
        ("masked_0", *options)
        for options in (("onnx", False), ("onnx", True), ("torchscript", True))
    ),
    *(("scratch_0", *options) for options in (("onnx", True), ("torchscript", False))),
]


@shared_folder
def spectra(root: Path) -> None:
    """A workspace with a masked autoencoder, whose input is its output too, and with a network from
    spectra.
    """
    cores.write(root)
    patches = {"patches": "own", "layer_scale": 0.1}
    changes = {
        f"model.operations.encoder.parameters.{key}": value for key, value in patches.items()
    }
    of_decoder = {"patches": "own", "reads": "mean", "loss_on": "all", "depth": 0}
    decoder = {
        f"model.operations.decoder.parameters.{key}": value for key, value in of_decoder.items()
    }
    short = {**changes, "epochs": 1}
    qexp.run(
        "masked", name="masked_0", workspace=root, device="cpu", overrides={**short, **decoder}
    )
    qexp.run("scratch", name="scratch_0", workspace=root, device="cpu", overrides=short)


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "format", "physical"), OF_SPECTRA)
def test_networks_of_spectra_leave_with_what_goes_in_and_out(
    spectra, name, format, physical, evaluate, tmp_path
):
    run = qexp.open_run(name, workspace=spectra)
    folder = qexp.export_network(run, tmp_path / "out", format, physical=physical).folder
    about = json.loads((folder / "network.json").read_text())
    model = load_model(RunDirectory(run.path), torch.device("cpu"))
    module = Positional(
        model if physical else model.network, model.network.inputs, model.network.outputs
    )
    question = {"spectrum": 100 * np.abs(numbers(5, cores.CHANNELS)) + 1}
    if len(about["inputs"]) > 1:
        question["mask"] = numbers(5, cores.CHANNELS // cores.PATCH_SIZE)
    [theirs] = evaluate(folder, question)
    with torch.no_grad():
        ours = module(*(torch.from_numpy(values) for values in question.values()))
    expected = {"masked_0": ["spectrum_estimate"], "scratch_0": ["toc"]}[name]
    variables = [(name, name.removesuffix("_estimate")) for name in expected]
    assert [(port["name"], port["variable"]) for port in about["outputs"]] == variables
    require_close(theirs, dict(zip(expected, (values.numpy() for values in ours), strict=True)))


@pytest.mark.heavy
def test_a_network_that_was_trained_in_bfloat16_leaves_in_single_precision_as_it_predicts(
    evaluate, tmp_path
):
    specs = Specs(tmp_path / "place")
    specs.spoil("experience", ("precision", "bfloat16"))
    run = qexp.run("sound", device="cpu", workspace=specs.root)
    [theirs] = evaluate(
        qexp.export_network(run, tmp_path / "out", physical=True).folder,
        {"displacement": images(3)},
    )
    require_close(
        {name: one[:, 0] for name, one in theirs.items()}, run.predict(displacement=images(3)[:, 0])
    )


@shared_folder
def ice(root: Path) -> None:
    """A workspace with runs on fields: a convolutional network and a U-Net."""
    for folder in ("data", "specs/datasets", "specs/models", "specs/experiences"):
        (root / folder).mkdir(parents=True)
    domes.write(root)
    unet = {"module": "dle_unet", "parameters": {"outputs": 2, "blocks": 3, "filters": 2}}
    (root / "specs/models/unet.json").write_text(
        json.dumps(put(domes.MODEL, "operations.network", unet))
    )
    for name, changes in (("convolutions", []), ("unet", ["--set", "model=unet"])):
        call(
            "run", "domes", "--name", name, *changes, "--device", "cpu", "--workspace", root
        ).done()


def frames_of_ice(count: int, height: int, width: int) -> dict[str, np.ndarray]:
    fields = domes.dome(height, width, count, seed=7)
    slopes = [np.gradient(fields["usurf"].values, domes.SPACING, axis=axis) for axis in (2, 1)]
    named = zip(domes.FIELDS, (fields["thk"].values, *slopes), strict=True)
    return {name: values[:, None].astype(np.float32) for name, values in named}


@pytest.mark.heavy
@pytest.mark.parametrize("format", GRAPH_FORMATS)
@pytest.mark.parametrize("name", ["convolutions", "unet"])
def test_a_network_of_fields_leaves_for_frames_of_all_sizes(ice, name, format, evaluate, exported):
    directory, folder = run_of(ice, name), exported(ice, name, format)
    about = json.loads((folder / "network.json").read_text())
    assert [port["shape"] for port in about["inputs"] + about["outputs"]] == [
        ["batch", 1, "height", "width"]
    ] * 5
    question = [
        frames_of_ice(count, *frame)
        for count, frame in ((1, (16, 16)), (5, (20, 24)), (2, (33, 19)))
    ]
    model = load_model(directory, torch.device("cpu"))
    for values, theirs in zip(question, evaluate(folder, *question), strict=True):
        ours = model.estimate({key: torch.from_numpy(value) for key, value in values.items()})
        require_close(theirs, arrays(ours))


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["convolutions", "unet"])
def test_a_bare_network_of_fields_is_called_as_dle_calls_its_own(ice, name, evaluate, tmp_path):
    directory = run_of(ice, name)
    folder = qexp.export_network(name, tmp_path / "out", workspace=ice).folder
    before, after = (
        as_dle_reads((folder / file).read_text()) for file in ("fieldin.dat", "fieldout.dat")
    )
    assert (list(before), list(after)) == (domes.FIELDS, ["ubar", "vbar"])
    question = frames_of_ice(2, 21, 30)
    [made] = evaluate(
        folder, {key: (value / before[key]).astype(np.float32) for key, value in question.items()}
    )
    theirs = {key: value * after[key] for key, value in made.items()}
    tensors = {key: torch.from_numpy(value) for key, value in question.items()}
    require_close(theirs, arrays(load_model(directory, torch.device("cpu")).estimate(tensors)))


# What is told


@pytest.mark.heavy
def test_the_document_tells_what_goes_in_and_out_and_where_it_comes_from(
    finished, several, exported, tmp_path
):
    about = export_network(run_of(finished, "sound_1"), ExportOptions(tmp_path / "sound")).about
    record = run_of(finished, "sound_1").record()
    assert about == json.loads((tmp_path / "sound" / "network.json").read_text())
    assert (about["run"], about["seed"], about["digest"]) == ("sound_1", 1, record.digest)
    assert (about["qexp"], about["transforms_inside"], about["networks"]) == (
        qexp.__version__,
        False,
        1,
    )
    assert about["trained_on"]["document"]["varyings"] == SOUND["dataset"]["varyings"]
    [image] = about["inputs"]
    assert (image["name"], image["shape"], image["unit"]) == (
        "displacement",
        ["batch", 1, 16, 16],
        "m",
    )
    assert "line of sight" in image["description"]
    assert image["transform"]["parameters"] == {"scale": 0.01}
    depth, volume = ([port[key] for key in ("name", "unit", "shape")] for port in about["outputs"])
    assert (depth, volume) == (
        ["depth", "km", ["batch", 1]],
        ["delta_volume", "10⁶ m³", ["batch", 1]],
    )
    assert about["outputs"][1]["transform"] is None
    kept = onnx.load(tmp_path / "sound" / "model.onnx")
    assert {one.key: one.value for one in kept.metadata_props} == {
        "run": "sound_1",
        "digest": record.digest,
    }
    assert "in m, transformed by `asinh`" in kept.graph.input[0].doc_string
    text = (exported(several, "alike_0") / "network.json").read_text()
    about = json.loads(text)
    assert about["inputs"][0]["columns"] == list(stones.COLUMNS)
    assert [one["statistic"] for one in about["outputs"]] == [
        "ensemble mean",
        "ensemble standard deviation",
    ]
    assert str(several) not in text


@pytest.mark.heavy
@pytest.mark.parametrize("format", GRAPH_FORMATS)
def test_the_readme_tells_how_to_load_and_call_it_and_no_file_where_it_was_written(
    finished, several, format, exported
):
    for workspace, name in ((finished, "sound_0"), (several, "cautious_0")):
        folder = exported(workspace, name, format, physical=name == "cautious_0")
        text = (folder / "README.md").read_text()
        [python] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        assert len(python.splitlines()) <= 6
        script = python + "print({k: tuple(v.shape) for k, v in outputs.items()})"
        shapes = elsewhere(script, REFUSED[format], cwd=folder)
        wanted = {"sound_0": ["depth", "delta_volume"], "cautious_0": ["iron", "iron_spread"]}[name]
        assert shapes.strip() == str(dict.fromkeys(wanted, (1, 1)))
        assert (stones.CAUTION in text) == (name == "cautious_0")
        for file in folder.iterdir():
            for place in (workspace, Path(qexp.__file__).parent, Path.home()):
                assert f"{place}/".encode() not in file.read_bytes(), file


def as_dle_reads(text: str) -> dict[str, float]:
    """Line by line, the first two words: 2Dto2D-DLE's `read_fields_and_bounds`."""
    return {line.split()[0]: float(line.split()[1]) for line in text.splitlines()}


def test_a_network_of_fields_has_their_names_and_scales_as_dle_reads_them():
    inputs = {"thk": (1, 8, 8), "slopsurfx": (1, 8, 8)}
    cnn = operation("dle_cnn", outputs=2, layers=1, filters=2)
    network = initialised(inputs, ["ubar", "vbar"], {"join": operation("concatenate"), "cnn": cnn})
    model = Estimator(
        network, {"thk": Scale(500.0), "slopsurfx": Scale(0.2), "ubar": Scale(3000.0)}
    )
    document = dle_fields(model, physical=False)
    assert document["fieldin.dat"] == "thk 500.000000 \nslopsurfx 0.200000 \n"
    assert as_dle_reads(document["fieldout.dat"]) == {"ubar": 3000.0, "vbar": 1.0}
    assert as_dle_reads(dle_fields(model, physical=True)["fieldin.dat"]) == {
        "thk": 1.0,
        "slopsurfx": 1.0,
    }
    assert dle_fields(Estimator(network, {"thk": Standardize()}), physical=False) == {}
    assert dle_fields(Estimator(network, {"thk": Scale(1e-8)}), physical=False) == {}, (
        "six digits cannot say it"
    )
    of_rows = network_of({"x": (3,)}, {"x": lambda shape: nn.Linear(3, 1)})
    assert dle_fields(Estimator(of_rows, {}), physical=False) == {}


# What cannot be


@pytest.mark.heavy
def test_a_network_that_goes_by_the_size_of_its_frame_leaves_for_its_own_frame_alone(tmp_path):
    class OtherwiseWhenWide(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2 if x.shape[-1] > 18 else x

    flat = Positional(
        network_of({"x": (1, 16, 16)}, {"x": lambda shape: OtherwiseWhenWide()}), ["x"], ["y_x"]
    )
    with pytest.raises(GraphError):
        capture(flat, [(1, 16, 16)], free_frame=True)
    assert capture(flat, [(1, 16, 16)], free_frame=False).inputs == [("batch", 1, 16, 16)]

"""Networks written as Keras models: read back without Keras by an evaluation of their layers, and
by Keras where it is.

Keras is not installed with qexp. `QEXP_KERAS_PYTHON=/path/to/python` names a Python that has it
(Keras 2 with TensorFlow, or Keras 3 with any backend), and then it loads the files, too.
"""

import json
import os
import subprocess

import h5py
import numpy as np
import pytest
import torch
from torch.nn import functional

import qexp as package
from qexp.export.graphs import GraphError, NamedTensor, h5_bytes, keras_model
from qexp.kinds.fields.prediction import field_model
from qexp.networks.layers import ACTIVATIONS
from qexp.networks.portable import Positional
from tests import domes
from tests.conftest import call, shared_folder
from tests.networks.parts import initialised, operation

KERAS = "QEXP_KERAS_PYTHON"

ASK_KERAS = """
import sys, keras, numpy
for file, fields, made in (names.split("|") for names in sys.argv[1:]):
    model = keras.models.load_model(file, compile=False)
    numpy.save(made, model.predict(numpy.load(fields), verbose=0))
"""


def network_of(*modules, names=("a", "b"), outputs=("u", "v"), frame=(16, 16)):
    """A network of two fields that are joined, then of some modules, each with its parameters."""
    operations = {
        f"m{index}": operation(name, **parameters)
        for index, (name, parameters) in enumerate(modules)
    }
    operations = {"join": operation("concatenate"), **operations}
    network = initialised(dict.fromkeys(names, (1, *frame)), outputs, operations, seed=3)
    for weight in network.parameters():
        with torch.no_grad():
            weight += 0.1 * torch.randn(
                weight.shape, generator=torch.Generator().manual_seed(weight.numel())
            )
    return network.eval()


def written(folder, network, free_frame=True):
    model = keras_model(
        Positional(network, network.inputs, network.outputs), [*network.inputs.values()], free_frame
    )
    named = [
        [NamedTensor(name, (), "") for name in names] for names in (network.inputs, network.outputs)
    ]
    (folder / "model.h5").write_bytes(h5_bytes(model, *named, {"run": "one"}))
    return folder / "model.h5"


def made_by(network, fields):
    """(sample, height, width, input) → (sample, height, width, output)."""
    samples = {
        name: torch.from_numpy(fields[..., [index]]).movedim(-1, 1)
        for index, name in enumerate(network.inputs)
    }
    with torch.no_grad():
        return torch.cat([*network(samples).values()], dim=1).movedim(1, -1).numpy()


def padding(side, kernel, stride, kind):
    missing = 0 if kind == "valid" else max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return missing // 2, missing - missing // 2


def convolved(x, kernel, config):
    sides = zip(x.shape[2:], config["kernel_size"], config["strides"], strict=True)
    rows, columns = (padding(*side, config["padding"]) for side in sides)
    return functional.conv2d(
        functional.pad(x, [*columns, *rows]), kernel.permute(3, 2, 0, 1), stride=config["strides"]
    )


def transposed(x, kernel, config):
    """By its definition: the transpose of the convolution that would take the result to the
    input.
    """
    rows, columns = (
        side * step if config["padding"] == "same" else (side - 1) * step + size
        for side, step, size in zip(
            x.shape[2:], config["strides"], config["kernel_size"], strict=True
        )
    )
    back = torch.zeros(len(x), kernel.shape[2], rows, columns, requires_grad=True)
    with torch.enable_grad():
        return torch.autograd.grad((convolved(back, kernel, config) * x).sum(), back)[0]


FUNCTIONS = {"swish": functional.silu, "exponential": torch.exp, **{n: getattr(functional, n) for n in (
    "relu", "selu", "gelu", "mish", "softplus", "softsign", "sigmoid", "tanh")}}  # fmt: skip

OTHERS = {
    "MaxPooling2D": lambda config, x: functional.max_pool2d(x, config["pool_size"]),
    "Concatenate": lambda config, *several: torch.cat(several, dim=1),
    "Dropout": lambda config, x: x,
    "LeakyReLU": lambda config, x: functional.leaky_relu(x, config["alpha"]),
    "ELU": lambda config, x: functional.elu(x, config["alpha"]),
    "ReLU": lambda config, x: x.clamp(0, config["max_value"]),
    "Softmax": lambda config, x: x.softmax(dim=1),
    "Activation": lambda config, x: FUNCTIONS[config["activation"]](x),
}


def evaluated(path, fields):
    """What a file says, layer by layer, of (sample, height, width, channel)."""
    with h5py.File(path) as file:
        model = json.loads(file.attrs["model_config"])["config"]
        assert list(file["model_weights"].attrs["layer_names"]) == [
            one["name"].encode() for one in model["layers"]
        ]
        values = {}
        for layer in model["layers"]:
            group, config = file["model_weights"][layer["name"]], layer["config"]
            weights = [
                torch.from_numpy(group[name.decode()][:]) for name in group.attrs["weight_names"]
            ]
            inputs = (
                [values[source] for source, *_ in layer["inbound_nodes"][0]]
                if layer["inbound_nodes"]
                else []
            )
            if layer["class_name"] == "InputLayer":
                value = torch.from_numpy(fields).movedim(-1, 1)
            elif weights:
                apply = {"Conv2D": convolved, "Conv2DTranspose": transposed}[layer["class_name"]]
                value = apply(*inputs, weights[0], config) + sum(
                    bias[:, None, None] for bias in weights[1:]
                )
            else:
                value = OTHERS[layer["class_name"]](config, *inputs)
            values[layer["name"]] = value
        return values[model["output_layers"][0][0]].movedim(1, -1).numpy()


def fields_of(*sides, channels=2):
    return np.random.default_rng(5).normal(size=(2, *sides, channels)).astype(np.float32)


WITHOUT_KERAS = ("asinh", "hard_sigmoid", "linear", "log_softmax", "ThresholdedReLU")
WITH_KERAS = [name for name in ACTIVATIONS if name not in WITHOUT_KERAS]
CONVOLVED = {"outputs": 2, "blocks": 3, "filters": 3, "upsampling": "convolved"}
NETWORKS = {
    "dle_cnn": network_of(("dle_cnn", {"outputs": 2, "layers": 3, "filters": 5, "dropout": 0.2})),
    "dle_unet of 2Dto2D-DLE": network_of(("dle_unet", {**CONVOLVED, "slope": 0.3})),
    "dle_unet with wider kernels": network_of(
        ("dle_unet", {**CONVOLVED, "kernel_size": 5, "dropout": 0.1})
    ),
    "dle_unet, bare": network_of(
        ("dle_unet", {"outputs": 2, "blocks": 2, "filters": 4, "activation": "silu"})
    ),
    "conv with all activations": network_of(
        *(("conv", {"filters": [4], "kernel_size": 4, "activation": name}) for name in WITH_KERAS),
        ("conv", {"filters": [2], "bias": False, "activation": "linear"}),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_layers_of_the_file_make_what_the_network_makes(name, tmp_path):
    path = written(tmp_path, NETWORKS[name])
    for sides in ((16, 16), (24, 8)):
        fields = fields_of(*sides)
        ours = made_by(NETWORKS[name], fields)
        np.testing.assert_allclose(
            evaluated(path, fields), ours, rtol=1e-4, atol=1e-5 * abs(ours).max()
        )


@pytest.mark.skipif(
    KERAS not in os.environ,
    reason=f"Keras is not part of qexp: set {KERAS} to a Python that has it",
)
def test_keras_makes_of_the_file_what_the_network_makes(tmp_path):
    orders = []
    for index, network in enumerate(NETWORKS.values()):
        folder = tmp_path / str(index)
        folder.mkdir()
        np.save(folder / "fields.npy", fields_of(24, 8))
        orders.append(f"{written(folder, network)}|{folder / 'fields.npy'}|{folder / 'made.npy'}")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([os.environ[KERAS], "-c", ASK_KERAS, *orders], check=True, env=environment)
    for index, network in enumerate(NETWORKS.values()):
        ours = made_by(network, fields_of(24, 8))
        theirs = np.load(tmp_path / str(index) / "made.npy")
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5 * abs(ours).max())


@pytest.mark.parametrize(
    ("name", "parameters", "layer"),
    [
        ("dle_cnn", {"outputs": 2, "layers": 1, "activation": "asinh"}, "AsinhActivation"),
        ("resnet_block", {"filters": [2, 2], "merge": "add"}, "ResnetBlock"),
        ("batch_norm", {}, "BatchNorm2d"),
    ],
)
def test_what_has_no_keras_layer_is_named(name, parameters, layer, tmp_path):
    with pytest.raises(GraphError, match=f"no Keras layer for {layer}"):
        written(tmp_path, network_of((name, parameters)))


@shared_folder
def root(root):
    """A workspace with the run domes_0."""
    assert call("init", root).code == 0
    domes.write(root, epochs=1)
    package.run("domes", device="cpu", workspace=root)


@pytest.mark.heavy
def test_an_exported_emulator_estimates_as_the_run_does_with_the_scales_beside_it(root, tmp_path):
    out = tmp_path / "emulator"
    call("export", "domes_0", "--to", out, "--format", "keras", "--workspace", root).done()
    names = {"model.h5", "network.json", "README.md", "fieldin.dat", "fieldout.dat"}
    assert {path.name for path in out.iterdir()} == names
    scales = {
        key: [
            (line.split()[0], float(line.split()[1]))
            for line in (out / f"field{key}.dat").read_text().splitlines()
        ]
        for key in ("in", "out")
    }
    fields = fields_of(20, 24, channels=3) * 100
    inputs = {name: fields[..., channel] for channel, (name, _) in enumerate(scales["in"])}
    output = evaluated(out / "model.h5", fields / np.float32([scale for _, scale in scales["in"]]))
    spec = json.loads((out / "network.json").read_text())
    assert [one["name"] for one in spec["inputs"]] == list(inputs)
    assert spec["inputs"][0]["shape"] == ["batch", "height", "width"]
    ours = field_model(package.open_run("domes_0", workspace=root).directory, "cpu").estimate(
        inputs
    )
    for channel, (name, scale) in enumerate(scales["out"]):
        theirs, largest = output[..., channel] * scale, abs(ours[name]).max()
        np.testing.assert_allclose(theirs, ours[name], rtol=1e-4, atol=1e-4 * largest)
    before = (out / "model.h5").read_bytes()
    call(
        "export", "domes_0", "--to", out, "--format", "keras", "--overwrite", "--workspace", root
    ).done()
    assert (out / "model.h5").read_bytes() == before


def test_transforms_inside_a_keras_model_are_refused_and_nothing_is_written(root, tmp_path):
    out = tmp_path / "emulator"
    stderr = call(
        "export", "domes_0", "--to", out, "--format", "keras", "--physical", "--workspace", root
    ).failed()
    assert (
        "cannot be written as keras: a Keras model is one network with its transforms outside"
        in stderr
    )
    assert not out.exists()

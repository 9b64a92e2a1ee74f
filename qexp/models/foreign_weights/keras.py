"""Keras' files of weights, `.h5` and `.keras`, without TensorFlow: every weight by its layer, `conv2d_1/kernel`.

`.h5` has the names of layers and weights in its paths. `.keras` is an archive of a description of the network and of
an HDF5 file in which weights are numbered, layer by layer, in the order of the description.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qexp.models.foreign_weights import hdf5
from qexp.models.foreign_weights.stored import DEEPEST, Contents, Stored, WeightsFileError

CONFIG, WEIGHTS = "config.json", "model.weights.h5"

MODEL, OPTIMIZER = "model_weights", "optimizer_weights"
"""Groups of a whole model; in a file of weights alone, layers are at the top."""

NUMBERED = re.compile(r".+/vars/\d+")

NORMALISATION = ("gamma", "beta")
RUNNING = ("moving_mean", "moving_variance")

VARIABLES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("Dense", "Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose"), ("kernel", "bias")),
    "BatchNormalization": (*NORMALISATION, *RUNNING),
    "LayerNormalization": NORMALISATION,
}
"""Class of a layer → its weights in the order in which `.keras` numbers them."""

ABSENT = {"use_bias": "bias", "scale": "gamma", "center": "beta"}
"""Setting of a layer → the weight that it lacks if that is false."""

LARGEST_GROWTH = 20
"""An archive may be this many times as large when it is unpacked; weights hardly shrink."""


@contextmanager
def opened_h5(file: Path) -> Iterator[Contents]:
    """The weights in a `.h5` file. Raises WeightsFileError."""
    with hdf5.opened(file, file) as content:
        found = hdf5.arrays(content, file)
        described = hdf5.text(content, "model_config", file)
        yield Contents(_by_layer(found), _settings(_parsed(described, file)) if described else {})


@contextmanager
def opened_archive(file: Path) -> Iterator[Contents]:
    """The weights in a `.keras` archive. Raises WeightsFileError."""
    described, weights = _unpacked(file)
    config = _parsed(described, file)
    names = dict(_numbered(config, ""))
    with hdf5.opened(io.BytesIO(weights), file) as content:
        found = hdf5.arrays(content, file)
        yield Contents({_name(path, names): stored for path, stored in found.items()}, _settings(config))


def _unpacked(file: Path) -> tuple[str, bytes]:
    try:
        with zipfile.ZipFile(file) as archive:
            sizes = {one.filename: one.file_size for one in archive.infolist()}
            for name in (CONFIG, WEIGHTS):
                if name not in sizes:
                    raise WeightsFileError(file, f"has no {name}, as archives of Keras 3 have")
            if sum(sizes[name] for name in (CONFIG, WEIGHTS)) > LARGEST_GROWTH * file.stat().st_size:
                raise WeightsFileError(file, "would become too large when it is unpacked")
            return archive.read(CONFIG).decode("utf-8"), archive.read(WEIGHTS)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError, EOFError, RuntimeError) as error:
        raise WeightsFileError(file, f"is damaged, or not an archive of Keras 3: {error}") from None


def _parsed(described: str, file: Path) -> dict[str, Any]:
    try:
        config = json.loads(described)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise WeightsFileError(file, "its description of the network is not a JSON object")
    return config


def _by_layer(found: Mapping[str, Stored]) -> dict[str, Stored]:
    """`layer/weight` → array; whole paths if two would have the same name, and for what belongs to no layer."""
    whole = any(path.startswith(f"{MODEL}/") for path in found)
    own = [path for path in found if (path.startswith(f"{MODEL}/") if whole else not path.startswith(OPTIMIZER))]
    short = {path: "/".join(path.removesuffix(":0").split("/")[-2:]) for path in own if not NUMBERED.fullmatch(path)}
    if len(set(short.values())) < len(short):
        short = {path: path.removeprefix(f"{MODEL}/").removesuffix(":0") for path in short}
    return {short.get(path, path): stored for path, stored in found.items()}


def _layers(config: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Class, name and settings of the layers of a network or of one that is a layer, in order."""
    inner = config.get("config")
    layers = inner.get("layers") if isinstance(inner, dict) else inner
    for one in layers if isinstance(layers, list) and depth < DEEPEST else []:
        if isinstance(one, dict) and isinstance(one.get("config"), dict):
            name = one["config"].get("name", one.get("name"))
            yield str(one.get("class_name")), str(name), one


def _settings(config: Mapping[str, Any], depth: int = 0) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for _, name, layer in _layers(config, depth):
        found[name] = layer["config"]
        found |= _settings(layer, depth + 1)
    return found


def _numbered(config: Mapping[str, Any], before: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Path of a layer's numbered weight in the archive → `layer/weight`.

    A layer's path is its class, in small letters, with a number from the second one on.
    """
    counts: dict[str, int] = {}
    for kind, name, layer in _layers(config, depth):
        called = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", kind)).lower()
        number = counts[called] = counts.get(called, -1) + 1
        path = f"{before}layers/{called}{f'_{number}' if number else ''}"
        absent = [weight for setting, weight in ABSENT.items() if layer["config"].get(setting) is False]
        weights = [weight for weight in VARIABLES.get(kind, ()) if weight not in absent]
        yield from ((f"{path}/vars/{index}", f"{name}/{weight}") for index, weight in enumerate(weights))
        yield from _numbered(layer, f"{path}/", depth + 1)


def _name(path: str, names: Mapping[str, str]) -> str:
    # Early versions of Keras 3 had another name for the folder of the layers.
    return names.get(path.replace("_layer_checkpoint_dependencies", "layers").replace("\\", "/"), path)

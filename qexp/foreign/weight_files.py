"""Files in which other programs keep weights: Keras, PyTorch, safetensors, HDF5, NumPy."""

from __future__ import annotations

import io
import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from qexp.base.formats import BROKEN_NUMPY
from qexp.errors import NotFoundError, QexpError
from qexp.networks.shapes import Shape

MOST_ENTRIES = 100_000
"""Largest number of entries read of a file of PyTorch's; large networks have some thousand."""

DEEPEST_NETWORK = 32
"""Largest nesting of networks in the description of a network."""


class WeightsFileError(QexpError):
    """A file of weights cannot be read, or holds something other than tensors."""

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"{file}: {why}")


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file, not read yet."""

    shape: Shape
    read: Callable[[], Tensor]
    """Its values, in single precision unless they are whole numbers. Raises WeightsFileError."""


Settings = Mapping[str, Any]
"""Of a layer, or a network, as Keras describes it."""


@dataclass(frozen=True)
class Contents:
    """The tensors of a file that is open."""

    tensors: Mapping[str, StoredTensor]
    settings: Mapping[str, Settings] = field(default_factory=dict)
    """Layer → its settings, if the file describes its network, as Keras' files do."""


# PyTorch's files of weights, `.pth` and `.ckpt`: tensors in dictionaries.
#
# They are pickles. Only torch's reader for weights is used, which knows tensors and plain
# containers, and refuses everything that a pickle could execute.

REFUSED = re.compile(r"GLOBAL ([\w.]+)")
"""What a pickle asks for, in the words in which torch refuses it."""


@contextmanager
def open_pytorch(file: Path) -> Iterator[Contents]:
    """The tensors of a file, named by their keys: `state_dict.fc.weight`. WeightsFileError."""
    _require_stored_plainly(file)
    try:
        with warnings.catch_warnings():
            # about archives of TorchScript, which are refused below
            warnings.simplefilter("ignore")
            content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsFileError(file, f"cannot be read: {error.strerror or error}") from None
    except Exception as error:  # whatever other bytes, or a hostile pickle, make its reader raise
        raise WeightsFileError(file, _why(error)) from None
    yield Contents(dict(_tensors(content, file)))


def _require_stored_plainly(file: Path) -> None:
    """Raise WeightsFileError for an archive that grows when read; torch compresses nothing."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        return  # not an archive, or a damaged one, which torch refuses
    stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
    if not stored or sum(member.file_size for member in members) > file.stat().st_size:
        raise WeightsFileError(
            file, "is a compressed archive, which torch does not write; save it again in torch"
        )


def _why(error: Exception) -> str:
    message = str(error)
    if isinstance(error, pickle.UnpicklingError):  # torch's own words advise to execute the file
        refused = REFUSED.search(message)
        what = ""
        if refused:
            what = f": '{refused[1]}', which would have to be executed to read it, and is not"
        return (
            f"holds something other than tensors{what}; in the program that wrote it, save the"
            " tensors alone: torch.save(model.state_dict(), FILE)"
        )
    if "TorchScript" in message:
        return "is a program of TorchScript, which is not executed; save model.state_dict() instead"
    first = (message.splitlines() or [type(error).__name__])[0]
    return f"is damaged, or not a file of PyTorch: {first[:200]}"


def _tensors(content: Any, file: Path) -> Iterator[tuple[str, StoredTensor]]:
    """Dotted name → tensor, for all in nested dictionaries and lists; others are no weights."""
    waiting: list[tuple[str, Any]] = [("", content)]
    for _ in range(MOST_ENTRIES):
        if not waiting:
            return
        name, value = waiting.pop()
        if isinstance(value, Tensor):
            yield name, _stored_pytorch(value, name, file)
        elif isinstance(value, dict | list | tuple):
            entries = value.items() if isinstance(value, dict) else enumerate(value)
            prefix = f"{name}." if name else ""
            waiting += reversed([(f"{prefix}{key}", entry) for key, entry in entries])
    raise WeightsFileError(file, f"has more than {MOST_ENTRIES:,} entries")


def _stored_pytorch(tensor: Tensor, name: str, file: Path) -> StoredTensor:
    is_other = tensor.is_quantized or tensor.is_complex() or tensor.is_meta
    if tensor.layout != torch.strided or is_other:
        raise WeightsFileError(
            file, f"'{name}' is not a plain tensor: {tensor.layout}, {tensor.dtype}"
        )
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise WeightsFileError(
            file, f"'{name}' is declared as {list(tensor.shape)}, but has fewer numbers than that"
        )
    return StoredTensor(tuple(tensor.shape), lambda: plain(tensor))


def plain(tensor: Tensor) -> Tensor:
    """A copy in single precision; of whole numbers, the numbers."""
    kind = torch.float32 if tensor.is_floating_point() else torch.int64
    return tensor.detach().to(kind).contiguous().clone()


# Arrays in an HDF5 file of unknown origin: only what lies in the file itself, as plain numbers, is
# read.


@contextmanager
def open_hdf5(source: Path | io.BytesIO, file: Path) -> Iterator[h5py.File]:
    """An HDF5 file for reading; errors name `file`. Raises WeightsFileError, also later on."""
    try:
        with h5py.File(source, "r") as content:
            yield content
    except WeightsFileError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        first = (str(error).splitlines() or ["no message"])[0]
        raise WeightsFileError(file, f"is damaged, or not an HDF5 file: {first[:200]}") from None


def arrays_in(content: h5py.File, file: Path) -> dict[str, StoredTensor]:
    """Path in the file → array. Links out of the file and outside arrays are errors."""
    links: list[tuple[str, Any]] = []
    # into each group once: they may contain each other
    content.visititems_links(lambda *link: links.append(link))
    arrays: dict[str, StoredTensor] = {}
    for path, link in sorted(links, key=lambda link: link[0]):
        if not isinstance(link, h5py.HardLink):
            raise WeightsFileError(
                file, f"'{path}' is a link to another place, which is not followed"
            )
        entry = content[path]
        if isinstance(entry, h5py.Datatype):
            raise WeightsFileError(file, f"'{path}' is neither a group nor an array")
        if not isinstance(entry, h5py.Group):
            arrays[path] = _stored_hdf5(entry, path, file)
    return arrays


def _stored_hdf5(array: h5py.Dataset, path: str, file: Path) -> StoredTensor:
    settings = array.id.get_create_plist()
    if array.is_virtual or settings.get_external_count():
        raise WeightsFileError(
            file, f"the numbers of '{path}' lie in another file, which is not read"
        )
    if array.dtype.kind not in "fiu" or array.shape is None:
        raise WeightsFileError(file, f"'{path}' does not hold numbers")
    if settings.get_nfilters():
        raise WeightsFileError(
            file, f"'{path}' is compressed, as Keras does not write it; save it again in Keras"
        )
    size = int(np.prod(array.shape, dtype=object)) * array.dtype.itemsize
    if array.id.get_storage_size() < size:
        raise WeightsFileError(
            file,
            f"'{path}' is declared as {list(array.shape)}, but the file holds fewer numbers than"
            " that",
        )
    return StoredTensor(tuple(array.shape), lambda: _from_numpy(array[()]))


def _from_numpy(array: Any) -> Tensor:
    kind = np.float32 if array.dtype.kind == "f" else np.int64
    # what is too large for single precision is infinite, which is refused later
    with np.errstate(over="ignore"):
        return plain(torch.from_numpy(np.asarray(array, dtype=kind)))


# Keras' files of weights, `.h5` and `.keras`, without TensorFlow: every weight by its layer,
# `conv2d_1/kernel`.
#
# `.h5` has the names of layers and weights in its paths. `.keras` is an archive of a description of
# the network and of an HDF5 file in which weights are numbered, layer by layer, in the order of the
# description.

CONFIG, WEIGHTS = "config.json", "model.weights.h5"

MODEL, OPTIMIZER = "model_weights", "optimizer_weights"
"""Groups of a whole model; in a file of weights alone, layers are at the top."""

NUMBERED = re.compile(r".+/vars/\d+")

NORMALISATION = ("gamma", "beta")
RUNNING = ("moving_mean", "moving_variance")

VARIABLES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("Dense", "Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose"),
        ("kernel", "bias"),
    ),
    "BatchNormalization": (*NORMALISATION, *RUNNING),
    "LayerNormalization": NORMALISATION,
}
"""Class of a layer → its weights in the order in which `.keras` numbers them."""

ABSENT = {"use_bias": "bias", "scale": "gamma", "center": "beta"}
"""Setting of a layer → the weight that it lacks if that is false."""

LARGEST_GROWTH = 20
"""An archive may be this many times as large when it is unpacked; weights hardly shrink."""


@contextmanager
def open_h5(file: Path) -> Iterator[Contents]:
    """The weights in a `.h5` file. Raises WeightsFileError."""
    with open_hdf5(file, file) as content:
        description = content.attrs.get("model_config")
        settings = _settings(_parsed(description, file)) if description else {}
        yield Contents(_by_layer(arrays_in(content, file)), settings)


@contextmanager
def open_keras(file: Path) -> Iterator[Contents]:
    """The weights in a `.keras` archive. Raises WeightsFileError."""
    description, weights = _unpacked(file)
    config = _parsed(description, file)
    names = dict(_numbered(config, ""))
    with open_hdf5(io.BytesIO(weights), file) as content:
        arrays = {}
        for path, array in arrays_in(content, file).items():
            # Early versions of Keras 3 had another name for the folder of the layers.
            present = path.replace("_layer_checkpoint_dependencies", "layers").replace("\\", "/")
            arrays[names.get(present, path)] = array
        yield Contents(arrays, _settings(config))


def _unpacked(file: Path) -> tuple[bytes, bytes]:
    try:
        with zipfile.ZipFile(file) as archive:
            sizes = {member.filename: member.file_size for member in archive.infolist()}
            for name in (CONFIG, WEIGHTS):
                if name not in sizes:
                    raise WeightsFileError(file, f"has no {name}, as archives of Keras 3 have")
            if sizes[CONFIG] + sizes[WEIGHTS] > LARGEST_GROWTH * file.stat().st_size:
                raise WeightsFileError(file, "would become too large when it is unpacked")
            return archive.read(CONFIG), archive.read(WEIGHTS)
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, RuntimeError) as error:
        raise WeightsFileError(file, f"is damaged, or not an archive of Keras 3: {error}") from None


def _parsed(description: str | bytes, file: Path) -> dict[str, Any]:
    with suppress(ValueError, RecursionError, TypeError):
        config = json.loads(description)
        if isinstance(config, dict):
            return config
    raise WeightsFileError(file, "its description of the network is not a JSON object")


def _by_layer(arrays: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """`layer/weight` → array; whole paths if two names are equal, or without a layer."""
    of_model = any(path.startswith(f"{MODEL}/") for path in arrays)
    names = {}
    for path in arrays:
        is_weight = path.startswith(f"{MODEL}/") if of_model else not path.startswith(OPTIMIZER)
        if is_weight and not NUMBERED.fullmatch(path):
            names[path] = "/".join(path.removesuffix(":0").split("/")[-2:])
    if len(set(names.values())) < len(names):
        names = {path: path.removeprefix(f"{MODEL}/").removesuffix(":0") for path in names}
    return {names.get(path, path): array for path, array in arrays.items()}


def _layers(config: Settings, depth: int = 0) -> Iterator[tuple[str, str, Settings]]:
    """Class, name and settings of the layers of a network or of one that is a layer, in order."""
    inner = config.get("config")
    layers = inner.get("layers") if isinstance(inner, dict) else inner
    for layer in layers if isinstance(layers, list) and depth < DEEPEST_NETWORK else []:
        if isinstance(layer, dict) and isinstance(layer.get("config"), dict):
            name = layer["config"].get("name", layer.get("name"))
            yield str(layer.get("class_name")), str(name), layer


def _settings(config: Settings, depth: int = 0) -> dict[str, Settings]:
    settings: dict[str, Settings] = {}
    for _, name, layer in _layers(config, depth):
        settings |= {name: layer["config"], **_settings(layer, depth + 1)}
    return settings


def _numbered(config: Settings, parent: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Path of a layer's numbered weight in the archive → `layer/weight`.

    A layer's path is its class, in small letters, with a number from the second one on.
    """
    counts: dict[str, int] = {}
    for kind, name, layer in _layers(config, depth):
        words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", kind)
        snake_case = re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()
        number = counts[snake_case] = counts.get(snake_case, -1) + 1
        path = f"{parent}layers/{snake_case}{f'_{number}' if number else ''}"
        settings = layer["config"]
        absent = [weight for key, weight in ABSENT.items() if settings.get(key) is False]
        weights = [weight for weight in VARIABLES.get(kind, ()) if weight not in absent]
        for index, weight in enumerate(weights):
            yield f"{path}/vars/{index}", f"{name}/{weight}"
        yield from _numbered(layer, f"{path}/", depth + 1)


# A single array in a file of NumPy's, such as the means of a scaler.


@contextmanager
def open_numpy(file: Path) -> Iterator[Contents]:
    """The array of a file, without a name. Raises WeightsFileError; pickled objects are refused."""
    try:
        # the header cannot ask for more than the file has
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (*BROKEN_NUMPY, OverflowError, MemoryError) as error:
        raise WeightsFileError(file, f"is damaged, or not a file of NumPy: {error}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise WeightsFileError(file, "must hold a single array of numbers (.npy)")
    yield Contents({"": StoredTensor(array.shape, lambda: _from_numpy(array))})


# Files of safetensors, which hold nothing but tensors.


@contextmanager
def open_safetensors(file: Path) -> Iterator[Contents]:
    """The tensors of a file. Raises WeightsFileError."""
    try:
        with safe_open(file, framework="pt") as content:
            tensors = {}
            for name in content.keys():  # noqa: SIM118 - not a dict
                shape = tuple(content.get_slice(name).get_shape())
                read = partial(_read_safetensors, content, name, file)
                tensors[name] = StoredTensor(shape, read)
            yield Contents(tensors)
    except (SafetensorError, OSError) as error:
        raise WeightsFileError(file, f"is damaged, or not a file of safetensors: {error}") from None


def _read_safetensors(content: Any, name: str, file: Path) -> Tensor:
    tensor = content.get_tensor(name)
    if tensor.is_complex():
        raise WeightsFileError(file, f"'{name}' holds complex numbers")
    return plain(tensor)


# The formats in which other programs keep weights, by the suffix of the file.


FORMATS: Mapping[
    str, tuple[tuple[str, ...], Callable[[Path], AbstractContextManager[Contents]]]
] = {
    "pytorch": ((".pth", ".pt", ".ckpt", ".bin"), open_pytorch),
    "safetensors": ((".safetensors",), open_safetensors),
    "keras_h5": ((".h5", ".hdf5"), open_h5),
    "keras": ((".keras",), open_keras),
    "numpy": ((".npy",), open_numpy),
}
"""Name → suffixes of files, and what opens one."""


def format_of(file: Path) -> str:
    """The format of a file by its suffix. Raises QexpError for another, NotFoundError."""
    if not file.exists():
        raise NotFoundError(f"{file}: there is no such file")
    if not file.is_file():
        raise QexpError(f"{file}: is not a file")
    names = {suffix: name for name, (suffixes, _) in FORMATS.items() for suffix in suffixes}
    if file.suffix.lower() not in names:
        raise QexpError(
            f"{file}: the format is known by the suffix, which must be one of {', '.join(names)}"
        )
    return names[file.suffix.lower()]


@contextmanager
def open_weights(file: Path) -> Iterator[Contents]:
    """The tensors of a file of any format. Raises QexpError if it cannot be read, or holds none."""
    with FORMATS[format_of(file)][1](file) as contents:
        if not contents.tensors:
            raise WeightsFileError(file, "holds no tensors")
        yield contents

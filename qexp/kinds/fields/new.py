"""First specs for folders of fields: inputs and outputs, typical values, and a small network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qexp.errors import QexpError
from qexp.kinds.fields.dataset import GriddedDataset
from qexp.kinds.fields.folders import NETCDF, FieldFolder, FieldReading, field_folders
from qexp.kinds.options import NewOptions
from qexp.kinds.preview import Variable
from qexp.spec.reading import FROM_DATASET, Document

FILTERS = [16, 16, 16]
LARGEST_PATCH = 32


def takes(path: Path) -> bool:
    return path.is_dir() and any(True for pattern in ("*.nc", "*.npy") for _ in path.rglob(pattern))


def dataset(path: Path, options: NewOptions) -> Document:
    """The keys of the dataset of a folder; the last field is the output if none is named."""
    if options.groups:
        raise QexpError("`groups`: fields are held out by their folders; leave it out")
    folders = field_folders(path / "train")
    names = sorted(file.name for file in folders[0].glob("*.nc"))
    file = names[0] if len(names) == 1 and names[0] != NETCDF else None
    opened = list(map(FieldReading(file).open, folders))
    fields = list(opened[0].variables)
    inputs, outputs = options.divided(fields, opened[0].label(), "fields")
    side = min(min(folder.shape(fields)[1:]) for folder in opened)
    typical = {name: _typical(name, opened) for name in fields}
    return {
        **({"file": file} if file else {}),
        "inputs": {name: typical[name] for name in inputs},
        "outputs": {name: typical[name] for name in outputs},
        "patch_size": min(LARGEST_PATCH, 2 ** (side.bit_length() - 1)),
    }


def experience(document: Document, dataset: GriddedDataset) -> tuple[Document, Document]:
    """The keys of a model and of an experience for a dataset of fields."""
    inputs = list(dataset.inputs)
    outputs = list(dataset.outputs)
    last = {"filters": [len(outputs)], "kernel_size": 1, "activation": "linear"}
    model: Document = {
        "inputs": {name: {"size": FROM_DATASET} for name in inputs},
        "outputs": outputs,
        "operations": {
            "join": {"module": "concatenate"},
            "look": {"module": "conv", "parameters": {"filters": FILTERS, "activation": "silu"}},
            "combine": {"module": "conv", "parameters": last},
        },
        "branches": [
            {"x_name": inputs, "y_name": outputs, "operations": ["join", "look", "combine"]}
        ],
    }
    if len(inputs) == 1:
        del model["operations"]["join"], model["branches"][0]["operations"][0]
    several = len(dataset.parts["train"]) > 2
    split: Document = {"type": "random_groups" if several else "time_block"}
    return model, {
        "inputs": inputs,
        "outputs": outputs,
        "split": {**split, "parameters": {"by": "folder", "share": 0.2}},
        "epochs": 20,
        "batch_size": 16,
        "optimizer": "adam",
        "learning_rate": 0.003,
        "losses": dict.fromkeys(outputs, "mae"),
    }


def _typical(name: str, folders: list[FieldFolder]) -> float:
    """A round number by which a field can be divided, from the last frame of each folder."""
    frames = [(folder, folder.shape([name])[0]) for folder in folders]
    values = []
    for folder, count in frames:
        last = folder.read([name], count - 1, count)
        values.append(last[name].ravel())
    return Variable(name, "", np.concatenate(values)).typical()

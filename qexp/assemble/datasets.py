"""Datasets of checked documents: one builder for each type."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qexp.datasets import data_files
from qexp.datasets.generated import GeneratedDataset
from qexp.datasets.gridded import GriddedDataset, alike, mappings
from qexp.datasets.gridded.mappings import FieldMapping
from qexp.datasets.spectra import SpectraDataset
from qexp.datasets.tabular import Group, TabularDataset
from qexp.did_you_mean import suggestion
from qexp.errors import DatasetError, QexpError
from qexp.quantities import Quantities, quantity
from qexp.rows.values import TableError
from qexp.spec import resolve
from qexp.tables import Tables, built
from qexp.workspace import Workspace

Document = dict[str, Any]
Dataset = GeneratedDataset | TabularDataset | GriddedDataset | SpectraDataset

DATA = "QEXP_DATA"
"""Folders in which data files are looked for after the workspace's own."""

TRAINED_ON = "trained on the test data"
"""What every output of a run says whose test part was among what it was trained on."""

STAND_IN = "made with stand-in data"
"""What every output of a run says whose data were made up in place of measured ones."""


def dataset_of(document: Document, tables: Tables, workspace: Workspace | None = None) -> Dataset:
    """The dataset of a checked document; forms may be short or long.

    workspace  where its files are looked for, besides where they were when it was prepared and in `QEXP_DATA`
    Raises DatasetError.
    """
    return DATASETS[document["type"]](document, tables, workspace)


def generated_of(document: Document, tables: Tables) -> GeneratedDataset:
    """The dataset of a document that must be a generated one's. Raises QexpError for others."""
    if document["type"] != "generated":
        raise QexpError(f"this needs a dataset that is simulated, but its type is '{document['type']}'")
    return _generated(document, tables, None)


def _generated(document: Document, tables: Tables, workspace: Workspace | None) -> GeneratedDataset:
    noise = resolve.long_form(document.get("noise_model", "white"), tables["noises"])
    height, width = document.get("size", [64, 64])
    return GeneratedDataset(
        tables["generators"][document["generation_type"]].build(),
        (int(height), int(width)),
        {name: float(value) for name, value in document.get("fixed", {}).items()},
        document["varyings"],
        {name: built(tables["distributions"], document["distributions"][name]) for name in document["varyings"]},
        built(tables["noises"], noise),
        tables["quantities"],
    )


def _tabular(document: Document, tables: Tables, workspace: Workspace | None) -> TabularDataset:
    found = data_file(document, workspace)
    dataset = TabularDataset(
        found.path,
        _columns(document["inputs"]),
        _columns(document["outputs"]),
        document.get("identifiers", []),
        document.get("missing", "error"),
        document.get("units", {}),
        {name: Group(group["column"], group.get("pattern")) for name, group in document.get("groups", {}).items()},
        document.get("fingerprint"),
    )
    if found.stands_in:
        dataset.warnings.append(
            f"'{document['path']}' was not found, so that stand-in data are used, '{document['stand_in']}'; "
            f"put the file into data/, or add its folder to {DATA}"
        )
    return dataset


def _gridded(document: Document, tables: Tables, workspace: Workspace | None) -> GriddedDataset:
    mapping = field_mapping(document, workspace)
    keys = (
        "file", "resample", "stepping", "patch_size", "threshold", "include_test_in_train", "vectors", "augment",
        "units", "fingerprint",
    )  # fmt: skip
    return GriddedDataset(
        data_folder(document, workspace),
        mapping.inputs,
        mapping.outputs,
        **{key: document[key] for key in keys if key in document},
    )


def _spectra(document: Document, tables: Tables, workspace: Workspace | None) -> SpectraDataset:
    keys = (
        "target", "channels", "patch_size", "mix", "columns", "core", "depth", "energy", "units", "fingerprint",
    )  # fmt: skip
    return SpectraDataset(data_folder(document, workspace), **{key: document[key] for key in keys if key in document})


def field_mapping(document: Document, workspace: Workspace | None) -> FieldMapping:
    """Inputs and outputs of a gridded dataset, each with the value that divides it. Raises DatasetError."""
    name: str | None = document.get("mapping")
    if name is not None:
        return mappings.preset(name) if name in mappings.PRESETS else _mapping_of_files(name, workspace)
    mapping, troubles = FieldMapping({}, {}), []
    for key, scales in (("inputs", mapping.inputs), ("outputs", mapping.outputs)):
        for variable, value in document[key].items():
            scale = mappings.NATURAL_SCALES.get(variable) if value is None else float(value)
            if scale is None:
                message = f"2Dto2D-DLE has no typical value for '{variable}'; give one, in its own unit"
                troubles.append(((key, variable), message))
            else:
                scales[variable] = scale
    if troubles:
        raise DatasetError(troubles)
    return mapping


def _mapping_of_files(name: str, workspace: Workspace | None) -> FieldMapping:
    folder = next((place for place in _candidates(name, workspace) if place.is_dir()), None)
    try:
        if folder is None:
            raise QexpError(f"no mapping and no folder '{name}'; {suggestion(name, mappings.PRESETS)}")
        return mappings.read_mapping(folder)
    except QexpError as error:
        raise DatasetError([(("mapping",), str(error))]) from error


def data_folder(document: Document, workspace: Workspace | None) -> Path:
    """The folder of a dataset: where it was when prepared, else in data/ or in a folder of QEXP_DATA.

    Spectra may be one file instead.
    Raises DatasetError, with the command that makes the folder if the dataset tells one.
    """
    is_there = Path.exists if document["type"] == "spectra" else Path.is_dir
    found = Path(document.get("found", ""))
    if document.get("found") and is_there(found):
        return found
    candidates = _candidates(document["path"], workspace)
    for candidate in candidates:
        if is_there(candidate):
            return candidate
    places = ", ".join(dict.fromkeys(map(str, [*([found] if document.get("found") else []), *candidates])))
    command = document.get("made_by")
    way_out = f"make it with: {command}" if command else f"put it there, or add the folder that holds it to {DATA}"
    what = "folder or table" if document["type"] == "spectra" else "folder"
    raise DatasetError([(("path",), f"there is no {what} '{document['path']}'; looked for {places}; {way_out}")])


def still_to_be_made(document: Document, workspace: Workspace | None) -> list[tuple[tuple[str | int, ...], str]]:
    """What is said of a checked dataset whose folder is not there, if it tells the command that makes it."""
    if not document.get("made_by"):
        return []
    try:
        data_folder(document, workspace)
    except DatasetError as error:
        return error.findings
    return []


def _candidates(path: str, workspace: Workspace | None) -> list[Path]:
    """Where a folder may be."""
    given = Path(path)
    return [given] if given.is_absolute() else [folder / given for folder in _data_folders(workspace)]


def _data_folders(workspace: Workspace | None) -> list[Path]:
    own = [workspace.root / "data"] if workspace is not None else []
    return [*own, *(Path(folder) for folder in os.environ.get(DATA, "").split(os.pathsep) if folder)]


DATASETS: Mapping[str, Callable[[Document, Tables, Workspace | None], Dataset]] = {
    "generated": _generated,
    "tabular": _tabular,
    "gridded": _gridded,
    "spectra": _spectra,
}


def _columns(variables: Mapping[str, str | list[str]]) -> dict[str, list[str]]:
    return {name: [columns] if isinstance(columns, str) else columns for name, columns in variables.items()}


@dataclass(frozen=True)
class DataFile:
    path: Path
    stands_in: bool
    """Whether it is the stand-in for another, which was not found."""


def data_file(document: Document, workspace: Workspace | None) -> DataFile:
    """The file of a dataset: where it was when prepared, else in data/ or in a folder of QEXP_DATA.

    Its stand-in is looked for after it, but for a dataset that was prepared: that goes on with what it had.
    """
    stood_in = bool(document.get("stand_in") and document.get("stood_in"))
    found = Path(document.get("found", ""))
    if found.is_file():
        return DataFile(found, stood_in)
    keys = ["stand_in"] if stood_in else ["path"] if "fingerprint" in document else ["path", "stand_in"]
    troubles = []
    for key in keys:
        if document.get(key) is None:
            continue
        try:
            return DataFile(data_files.find(document[key], _data_folders(workspace)), key == "stand_in")
        except TableError as error:
            troubles.append(((key,), str(error)))
    raise DatasetError(troubles)


def with_data_pinned(document: Document, workspace: Workspace) -> Document:
    """The dataset of a whole document with the content of its file, so that another content is another digest."""
    if document["type"] == "gridded":
        dataset = _gridded(document, {}, workspace)
        told = {"units": dataset.units, "spacing": spacings(dataset)}
        return {**document, **told, "fingerprint": dataset.fingerprint, "found": str(dataset.path.absolute())}
    if document["type"] == "spectra":
        spectra = _spectra(document, {}, workspace)
        pinned = {"units": spectra.units, "fingerprint": spectra.fingerprint}
        return {**document, **pinned, "found": str(data_folder(document, workspace).absolute())}
    if document["type"] != "tabular":
        return document
    file = data_file(document, workspace)
    pinned = {"fingerprint": data_files.fingerprint(file.path), "found": str(file.path.absolute())}
    return {**document, **pinned, **({"stood_in": True} if file.stands_in else {})}


def spacings(dataset: GriddedDataset) -> list[list[float]]:
    """Widths of the cells along y and x that there are in the training folders, each pair once."""
    found: list[list[float]] = []
    for frames in dataset.training_folders:
        if frames.spacing is not None and not any(alike(frames.spacing, known) for known in found):
            found.append(list(frames.spacing))
    return found


def units_of(spec: Document, quantities: Quantities) -> dict[str, str]:
    """Units of a resolved experience's inputs and outputs: the dataset's own where it names its variables itself."""
    names = [*spec["inputs"], *spec["outputs"]]
    if spec["dataset"]["type"] != "generated":
        return {name: spec["dataset"]["units"].get(name, "") for name in names}
    return {name: quantity(name, quantities).unit for name in names}

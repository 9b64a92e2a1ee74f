"""First specs for files of data: a dataset, and an experience with a model that trains on it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qexp.base import files
from qexp.base.workspace import Workspace
from qexp.errors import NotFoundError, Problem, QexpError, SpecError
from qexp.kinds.experiments import SpecCache, check, open_dataset, spec_cache
from qexp.kinds.files import data_folders
from qexp.kinds.options import NewOptions
from qexp.spec.kinds import KINDS, kind_named, load_stage, stage_anywhere
from qexp.spec.reading import Document, read
from qexp.spec.resolution import FOLDERS, Unwritten
from qexp.store.record import require_name

KINDS_OF_NEW = ("dataset", "experience")

WOULD_WORK = (
    "specs can be written for a table of rows (CSV, Parquet); for a folder with train/ and test/,"
    " each with folders of NetCDF files; for arrays over simulations (NetCDF, HDF5, npz, Zarr); for"
    " a folder of images (GeoTIFF, npy, npz, NetCDF) with a table that names them; and for an"
    " observation of qexp observe"
)


def new_specs(workspace: Workspace, options: NewOptions) -> list[Path]:
    """Write specs for a file, or for a dataset that is there, and return their paths; all of them
    or none.

    Raises QexpError if one of them exists, if the file is of no kind for which there are such
    specs, or if they would not train.
    """
    file = options.source
    if file is not None:
        kind = options.kind or "experience"
        name = options.name or Path(file).stem
        options = replace(options, kind=kind, name=name, file=options.file or file)
    if options.kind is None or options.name is None:
        raise QexpError("`kind` and `name`: give both, or a file as `source`")
    name = require_name(options.name)
    if options.kind not in KINDS_OF_NEW:
        raise QexpError(
            f"`kind={options.kind}`: write dataset or experience, which comes with its model"
        )
    made = ["dataset"] if options.file is not None else []
    made += ["model", "experience"] if options.kind == "experience" else []
    targets = {kind: workspace.specs / FOLDERS[kind] / f"{name}.json" for kind in made}
    there = [workspace.shown(target) for target in targets.values() if target.exists()]
    if there:
        message = f"{there[0]} exists already and stays as it is; choose another name"
        if made[0] == "dataset" and len(there) == 1:
            message += "; leave the file out to use that dataset"
        raise QexpError(message)
    if not made:
        raise QexpError("`file`: give the file or folder of the data")
    cache = spec_cache(workspace)
    if options.file is None:
        _, document, _ = open_dataset(name, cache)
    else:
        document = _dataset_of(Path(options.file), workspace, options)
    label = "the new specs"
    dataset = _checked(document, cache, label, "dataset")
    documents = {"dataset": document}
    if options.kind == "experience":
        model, experience = load_stage(document, "new").experience(document, dataset)
        documents |= {"model": model, "experience": {"model": name, "dataset": name, **experience}}
        whole = {**documents["experience"], "model": model, "dataset": document}
        problems = check(Unwritten(name, label, whole), [], cache).problems
        if problems:
            raise SpecError(problems)
    _write({target: documents[kind] for kind, target in targets.items()})
    return list(targets.values())


def new_simulations(
    workspace: Workspace,
    name: str,
    theta: Any,
    x: Any,
    names: Sequence[str],
    prior: Any,
    **more: Any,
) -> list[str]:
    """Write simulations to data/NAME.npz, and a dataset of them; what is the same already stays.

    theta, x, ...  as of `qexp.kinds.simulations.arrays.GivenSimulations`; a simulator is called if
                   the file is not there
    returns        warnings about them
    Raises QexpError if others are there, and SpecError if the dataset is wrong.
    """
    spec = workspace.specs / FOLDERS["dataset"] / f"{require_name(name)}.json"
    path = workspace.root / f"data/{name}.npz"
    cache = spec_cache(workspace)
    quantities = cache.tables["quantities"]
    given = stage_anywhere("arrays").GivenSimulations(
        path.name, quantities, theta, x, names, prior, **more
    )
    made = not path.exists()
    there = None
    what = ""
    if spec.exists() and read(spec) != given.document:
        there, what = spec, "a dataset with another prior or other parameters"
    elif not made and not given.are_in(path):
        there = path
        what = "simulations made by another simulator, or of another number, than these"
    if there is not None:
        raise QexpError(
            f"{workspace.shown(there)} exists already, and holds {what}; give another name"
        )
    if made:
        given.write(path)
    try:
        dataset = _checked(given.document, cache, "the simulations")
    except SpecError:
        if made and not given.simulates:  # what a simulator made may have taken hours
            path.unlink()
        raise
    if not spec.exists():
        _write({spec: given.document})
    warnings: list[str] = dataset.warnings
    return warnings


def _checked(document: Document, cache: SpecCache, label: str, *place: str) -> Any:
    """The dataset of a document. Raises SpecError for what is wrong with it."""
    dataset, findings = cache.dataset(document)
    if dataset is None:
        raise SpecError([Problem(label, (*place, *path), message) for path, message in findings])
    return dataset


def _dataset_of(file: Path, workspace: Workspace, options: NewOptions) -> Document:
    """The dataset of a file or folder, which is looked for here and in the folders of data."""
    folders = [Path.cwd(), *data_folders(workspace)]
    path = next((folder / file for folder in folders if (folder / file).exists()), None)
    if path is None:
        raise NotFoundError(
            f"there is no {file}, neither here nor in {workspace.shown(workspace.root / 'data')}"
        )
    for kind in KINDS:
        new = kind_named(kind).load("new")
        if new is not None and new.takes(path):
            document = {"type": kind, "path": path, **new.dataset(path, options)}
            for key, value in [*document.items()]:
                if isinstance(value, Path):
                    document[key] = _named(value, folders[1:])
                elif value is None:
                    del document[key]
            return document
    images = ""
    if path.suffix.lower() in (".tif", ".tiff"):
        images = (
            "; from one image: qexp observe, then qexp new with its file; or qexp predict RUN FILE"
            " with a trained run"
        )
    raise QexpError(f"{file}: {WOULD_WORK}{images}")


def _named(path: Path, folders: Sequence[Path]) -> str:
    """A file or folder as datasets name it: from a folder of data that it lies in."""
    whole = path.resolve()
    for folder in folders:
        if whole.is_relative_to(folder.resolve()):
            return whole.relative_to(folder.resolve()).as_posix()
    return str(whole)


def _in_a_line(items: str) -> str:
    return re.sub(r"\n\s*", " ", items).strip()


def _write(documents: dict[Path, Document]) -> None:
    """Write new files, all of them or none."""
    written: list[Path] = []
    try:
        for target, document in documents.items():
            files.make_folder(target.parent)
            with files.writing(target), target.open("x", encoding="utf-8") as file:
                written.append(target)
                text = json.dumps(document, indent=2, ensure_ascii=False)
                # Short lists stand in one line, as people write them.
                file.write(
                    re.sub(
                        r"\[([^\[\]{}]{,100})\]", lambda match: f"[{_in_a_line(match[1])}]", text
                    )
                    + "\n"
                )
    except BaseException:
        for target in written:
            target.unlink(missing_ok=True)
        raise

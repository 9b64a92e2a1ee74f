"""First specs for files of data: a dataset, and an experience with a model that trains on it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qexp.base import files
from qexp.base.workspace import Workspace
from qexp.errors import NotFoundError, Problem, QexpError, SpecError
from qexp.kinds.experiments import check, open_dataset, spec_cache
from qexp.kinds.files import data_folders
from qexp.kinds.options import NewOptions
from qexp.spec.kinds import KINDS, kind_named, load_stage
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
    if (file := options.source) is not None:
        name = options.name or Path(file).stem
        options = replace(
            options, kind=options.kind or "experience", name=name, file=options.file or file
        )
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
    if there := [workspace.shown(target) for target in targets.values() if target.exists()]:
        without = (
            "; leave the file out to use that dataset"
            if made[0] == "dataset" and len(there) == 1
            else ""
        )
        raise QexpError(
            f"{there[0]} exists already and stays as it is; choose another name{without}"
        )
    if not made:
        raise QexpError("`file`: give the file or folder of the data")
    cache = spec_cache(workspace)
    if options.file is None:
        _, document, _ = open_dataset(name, cache)
    else:
        document = _dataset_of(Path(options.file), workspace, options)
    label = "the new specs"
    dataset, findings = cache.dataset(document)
    if dataset is None:
        raise SpecError([Problem(label, ("dataset", *path), message) for path, message in findings])
    documents = {"dataset": document}
    if options.kind == "experience":
        model, experience = load_stage(document, "new").experience(document, dataset)
        documents |= {"model": model, "experience": {"model": name, "dataset": name, **experience}}
        whole = {**documents["experience"], "model": model, "dataset": document}
        if problems := check(Unwritten(name, label, whole), [], cache).problems:
            raise SpecError(problems)
    _write({target: documents[kind] for kind, target in targets.items()})
    return list(targets.values())


ANOTHER_DATASET = "a dataset with another prior or other parameters"
OTHER_SIMULATIONS = "simulations made by another simulator, or of another number, than these"


def new_simulations(
    workspace: Workspace,
    name: str,
    theta: Any,
    x: Any,
    names: Sequence[str],
    prior: Any,
    **more: Any,
) -> list[str]:
    """Write simulations to data/NAME.npz, and a dataset of them; what is there with the same
    content stays.

    theta    (simulation, parameter), or how many are drawn from the prior
    x        (simulation, ...), or the simulator that makes it of theta: it is called if the file is
             not there
    more     `units` of parameters; `groups`, (simulation,); `axes` of x; `counted`, told how many
             are made; `at_once`
    returns  warnings about them
    Raises QexpError if other simulations or another dataset are there, and SpecError if the dataset
    is wrong.
    """
    spec = workspace.specs / FOLDERS["dataset"] / f"{require_name(name)}.json"
    path, cache = workspace.root / f"data/{name}.npz", spec_cache(workspace)
    simulated = kind_named("simulated").load("new")
    theta = simulated.drawn(prior, theta) if isinstance(theta, int) else theta
    parameters, units = simulated.parameters(theta, names, prior), more.get("units") or {}
    if callable(x) and (of_prior := simulated.names_of(prior)) and [*parameters] != of_prior:
        raise QexpError(
            f"`names`: the simulator is given the parameters of the prior, {of_prior}; leave"
            " `names` out"
        )
    count = len(next(iter(parameters.values())))
    document = simulated.dataset_of_arrays(
        path.name, list(parameters), prior, units, cache.tables["quantities"]
    )
    # an array of xarray
    axes = [*map(str, more.get("axes") or (x.dims if hasattr(x, "to_dataset") else ()))]
    document |= (
        {"axes": {simulated.OBSERVED: axes}}
        if axes and (more.get("axes") or {*axes} <= {*simulated.AXES})
        else {}
    )
    arrays = dict(parameters)
    if (groups := more.get("groups")) is not None:
        document["groups"] = simulated.GROUP
        arrays[simulated.GROUP] = simulated.array(groups, "groups", [2], count).ravel()
    simulated.require_same_rows(theta, x)
    arrays |= (
        {simulated.SIMULATOR: simulated.text_of(x)}
        if callable(x)
        else simulated.observations(x, count)
    )
    different = [spec] if spec.exists() and read(spec) != document else []
    if made := not path.exists():
        if callable(x) and not different:
            at_once = more.get("at_once")
            content = (
                b"".join(values.tobytes() for values in arrays.values())
                + str(at_once or "").encode()
            )
            known = hashlib.sha256(content).hexdigest()
            unfinished = path.with_suffix(f".unfinished-{known[:12]}.npy")
            arrays |= simulated.simulated(x, theta, unfinished, more["counted"], at_once)
    else:
        with np.load(path) as there:
            same = all(
                name in there and np.array_equal(there[name], values)
                for name, values in arrays.items()
            )
            made_of_it = {simulated.OBSERVED, simulated.NAMES_OBSERVED} if callable(x) else set()
            different += [] if same and {*there} <= {*arrays} | made_of_it else [path]
    if different:
        what = ANOTHER_DATASET if different[0] == spec else OTHER_SIMULATIONS
        raise QexpError(
            f"{workspace.shown(different[0])} exists already, and holds {what}; give another name"
        )
    if made:
        files.make_folder(path.parent)
        with files.writing(path), files.replacing(path) as written:
            np.savez(written, allow_pickle=False, **arrays)
        for unfinished in path.parent.glob(f"{name}.unfinished-*.npy"):
            unfinished.unlink()
    dataset, findings = cache.dataset(document)
    if dataset is None:
        if made and not callable(x):  # what a simulator made may have taken hours
            path.unlink()
        raise SpecError([Problem("the simulations", where, message) for where, message in findings])
    if not spec.exists():
        _write({spec: document})
    return dataset.warnings


def _dataset_of(file: Path, workspace: Workspace, options: NewOptions) -> Document:
    """The dataset of a file or folder, which is looked for here and in the folders of data."""
    folders = [Path.cwd(), *data_folders(workspace)]
    path = next((place for folder in folders if (place := folder / file).exists()), None)
    if path is None:
        raise NotFoundError(
            f"there is no {file}, neither here nor in {workspace.shown(workspace.root / 'data')}"
        )
    for kind in KINDS:
        new = kind_named(kind).load("new")
        if new is not None and new.takes(path):
            document = {"path": path, **new.dataset(path, options)}
            named = {
                key: _named(of, folders[1:]) if isinstance(of, Path) else of
                for key, of in document.items()
            }
            return {"type": kind, **{key: of for key, of in named.items() if of is not None}}
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
    below = [folder.resolve() for folder in folders if whole.is_relative_to(folder.resolve())]
    return whole.relative_to(below[0]).as_posix() if below else str(whole)


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

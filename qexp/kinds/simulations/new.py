"""First specs for arrays of simulations: a dataset with its prior, and a posterior."""

from __future__ import annotations

import glob
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qexp.base.options import as_warning
from qexp.errors import QexpError, some, suggestion
from qexp.kinds.images.files import (
    SINGLE,
    ImageFile,
    ImageVariable,
    ImageVariables,
    names_in,
    open_images,
)
from qexp.kinds.images.tables import TABLES
from qexp.kinds.options import NewOptions
from qexp.kinds.simulations.files import GROUPED, FilePerSimulation, files_in
from qexp.networks.transforms import over_decades
from qexp.rows.formats import open_table
from qexp.rows.table import Table, name_in_title, numbers_in
from qexp.simulation.stored import StoredDataset
from qexp.spec.reading import Document

OBSERVED = "observed"
"""Name of the observations in files, and of what names their values."""

NAMES_OBSERVED = names_in(OBSERVED)

ZARR, IMAGES = ".zarr", (*SINGLE, ".npz", ".nc")
"""A store; and files of the images of one simulation."""

MOST_DROPOUT, PERCENT_OF_NUMBER = 40, 26_000
"""Few simulations are learned by heart without dropout: the second for each number of a normal
density, divided by how many simulations there are to the power 1.5, in whole percent, and at most
the first. Of many, less than one percent would make narrow posteriors too wide.
"""

LESS_OVER_DECADES, TEMPERATURE = 4, 0.25
"""By which dropout is divided where numbers lie over decades, as their posteriors are narrow beside
the prior; and that of the weights of components, where wide ones would else keep some that no
simulation needs.
"""

SIMULATIONS_LOOKED_AT = 2000
"""Of which numbers may lie over decades. A linear path then goes around the hidden layers, and
where there are as many numbers as parameters.
"""

NUMBERS_OF_MIXTURE, MOST_COMPONENTS = 168, 10
"""Weights, means and factors of its components: the fewer parameters, the more of them."""

SIMULATIONS_OF_NUMBER = 32
"""For each of these numbers: fewer simulations are learned by heart."""

WIDEST = 2
"""Standard deviation of components, in the prior's: draws stay where there are simulations."""

EPOCHS, EPOCHS_OVER_DECADES, EPOCHS_OF_IMAGES = 85, 143, 300
"""Over which the learning rate falls, if validation does not end training; images are learned by
heart where it stays high for long.
"""

STEPS_OF_PLATEAU, LEAST_PATIENCE, MOST_PATIENCE, MOST_OF_IMAGES = 600, 3, 12, 7
"""Steps, and epochs, without a lower validation loss, after which the learning rate is lowered;
training ends after as many again.
"""

MOST_WHOLE, LEAST_REPEATED = 20, 10
"""A parameter of so few whole numbers, each so often on average, is a class or a count."""

LEAST_VARIANCE = 1e-10
"""Of a combination of parameters, each with a variance of 1: below it is rounded."""

DISCRETE = (
    "is discrete, and posteriors are densities of continuous parameters; leave it out, or draw it"
    " from such"
)

Values = NDArray[Any]


def takes(path: Path) -> bool:
    """Whether it is a file of arrays, or a folder of images; one with train/ holds fields."""
    if _is_folder(path):
        images = any(file.suffix.lower() in IMAGES for file in path.iterdir())
        return images and not (path / "train").exists()
    return path.suffix.lower() in (ZARR, ".npz", ".npy", *GROUPED)


def dataset(path: Path, options: NewOptions) -> Document:
    """The keys of a dataset of a file whose first axis is the simulation, or of a folder with a
    file for each.

    Arrays of more axes are observations. Parameters are the columns of numbers of a table in the
    folder, or beside the file or folder by its name, and else arrays of one axis; not those that
    count simulations or are the same in all. Raises QexpError.
    """
    if len(options.groups) > 1:
        raise QexpError(
            "`groups`: simulations are held together by one column; keep one of"
            f" {some(options.groups)}"
        )
    table = _table_of(path)
    files = _column_of_files(path, table) if table is not None and _is_folder(path) else None
    arrays = _arrays(path, table, files)
    if table is not None:
        columns = table.read(numbers_in(table.types(table.names)), [])[0]
    else:
        vectors = {name: array for name, array in arrays.items() if len(array.shape) == 1}
        columns = {name: _numbers(array) for name, array in vectors.items()}
    counts = {}
    for name, array in arrays.items():
        if len(array.shape) > 1 and len(_numbers(array, slice(0, 1))):
            counts[name] = array.shape[0]
    lengths = Counter(len(values) for values in columns.values())
    count = max(counts.values(), key=lambda size: lengths[size], default=0)
    observed = [name for name, size in counts.items() if size == count]
    varying = []
    for name, values in columns.items():
        if len(values) == count and name not in options.groups and _varies(values):
            varying.append(name)
    if not observed or not varying:
        lacking = "observations: arrays (simulation, ...) beside"
        if observed:
            lacking = "parameters: columns of a table or"
        shapes = {name: np.shape(values) for name, values in columns.items()}
        shapes |= {name: array.shape for name, array in arrays.items()}
        known = some([f"'{name}' {shape}" for name, shape in shapes.items()]) or "nothing"
        where = path if table is None else f"{path} and {table.path.name}"
        raise QexpError(
            f"{where}: no {lacking} arrays of one axis, with numbers that differ between"
            f" simulations; it has {known}"
        )
    unknown = [name for name in options.outputs if name not in varying]
    if unknown:
        known = suggestion(unknown[0], varying)
        raise QexpError(
            f"`outputs={unknown}`: '{unknown[0]}' is none of the parameters of {path}; {known}"
        )
    parameters = {name_in_title(column): column for column in options.outputs or varying}
    renamed = {name: column for name, column in parameters.items() if name != column}
    return {
        "parameters": None if table is None else table.path,
        "files": files,
        "observations": observed,
        "varyings": {name: [] for name in parameters},
        "groups": next(iter(options.groups), None),
        "columns": renamed or None,
    }


def _is_folder(path: Path) -> bool:
    return path.is_dir() and path.suffix != ZARR


def _table_of(path: Path) -> Table | None:
    """The table of parameters. Raises QexpError for several."""
    places = [*path.parent.glob(f"{glob.escape(path.stem)}.*")]
    places += path.iterdir() if _is_folder(path) else ()
    tables = [place for place in places if place.suffix.lower() in TABLES and place.is_file()]
    if len(tables) > 1:
        raise QexpError(
            f"{path}: which table has the parameters, {some([*map(str, tables)])}? keep one of them"
        )
    return open_table(tables[0], TABLES) if tables else None


def _column_of_files(path: Path, table: Table) -> str:
    """The column that names the most files of a folder. Raises QexpError if none does."""
    found = {}
    for column, names in table.read([], table.names)[1].items():
        found[column] = sum((path / name).is_file() for name in names.tolist())
    if not any(found.values()):
        images = (file.name for file in sorted(path.iterdir()) if file.suffix.lower() in IMAGES)
        raise QexpError(
            f"{table.path}: no column names files of {path}, such as '{next(images)}'; add one"
        )
    return max(found, key=lambda column: found[column])


def _arrays(path: Path, table: Table | None, files: str | None) -> ImageVariables:
    """Array over simulations → its variable, without those that only count along an axis."""
    if table is not None and files is not None:
        paths = files_in(path, table.read([], [files])[1][files].tolist())
        file: ImageFile = FilePerSimulation(path, paths, [OBSERVED])
        variables = {name: ImageVariable(file, name) for name in file.shapes}
    else:
        stems = {place.stem for place in path.iterdir()} if _is_folder(path) else ()
        variables = {name or OBSERVED: one for name, one in open_images(path, stems).items()}
    arrays = {}
    for name, variable in variables.items():
        if variable.file.dimensions(variable.name)[-1:] != [name]:
            arrays[name] = variable
    return arrays


def _numbers(variable: ImageVariable, simulations: slice | None = None) -> Values:
    """Values of some simulations, or of all; none of an array of texts or objects."""
    try:
        return variable.read(simulations).astype(np.float64)
    except QexpError as error:
        as_warning(f"{error}; it is left out")
        return np.zeros(0)


def _varies(values: Values) -> bool:
    """Whether numbers differ, and do not count the simulations."""
    steps = np.diff(values)
    return bool((np.abs(steps) > 0).any() and (steps != 1).any())


def experience(document: Document, dataset: StoredDataset) -> tuple[Document, Document]:
    """The keys of a model and of an experience that learn the posterior of all parameters, a
    mixture.

    A flow's step takes three times as long, and it learns less from a few thousand simulations.
    Raises QexpError for observations of different sizes, which networks can join in many ways.
    """
    shapes = {name: shape for name, shape in dataset.shapes().items() if name in dataset.images}
    observed = list(shapes)
    outputs = list(dataset.simulations.parameters)
    sizes = {*shapes.values()}
    if len(sizes) > 1:
        raise QexpError(
            f"{', '.join(observed)} have different sizes; write a model that joins them"
        )
    [(channels, height, width)], count = sizes, len(dataset.simulations.usable)
    _require_density(dataset)
    numbers = 1 + len(outputs) * (len(outputs) + 3) // 2
    most = min(max(NUMBERS_OF_MIXTURE // numbers, 2), MOST_COMPONENTS)
    components = min(most, max(count // (SIMULATIONS_OF_NUMBER * numbers), 1))
    vectors = min(height, width) == 1
    joined = {"join": {"module": "concatenate"}} if len(observed) > 1 else {}
    precise = vectors and _over_decades(dataset)
    mixture: Document = {"components": components, **({"widest": WIDEST} if vectors else {})}
    mixture |= {"temperature": TEMPERATURE} if precise else {}
    percent = PERCENT_OF_NUMBER * numbers / count**1.5 / (LESS_OVER_DECADES if precise else 1)
    dropout = min(MOST_DROPOUT, math.floor(percent)) / 100
    hidden = {"units": [128, 128], "outputs": 128, "activation": "silu", "dropout": dropout}
    convolutions = {"module": "conv", "parameters": {"filters": [16, 32, 32], "stride": 2}}
    operations = {
        **joined,
        **({} if vectors else {"convolutions": convolutions}),
        "hidden": {"module": "mlp", "parameters": hidden},
        "silu": {"module": "activation", "parameters": {"activation": "silu"}},
        "posterior": {"module": "mixture_posterior", "parameters": mixture},
    }
    source = observed if joined else observed[0]
    branches: list[Document] = [{"x_name": source, "y_name": outputs, "operations": [*operations]}]
    if precise or (vectors and len(observed) * channels * height * width == len(outputs)):
        operations |= {"numbers": {"module": "flatten"}, "beside": {"module": "concatenate"}}
        branches = [
            {"x_name": source, "y_name": "seen", "operations": [*joined, "numbers"]},
            {"x_name": "seen", "y_name": "learned", "operations": ["hidden", "silu"]},
            {
                "x_name": ["learned", "seen"],
                "y_name": outputs,
                "operations": ["beside", "posterior"],
            },
        ]
    model = {
        "inputs": {name: {"size": [height, width, channels]} for name in observed},
        "outputs": outputs,
        "operations": operations,
        "branches": branches,
    }
    return model, {
        "inputs": observed,
        "outputs": outputs,
        **_training(count, vectors, precise),
        "transforms": dict.fromkeys(observed, "adapted" if vectors else "standardize"),
        "losses": "negative_log_likelihood",
    }


def _training(count: int, vectors: bool, precise: bool) -> Document:
    """Keys of an experience that trains until the validation loss has stopped falling."""
    split = [0.85, 0.1]
    batch_size = min(max(count // 16, 16), 200)
    steps_of_epoch = math.ceil(split[0] * count / batch_size)
    epochs, most = (EPOCHS, MOST_PATIENCE) if vectors else (EPOCHS_OF_IMAGES, MOST_OF_IMAGES)
    patience = min(max(math.ceil(STEPS_OF_PLATEAU / steps_of_epoch), LEAST_PATIENCE), most)
    plateau = {"factor": 0.3, "patience": patience, "min_delta": 1e-3}
    return {
        "split": split,
        "epochs": EPOCHS_OVER_DECADES if precise else epochs,
        "batch_size": batch_size,
        "optimizer": "adam",
        "learning_rate": 6e-3 if vectors else 3e-3,
        "schedule": {"type": "one_cycle", "parameters": {"warm_up": 0.01}},
        "additional_callbacks": [
            {"type": "reduce_on_plateau", "parameters": plateau},
            {"type": "early_stopping", "parameters": {"patience": 2 * patience}},
        ],
        "gradient_clip": 50.0 if vectors else 5.0,
    }


def _over_decades(dataset: StoredDataset) -> bool:
    simulations = dataset.simulations
    some = simulations.usable[:SIMULATIONS_LOOKED_AT]
    for observed in simulations.observations.values():
        if over_decades(observed.select(some).reshape(len(some), -1).astype(np.float64)):
            return True
    return False


def _require_density(dataset: StoredDataset) -> None:
    """Raise QexpError for a parameter of few whole numbers, or one that follows from others."""
    usable = dataset.simulations.usable
    columns = {name: values[usable] for name, values in dataset.simulations.parameters.items()}
    for name, values in columns.items():
        few = np.unique(values)
        repeated = len(few) <= min(MOST_WHOLE, len(usable) / LEAST_REPEATED)
        if repeated and (few == np.round(few)).all():
            raise QexpError(f"parameter '{name}', with {len(few)} whole numbers, {DISCRETE}")
    variances, combined = np.linalg.eigh(np.atleast_2d(np.corrcoef([*columns.values()])))
    if len(usable) > len(columns) and variances[0] < LEAST_VARIANCE:
        tied = [
            name for name, part in zip(columns, combined[:, 0], strict=True) if abs(part) > 0.01
        ]
        raise QexpError(
            f"each of the parameters {', '.join(tied)} follows from the others; leave one of them"
            " out"
        )

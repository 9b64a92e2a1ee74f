"""First specs for arrays of simulations: a dataset with its prior, and a posterior that is trained
on it.
"""

from __future__ import annotations

import contextlib
import glob
import inspect
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qexp.base import files, machine
from qexp.base.arrays import NAMES_LISTED, by_name, columns_of
from qexp.base.options import Counted, as_warning
from qexp.base.quantities import DIMENSIONLESS, Quantities, quantity
from qexp.base.seeds import Seeds
from qexp.errors import QexpError, shortened, some, suggestion
from qexp.kinds.images.files import (
    SINGLE,
    ImageFile,
    ImageVariable,
    NetcdfImages,
    names_in,
    open_images,
    require_numbers,
)
from qexp.kinds.options import NewOptions
from qexp.kinds.simulations.files import GROUPED, TABLES, FilePerSimulation, files_in
from qexp.networks.shapes import AXES as AXES
from qexp.networks.transforms import over_decades
from qexp.rows.formats import open_table
from qexp.rows.table import TITLE, Table
from qexp.rows.zarr_stores import open_store
from qexp.simulation.distributions import described
from qexp.simulation.stored import StoredDataset
from qexp.spec.reading import Document

OBSERVED, GROUP, SIMULATOR = "observed", "group", "simulator"
"""Names of the observations, the groups of simulations and the text of the simulator in files."""

NAMES_OBSERVED = names_in(OBSERVED)

ZARR, IMAGES = ".zarr", (*SINGLE, ".npz", ".nc")
"""A store; and files of the images of one simulation."""

NOT_PARAMETERS = OBSERVED, GROUP, SIMULATOR, NAMES_OBSERVED
"""Further names in files."""

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
"""Weights, means and factors of its components, of which there are more where parameters are
few.
"""

SIMULATIONS_OF_NUMBER = 32
"""For each of these numbers: fewer simulations are learned by heart."""

WIDEST = 2
"""Standard deviation of components, in that of the prior: wider ones would put draws where nothing
was simulated.
"""

EPOCHS, EPOCHS_OVER_DECADES, EPOCHS_OF_IMAGES = 85, 143, 300
"""Over which the learning rate falls, if validation does not end training; images are learned by
heart where it stays high for long.
"""

STEPS_OF_PLATEAU, LEAST_PATIENCE, MOST_PATIENCE, MOST_OF_IMAGES = 600, 3, 12, 7
"""Steps, and epochs, without a lower validation loss, after which the learning rate is lowered;
training ends after as many again.
"""

TRIES = 20
"""Simulations that may fail before a simulator is taken for one that cannot be called."""

MOST_REPEATED = 0.1
"""Share of the draws of a prior that may repeat others: more are of no density."""

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
        return not (path / "train").exists() and any(
            file.suffix.lower() in IMAGES for file in path.iterdir()
        )
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
    there = {
        name: of
        for name, of in _arrays(path, table, files).items()
        if of.file.dimensions(of.name)[-1:] != [name]
    }
    lines = {name: of for name, of in there.items() if len(of.shape) == 1 and table is None}
    columns = (
        {name: _numbers(of) for name, of in lines.items()} if table is None else _numbers_of(table)
    )
    lengths = Counter(len(values) for values in columns.values())
    counts = {
        name: of.shape[0]
        for name, of in there.items()
        if len(of.shape) > 1 and len(_numbers(of, slice(0, 1)))
    }
    count = max(counts.values(), key=lambda size: lengths[size], default=0)
    observed = [name for name, size in counts.items() if size == count]
    varying = [
        name
        for name, of in columns.items()
        if len(of) == count and name not in options.groups and _varies(of)
    ]
    if not observed or not varying:
        what = (
            "parameters: columns of a table or"
            if observed
            else "observations: arrays (simulation, ...) beside"
        )
        shapes = {name: np.shape(of) for name, of in columns.items()} | {
            name: of.shape for name, of in there.items()
        }
        known = some([f"'{name}' {shape}" for name, shape in shapes.items()]) or "nothing"
        where = path if table is None else f"{path} and {table.path.name}"
        words = (
            f"{where}: no {what} arrays of one axis, with numbers that differ between simulations"
        )
        raise QexpError(f"{words}; it has {known}")
    if unknown := [name for name in options.outputs if name not in varying]:
        known = suggestion(unknown[0], varying)
        raise QexpError(
            f"`outputs={unknown}`: '{unknown[0]}' is none of the parameters of {path}; {known}"
        )
    parameters = {_title(column): column for column in options.outputs or varying}
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


def _title(column: str) -> str:
    """The name in the title of a column, which may have a unit, too."""
    title = TITLE.fullmatch(column)
    return title["name"] if title else column


def _table_of(path: Path) -> Table | None:
    """The table of parameters. Raises QexpError for several."""
    places = [
        *path.parent.glob(f"{glob.escape(path.stem)}.*"),
        *(path.iterdir() if _is_folder(path) else ()),
    ]
    tables = [place for place in places if place.suffix.lower() in TABLES and place.is_file()]
    if len(tables) > 1:
        raise QexpError(
            f"{path}: which table has the parameters, {some([*map(str, tables)])}? keep one of them"
        )
    return open_table(tables[0], TABLES) if tables else None


def _numbers_of(table: Table) -> dict[str, Values]:
    """Column of numbers → its values."""
    import pyarrow.types as types

    kinds = zip(table.names, table.types(table.names).types, strict=True)
    return table.read(
        [name for name, kind in kinds if types.is_integer(kind) or types.is_floating(kind)], []
    )[0]


def _column_of_files(path: Path, table: Table) -> str:
    """The column that names the most files of a folder. Raises QexpError if none does."""
    texts = table.read([], table.names)[1]
    found = {
        column: sum((path / name).is_file() for name in names.tolist())
        for column, names in texts.items()
    }
    if not any(found.values()):
        example = next(
            file.name for file in sorted(path.iterdir()) if file.suffix.lower() in IMAGES
        )
        raise QexpError(
            f"{table.path}: no column names files of {path}, such as '{example}'; add one"
        )
    return max(found, key=lambda column: found[column])


def _arrays(path: Path, table: Table | None, files: str | None) -> dict[str, ImageVariable]:
    """Array → its variable, over simulations."""
    if table is not None and files is not None:
        paths = files_in(path, table.read([], [files])[1][files].tolist())
        file: ImageFile = FilePerSimulation(path, paths, [OBSERVED])
    elif path.suffix == ZARR:
        file = NetcdfImages(path, open_store(path))
    else:
        stems = {place.stem for place in path.iterdir()} if path.is_dir() else ()
        return {name or OBSERVED: of for name, of in open_images(path, stems).items()}
    return {name: ImageVariable(file, name) for name in file.shapes}


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


def parameters(theta: Any, names: Sequence[str], prior: Any) -> dict[str, Values]:
    """Parameter → (simulation,): columns are taken by name where theta has names; where it has
    none, they are those of `names` or of the prior, in this order. Raises QexpError, also where two
    of these have different names.
    """
    if isinstance(names, str | set | frozenset):
        raise QexpError(f"`names={names!r}`: write a list, in the order of the columns of theta")
    theta = theta.to_frame() if hasattr(theta, "to_frame") else theta  # a column of a data frame
    columns, of_prior = [*columns_of(theta)], names_of(prior)
    called = [str(name) for name in [*names] or of_prior or columns]
    for there, others in (
        ("theta has the columns", columns),
        ("the prior has the parameters", of_prior),
    ):
        if others and {*others} != {*called}:
            wanted = f"{'`names` are' if names else 'the prior has'} {some(called, NAMES_LISTED)}"
            raise QexpError(
                f"{there} {some(others, NAMES_LISTED)}, but {wanted}; rename or leave out what"
                " differs"
            )
    values = array(by_name(theta, "theta", called), "theta", [2])
    called = called or [f"theta{index + 1}" for index in range(values.shape[1])]
    if len(called) != values.shape[1] or len({*called} - {*NOT_PARAMETERS}) != len(called):
        different = f"all different, and none of {', '.join(NOT_PARAMETERS)}"
        raise QexpError(
            f"`names={called}`: theta has {values.shape[1]} columns, which need a name each,"
            f" {different}"
        )
    return dict(zip(called, np.array(values.T), strict=True))  # which no simulator changes


def names_of(prior: Any) -> list[str]:
    """The parameters of a prior that is a dictionary with a distribution for each."""
    return (
        [*map(str, prior)]
        if isinstance(prior, Mapping) and drawn(prior, 1).shape[1] == len(prior)
        else []
    )


def require_same_rows(theta: Any, x: Any) -> None:
    """Raise QexpError for data frames whose rows have other labels, or the same in another
    order.
    """
    if (
        not (hasattr(theta, "iloc") and hasattr(x, "iloc"))
        or theta.index.equals(x.index)
        or len(theta) != len(x)
    ):
        return
    numbered = any([*frame.index] == [*range(len(frame))] for frame in (theta, x))
    if not numbered or {*theta.index} == {*x.index}:
        way_out = (
            "x.loc[theta.index] has the order of theta; without meaning: reset_index(drop=True)"
        )
        raise QexpError(f"the rows of theta and x have other labels in their index; {way_out}")


def observations(x: Any, count: int) -> dict[str, Values]:
    """What was observed, (simulation, ...), and the names of its values, where it has some. Raises
    QexpError.

    count  of the simulations
    """
    x = x.to_frame() if hasattr(x, "to_frame") else x
    names = [*columns_of(x)]
    observed = array(by_name(x, "x"), "x", [2, 3, 4], count)
    return {OBSERVED: observed, **({NAMES_OBSERVED: np.array(names)} if names else {})}


def array(values: Any, what: str, dimensions: Sequence[int], count: int | None = None) -> Values:
    """Numbers of any library, (simulation, ...), of such numbers of dimensions or one. Raises
    QexpError.

    count  of the simulations, if it is known
    """
    try:
        numbers: Values = np.asarray(_plain(values))
    except (ValueError, TypeError, RuntimeError) as error:
        raise QexpError(
            f"`{what}` is no array of numbers: all simulations need the same shape ({error})"
        ) from None
    numbers = numbers[:, None] if numbers.ndim == 1 else numbers
    if numbers.ndim not in dimensions or not numbers.size or numbers.dtype.kind in "OUSmM":
        raise QexpError(
            f"`{what}` has the shape {numbers.shape} of {numbers.dtype}; give numbers, (simulation,"
            " ...)"
        )
    require_numbers(numbers.dtype, f"`{what}`")
    if count not in (None, len(numbers)):
        raise QexpError(
            f"`{what}` has {len(numbers):,} of {count:,} simulations; the first axis is theirs"
        )
    return numbers


def _plain(values: Any) -> Any:
    """Numbers of any library as numpy takes them, also in lists; what an array of numpy masks is
    missing.
    """
    if isinstance(values, list | tuple):
        return [_plain(one) for one in values]
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        return (values if values.dtype != torch.bfloat16 else values.float()).numpy()
    return (
        np.ma.filled(values.astype(float), np.nan)
        if isinstance(values, np.ma.MaskedArray)
        else values
    )


def text_of(simulator: Callable[..., Any]) -> Values:
    """The text of a function, by which another one is noticed; empty if there is none."""
    try:
        return np.array(inspect.getsource(simulator))
    except (OSError, TypeError):
        return np.array("")


def simulated(
    simulator: Callable[..., Any],
    theta: Any,
    unfinished: Path,
    on_simulation: Counted,
    at_once: int | None,
) -> dict[str, Values]:
    """What a simulator makes of parameters, as of `observations`, with the same random numbers at
    each call.

    A function of the parameters of all simulations is called once, or for so many `at_once`. One of
    those of a single simulation is called for each, and so is one that raises an error for some:
    these have missing values, and are counted in a warning.

    unfinished     file of what is made piece by piece, with which another call goes on
    on_simulation  receives how many are done, and of how many
    Raises QexpError for a simulator that cannot be called in either way, or returns no numbers.
    """

    def of_one(rows: Any) -> Any:
        made = simulator(rows[0])
        return {name: [value] for name, value in columns_of(made).items()} or [made]

    with contextlib.chdir(Path.cwd()):  # which the simulator may leave
        few = theta[: theta.shape[1] + 1]  # which no function of one takes for its parameters
        made = _attempt(simulator, few)
        if isinstance(made, dict) and at_once is not None:
            one = {**made, OBSERVED: made[OBSERVED][:1]}
            return _in_pieces(
                partial(_attempt, simulator), theta, one, unfinished, on_simulation, at_once
            )
        made = _attempt(simulator, theta) if isinstance(made, dict) else made
        if isinstance(made, dict):
            return made
        for way in [of_one] if isinstance(made, QexpError) else [simulator, of_one]:
            for row in range(min(TRIES, len(theta))):
                if isinstance(first := _attempt(way, theta[row : row + 1], row), dict):
                    return _in_pieces(
                        partial(_attempt, way), theta, first, unfinished, on_simulation
                    )
    tried = (
        f"{type(theta).__module__}.{type(theta).__name__} of the shape {tuple(few.shape)}:"
        f" {_said(made)}"
    )
    of_one_alone = f"with those of one, {tuple(few.shape[1:])}: {_said(first)}"
    raise QexpError(
        f"the simulator with parameters of {len(few)} simulations, {tried}; {of_one_alone}"
    ) from made


def predicted_of(simulator: Callable[..., Any], theta: Values) -> Values:
    """What a simulator makes of parameters, (simulation, value), without simulations that fail.
    Raises QexpError.

    theta  (simulation, parameter); a simulator that takes no array of numpy is given a tensor
    """
    with tempfile.TemporaryDirectory() as folder:
        unfinished = Path(folder) / "predicted.npy"
        try:
            made = simulated(simulator, theta, unfinished, lambda done, of: None, None)
        except QexpError:
            made = simulated(
                simulator, torch.from_numpy(theta).float(), unfinished, lambda done, of: None, None
            )
        values = np.array(made[OBSERVED], float).reshape(len(theta), -1)
    whole: Values = values[np.isfinite(values).all(axis=1)]
    if not len(whole):
        raise QexpError("the simulator has no finite values for any of the draws")
    return whole


def _in_pieces(
    attempt: Callable[..., Any],
    theta: Any,
    one: dict[str, Values],
    unfinished: Path,
    on_simulation: Counted,
    size: int = 1,
) -> dict[str, Values]:
    """As `simulated`; one: of them; size: of a piece, of which each is simulated alone if any has
    an error
    """
    count, first, reasons = len(theta), one[OBSERVED], list[str]()
    if not unfinished.exists():
        files.make_folder(unfinished.parent)
        with files.writing(unfinished), files.replacing(unfinished) as file:
            np.save(file, np.zeros((count, 1 + first.size)))
    done, x = np.split(np.load(unfinished, mmap_mode="r+"), [1], axis=1)
    pieces = [slice(row, min(row + size, count)) for row in reversed(range(0, count, size))]
    while pieces:
        rows = pieces.pop()
        if done[rows].all():
            continue
        made = attempt(theta[rows], rows.start)
        if isinstance(made, dict) and made[OBSERVED].shape[1:] != first.shape[1:]:
            shapes = f"{made[OBSERVED].shape[1:]}, and others {first.shape[1:]}"
            raise QexpError(f"`x`: simulation {rows.start} has the shape {shapes}")
        if isinstance(made, dict):
            x[rows], done[rows] = made[OBSERVED].reshape(len(x[rows]), -1), 1
        elif rows.stop - rows.start > 1:
            pieces += [slice(row, row + 1) for row in reversed(range(rows.start, rows.stop))]
        else:
            reasons.append(f"simulation {rows.start}, {_said(made)}")
            x[rows] = np.nan
        on_simulation(rows.stop, count)
    if reasons:
        as_warning(f"{len(reasons):,} of {count:,} simulations failed; the first: {reasons[0]}")
    return {
        **one,
        OBSERVED: x.reshape(count, *first.shape[1:]).astype(np.result_type(first, np.float32)),
    }


def _attempt(
    simulator: Callable[[Any], Any], theta: Any, *purpose: int
) -> dict[str, Values] | Exception | SystemExit:
    """What is made of parameters, (simulation, ...), by random numbers of that purpose, or the
    error.
    """
    try:
        with Seeds(0).globally(SIMULATOR, *purpose):
            # which it may change
            made = simulator(theta.clone() if isinstance(theta, torch.Tensor) else theta.copy())
        for one in made if isinstance(made, list) else [made]:
            if isinstance(one, tuple) and not columns_of(one) and any(map(np.ndim, one)):
                raise QexpError(
                    f"it returned {len(one)} arrays; return one, with what is observed alone"
                )
        return observations(made, len(theta))
    except (
        Exception,
        SystemExit,
    ) as error:  # a user's code may raise any error, and end the process
        if machine.ran_out_of_memory(error):
            raise
        return error


def _said(error: Any) -> str:
    return f"{error}" if isinstance(error, QexpError) else f"{type(error).__name__}: {error}"


def dataset_of_arrays(
    path: str, names: Sequence[str], prior: Any, units: Mapping[str, str], quantities: Quantities
) -> Document:
    """The keys of a dataset whose arrays are in a file; prior: as of `parts`, or None. Raises
    QexpError.
    """
    if unknown := {*units} - {*names}:
        raise QexpError(
            f"`units`: no parameter '{min(unknown)}'; {suggestion(min(unknown), names)}"
        )
    known = {name for name in units if quantity(name, quantities) is not DIMENSIONLESS}
    keys = {
        "distributions": {} if prior is None else distributions(prior, names),
        "units": {name: unit for name, unit in units.items() if name not in known},
        "file_units": {name: unit for name, unit in units.items() if name in known},
    }
    varyings: Document = {name: [] for name in names}
    needed = {"type": "simulated", "path": path, "observations": [OBSERVED], "varyings": varyings}
    return {**needed, **{key: value for key, value in keys.items() if value}}


def experience(document: Document, dataset: StoredDataset) -> tuple[Document, Document]:
    """The keys of a model and of an experience that learn the posterior of all parameters, a
    mixture.

    A flow's step takes three times as long, and it learns less from a few thousand simulations.
    Raises QexpError for observations of different sizes, which networks can join in many ways.
    """
    shapes = {name: shape for name, shape in dataset.shapes().items() if name in dataset.images}
    observed, outputs = list(shapes), list(dataset.simulations.parameters)
    if len(sizes := {*shapes.values()}) > 1:
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
    """Keys of an experience on so many simulations: until the validation loss has stopped
    falling.
    """
    split, batch_size = [0.85, 0.1], min(max(count // 16, 16), 200)
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
    seen = [
        one.select(some).reshape(len(some), -1).astype(np.float64)
        for one in simulations.observations.values()
    ]
    return any(map(over_decades, seen))


def _require_density(dataset: StoredDataset) -> None:
    """Raise QexpError for a parameter of few whole numbers, and for some of which one follows from
    the others.
    """
    usable = dataset.simulations.usable
    columns = {name: values[usable] for name, values in dataset.simulations.parameters.items()}
    for name, values in columns.items():
        few = np.unique(values)
        if (
            len(few) <= min(MOST_WHOLE, len(usable) / LEAST_REPEATED)
            and (few == np.round(few)).all()
        ):
            raise QexpError(f"parameter '{name}', with {len(few)} whole numbers, {DISCRETE}")
    variances, combined = np.linalg.eigh(np.atleast_2d(np.corrcoef([*columns.values()])))
    if len(usable) > len(columns) and variances[0] < LEAST_VARIANCE:
        tied = ", ".join(
            name for name, part in zip(columns, combined[:, 0], strict=True) if abs(part) > 0.01
        )
        raise QexpError(
            f"each of the parameters {tied} follows from the others; leave one of them out"
        )


# Priors: frozen distributions of scipy.stats, and distributions of torch.


def parts(prior: Any) -> list[Any]:
    """A distribution for each parameter, or one of several together: a list, the values of a
    dictionary, or the only one. Raises QexpError for anything else.
    """
    if isinstance(prior, Mapping):
        prior = prior.values()
    elif not isinstance(prior, Sequence):
        prior = [prior]
    of_all = list(prior)
    for part in of_all or [None]:
        unfrozen = isinstance(part, type) or (hasattr(part, "rvs") and callable(part))
        if unfrozen or not (hasattr(part, "rvs") or hasattr(part, "sample")):
            such = (
                "such as scipy.stats.uniform(0, 5), or one of torch.distributions, with its"
                " parameters"
            )
            raise QexpError(
                f"`prior`: {shortened(repr(part))} is no frozen distribution of scipy.stats, {such}"
            )
    return of_all


def of_torch(part: Any) -> bool:
    """Whether a part of a prior is a distribution of torch; the newer ones of scipy have `sample`,
    too.
    """
    return hasattr(part, "sample") and not type(part).__module__.startswith("scipy.")


def drawn(prior: Any, count: int) -> Any:
    """Parameters, (simulation, parameter), in the order of the prior, the same at each call; a
    tensor if all of it is of torch, else an array.
    """
    columns, seeds = [], Seeds(0)
    for index, part in enumerate(parts(prior)):
        with seeds.globally("prior", index):
            random = seeds.numpy("prior", index)
            if of_torch(part):
                values = _plain(part.sample((count,)))
            elif hasattr(part, "rvs"):
                values = part.rvs(size=count, random_state=random)
            else:
                values = part.sample(count, rng=random)
        columns.append(values.reshape(count, -1))
    theta = np.concatenate(columns, axis=1)
    return torch.from_numpy(theta) if all(map(of_torch, parts(prior))) else theta


def distributions(prior: Any, names: Sequence[str]) -> Document:
    """Parameter → its distribution, where it is one of the table. Raises QexpError for another
    number of them, and for those that have the same value again and again.
    """
    prior = [prior[name] for name in names] if {*names_of(prior)} == {*names} else prior
    every = [one for part in parts(prior) for one in _each(part)]
    if len(every) != len(names):
        raise QexpError(
            f"`names`: {len(names)} names ({', '.join(names)}), but the prior has {len(every)}"
            " parameters"
        )
    for name, values in zip(names, np.asarray(drawn(prior, 1000)).T, strict=True):
        if len(np.unique(values)) < (1 - MOST_REPEATED) * len(values):
            raise QexpError(f"`prior`: '{name}' {DISCRETE}")
    return {name: one for name, one in zip(names, every, strict=True) if one is not None}


def _each(part: Any) -> list[Document | None]:
    """The distributions of the parameters of a part; None for those that are none of the table."""
    count = drawn(part, 1).shape[1]
    base = part.base_dist if isinstance(part, torch.distributions.Independent) else part

    def quantiles(shares: Values, index: int) -> Values:
        if of_torch(base):
            return np.asarray(base.icdf(torch.tensor(shares)[:, None].expand(-1, count)))[:, index]
        return np.asarray((base.ppf if hasattr(base, "rvs") else base.icdf)(shares))

    try:
        return [described(partial(quantiles, index=index)) for index in range(count)]
    except (NotImplementedError, AttributeError):  # of torch, and of several parameters together
        return [None] * count

"""Inference matrices: a run's estimates over a grid of true parameters, and over seeds."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp.base import files, folders, formats
from qexp.base.arrays import Array
from qexp.base.machine import threads
from qexp.base.options import Counted, uncounted
from qexp.base.outputs import PERIOD, estimate_of, limits_of, outputs_among
from qexp.base.quantities import Quantities, Quantity, in_words, nearest, quantity, with_periods
from qexp.base.seeds import Seeds
from qexp.base.workspace import Workspace
from qexp.errors import QexpError, suggestion
from qexp.figures.canvas import draws_at_once
from qexp.figures.writing import save
from qexp.inference.refinement import (
    MOST_CELLS,
    Bounds,
    Constants,
    Grid,
    MatrixAxis,
    Refinement,
    axes_of,
    bounds_of_cells,
    cells_of,
    check_axis,
    possible_cells,
    values_at,
)
from qexp.kinds import azimuths
from qexp.kinds.ensembles import require_seeds, stem
from qexp.kinds.experiments import SpecCache, open_dataset
from qexp.kinds.images.experiment import generated_of, require_variables_of
from qexp.kinds.matrix_figures import absolute_errors, matrix_of, numbers_of
from qexp.kinds.networks import load_model
from qexp.kinds.objects import data_kind, device_of, threads_to_predict
from qexp.kinds.options import MatrixOptions
from qexp.kinds.tables import tables_of
from qexp.simulation.dataset import GeneratedDataset
from qexp.simulation.mixture import Mixture
from qexp.spec.reading import digest
from qexp.store.directory import MATRIX, MATRIX_RECORD, RunDirectory
from qexp.store.provenance import fingerprint
from qexp.store.record import IN_NAMES, NAME, now
from qexp.trust.detection import class_variables, member_of

if TYPE_CHECKING:
    import torch
    import xarray

    from qexp.networks.estimator import Estimator


REFINED = "_refined"
"""End of the name of an output's estimate by least squares that starts at the network's."""

SEEN, SIGNAL = "seen", "signal_to_noise"


@dataclass(frozen=True)
class Estimated:
    """An output in all cells."""

    truth: Array
    """(cell,)"""
    network: Array
    """(repeat, cell): the network's estimates; NaN in cells that are not possible."""
    refined: Array | None = None
    """(repeat, cell): the same, refined by least squares."""


def matrix_table(
    estimates: Mapping[str, Estimated],
    grid: Grid,
    directory: RunDirectory,
    record: Mapping[str, Any],
    quantities: Quantities,
    bounds: Bounds | None,
) -> xarray.Dataset:
    """One variable per output and kind of value, over the axes.

    record  of the matrix
    Estimates of an angle that repeats, such as a strike, are moved by whole periods to the nearest
    of the true value.
    """
    import xarray

    limits = limits_of(directory.spec())
    dimensions = [axis.variable for axis in grid]
    shape = [axis.cells for axis in grid]
    coordinates = {}
    for axis in grid:
        described = quantity(axis.variable, quantities)
        words = f"true {in_words(axis.variable)}"
        attributes = {"long_name": words, "units": described.unit, "comment": described.description}
        coordinates[axis.variable] = axis.variable, axis.centres, attributes
    variables: dict[str, Any] = {}
    for name, output in estimates.items():
        described = quantity(name, quantities)
        for kind, (values, attributes) in _kinds(name, output.truth, output.network, described):
            if name in limits and kind in ("estimate", "mean"):
                attributes["limits"] = str(limits[name])
            variables[f"{name}_{kind}"] = (dimensions, values.reshape(shape), attributes)
        if output.refined is None:
            continue
        for kind, (values, attributes) in _kinds(name, output.truth, output.refined, described):
            attributes["long_name"] = f"refined by least squares: {attributes['long_name']}"
            end = REFINED if kind == "estimate" else f"{REFINED}_{kind}"
            variables[f"{name}{end}"] = (dimensions, values.reshape(shape), attributes)
    about: dict[str, Any] = {
        "Conventions": "CF-1.10",
        "title": f"inference matrix of the run {record['run']} on the dataset {record['dataset']}",
        **{key: record[key] for key in ("run", "dataset", "repeats", "seed")},
        **{f"fixed_{name}": number for name, number in record["fixed"].items()},
    }
    matrix = xarray.Dataset(variables, coordinates, about)
    return matrix if bounds is None else matrix.assign(_of_bounds(matrix, bounds, dimensions))


def _kinds(
    name: str, truth: Array, estimates: Array, described: Quantity
) -> Iterator[tuple[str, tuple[Array, dict[str, Any]]]]:
    """Kinds of value, the values of an output in each cell, and its attributes.

    truth      (cell,)
    estimates  (repeat, cell)
    """
    unit = described.unit
    period = described.period
    values = nearest(estimates, truth, period)
    mean = values.mean(0)
    errors = values - truth
    repeats = f"over {len(estimates)} noise realisations"
    error = "error" if len(estimates) == 1 else f"mean error {repeats}"
    kinds = {
        "estimate": (mean, "estimate of ", unit),
        "error": (mean - truth, f"{error} of ", unit),
    }
    if period is not None:
        relative = (mean - truth) / (period / 2)
        kinds["relative_error"] = relative, f"{error} over half a period of ", "1"
    elif described.natural_zero:  # not such as of a position
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = (mean - truth) / np.abs(truth)
        kinds["relative_error"] = relative, f"{error} over true value of ", "1"
    if len(estimates) > 1:
        absolute = np.abs(errors).mean(0)
        deviation = values.std(0, ddof=1)
        words = f"standard deviation {repeats} of the estimate of "
        kinds |= {
            "absolute_error": (absolute, f"mean absolute error {repeats} of ", unit),
            "mean": (mean, f"mean {repeats} of the estimate of ", unit),
            "bias": (errors.mean(0), f"{error} of ", unit),
            "standard_deviation": (deviation, words, unit),
        }
    for kind, (numbers, words, its_unit) in kinds.items():
        about: dict[str, Any] = {
            "long_name": words + in_words(name),
            "units": its_unit,
            "comment": described.description,
        }
        yield kind, (numbers, about if period is None else about | {PERIOD: period})


def _of_bounds(table: xarray.Dataset, bounds: Bounds, axes: Sequence[str]) -> dict[str, Any]:
    """The Cramér–Rao bound of each output, and deviations over it where the source is seen."""
    shape = tuple(table.sizes[name] for name in axes)
    visible = bounds.seen.reshape(shape)
    signal = bounds.signal.reshape(shape)
    shown = {"long_name": "1 where the data show the source", "units": "1"}
    variables: dict[str, Any] = {
        SIGNAL: (axes, signal, {"long_name": "signal-to-noise ratio", "units": "1"}),
        SEEN: (axes, visible, shown),
    }
    for name, deviations in bounds.deviations.items():
        least = deviations.reshape(shape)
        about = table[estimate_of(name)].attrs
        bound = "Cramér–Rao bound on the standard deviation of"
        words = about["long_name"].replace("estimate of", bound)
        variables[f"{name}_bound"] = (axes, least, {"long_name": words, "units": about["units"]})
        for start in ("", REFINED.removeprefix("_") + "_"):
            spread = f"{name}_{start}standard_deviation"
            if spread not in table:
                continue
            usable = (visible == 1) & np.isfinite(least)
            ratio = np.where(usable, table[spread].values / least, np.nan)
            words = table[spread].attrs["long_name"]
            words += ", over its bound; where the data show the source"
            variables[f"{name}_{start}over_bound"] = (
                axes,
                ratio,
                {"long_name": words, "units": "1"},
            )
    return variables


# A matrix in a few numbers, for its record and for the terminal.


def summary(table: xarray.Dataset, outputs: Sequence[str]) -> dict[str, Any]:
    """Mean and median of the absolute errors of outputs, refined too, and of ratios to the bound.

    An error of a cell is the mean of the absolute errors over noise realisations.
    """
    numbers: dict[str, Any] = {}
    for end in ("", REFINED):
        there = [name for name in outputs if f"{name}{end}_error" in table]
        errors = {name: absolute_errors(table, f"{name}{end}") for name in there}
        for word, average in (("mean", np.nanmean), ("median", np.nanmedian)):
            if errors:
                key = f"{end}_{word}_absolute_error".removeprefix("_")
                numbers[key] = {name: float(average(values)) for name, values in errors.items()}
    if SEEN in table:
        numbers["unseen"] = int((table[SEEN] == 0).sum())
        for kind in ("over_bound", "refined_over_bound"):
            there = [name for name in outputs if f"{name}_{kind}" in table]
            ratios = {name: table[f"{name}_{kind}"].values for name in there}
            if any(np.isfinite(ratio).any() for ratio in ratios.values()):
                medians = {name: float(np.nanmedian(ratio)) for name, ratio in ratios.items()}
                numbers[f"median_{kind}"] = medians
    return numbers


# Matrices in the folder of a run: under a name each, written as drafts, replaced only on request.

SETTINGS = {
    "dataset": "dataset",
    "axes": "axes",
    "fixed": "fixed values",
    "repeats": "repeats",
    "seed": "seed",
    "refined": "`refine`",
    "bound": "`bound`",
    "of_class": "`true_class`, `false_alarms` or `exact`",
}
"""Key of a matrix' record → how a message calls it."""


def matrix_exists(folder: Path, record: Mapping[str, Any]) -> bool:
    """Whether a folder holds the matrix of a record. Raises QexpError if it holds another one."""
    try:
        earlier = formats.read_json(folder / MATRIX_RECORD)
    except FileNotFoundError:
        return False
    if earlier.get("digest") == record["digest"]:
        return (folder / MATRIX).is_file()
    words = []
    for key, word in SETTINGS.items():
        if key in earlier and earlier[key] != record.get(key):
            words.append(word)
    if words:
        difference = f"with other settings ({', '.join(words)})"
    elif "digest" not in earlier:
        difference = "of an earlier version of qexp, which did not record all that it was made from"
    else:
        difference = "of other data or other weights"
    raise QexpError(
        f"{record['run']} has a matrix '{folder.name}' {difference}; choose another `name`, or"
        " replace it with `force=True`"
    )


def store_matrix(
    folder: Path, table: xarray.Dataset, record: Mapping[str, Any], force: bool, npy: bool = False
) -> bool:
    """Write a matrix in a draft, and name it; False if another process has stored the same one.

    npy  whether VDI's arrays are written, too
    Raises QexpError if there is another matrix of that name, unless it is to be replaced.
    """
    files.make_folder(folder.parent)
    folders.clear(folder)
    with files.writing(folder), folders.drafted(folder) as draft:
        formats.write_netcdf(draft / MATRIX, table)
        formats.write_json(draft / MATRIX_RECORD, record)
        _complete(draft, npy)
        return folders.put_unless(
            lambda: not force and matrix_exists(folder, record), draft, folder
        )


VDI_NAMES = {"estimate": "matrix", "error": "dif_matrix", "relative_error": "dif_n_matrix"}
"""Kind of value → end of the name of VDI's array; the last only where zero is no convention."""

VDI_AXES = {"depth": (0.0, 4.0, 128), "delta_volume": (0.0, 4.0, 128)}
"""Variable → low [km, 10⁶ m³], high, cells: the matrix that Volcano Deep Estimator always makes."""


def _name(dataset: str, options: MatrixOptions) -> str:
    name = options.name or "_".join(filter(None, [dataset, options.true_class]))
    if not NAME.fullmatch(name):
        raise QexpError(
            f"{name!r} is not a valid name for a matrix; choose another with `name`: {IN_NAMES}"
        )
    return name


def matrix(
    directory: RunDirectory, workspace: Workspace, options: MatrixOptions
) -> tuple[Path, bool]:
    """Estimate every cell of a grid of true values, and write matrix.nc and matrix.png into the
    run.

    Returns the folder `matrices/<name>` of the run, and False if the same matrix existed already.
    Raises QexpError.
    """
    draws_at_once()  # a wrong setting is refused before anything is made
    axes = axes_of(options.axes, "axes")
    torch_device = device_of(options.device)
    model = load_model(directory, torch_device)
    tables = tables_of(directory)
    spec = directory.training_spec()
    turned = ""
    dataset_name = directory.record().dataset
    document = spec["dataset"]
    if options.dataset is not None:
        dataset_name, document, _ = open_dataset(options.dataset, SpecCache(tables, workspace))
        document, turned = azimuths.as_trained(document, directory.record())
    folder = directory.matrices / _name(dataset_name, options)
    every = generated_of(document, tables, workspace)
    called = f"the dataset '{dataset_name}'"
    require_variables_of(spec, every, tables, directory.name, called)
    source = member_of(every, options.true_class)
    grid = axes or matrix_axes(document, dataset_name)
    outputs = [name for name in model.network.outputs if name in source.variables]
    constants = constant_values(source, grid, dict(options.fixed))
    record = _question(directory, dataset_name, grid, constants, options)
    pinned = data_kind(document).pinned(document, source, workspace)
    record["digest"] = _digest(directory, pinned, record)
    if not options.force and matrix_exists(folder, record):
        return _complete(folder, options.npy), False
    likelihood = (
        Refinement(source, grid, constants, outputs) if options.refine or options.bound else None
    )
    refinement = likelihood if options.refine else None
    with threads(threads_to_predict(spec, tables, torch_device)):
        seeds = Seeds(options.seed)
        least = None
        if likelihood and options.bound:
            least = bounds_of_cells(likelihood, seeds.torch(torch_device, "matrix", 0))
        estimates = estimate_cells(
            model,
            source,
            grid,
            constants,
            options.repeats,
            seeds,
            torch_device,
            refinement,
            options.on_refined,
        )
        of_classes = dict[str, Any]()
        if isinstance(every, Mixture) and every.variable in model.network.outputs:
            right, of_classes = class_variables(every, grid, constants, model, spec, options)
            estimates[every.variable] = Estimated(np.ones(cells_of(grid)), right)
    record |= _left_out(estimates, source, grid, constants) | _of_refinement(refinement, estimates)
    quantities = with_periods(source.quantities, model.periods)
    table = matrix_table(estimates, grid, directory, record, quantities, least).assign(of_classes)
    trained = member_of(generated_of(spec["dataset"], tables, workspace), options.true_class)
    record |= summary(table, [*estimates]) | _for_figure(
        source, trained, [*record["axes"], *estimates], constants
    )
    made = [] if source.model is None else [source.model.in_words()]
    warnings = [*made, *_outside(trained, grid, constants, record["units"])]
    record |= {"remark": turned, "warnings": warnings}
    return folder, store_matrix(folder, table, record, options.force, options.npy)


def _question(
    directory: RunDirectory,
    dataset: str,
    grid: Grid,
    constants: Constants,
    options: MatrixOptions,
) -> dict[str, Any]:
    """What is asked of the run, for the record of the matrix."""
    of_class = [options.true_class, options.false_alarms, options.exact]
    return {
        "run": directory.name,
        "dataset": dataset,
        "created": now(),
        "axes": {axis.variable: [axis.low, axis.high, axis.cells] for axis in grid},
        "fixed": dict(constants),
        "repeats": options.repeats,
        "seed": options.seed,
        "refined": options.refine,
        "bound": options.bound,
        **({"of_class": of_class} if options.true_class else {}),
    }


def _digest(directory: RunDirectory, document: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """Of all that a matrix depends on: the run's weights, the data, the cells and the settings."""
    # its axes are those of the record
    of_data = {key: value for key, value in document.items() if key != "matrix"}
    settings = {**record}
    for key in ("run", "dataset", "created"):
        settings.pop(key, None)
    weights = fingerprint(directory.best_weights).sha256
    whole = {"dataset": of_data, "settings": settings, "weights": weights}
    return digest(whole, directory.record().digest)


def _complete(folder: Path, npy: bool) -> Path:
    """Add to a matrix what it may lack: its picture, and VDI's arrays if they are asked for."""
    picture = (folder / MATRIX).with_suffix(".png")
    if draws_at_once() and not picture.exists():
        save(matrix_of(folder), picture)
    if npy:
        table = formats.read_netcdf(folder / MATRIX)
        for name, (ours, theirs) in product(outputs_among(table.data_vars), VDI_NAMES.items()):
            if f"{name}_{ours}" in table:
                content = io.BytesIO()
                # VDI's first variable varies fastest
                np.save(content, table[f"{name}_{ours}"].values.T)
                files.write_bytes(folder / f"{name}_{theirs}.npy", content.getvalue())
    return folder


def _left_out(
    estimates: Mapping[str, Estimated],
    source: GeneratedDataset,
    grid: Grid,
    constants: Constants,
) -> dict[str, Any]:
    """The number of cells that are impossible, and why, for the record; nothing if there are none.

    Raises QexpError if all are.
    """
    of_cells = next(iter(estimates.values())).network
    cells = np.flatnonzero(np.isnan(of_cells).all(axis=0))
    if not len(cells):
        return {}
    why = source.with_only_fixed(constants).why_not(values_at(grid, cells))
    if len(cells) == of_cells.shape[1]:
        raise QexpError(
            f"no cell has an estimate: {why or 'the network gives no number'}; choose other axes"
        )
    return {"left_out": len(cells), "why_left_out": why}


def _of_refinement(
    refinement: Refinement | None, estimates: Mapping[str, Estimated]
) -> dict[str, Any]:
    """For the record: images whose means of blocks were refined, and cells that show too little.

    Raises QexpError if no cell could be refined.
    """
    output = next(iter(estimates.values()))
    if refinement is None or output.refined is None:
        return {}
    entries: dict[str, Any] = {}
    if refinement.blocks:
        entries["averaged"] = {image: blocks.size for image, blocks in refinement.blocks.items()}
    if np.isnan(output.refined).all():
        raise QexpError(
            "no cell shows enough pixels to be refined; leave `refine` out, or hide fewer pixels"
        )
    lacking = np.isfinite(output.network) & np.isnan(output.refined)
    if lacking.any():
        entries["not_refined"] = int(lacking.any(axis=0).sum())
    return entries


def _for_figure(
    source: GeneratedDataset,
    trained: GeneratedDataset,
    variables: Sequence[str],
    constants: Constants,
) -> dict[str, Any]:
    """What the figure of a matrix needs besides the table: the intervals of values that the run's
    own dataset holds out for the test part, the fixed values that it has not fixed so, units, and
    names of views, if any.
    """
    held_out = {}
    given = []
    for name, shares in trained.held_out.items():
        quantile = trained.distributions[name].quantile
        held_out[name] = [quantile(np.asarray(ends)).tolist() for ends in shares]
    for name, value in constants.items():
        if name in held_out or trained.fixed.get(name, value) != value:
            given.append(name)
    units = {name: quantity(name, source.quantities).unit for name in (*variables, *given)}
    views = {"views": source.view_names} if any(source.view_names) else {}
    return {"held_out": held_out, "given": given, "units": units, **views}


SHARE_BEYOND = 1e-4
"""Share of the training data beyond each end of their range, where a distribution has none."""


def _outside(
    trained: GeneratedDataset,
    grid: Grid,
    constants: Constants,
    units: Mapping[str, str],
) -> Iterator[str]:
    """Sentences on axes and values that the run's dataset lacks, such as those in another unit."""
    every = {axis.variable: axis.centres for axis in grid}
    every |= {name: np.array([one]) for name, one in constants.items()}
    shares = np.array([0.0, SHARE_BEYOND, 1 - SHARE_BEYOND, 1.0])
    for name, values in every.items():
        if name in trained.distributions:
            ends = trained.distributions[name].quantile(shares)
            low = ends[0] if np.isfinite(ends[0]) else ends[1]
            high = ends[3] if np.isfinite(ends[3]) else ends[2]
            has = f"{low:.4g} to {high:.4g}"
        elif name in trained.fixed:
            low = high = trained.fixed[name]
            has = f"{low:g}"
        else:
            continue
        wrong = int(((values < low) | (values > high)).sum())
        if wrong:
            which = f"{wrong} of {len(values)} values of the axis {name} are"
            if name in constants:
                which = f"{name}={values[0]:g} is"
            yield f"{which} outside the training data: {has} {units.get(name, '')}".rstrip()


def matrix_axes(document: Mapping[str, Any], name: str) -> list[MatrixAxis]:
    """The axes of a dataset's `matrix`, or VDI's if it has none and their variables vary."""
    described = document.get("matrix")
    if described is None:
        if not set(VDI_AXES) <= document["varyings"].keys():
            raise QexpError(
                f"the dataset '{name}' has no 'matrix'; give axes, for example `axes={{'depth': (0,"
                " 4, 128)}`"
            )
        return [MatrixAxis(variable, *ends) for variable, ends in VDI_AXES.items()]
    cells = int(described["resolution"])
    axes = []
    for variable, (low, high) in described["axes"].items():
        axis = MatrixAxis(variable, float(low), float(high), cells)
        axes.append(check_axis(axis, f"{name} at $.matrix.axes.{variable}"))
    return axes


def constant_values(
    source: GeneratedDataset,
    grid: Grid,
    fixed: dict[str, float],
    arguments: tuple[str, str] = ("axes", "fixed"),
) -> dict[str, float]:
    """The value of every variable that is not an axis.

    arguments  that give axes and values, as errors name them
    """
    axis, fix = arguments
    on_axes = [grid_axis.variable for grid_axis in grid]
    for variable in on_axes:
        if variable not in source.variables:
            raise QexpError(
                f"`{axis}[{variable}]`: no such variable; {suggestion(variable, source.variables)}"
            )
        if on_axes.count(variable) > 1:
            raise QexpError(f"`{axis}[{variable}]` is given twice")
    for variable, number in fixed.items():
        if variable not in source.variables:
            raise QexpError(
                f"`{fix}[{variable}]`: no such variable; {suggestion(variable, source.variables)}"
            )
        if variable in on_axes:
            raise QexpError(f"`{fix}[{variable}]`: it is an axis")
        if not isinstance(number, Real):
            raise QexpError(f"`{fix}[{variable}]`: must be a number, but is {number!r}")
        violation = quantity(variable, source.quantities).violation(number)
        if violation:
            raise QexpError(f"`{fix}[{variable}]`: {violation}")
    for grid_axis in grid:
        for centre in (grid_axis.centres[0], grid_axis.centres[-1]):
            described = quantity(grid_axis.variable, source.quantities)
            violation = described.violation(float(centre))
            if violation:
                raise QexpError(
                    f"`{axis}[{grid_axis.variable}]`: {violation}, but a cell lies at {centre:g}"
                )
    constants = {name: value for name, value in source.fixed.items() if name not in on_axes} | fixed
    known = {*constants, *on_axes}
    missing = [name for name in source.variables if name not in known]
    if missing:
        values = {name: float(f"{median:.4g}") for name, median in source.medians(missing).items()}
        which = ", ".join(f"'{name}'" for name in missing)
        words = "vary but are not axes; give them values"
        if len(missing) == 1:
            words = "varies but is not an axis; give it a value"
        raise QexpError(f"{which} {words}, for example the median: `{fix}={values}`")
    cells = cells_of(grid)
    if cells > MOST_CELLS:
        raise QexpError(f"{cells:,} cells are too many; the limit is {MOST_CELLS:,}")
    return constants


def estimate_cells(
    model: Estimator,
    source: GeneratedDataset,
    grid: Grid,
    constants: Constants,
    repeats: int,
    seeds: Seeds,
    device: torch.device,
    refinement: Refinement | None = None,
    on_refined: Counted = uncounted,
) -> dict[str, Estimated]:
    """Every output that is a number, in all cells, in the order of the axes, the last fastest.

    Estimates are NaN in cells whose values are together impossible, such as of a source that breaks
    the surface.
    """
    cells = cells_of(grid)
    if cells * repeats > MOST_CELLS:
        raise QexpError(
            f"`repeats={repeats}`: {cells * repeats:,} estimates are too many; the limit is"
            f" {MOST_CELLS:,}"
        )
    outputs = [name for name in model.network.outputs if name in source.variables]
    true = {name: np.full(cells, np.nan) for name in outputs}
    estimates = {name: np.full((repeats, cells), np.nan) for name in outputs}
    refined = {}
    if refinement is not None:
        refined = {name: column.copy() for name, column in estimates.items()}
    source = source.with_only_fixed(constants)
    done = 0

    def refined_cells(count: int) -> None:
        nonlocal done
        done += count
        on_refined(done, repeats * cells)

    for repeat in range(repeats if outputs else 0):
        random = seeds.torch(device, "matrix", repeat)
        for numbers, values, impossible in possible_cells(source, grid):
            samples = source.observe(values, random)
            done += impossible
            network_estimates = {}
            for name, column in model.estimate(samples).items():
                network_estimates[name] = column[:, 0].cpu().numpy()
            for name in outputs:
                true[name][numbers] = values[name] if name in values else constants[name]
                estimates[name][repeat, numbers] = network_estimates[name]
            if refinement is not None:
                better = refinement(samples, values, network_estimates, refined_cells)
                for name, found in better.items():
                    refined[name][repeat, numbers] = found
    return {name: Estimated(true[name], estimates[name], refined.get(name)) for name in outputs}


# Matrices of runs that differ by their seed, and their mean, bias and standard deviation over the
# seeds.


MATRICES_OVER_SEEDS = Path("comparisons/matrices")
"""Folder in the workspace with a folder for each matrix over several runs."""

OF_ONE = "mean_absolute_error_of_one"
"""In the record: what to expect of one network, whose error is larger than that of their mean."""

SHARED = (
    "dataset",
    "axes",
    "fixed",
    "repeats",
    "seed",
    "refined",
    "bound",
    "held_out",
    "given",
    "units",
    "views",
    "of_class",
)
"""Keys of the record of a matrix that are those of all runs."""

LEFT_OUT = ("left_out", "why_left_out", "remark", "warnings")
"""Further ones, which not every matrix has."""


def matrices(
    directories: Sequence[RunDirectory],
    workspace: Workspace,
    make: Callable[[RunDirectory], Path],
    force: bool,
) -> tuple[Path, bool]:
    """Make a matrix of each of several runs, and write their statistics over the seeds.

    make   makes the matrix of a run, unless it exists, and returns its folder
    force  replace statistics of the same name that were made otherwise
    Returns the folder, and False if the same statistics existed already.
    Raises QexpError, before any matrix is made, for runs that are not done or differ by more than
    their seeds.
    """
    require_seeds(directories)
    folders = [make(directory) for directory in directories]
    numbers = [numbers_of(folder) for folder in folders]
    records = [record for record, _ in numbers]
    tables = [table for _, table in numbers]
    common = stem([directory.name for directory in directories])
    folder = workspace.root / MATRICES_OVER_SEEDS / f"{common}_on_{folders[0].name}"[:200]
    record = {
        "run": f"{common}, mean and standard deviation over {len(numbers)} seeds,",
        "runs": [directory.name for directory in directories],
        "seeds": [directory.record().seed for directory in directories],
        "created": now(),
        **{key: value for key, value in records[0].items() if key in (*SHARED, *LEFT_OUT)},
        "digest": digest([record["digest"] for record in records]),
    }
    if not force and matrix_exists(folder, record):
        return folder, False
    table = over_seeds(tables).assign_attrs(
        title=(
            f"inference matrices of {', '.join(record['runs'])} on the dataset {record['dataset']}"
        ),
        runs=", ".join(record["runs"]),
    )
    outputs = outputs_among(table.data_vars)
    record |= summary(table, outputs)
    record[OF_ONE] = {}
    for name in outputs:
        record[OF_ONE][name] = float(np.mean([one["mean_absolute_error"][name] for one in records]))
    return folder, store_matrix(folder, table, record, force)


def over_seeds(tables: Sequence[xarray.Dataset]) -> xarray.Dataset:
    """Per output the mean of several runs' estimates, its error, and their standard deviation.

    Estimates by least squares likewise, if all runs have them. The errors of angles that repeat are
    taken the shorter way round.
    """
    import xarray

    first = tables[0]

    def statistic(key: str, words: str, calculate: Callable[..., Any]) -> Any:
        values = np.stack([table[key].values for table in tables])
        words = f"{words} over {len(tables)} seeds, {first[key].attrs['long_name']}"
        return first[key].dims, calculate(values, axis=0), {**first[key].attrs, "long_name": words}

    variables: dict[str, Any] = {}
    for name, end in product(outputs_among(first.data_vars), ("", REFINED)):
        output = f"{name}{end}"
        estimate = output if end else estimate_of(name)
        if not all(estimate in table for table in tables):
            continue
        mean = statistic(estimate, "mean", np.mean)
        bias = statistic(f"{output}_error", "mean", np.mean)
        deviation = statistic(estimate, "standard deviation", partial(np.std, ddof=1))
        variables |= {estimate: mean, f"{output}_error": bias}
        relative = f"{output}_relative_error"
        if relative in first:
            variables[relative] = statistic(relative, "mean", np.mean)
        variables |= {f"{output}_mean": mean, f"{output}_bias": bias}
        variables[f"{output}_standard_deviation"] = deviation
    about = {key: value for key, value in first.attrs.items() if key != "run"}
    return xarray.Dataset(variables, first.coords, about)

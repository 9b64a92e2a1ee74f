"""Inference matrices: a trained model's estimates over a grid of true parameter values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp import assemble, files
from qexp.analysis.matrix import storing
from qexp.analysis.matrix.axes import LARGEST, MatrixAxis, blocks, checked, values_at
from qexp.analysis.matrix.bounds import bounds_of_cells
from qexp.analysis.matrix.refinement import Refinement
from qexp.analysis.matrix.summary import summary
from qexp.analysis.matrix.table import Estimated, matrix_table, write_npy
from qexp.analysis.trained import load_model
from qexp.did_you_mean import suggestion
from qexp.errors import QexpError
from qexp.networks.shapes import written
from qexp.quantities import quantity, with_periods
from qexp.runs.figures import draw_matrix, drawn_at_once
from qexp.runs.foreign_weights import azimuths
from qexp.runs.record.directory import MATRIX, MATRIX_RECORD, RunDirectory
from qexp.runs.record.names import NAME, now
from qexp.runs.record.provenance import fingerprint
from qexp.runs.record.trust import tables_of
from qexp.seeds import Seeds
from qexp.simulation.dataset import GeneratedDataset
from qexp.spec.digest import digest
from qexp.workspace import Workspace

if TYPE_CHECKING:
    import torch
    import xarray

    from qexp.networks.estimator import Inversion

VDI_AXES = {"depth": (0.0, 4.0, 128), "delta_volume": (0.0, 4.0, 128)}
"""Variable → low [km, 10⁶ m³], high, cells: the matrix that Volcano Deep Inversion always makes."""

Array = NDArray[np.float64]

OnRefined = Callable[[int, int], None]
"""Takes the number of cells that are refined, and of all; each realisation of the noise counts."""


def matrix(
    directory: RunDirectory,
    dataset: str,
    workspace: Workspace,
    *,
    axes: Sequence[MatrixAxis] = (),
    fixed: Mapping[str, float] | None = None,
    repeats: int = 1,
    seed: int = 0,
    device: str = "auto",
    npy: bool = False,
    refine: bool = False,
    bound: bool = False,
    name: str | None = None,
    force: bool = False,
    on_refined: OnRefined = lambda done, cells: None,
) -> tuple[Path, bool]:
    """Estimate every cell of a grid of true values, and write matrix.nc and matrix.png into the run.

    dataset  name or path of the dataset spec for the observations; its `matrix` gives the default axes
    fixed    values of variables that vary in the dataset but are not axes
    repeats  noise realisations per cell
    refine   also refine the estimates by least squares, see `Refinement`; `on_refined` is told how far that is
    bound    also compute the Cramér–Rao bound, see `bounds_of_cells`
    name     of the matrix; that of the dataset if left out
    force    replace a matrix of that name that was made otherwise
    Returns the folder `matrices/<name>` of the run, and False if the same matrix existed already.
    Raises QexpError.
    """
    _require_possible(repeats, seed)
    torch_device = assemble.device_of(device)
    model = load_model(directory, torch_device)
    tables = tables_of(directory)
    known_as, document = assemble.dataset_document(dataset, workspace, tables)
    place = directory.matrices / _require_name(name or known_as)
    document, turned = azimuths.as_trained(document, directory.record())
    source = assemble.generated_of(document, tables, workspace)
    _require_inputs(source, model, known_as)
    assemble.require_units_of(directory.training_spec(), source, tables)
    grid, outputs = list(axes) or matrix_axes(document, known_as), list(model.network.outputs)
    held = held_values(source, grid, dict(fixed or {}), outputs)
    settings = {"repeats": repeats, "seed": seed, "refined": refine, "bound": bound}
    record = _record(directory, known_as, grid, held, settings)
    record["digest"] = _digest(directory, assemble.kind_of(document).pinned(document, source, workspace), record)
    if not force and storing.exists(place, record):
        return _complete(place, npy), False
    likelihood = Refinement(source, grid, held, outputs) if refine or bound else None
    refinement = likelihood if refine else None
    with assemble.threads(assemble.threads_to_predict(directory.training_spec(), tables, torch_device)):
        seeds = Seeds(seed)
        of_first = seeds.torch(torch_device, "matrix", 0)
        least = bounds_of_cells(source, grid, held, outputs, likelihood, of_first) if likelihood and bound else None
        estimates = estimate_cells(model, source, grid, held, repeats, seeds, torch_device, refinement, on_refined)
    record |= _left_out(estimates, source, grid, held) | _of_refinement(refinement, estimates)
    quantities = with_periods(source.quantities, model.periods)
    table = matrix_table(estimates, grid, held, repeats, directory, known_as, seed, quantities, least)
    trained = assemble.generated_of(directory.training_spec()["dataset"], tables, workspace)
    record |= summary(table, outputs) | _for_figure(source, trained, [*record["axes"], *estimates], held)
    record["remark"] = turned
    return place, storing.store(place, record, force, lambda draft: _write(draft, table, record, npy))


def _write(draft: Path, table: xarray.Dataset, record: Mapping[str, Any], npy: bool) -> None:
    files.write_bytes(draft / MATRIX, bytes(table.to_netcdf(engine="h5netcdf")))
    files.write_json(draft / MATRIX_RECORD, record)
    _complete(draft, npy)


def _require_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise QexpError(f"{name!r} is not a valid name for a matrix; choose another with --name")
    return name


def _digest(directory: RunDirectory, document: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """Of all that a matrix depends on: the run's weights, the data, the cells and the settings."""
    of_data = {
        key: value for key, value in document.items() if key != "matrix"
    }  # which gives axes, and these are known
    settings = {key: value for key, value in record.items() if key not in ("run", "dataset", "created")}
    run = directory.record()
    weights = fingerprint(directory.best_weights).sha256
    return digest({"dataset": of_data, "settings": settings, "weights": weights}, run.digest)


def _complete(folder: Path, npy: bool) -> Path:
    """Add to a matrix what it may lack: its picture, and VDI's arrays if they are asked for. Returns the folder."""
    picture = (folder / MATRIX).with_suffix(".png")
    if drawn_at_once() and not picture.exists():
        draw_matrix(folder)
    if npy:
        write_npy(files.read_netcdf(folder / MATRIX), folder)
    return folder


def _require_possible(repeats: int, seed: int) -> None:
    drawn_at_once()  # a wrong setting is refused before anything is made
    if repeats < 1:
        raise QexpError(f"--repeats {repeats}: at least one")
    if seed < 0:
        raise QexpError(f"--seed {seed}: a seed is a whole number from 0 on")


def _left_out(
    estimates: Mapping[str, Estimated],
    source: GeneratedDataset,
    grid: Sequence[MatrixAxis],
    held: Mapping[str, float],
) -> dict[str, Any]:
    """The number of cells that are impossible, and why, for the record; nothing if there are none.

    Raises QexpError if all are.
    """
    of_cells = next(iter(estimates.values())).made
    cells = np.flatnonzero(np.isnan(of_cells).all(axis=0))
    if not len(cells):
        return {}
    why = source.holding(held).why_not(values_at(grid, cells))
    if len(cells) == of_cells.shape[1]:
        raise QexpError(f"no cell has an estimate: {why or 'the network gives no number'}; choose other axes")
    return {"left_out": len(cells), "why_left_out": why}


def _of_refinement(refinement: Refinement | None, estimates: Mapping[str, Estimated]) -> dict[str, Any]:
    """For the record: images of which means of blocks were refined, and how many cells show too little for it.

    Raises QexpError if no cell could be refined.
    """
    one = next(iter(estimates.values()))
    if refinement is None or one.refined is None:
        return {}
    found: dict[str, Any] = {}
    if refinement.blocks:
        found["averaged"] = {image: blocks.size for image, blocks in refinement.blocks.items()}
    if np.isnan(one.refined).all():
        raise QexpError("no cell shows enough pixels to be refined; leave --refine out, or hide fewer pixels")
    if (lacking := np.isfinite(one.made) & np.isnan(one.refined)).any():
        found["not_refined"] = int(lacking.any(axis=0).sum())
    return found


def _for_figure(
    source: GeneratedDataset, trained: GeneratedDataset, shown: Sequence[str], held: Mapping[str, float]
) -> dict[str, Any]:
    """What the figure of a matrix needs besides the table: held-out intervals, units, and names of views, if any."""
    held_out = _held_out(trained)
    named = [*shown, *(variable for variable in held if variable in held_out)]
    units = {variable: quantity(variable, source.quantities).unit for variable in named}
    views = {"views": source.view_names} if any(source.view_names) else {}
    return {"held_out": held_out, "units": units, **views}


def _held_out(trained: GeneratedDataset) -> dict[str, list[list[float]]]:
    """Variable → intervals of its values that the run's own dataset holds out for the test part; empty if none."""
    return {
        name: [trained.distributions[name].quantile(np.asarray(interval)).tolist() for interval in intervals]
        for name, intervals in trained.held_out.items()
    }


def _record(
    directory: RunDirectory,
    dataset: str,
    grid: Sequence[MatrixAxis],
    held: Mapping[str, float],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "run": directory.name,
        "dataset": dataset,
        "created": now(),
        "axes": {one.variable: [one.low, one.high, one.cells] for one in grid},
        "fixed": dict(held),
        **settings,
    }


def _require_inputs(source: GeneratedDataset, model: Inversion, name: str) -> None:
    shapes = source.shapes()
    for variable, shape in model.network.inputs.items():
        if variable not in shapes:
            raise QexpError(f"the dataset '{name}' has no '{variable}'; {suggestion(variable, shapes)}")
        if shapes[variable] != shape:
            raise QexpError(
                f"in the dataset '{name}' '{variable}' is {written(shapes[variable])}, "
                f"but the run was trained on {written(shape)}"
            )


def matrix_axes(document: Mapping[str, Any], name: str) -> list[MatrixAxis]:
    """The axes of a dataset's `matrix`, or VDI's if it has none and they vary: depth and volume change from 0 to 4."""
    described = document.get("matrix")
    if described is None:
        if not set(VDI_AXES) <= document["varyings"].keys():
            raise QexpError(f"the dataset '{name}' has no 'matrix'; give axes, for example --axis depth=0:4:128")
        return [MatrixAxis(variable, *ends) for variable, ends in VDI_AXES.items()]
    cells = int(described["resolution"])
    return [
        checked(MatrixAxis(variable, float(low), float(high), cells), f"{name} at $.matrix.axes.{variable}")
        for variable, (low, high) in described["axes"].items()
    ]


def held_values(
    source: GeneratedDataset,
    grid: Sequence[MatrixAxis],
    fixed: dict[str, float],
    outputs: list[str],
    options: tuple[str, str] = ("--axis", "--fix"),
) -> dict[str, float]:
    """The value of every variable that is not an axis.

    options  that give axes and values, as errors name them
    """
    axis, fix = options
    on_axes = [one.variable for one in grid]
    for variable in on_axes:
        if variable not in source.variables:
            raise QexpError(f"{axis} {variable}: no such variable; {suggestion(variable, source.variables)}")
        if on_axes.count(variable) > 1:
            raise QexpError(f"{axis} {variable} is given twice")
    for variable, number in fixed.items():
        if variable not in source.variables:
            raise QexpError(f"{fix} {variable}: no such variable; {suggestion(variable, source.variables)}")
        if variable in on_axes:
            raise QexpError(f"{fix} {variable}: it is an axis")
        if violation := quantity(variable, source.quantities).violation(number):
            raise QexpError(f"{fix} {variable}: {violation}")
    for one in grid:
        for centre in (one.centres[0], one.centres[-1]):
            if violation := quantity(one.variable, source.quantities).violation(float(centre)):
                raise QexpError(f"{axis} {one.variable}: {violation}, but a cell lies at {centre:g}")
    held = {name: number for name, number in source.fixed.items() if name not in on_axes} | fixed
    missing = [name for name in source.variables if name not in held and name not in on_axes]
    if missing:
        medians = {name: float(source.distributions[name].quantile(np.array([0.5]))[0]) for name in missing}
        values = " ".join(f"{fix} {name}={median + 0.0:.4g}" for name, median in medians.items())
        which = ", ".join(f"'{name}'" for name in missing)
        varies = (
            "varies but is not an axis; give it a value"
            if len(missing) == 1
            else "vary but are not axes; give them values"
        )
        raise QexpError(f"{which} {varies}, for example the median: {values}")
    cells = int(np.prod([one.cells for one in grid], dtype=np.float64))
    if cells > LARGEST:
        raise QexpError(f"{cells:,} cells are too many; the limit is {LARGEST:,}")
    return held


def estimate_cells(
    model: Inversion,
    source: GeneratedDataset,
    grid: Sequence[MatrixAxis],
    held: Mapping[str, float],
    repeats: int,
    seeds: Seeds,
    device: torch.device,
    refinement: Refinement | None = None,
    on_refined: OnRefined = lambda done, cells: None,
) -> dict[str, Estimated]:
    """Every output in all cells, in the order of the axes, the last fastest.

    Estimates are NaN in cells whose values are together impossible, such as of a source that breaks the surface.
    """
    shape = tuple(one.cells for one in grid)
    cells = int(np.prod(shape))
    if cells * repeats > LARGEST:
        raise QexpError(f"--repeats {repeats}: {cells * repeats:,} estimates are too many; the limit is {LARGEST:,}")
    outputs = model.network.outputs
    true = {name: np.empty(cells) for name in outputs}
    estimates = {name: np.full((repeats, cells), np.nan) for name in outputs}
    refined = {} if refinement is None else {name: of.copy() for name, of in estimates.items()}
    source = source.holding(held)
    done = 0

    def refined_cells(count: int) -> None:
        nonlocal done
        done += count
        on_refined(done, repeats * cells)

    for repeat in range(repeats):
        random = seeds.torch(device, "matrix", repeat)
        for block in blocks(cells):
            values = values_at(grid, block)
            for name in outputs:
                true[name][block] = values[name] if name in values else held[name]
            possible = source.possible(values, len(block))
            done += int((~possible).sum())
            if not possible.any():
                continue
            simulated = {name: of[possible] for name, of in values.items()}
            samples = source.observe(simulated, random)
            made = {name: of[:, 0].cpu().numpy() for name, of in model.estimate(samples).items()}
            for name in outputs:
                estimates[name][repeat, block[possible]] = made[name]
            if refinement is not None:
                for name, better in refinement(samples, simulated, made, refined_cells).items():
                    refined[name][repeat, block[possible]] = better
    return {name: Estimated(true[name], estimates[name], refined.get(name)) for name in outputs}

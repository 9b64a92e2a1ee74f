"""Inference matrices: a trained model's estimates over a grid of true parameter values."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp import assemble, files
from qexp.analysis.predict import load_model
from qexp.datasets.generated import GeneratedDataset
from qexp.errors import QexpError
from qexp.models.shapes import written
from qexp.quantities import quantity
from qexp.runs.directory import RunDirectory
from qexp.runs.prepare import now, require_name
from qexp.seeds import Seeds
from qexp.tables import Tables, suggestion
from qexp.workspace import Workspace

if TYPE_CHECKING:
    import torch
    import xarray

    from qexp.models.inversion import Inversion

BLOCK = 1024
"""Cells simulated and estimated at a time."""

LARGEST = 50_000_000
"""More cells than this are a mistake rather than a wish."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """Cells of equal width from `low` to `high`; the true values are their centres."""

    variable: str
    low: float
    high: float
    cells: int

    @property
    def centres(self) -> Array:
        return self.low + (np.arange(self.cells) + 0.5) * (self.high - self.low) / self.cells


def axis(text: str) -> Axis:
    """Read `depth=0:4:128`."""
    match = re.fullmatch(r"(?P<variable>[A-Za-z_]\w*)=(?P<low>[^:]+):(?P<high>[^:]+):(?P<cells>\d+)", text)
    try:
        if match is None:
            raise ValueError
        made = Axis(match["variable"], float(match["low"]), float(match["high"]), int(match["cells"]))
    except ValueError:
        raise QexpError(f"--axis {text}: write variable=low:high:cells, for example depth=0:4:128") from None
    return _checked(made, f"--axis {text}")


def value(text: str) -> tuple[str, float]:
    """Read `x=0.5`."""
    name, _, number = text.partition("=")
    try:
        made = float(number)
        if not np.isfinite(made):
            raise ValueError
    except ValueError:
        raise QexpError(f"--fix {text}: write variable=number, for example x=0") from None
    return name, made


def _checked(one: Axis, source: str) -> Axis:
    if not (np.isfinite(one.low) and np.isfinite(one.high)) or not one.low < one.high:
        raise QexpError(f"{source}: the axis must rise, but goes from {one.low:g} to {one.high:g}")
    if one.cells < 1:
        raise QexpError(f"{source}: an axis needs at least one cell")
    if one.cells > LARGEST:
        raise QexpError(f"{source}: {one.cells:,} cells are too many; at most {LARGEST:,}")
    return one


def matrix(
    directory: RunDirectory,
    dataset: str,
    workspace: Workspace,
    *,
    axes: Sequence[Axis] = (),
    fixed: Mapping[str, float] | None = None,
    repeats: int = 1,
    seed: int = 0,
    device: str = "auto",
    npy: bool = False,
) -> Path:
    """Estimate every cell of a grid of true values, and write matrix.nc and matrix.png into the run.

    dataset  name or path of the dataset spec that says how the observations are made; its `matrix` gives the axes
             where none are given
    fixed    values of variables that vary in the dataset but are no axis
    repeats  noise realisations per cell
    Returns the folder `matrices/<dataset>` of the run.
    """
    if repeats < 1:
        raise QexpError(f"--repeats {repeats}: at least one")
    if seed < 0:
        raise QexpError(f"--seed {seed}: a seed is a whole number from 0 on")
    torch_device = assemble.device_of(device)
    model = load_model(directory, torch_device)
    tables = assemble.tables_with(directory.extensions)
    name, document = assemble.dataset_document(dataset, workspace, tables)
    require_name(name)
    source = assemble.dataset_of(document, tables)
    _require_inputs(source, model, name)
    grid = list(axes) or axes_of(document, name)
    held = held_values(source, grid, dict(fixed or {}), list(model.network.outputs))
    estimates = estimate_cells(model, source, grid, held, repeats, Seeds(seed), torch_device)
    table = _table(estimates, grid, held, repeats, directory, name, seed)

    folder = directory.matrices / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise QexpError(f"cannot write to {folder}: {error.strerror}") from error
    files.write_bytes(folder / "matrix.nc", bytes(table.to_netcdf(engine="h5netcdf")))
    _draw(table, grid, directory, folder / "matrix.png", tables)
    if npy:
        _write_npy(table, folder)
    files.write_json(
        folder / "record.json",
        {
            "run": directory.name,
            "dataset": name,
            "created": now(),
            "axes": {one.variable: [one.low, one.high, one.cells] for one in grid},
            "fixed": held,
            "repeats": repeats,
            "seed": seed,
            "mean_absolute_error": {
                output: float(np.nanmean(np.abs(table[f"{output}_error"].values))) for output in estimates
            },
            "units": {variable: quantity(variable).unit for variable in [one.variable for one in grid] + [*estimates]},
        },
    )
    os.utime(directory.matrices)  # so that the catalog sees a matrix that was made anew, too
    return folder


def _require_inputs(source: GeneratedDataset, model: Inversion, name: str) -> None:
    shapes = source.shapes()
    for variable, shape in model.network.inputs.items():
        if variable not in shapes:
            raise QexpError(f"the dataset '{name}' makes no '{variable}'; {suggestion(variable, shapes)}")
        if shapes[variable] != shape:
            raise QexpError(
                f"the dataset '{name}' makes '{variable}' of {written(shapes[variable])}, "
                f"but the run was trained on {written(shape)}"
            )


def axes_of(document: Mapping[str, Any], name: str) -> list[Axis]:
    described = document.get("matrix")
    if described is None:
        raise QexpError(f"the dataset '{name}' has no 'matrix'; give axes, for example --axis depth=0:4:128")
    cells = int(described["resolution"])
    return [
        _checked(Axis(variable, float(low), float(high), cells), f"{name} at $.matrix.axes.{variable}")
        for variable, (low, high) in described["axes"].items()
    ]


def held_values(
    source: GeneratedDataset, grid: Sequence[Axis], fixed: dict[str, float], outputs: list[str]
) -> dict[str, float]:
    """The value of every variable that is no axis."""
    on_axes = [one.variable for one in grid]
    for variable in on_axes:
        if variable not in source.variables:
            raise QexpError(f"--axis {variable}: no such variable; {suggestion(variable, source.variables)}")
        if on_axes.count(variable) > 1:
            raise QexpError(f"--axis {variable} is given twice")
    for variable, number in fixed.items():
        if variable not in source.variables:
            raise QexpError(f"--fix {variable}: no such variable; {suggestion(variable, source.variables)}")
        if variable in on_axes:
            raise QexpError(f"--fix {variable}: it is an axis")
        if violation := quantity(variable).violation(number):
            raise QexpError(f"--fix {variable}: {violation}")
    for one in grid:
        for centre in (one.centres[0], one.centres[-1]):
            if violation := quantity(one.variable).violation(float(centre)):
                raise QexpError(f"--axis {one.variable}: {violation}, but a cell lies at {centre:g}")
    held = {name: number for name, number in source.fixed.items() if name not in on_axes} | fixed
    missing = [name for name in source.variables if name not in held and name not in on_axes]
    if missing:
        raise QexpError(f"'{missing[0]}' varies and is no axis; give it a value: --fix {missing[0]}=0")
    cells = int(np.prod([one.cells for one in grid], dtype=np.float64))
    if cells > LARGEST:
        raise QexpError(f"{cells:,} cells are too many; at most {LARGEST:,}")
    return held


def estimate_cells(
    model: Inversion,
    source: GeneratedDataset,
    grid: Sequence[Axis],
    held: Mapping[str, float],
    repeats: int,
    seeds: Seeds,
    device: torch.device,
) -> dict[str, tuple[Array, Array]]:
    """output → true values (cell,) and estimates (repeat, cell), cells in the order of the axes, the last fastest."""
    shape = tuple(one.cells for one in grid)
    cells = int(np.prod(shape))
    outputs = model.network.outputs
    true = {name: np.empty(cells) for name in outputs}
    estimates = {name: np.empty((repeats, cells)) for name in outputs}
    source = GeneratedDataset(
        source.generator, (source.height, source.width), held, {}, source.distributions, source.noise
    )
    for repeat in range(repeats):
        random = seeds.torch(device, "matrix", repeat)
        for start in range(0, cells, BLOCK):
            block = slice(start, min(start + BLOCK, cells))
            indices = np.unravel_index(np.arange(block.start, block.stop), shape)
            values = {one.variable: one.centres[index] for one, index in zip(grid, indices, strict=True)}
            samples = source.observe(values, random)
            made = model.estimate(samples, BLOCK)
            for name in outputs:
                estimates[name][repeat, block] = made[name][:, 0].cpu().numpy()
                true[name][block] = values[name] if name in values else held[name]
    return {name: (true[name], estimates[name]) for name in outputs}


def _table(
    estimates: Mapping[str, tuple[Array, Array]],
    grid: Sequence[Axis],
    held: Mapping[str, float],
    repeats: int,
    directory: RunDirectory,
    dataset: str,
    seed: int,
) -> xarray.Dataset:
    """One variable per output and kind of value, over the axes."""
    import xarray

    dimensions = [one.variable for one in grid]
    shape = [one.cells for one in grid]
    coordinates = {
        one.variable: (one.variable, one.centres, _attributes(one.variable, "true value of: ")) for one in grid
    }
    variables: dict[str, Any] = {}
    for name, (truth, made) in estimates.items():
        mean = made.mean(0)
        errors = made - truth
        with np.errstate(divide="ignore", invalid="ignore"):
            kinds = {
                "estimate": (mean, "estimate of: ", quantity(name).unit),
                "error": (mean - truth, "estimate minus true value of: ", quantity(name).unit),
                "relative_error": ((mean - truth) / np.abs(truth), "error over true value of: ", "1"),
            }
            if repeats > 1:
                kinds |= {
                    "mean": (mean, "mean over noise realisations of the estimate of: ", quantity(name).unit),
                    "bias": (errors.mean(0), "mean error over noise realisations of: ", quantity(name).unit),
                    "standard_deviation": (
                        made.std(0, ddof=1),
                        "standard deviation over noise realisations of the estimate of: ",
                        quantity(name).unit,
                    ),
                }
        for kind, (values, words, unit) in kinds.items():
            attributes = {"long_name": words + quantity(name).description, "units": unit}
            variables[f"{name}_{kind}"] = (dimensions, values.reshape(shape), attributes)
    about: dict[str, Any] = {
        "Conventions": "CF-1.10",
        "title": f"inference matrix of the run {directory.name} on the dataset {dataset}",
        "run": directory.name,
        "dataset": dataset,
        "repeats": repeats,
        "seed": seed,
        **{f"fixed_{name}": number for name, number in held.items()},
    }
    return xarray.Dataset(variables, coordinates, about)


def _attributes(variable: str, words: str = "") -> dict[str, str]:
    return {"long_name": words + quantity(variable).description, "units": quantity(variable).unit}


def _draw(table: xarray.Dataset, grid: Sequence[Axis], directory: RunDirectory, path: Path, tables: Tables) -> None:
    from qexp.figures.matrix import Panels, draw

    # More than two axes: the picture shows the middle of the others, the file has all.
    middle = {one.variable: one.cells // 2 for one in grid[2:]}
    shown = table.isel(middle)
    trained = assemble.dataset_of(directory.spec()["dataset"], tables)
    held_out = {
        name: [tuple(trained.distributions[name].quantile(np.asarray(interval))) for interval in intervals]
        for name, intervals in trained.test.items()
    }
    panels = {
        output: Panels(
            shown[f"{output}_estimate"].values,
            shown[f"{output}_error"].values,
            shown[f"{output}_relative_error"].values,
            shown[f"{output}_standard_deviation"].values if f"{output}_standard_deviation" in shown else None,
        )
        for output in _outputs(table)
    }
    axes = [(one.variable, one.centres, (one.low, one.high)) for one in grid[:2]]
    where = ", ".join(f"{one.variable} {one.centres[middle[one.variable]]:.3g}" for one in grid[2:])
    title = f"{directory.name} on {table.attrs['dataset']}" + (f" at {where}" if where else "")
    draw(panels, axes, held_out, title, path)


def _outputs(table: xarray.Dataset) -> list[str]:
    return [str(name).removesuffix("_estimate") for name in table.data_vars if str(name).endswith("_estimate")]


VDI_NAMES = {"estimate": "matrix", "error": "dif_matrix", "relative_error": "dif_n_matrix"}


def _write_npy(table: xarray.Dataset, folder: Path) -> None:
    """VDI's three arrays per output; its first variable runs fastest, so its axes are ours in reverse."""
    for output in _outputs(table):
        for ours, theirs in VDI_NAMES.items():
            content = io.BytesIO()
            np.save(content, table[f"{output}_{ours}"].values.T)
            files.write_bytes(folder / f"{output}_{theirs}.npy", content.getvalue())

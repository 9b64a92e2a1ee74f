"""What `import qexp` offers, and what the commands call: a notebook can do all that the shell can."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexp import workspace as workspaces

if TYPE_CHECKING:
    import numpy as np
    import xarray
    from numpy.typing import ArrayLike, NDArray

    from qexp.analysis.predict import Predictor
    from qexp.runs.directory import RunDirectory
    from qexp.runs.execute import Display


class Run:
    """A run: its record, its metrics, and its model ready to predict."""

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory

    def __repr__(self) -> str:
        return f"<run {self.name}: {self.state}>"

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def path(self) -> Path:
        return self.directory.path

    @property
    def record(self) -> dict[str, Any]:
        """All that `qexp show RUN --json` shows; the state is the one of this moment."""
        from qexp.runs.waiting import Watch

        record = self.directory.record()
        state = Watch().state(self.directory)
        return {**record, "state": state, "path": str(self.path), "matrices": self.directory.matrix_names()}

    @property
    def state(self) -> str:
        state: str = self.record["state"]
        return state

    @property
    def spec(self) -> dict[str, Any]:
        """The resolved experience, with its dataset and model."""
        return self.directory.spec()

    @property
    def results(self) -> dict[str, dict[str, dict[str, float]]]:
        """part → output → metric → value, in the output's unit."""
        results: dict[str, dict[str, dict[str, float]]] = self.record["results"]
        return results

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """A line per epoch."""
        return self.directory.metrics()

    def matrix(self, dataset: str) -> xarray.Dataset:
        """A matrix that was made of this run."""
        import xarray

        return xarray.load_dataset(self.directory.matrices / dataset / "matrix.nc", engine="h5netcdf")

    def predict(self, **inputs: ArrayLike) -> dict[str, NDArray[np.float32]]:
        """Estimates from observations, both in their own units: `run.predict(displacement=images)["depth"]`.

        inputs   variable → (sample, height, width), or (height, width) for a single one, which gives scalars
        returns  output → (sample,)
        Raises QexpError for a missing input or one of another shape.
        """
        return self._predictor.predict(inputs)

    @cached_property
    def _predictor(self) -> Predictor:
        from qexp.analysis.predict import Predictor

        return Predictor(self.directory)


def run(
    experience: str | Path,
    *,
    seed: int = 0,
    overrides: Iterable[str] | Mapping[str, Any] = (),
    name: str | None = None,
    pretrain: str | None = None,
    storage_path: str | Path | None = None,
    resume: bool = False,
    device: str = "auto",
    workspace: str | Path | None = None,
    display: Display | None = None,
) -> Run:
    """Train an experience with one seed, here and now; a run that is done already is returned as it is.

    overrides  `{"epochs": 5}` or `["epochs=5"]`, like `--set`
    Raises QexpError: SpecError for a wrong spec, RunFailedError, InterruptedRunError.
    """
    from qexp.runs.start import start

    directory, _ = start(
        str(experience),
        workspaces.find(workspace),
        seed=seed,
        overrides=_texts(overrides),
        name=name,
        pretrain=pretrain,
        storage=Path(storage_path) if storage_path is not None else None,
        resume=resume,
        device=device,
        display=display,
    )
    return Run(directory)


def matrix(
    run: Run | str,
    dataset: str,
    *,
    axes: Mapping[str, tuple[float, float, int]] | None = None,
    fixed: Mapping[str, float] | None = None,
    repeats: int = 1,
    seed: int = 0,
    device: str = "auto",
    npy: bool = False,
    workspace: str | Path | None = None,
) -> xarray.Dataset:
    """Estimate every cell of a grid of true values; see `qexp matrix`.

    axes     variable → (low, high, cells); the dataset's own if left out
    returns  the matrix, which the run keeps, too
    """
    import xarray

    from qexp.analysis.axes import Axis
    from qexp.analysis.matrix import matrix as make
    from qexp.runs.catalog import Catalog

    place = workspaces.find(workspace)
    directory = run.directory if isinstance(run, Run) else Catalog(place).find(run)
    grid: Sequence[Axis] = [Axis(name, *of_axis) for name, of_axis in (axes or {}).items()]
    folder = make(directory, dataset, place, axes=grid, fixed=fixed, repeats=repeats, seed=seed, device=device, npy=npy)
    return xarray.load_dataset(folder / "matrix.nc", engine="h5netcdf")


def runs(
    where: str | None = None, *, status: str | None = None, workspace: str | Path | None = None
) -> list[dict[str, Any]]:
    """Summaries of the runs, by name: all, or those for which an expression holds, such as `"seed < 5"`."""
    from qexp.runs.catalog import Catalog
    from qexp.runs.select import select

    return select(Catalog(workspaces.find(workspace)).runs(), where=where, status=status)


def open_run(reference: str, *, workspace: str | Path | None = None) -> Run:
    """A run by its name, a unique prefix of it, or a path. Raises NotFoundError."""
    from qexp.runs.catalog import Catalog

    return Run(Catalog(workspaces.find(workspace)).find(reference))


def _texts(overrides: Iterable[str] | Mapping[str, Any]) -> list[str]:
    import json

    if isinstance(overrides, Mapping):
        return [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
    return list(overrides)

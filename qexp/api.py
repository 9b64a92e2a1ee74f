"""What `import qexp` offers, and what the commands call: a notebook can do all that the shell can."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexp import workspace as workspaces

if TYPE_CHECKING:
    import numpy as np
    import xarray
    from numpy.typing import ArrayLike, NDArray

    from qexp.analysis.comparison.compare import Comparison
    from qexp.analysis.comparison.seed_comparison import SeedComparison
    from qexp.analysis.prediction.files import Prediction
    from qexp.analysis.prediction.predictor import Predictor
    from qexp.analysis.studies import Study
    from qexp.runs.display import Display
    from qexp.runs.launch.local import Watcher
    from qexp.runs.record.directory import RunDirectory
    from qexp.runs.upkeep.finding import Finding
    from qexp.runs.upkeep.purging import Purged
    from qexp.runs.upkeep.verify import Verification


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
        from qexp.runs.state.waiting import Watch

        record = self.directory.record().document()
        state = Watch().state(self.directory).value
        return {**record, "state": state, "path": str(self.path), "matrices": self.directory.matrix_names()}

    @property
    def state(self) -> str:
        from qexp.runs.state.waiting import Watch

        self.directory.record()  # says what is wrong, where it is gone or damaged
        return Watch().state(self.directory).value

    @property
    def spec(self) -> dict[str, Any]:
        """The resolved experience, with its dataset and model."""
        return self.directory.spec()

    @property
    def results(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """part → output → metric → value, in the output's unit."""
        results: dict[str, dict[str, dict[str, float | None]]] = self.directory.record().document()["results"]
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

    def wait(self, timeout: float | None = None) -> str:
        """Wait until the run has ended; returns its state. Raises QexpError after `timeout` seconds."""
        from qexp.runs.state.waiting import endings

        return next(state for _, state in endings([self.directory], timeout)).value

    def stop(self, now: bool = False) -> str:
        """Stop the run, here or on the cluster, and wait for its end; `now` kills it. Returns its state."""
        from qexp.runs.state.stopping import stop

        return stop(self.directory, now).value

    def logs(self, attempt: int | None = None) -> str:
        """The log of an attempt, the last one if left out."""
        from qexp.runs.state import logs

        return "".join(logs.read(self.directory, attempt))

    def tag(self, *add: str, remove: Iterable[str] = ()) -> list[str]:
        """Add and remove tags; returns those that the run has then."""
        from qexp.runs.record import tagging

        tagging.retag(self.path, add, remove)
        return list(self.directory.record().tags)

    def note(self, text: str | None = None) -> str:
        """Write a note on the run, an empty one to take it away; returns the note that there is then."""
        from qexp.runs.record import tagging

        if text is not None:
            tagging.annotate(self.path, text)
        return self.directory.record().note

    def verify(self, *, keep: str | Path | None = None, device: str | None = None) -> Verification:
        """Run it again, elsewhere, and see whether all is the same bit for bit; see `qexp verify`."""
        from qexp.runs.upkeep.verify import verify

        place = workspaces.Workspace(self.path.parent.parent)
        return verify(self.directory, place, keep=Path(keep) if keep is not None else None, device=device)

    def figures(
        self, formats: Sequence[str] = ("png",), *, style: str | Path | None = None, only: Collection[str] = ()
    ) -> list[Path]:
        """Draw the figures again from the run's files; returns the paths of the pictures. See `qexp figures`."""
        from qexp.runs.figures import draw

        return draw(self.directory, formats, None if style is None else Path(style), only)

    def export(self, target: str | Path) -> Path:
        """Write the run to an archive: .tar.zst, .tar.gz or .tar."""
        from qexp.runs.upkeep import archive

        archive.export(self.directory, Path(target))
        return Path(target)

    def remove(self, stop: bool = False) -> None:
        """Move the run into its workspace's trash, from which `restore` brings it back."""
        from qexp.runs.upkeep import trash

        if stop:
            self.stop()
        trash.discard([self.directory], workspaces.Workspace(self.path.parent.parent))

    @cached_property
    def _predictor(self) -> Predictor:
        from qexp.analysis.prediction.predictor import Predictor

        return Predictor(self.directory)


def run(
    experience: str | Path,
    *,
    seed: int = 0,
    overrides: Iterable[str] | Mapping[str, Any] = (),
    name: str | None = None,
    pretrain: str | None = None,
    allow_leak: bool = False,
    storage_path: str | Path | None = None,
    resume: bool = False,
    trust_code: bool = False,
    device: str = "auto",
    workspace: str | Path | None = None,
    display: Display | None = None,
) -> Run:
    """Train an experience with one seed, here and now; a run that is done already is returned as it is.

    overrides   `{"epochs": 5}` or `["epochs=5"]`, like `--set`
    pretrain    a run to start from; of which operations it gives the weights is the experience's own matter
    allow_leak  go on where spectra of the test were trained on, here or by a run that this one starts from
    trust_code  where an imported run is continued: execute the code that it brings
    Raises QexpError: SpecError for a wrong spec, RunFailedError, InterruptedRunError.
    """
    from qexp.runs.launch.start import start

    directory, _ = start(
        str(experience),
        workspaces.find(workspace),
        seed=seed,
        overrides=_texts(overrides),
        name=name,
        pretrain=pretrain,
        allow_leak=allow_leak,
        storage=Path(storage_path) if storage_path is not None else None,
        resume=resume,
        trust_code=trust_code,
        device=device,
        display=display,
    )
    return Run(directory)


def sweep(
    experiences: str | Path | Sequence[str | Path],
    *,
    seeds: str | Iterable[int] = "0",
    grid: Mapping[str, Sequence[Any]] | Iterable[str] = (),
    overrides: Iterable[str] | Mapping[str, Any] = (),
    pretrain: str | None = None,
    allow_leak: bool = False,
    storage_path: str | Path | None = None,
    resume: bool = False,
    only_failed: bool = False,
    trust_code: bool = False,
    jobs: int | None = None,
    device: str = "auto",
    launcher: str = "local",
    options: Mapping[str, Any] | Iterable[str] = (),
    workspace: str | Path | None = None,
    watcher: Watcher | None = None,
) -> list[Run]:
    """Run all combinations of experiences, grid and seeds, as `qexp run --seeds --grid -j` does.

    seeds       `range(10)` or "0:10"
    grid        `{"learning_rate": [1e-3, 3e-3]}`, or texts as after --grid
    options     of a launcher that is not local: `{"time": "2:00:00"}`, or texts as after --option
    trust_code  execute the code that imported runs among these bring
    returns     all runs of the sweep, those done before among them; with a launcher that submits as soon as it has
    """
    from qexp.runs.launch import sweep as sweeps
    from qexp.runs.launch.local import Unwatched

    place = workspaces.find(workspace)
    order = sweeps.Order(
        _references(experiences),
        seeds=_seeds(seeds),
        grid=_axes(grid),
        overrides=_texts(overrides),
        pretrain=pretrain,
        allow_leak=allow_leak,
        storage=Path(storage_path) if storage_path is not None else None,
        resume=resume,
        only_failed=only_failed,
        trust_code=trust_code,
        jobs=jobs,
        device=device,
        launcher=launcher,
        options=options if isinstance(options, Mapping) else list(options),
    )
    checked = sweeps.check_order(order, place)
    sweeps.launched(checked, place, watched=lambda: watcher or Unwatched())
    return [open_run(plan.name, workspace=place.root) for plan in checked.plans if (place.runs / plan.name).exists()]


def study(
    experiences: str | Path | Sequence[str | Path],
    grid: Mapping[str, Sequence[Any]] | Iterable[str] = (),
    *,
    seeds: str | Iterable[int] = "0:5",
    overrides: Iterable[str] | Mapping[str, Any] = (),
    pretrain: str | Path | None = None,
    pretrain_grid: Mapping[str, Sequence[Any]] | Iterable[str] = (),
    pretrain_overrides: Iterable[str] | Mapping[str, Any] = (),
    pretrain_seed: int | str = 0,
    metric: str | None = None,
    out: str | Path | None = None,
    only_failed: bool = False,
    trust_code: bool = False,
    jobs: int | None = None,
    device: str = "auto",
    launcher: str = "local",
    options: Mapping[str, Any] | Iterable[str] = (),
    workspace: str | Path | None = None,
    watcher: Watcher | None = None,
) -> Study:
    """Run what is missing of experiences over a grid and seeds, and draw a metric over it; see `qexp study`.

    grid           `{"labelled": [10, 100, "all"]}`, or texts as after --grid; the first key goes along the figure
    pretrain       an experience that is run first, for each value of `pretrain_grid`; those of the others that have
                   `pretrain` in their spec start from its run
    pretrain_seed  "same": each run starts from one of its own seed
    trust_code     execute the code that imported runs among these bring
    metric         such as "toc.rmse"; r2 of the first output if left out
    out            the folder of study.csv, table.csv and study.png; `studies/<experience>_<key>` if left out
    returns        its `results()` and `differences()` are tables, its `document()` all numbers
    """
    from qexp.analysis import studies
    from qexp.runs.launch.local import Unwatched
    from qexp.runs.launch.sweep import Order

    place = workspaces.find(workspace)
    order = Order(
        _references(experiences),
        seeds=_seeds(seeds),
        grid=_axes(grid),
        overrides=_texts(overrides),
        only_failed=only_failed,
        trust_code=trust_code,
        jobs=jobs,
        device=device,
        launcher=launcher,
        options=options if isinstance(options, Mapping) else list(options),
    )
    first = studies.pretraining(
        str(pretrain) if pretrain is not None else None,
        _axes(pretrain_grid),
        _texts(pretrain_overrides),
        str(pretrain_seed),
    )
    asked = studies.Asked(order, first, metric)
    return studies.study(asked, place, Path(out) if out is not None else None, watched=lambda: watcher or Unwatched())


def compare(*runs: str, workspace: str | Path | None = None) -> Comparison | SeedComparison:
    """Compare runs, or groups of runs over their seeds where patterns name them; see `qexp compare`."""
    from qexp.analysis.comparison.compare import compare_named
    from qexp.runs.catalog.catalog import Catalog

    return compare_named(list(runs), Catalog(workspaces.find(workspace)))


def restore(name: str, *, workspace: str | Path | None = None) -> Run:
    """Bring back the newest run of that name in the trash."""
    from qexp.runs.upkeep import trash

    return Run(trash.restore(name, workspaces.find(workspace)))


def purge(older_than: str | None = None, *, workspace: str | Path | None = None) -> Purged:
    """Delete what is in the trash for good, without asking; see `qexp purge`.

    older_than  only what was removed longer ago: "30d", "12h", "90m", "2w"
    returns     the `names` of runs that it deleted, the bytes `freed`, `problems`: what could not be deleted, and
                `gone`: runs that another process restored or deleted in the meantime
    """
    from qexp.runs.upkeep import purging

    place = workspaces.find(workspace)
    return purging.purge(purging.doomed(place, None if older_than is None else purging.duration(older_than)), place)


def doctor(*, fix: bool = False, workspace: str | Path | None = None) -> list[Finding]:
    """What is wrong in the workspace, and what would help; nothing if all is well. See `qexp doctor`.

    fix  repair what can be repaired without data loss; such findings are `repaired`
    """
    from qexp.runs.upkeep.doctor import examine

    return examine(workspaces.find(workspace), fix)


def reindex(*, workspace: str | Path | None = None) -> int:
    """Build the catalog again from the run directories; returns the number of runs.

    Warns of each run that cannot be read, and if the catalog cannot be written.
    """
    import warnings

    from qexp.runs.catalog.catalog import Catalog

    catalog = Catalog(workspaces.find(workspace))
    count = catalog.reindex()
    for text in catalog.warnings:
        warnings.warn(text, stacklevel=2)
    return count


def import_run(
    file: str | Path, *, name: str | None = None, trust_code: bool = False, workspace: str | Path | None = None
) -> Run:
    """Take in an archived run; all of it is checked before anything is written.

    trust_code  whether code that it brings, its `code/extensions.py`, may be executed from now on
    """
    from qexp.runs.upkeep.unpacking import unpack

    return Run(unpack(Path(file), workspaces.find(workspace), name, trust_code=trust_code))


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
    trust_code: bool = False,
    workspace: str | Path | None = None,
) -> xarray.Dataset:
    """Estimate every cell of a grid of true values; see `qexp matrix`.

    axes        variable → (low, high, cells); the dataset's own if left out
    trust_code  execute the code that an imported run brings
    returns     the matrix, which the run keeps, too
    """
    import xarray

    from qexp.analysis.matrix.axes import MatrixAxis
    from qexp.analysis.matrix.matrix import matrix as make

    place = workspaces.find(workspace)
    directory = _directory(run, workspace, trust_code)
    grid: Sequence[MatrixAxis] = [MatrixAxis(name, *of_axis) for name, of_axis in (axes or {}).items()]
    folder = make(directory, dataset, place, axes=grid, fixed=fixed, repeats=repeats, seed=seed, device=device, npy=npy)
    return xarray.load_dataset(folder / "matrix.nc", engine="h5netcdf")


def predict(
    run: Run | str,
    source: str | Path,
    target: str | Path,
    *,
    chunk: int | None = None,
    overwrite: bool = False,
    trust_code: bool = False,
    device: str = "auto",
    workspace: str | Path | None = None,
) -> list[Prediction]:
    """Estimate the rows or fields of a file or folder into new files; see `qexp predict`.

    source      rows: CSV, Parquet or NetCDF, or a folder of such; fields: NetCDF, or a folder with ex.nc or npy files
    target      rows: a file for a file, a folder for a folder; fields: a NetCDF file. What the run made of the same is
                left as it is
    chunk       rows or frames in memory at a time
    trust_code  execute the code that an imported run brings
    returns     per file: its `target` and whether it was `made` now; of rows how many there are, how many lie `outside`
                the range of the training data and how many are `missing` a feature, and the `map` if there is one; of
                fields how many `frames` there are, and their `size`
    Raises QexpError; where some of several files cannot be estimated, it names them after all others are. Warns of
    cells that are not as wide as those that the network was trained on.
    """
    import warnings

    from qexp.analysis.prediction.files import file_kind, predict_files
    from qexp.errors import QexpError

    directory = _directory(run, workspace, trust_code)
    pairs = file_kind(directory).targets(Path(source), Path(target))
    made, mistakes = [], []
    for one in predict_files(pairs, directory, device, chunk=chunk, overwrite=overwrite):
        if isinstance(one, QexpError):
            mistakes.append(one)
            continue
        made.append(one)
        for text in one.warnings:
            warnings.warn(text, stacklevel=2)
    if len(pairs) == len(mistakes) == 1:
        raise mistakes[0]
    if mistakes:
        raise QexpError("\n".join([f"{len(mistakes)} of {len(pairs)} files have no estimates:", *map(str, mistakes)]))
    return made


def export_network(
    run: str | Run,
    to: str | Path,
    format: str = "onnx",
    *,
    physical: bool = False,
    overwrite: bool = False,
    trust_code: bool = False,
    workspace: str | Path | None = None,
) -> Path:
    """Write the network of a finished run to a folder, for use without qexp; see `qexp export`. Returns the folder.

    format      "onnx" or "torchscript"
    physical    transforms are inside the network: units in, units out; needed for a run with networks of several folds
    overwrite   replace a folder that an export has written before
    trust_code  execute the code that an imported run brings
    """
    from qexp.analysis.export import network as networks

    directory = _directory(run, workspace, trust_code)
    networks.export_network(directory, Path(to), format, physical=physical, overwrite=overwrite)
    return Path(to)


def make_ice(
    out: str | Path, glaciers: int = 12, test: int | None = None, *, overwrite: bool = False, **options: Any
) -> list[Path]:
    """Make glaciers up, in the format of 2Dto2D-DLE; see `qexp data ice`. Returns their folders.

    test       how many are for the test; a quarter of them if left out
    overwrite  replace glaciers that were made there before
    options    frames, size, spacing, seed, arrhenius and sliding (low, high), coupling
    """
    from qexp.synthetic.ice import Options
    from qexp.synthetic.ice_folders import write

    return [made.folder for made in write(Path(out), Options(**options), glaciers, test, overwrite)]


def make_xrf(
    out: str | Path,
    cores: int = 30,
    test: int | None = None,
    validation: int | None = None,
    *,
    overwrite: bool = False,
    **options: Any,
) -> list[Path]:
    """Make XRF spectra of sediment cores up; see `qexp data xrf`. Returns the folders of their parts.

    test        how many cores are for the test; a quarter of them if left out
    validation  how many of the others val.csv names; a sixth of them if left out
    overwrite   replace spectra that were made there before
    options     spectra and labelled, of each core; voltage, such as (10, 30) [kV]; seed
    """
    from qexp.synthetic.xrf import Options
    from qexp.synthetic.xrf_folders import write

    return write(Path(out), Options(**options), cores, test, validation, overwrite).folders


def runs(
    where: str | None = None, *, status: str | None = None, workspace: str | Path | None = None
) -> list[dict[str, Any]]:
    """Summaries of the runs, by name: all, or those for which an expression holds, such as `"seed < 5"`."""
    from qexp.runs.catalog.catalog import Catalog
    from qexp.runs.catalog.filter import select

    return select(Catalog(workspaces.find(workspace)).runs(), where=where, status=status)


def open_run(reference: str, *, trust_code: bool = False, workspace: str | Path | None = None) -> Run:
    """A run by its name, a unique prefix of it, or a path. Raises NotFoundError.

    trust_code  execute the code that an imported run brings, where the run is asked to predict or is verified
    """
    return Run(_directory(reference, workspace, trust_code))


def _directory(run: Run | str, workspace: str | Path | None, trust_code: bool) -> RunDirectory:
    from qexp.runs.catalog.catalog import Catalog

    found = run.directory if isinstance(run, Run) else Catalog(workspaces.find(workspace)).find(run)
    return found.trusting(trust_code)


def _references(experiences: str | Path | Sequence[str | Path]) -> list[str]:
    several = [experiences] if isinstance(experiences, str | Path) else experiences
    return [str(one) for one in several]


def _seeds(seeds: str | Iterable[int]) -> str:
    return seeds if isinstance(seeds, str) else ",".join(map(str, seeds))


def _axes(grid: Mapping[str, Sequence[Any]] | Iterable[str]) -> list[str]:
    import json

    if isinstance(grid, Mapping):
        return [f"{key}={','.join(json.dumps(value) for value in values)}" for key, values in grid.items()]
    return list(grid)


def _texts(overrides: Iterable[str] | Mapping[str, Any]) -> list[str]:
    import json

    if isinstance(overrides, Mapping):
        return [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
    return list(overrides)

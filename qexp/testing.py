"""Checks for authors of sources, readers, launchers and kinds: what the rest of qexp relies on.

Each raises AssertionError, which names the property that does not hold. qexp's own tests call the
same.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qexp.api.handles import Run
from qexp.api.training import run
from qexp.base.quantities import QUANTITIES, Quantities
from qexp.base.tables import entry_points
from qexp.errors import QexpError
from qexp.inference.parameters import amplitudes
from qexp.jobs.launchers import AROUND, LAUNCHERS
from qexp.jobs.scheduler import Scheduler, Submission, launch_options
from qexp.kinds.tables import OPEN
from qexp.observations.observation import Observation, read_observation, write_observation
from qexp.observations.readers import READERS, Reader
from qexp.observations.reading import ReadOptions
from qexp.simulation.generators import Source
from qexp.spec.kinds import KINDS, load_stage
from qexp.store.record import State

__all__ = ["check_kind", "check_launcher", "check_package", "check_reader", "check_source"]


def _require(holds: object, words: str) -> None:
    if not holds:
        raise AssertionError(words)


def check_package(name: str) -> list[str]:
    """Whether an installed package has entry points of qexp, and all of them can be used.

    Returns their names with those of their tables, such as `losses.log_cosh`.
    """
    tables = {**OPEN, "kinds": KINDS, "readers": READERS, "launchers": LAUNCHERS}
    found = [point for points in entry_points().values() for point in points]
    found = [point for point in found if point.dist and point.dist.name == name]
    _require(found, f"there is no installed package {name} with entry points of qexp")
    names = []
    for point in found:
        table = point.group.removeprefix("qexp.")
        known = ", ".join(sorted(tables))
        _require(table in tables, f"qexp has no table '{table}'; it has {known}")
        entry = f"{table}.{point.name}"
        trouble = tables[table].trouble(point.load())
        _require(trouble is None, f"{entry} {trouble}")
        is_found = tables[table].get(point.name) is point.load()
        _require(is_found, f"{entry} is not what qexp finds")
        names.append(entry)
    return sorted(names)


FEW_SOURCES = 20
SINGLE_PRECISION = 2e-5
"""Largest error of a kernel in single precision, as a part of the source's largest displacement."""
STATIONS = 1000 * torch.tensor(
    [[0.0, 0.0], [1.2, 0.5], [-3.0, 2.5], [0.4, -1.8]], dtype=torch.float64
)


def check_source(
    source: Source,
    ranges: Mapping[str, tuple[float, float]],
    special: Sequence[Sequence[float]] = (),
    places: Sequence[tuple[float, float]] = (),
    quantities: Quantities = QUANTITIES,
) -> None:
    """Whether the kernel of a source is what training, inversions and matrices rely on.

    A batch gives what its sources give one by one, in the precision of its argument; a source moves
    with its stations; displacements are linear in the amplitudes, have gradients, are finite for
    shallow sources and decrease far away; a source above the surface is refused.
    ranges      variable → least and largest value, in the unit of specs; combinations that the
                source's requirements exclude are not tried
    special     further values, (source, variable), such as those for which a kernel takes another
                way
    places      further stations for the gradients, east and north [km], such as those above an edge
    quantities  what the variables are; with those of a package or workspace for variables of its
                own
    """
    units = [quantities[name] for name in source.variables]
    factors = torch.tensor([unit.si_factor for unit in units]).double()
    depth = source.variables.index("depth")
    random = np.random.default_rng(0)
    columns = [random.uniform(*ranges[name], 50 * FEW_SOURCES) for name in source.variables]
    drawn = np.stack(columns, axis=-1)
    usual = torch.from_numpy(drawn)[_possible(source, drawn * factors.numpy())][:FEW_SOURCES]
    _require(
        len(usual) == FEW_SOURCES,
        "too few of the combinations in `ranges` are possible; make them narrower",
    )
    values = torch.cat([usual, torch.tensor(special, dtype=torch.float64).reshape(-1, len(units))])
    batch = values * factors
    moved = source.kernel(batch, STATIONS)
    _check_batches(source, batch, moved)
    _check_symmetries(source, batch, moved, quantities)
    lengths = [index for index, unit in enumerate(units) if unit.unit == "km"]
    size = batch[:, lengths].abs().amax(1)[:, None, None].expand(-1, 1, 2)
    close = source.kernel(batch, 1e2 * size).norm(dim=-1)
    far = source.kernel(batch, 1e3 * size).norm(dim=-1)
    _require((far <= 0.2 * close).all(), "displacements do not decrease with the distance")
    all_places = torch.tensor([(0.0, 0.0), (0.1, -0.2), *places], dtype=torch.float64)
    for pair in torch.cat([usual[:2], values[FEW_SOURCES:]]).split(2):
        _check_gradients(source, pair, factors, all_places)
    shallow = batch * torch.where(torch.arange(len(units)) == depth, 1e-3, 1.0)
    shallow = shallow[_possible(source, shallow.numpy())]
    _require(
        source.kernel(shallow, STATIONS).isfinite().all(),
        "displacements of shallow sources are not finite",
    )
    for wrong in (-1.0, float("nan")):
        sources = batch[:2].clone()
        sources[1, depth] = wrong
        try:
            source.kernel(sources, STATIONS)
        except ValueError:
            continue
        raise AssertionError(f"a depth of {wrong:g} m is not refused with a ValueError")


def _possible(source: Source, values: Any) -> Any:
    columns = dict(zip(source.variables, values.T, strict=True))
    holds = [each.holds(columns) for each in source.requirements]
    return np.all([np.ones(len(values), bool), *holds], axis=0)


def _close(actual: Tensor, expected: Tensor, words: str, rtol: float = 1e-9) -> None:
    torch.testing.assert_close(
        actual, expected, rtol=rtol, atol=1e-14, msg=lambda text: f"{words}: {text}"
    )


def _check_batches(source: Source, batch: Tensor, moved: Tensor) -> None:
    wanted = (len(batch), len(STATIONS), 3)
    _require(
        tuple(moved.shape) == wanted,
        f"it returns {tuple(moved.shape)} and not (batch, station, 3) = {wanted}",
    )
    _require(moved.isfinite().all(), "displacements are infinite or NaN")
    own = STATIONS + 50 * torch.arange(len(batch), dtype=torch.float64)[:, None, None]
    alone = torch.cat([source.kernel(batch[[index]], own[index]) for index in range(len(batch))])
    _close(source.kernel(batch, own), alone, "a batch differs from its sources one by one", 1e-11)
    _require(
        source.kernel(batch[:0], STATIONS).shape == (0, *wanted[1:]),
        "no sources give another shape",
    )
    single = source.kernel(batch.float(), STATIONS.float())
    _require(single.dtype == torch.float32, f"an argument in single precision gives {single.dtype}")
    error = ((single.double() - moved).abs().amax((1, 2)) / moved.abs().amax((1, 2))).max()
    _require(
        error < SINGLE_PRECISION,
        f"in single precision it is wrong by {error:.2g} of the largest displacement",
    )


def _check_symmetries(source: Source, batch: Tensor, moved: Tensor, quantities: Quantities) -> None:
    shift = torch.tensor([1234.0, -567.0]).double()
    shifted = batch.clone()
    scaled = batch.clone()
    shifted[:, [source.variables.index(name) for name in ("x", "y")]] += shift
    _close(source.kernel(shifted, STATIONS + shift), moved, "it does not move with its stations")
    linear = amplitudes(source, quantities)
    if linear:
        scaled[:, [source.variables.index(name) for name in linear]] *= -3
        words = f"it is not linear in {', '.join(linear)}"
        _close(source.kernel(scaled, STATIONS), -3 * moved, words)


def _check_gradients(source: Source, values: Tensor, factors: Tensor, places: Tensor) -> None:
    """By values in the units of specs and stations in km, along a direction that is drawn."""
    unit = source.kernel(values * factors, 1000 * places).abs().max()

    def kernel(values: Tensor, places: Tensor) -> Tensor:
        return source.kernel(values * factors, 1000 * places) / unit

    try:
        arguments = (values.clone().requires_grad_(), places.clone().requires_grad_())
        torch.autograd.gradcheck(kernel, arguments, fast_mode=True)
    except RuntimeError as error:
        raise AssertionError(f"gradients are not those of finite differences: {error}") from None


OTHERS = {
    "empty.txt": b"",
    "table.csv": b"east,north,los\n1,2,3\n",
    "picture.tif": b"II*\0",
    "x.h5": b"\x89HDF",
}
"""Files of other programs."""


def check_reader(reader: Reader, file: str | Path, options: ReadOptions | None = None) -> None:
    """Whether a reader knows its files alone, makes sound tracks, and refuses damaged files with a
    message.

    file     a file of its format, whose numbers another test compares
    options  those that this file needs
    """
    path = Path(file)
    options = options or ReadOptions()
    _require(reader.recognises(path), f"it does not recognise {path}")
    tracks = reader.read(path, options).tracks
    with TemporaryDirectory() as folder:
        written = Path(folder) / "observation.nc"
        # raises QexpError that lists what is not sound
        write_observation(Observation(tracks), written)
        for track, read in zip(tracks, read_observation(written).tracks, strict=True):
            seen = track.displacement[track.observed]
            same = np.array_equal(seen, read.displacement[read.observed])
            _require(same, f"the displacements of {track.name} change in an observation file")
        for name, content in OTHERS.items():
            (Path(folder) / name).write_bytes(content)
        for other in (Path(folder), *Path(folder).iterdir()):
            if other.suffix != path.suffix:
                mistaken = f"it takes {other.name}, which is none of its files, for one"
                _require(not reader.recognises(other), mistaken)
        if path.is_file():
            damaged = Path(folder) / f"damaged{path.suffix}"
            _check_damaged(reader, path.read_bytes(), damaged, options)
    if "name" in reader.takes and len(tracks) == 1:
        names = [track.name for track in reader.read(path, replace(options, name="other")).tracks]
        _require(names == ["other"], "it takes the option name, which has no effect")
    if "unit" in reader.takes and options.unit is None:
        in_metres = reader.read(path, replace(options, unit="m")).tracks[0].displacement
        smaller = reader.read(path, replace(options, unit="mm")).tracks[0].displacement
        same = np.allclose(1000 * smaller, in_metres, equal_nan=True)
        _require(same, "it takes the option unit, which has no effect")


def _check_damaged(reader: Reader, content: bytes, damaged: Path, options: ReadOptions) -> None:
    for part in (b"", content[: len(content) // 2], b"\xff\xfe\0\x01" * 100):
        damaged.write_bytes(part)
        try:
            if reader.recognises(damaged):
                reader.read(damaged, options)
        except QexpError:
            continue
        except Exception as error:
            raise AssertionError(
                f"a damaged file ends in {error!r} and not in a QexpError"
            ) from error


ASKED = """import sys
from pkgutil import resolve_name
open(sys.argv[2], "w").write(str((resolve_name(sys.argv[1])().this_job() or [None])[0]))"""
HELD = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(130));"
    " time.sleep(600)"
)


def check_launcher(
    launcher: Scheduler,
    folder: str | Path,
    options: Mapping[str, Any] | None = None,
    seconds: float = 120.0,
) -> None:
    """Whether a launcher submits jobs, tells how they end, and cancels them: with real jobs.

    folder   a new folder that the jobs can reach, for scripts and output
    options  as after `--option`
    seconds  after which a job that has not ended is a failure
    """
    _require(launcher.this_job() is None, "it takes this process for one of its jobs")
    kind = type(launcher)
    home = Path(folder).absolute()
    told = home / "told.txt"
    (home / "output").mkdir(parents=True, exist_ok=True)
    chosen = launch_options(
        "the launcher", {**launcher.options, **AROUND}, {}, options or {}, None, {}
    )
    asking = [ASKED, f"{kind.__module__}:{kind.__qualname__}", str(told)]
    programs = [asking, ["raise SystemExit(3)"], [HELD]]
    commands = [[sys.executable, "-c", *words] for words in programs]
    jobs = launcher.submit_commands(Submission(home, "check", chosen), commands)
    _require(len({*jobs}) == len(commands), f"{len(commands)} commands make the jobs {jobs}")

    def becomes(job: str, *states: State | None) -> None:
        end = time.monotonic() + seconds
        state = launcher.states({job: home}).get(job)
        while state not in states:
            late = f"{job} is {state} after {seconds:g} s, and not {states[0]}"
            _require(time.monotonic() < end, late)
            time.sleep(0.2)
            state = launcher.states({job: home}).get(job)

    done, failed, held = jobs
    becomes(done, State.DONE)
    _require(
        told.read_text() == done, f"within the job {done}, this_job() says {told.read_text()!r}"
    )
    becomes(failed, State.FAILED)
    becomes(held, State.RUNNING)
    launcher.cancel({held: home})
    becomes(held, State.INTERRUPTED, None)
    _require(
        not launcher.states({"no such job": home}), "it has a state for a job that it never had"
    )


def check_kind(experience: str, workspace: str | Path, stages: Sequence[str] = ()) -> Run:
    """Whether an experience on a dataset of one's own kind is trained, evaluated, and repeated bit
    for bit.

    experience  its name in the workspace; one that takes seconds
    workspace   where it is, with the data; gets the runs `check_a` and `check_b`
    stages      what the kind must have besides, such as `predict` and `look`
    returns     the first run
    """
    runs = [
        run(experience, seed=1, name=name, device="cpu", workspace=workspace)
        for name in ("check_a", "check_b")
    ]
    first, second = (run.directory.weight_files() for run in runs)
    weights = [file.read_bytes() for file in first]
    same = weights == [file.read_bytes() for file in second]
    _require(same and weights, "the same spec and seed give other bits, or no weights")
    evaluated = runs[0].directory.evaluation_file()
    _require(runs[0].results and evaluated.is_file(), f"there are no results, or no {evaluated}")
    for stage in stages:
        load_stage(runs[0].spec["dataset"], stage)  # raises QexpError where there is none
    return runs[0]

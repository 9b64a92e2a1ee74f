"""Checks for authors of sources, readers, launchers, kinds and other entries: what the rest of qexp relies on.

Each raises AssertionError, which names the property that does not hold. qexp's own tests call the same.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from inspect import Parameter, signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from torch import Tensor

from qexp.api.handles import Run
from qexp.api.training import run
from qexp.base.packages import entry_points
from qexp.base.quantities import QUANTITIES, Quantities
from qexp.base.tables import Entry, built
from qexp.errors import QexpError
from qexp.inference.parameters import amplitudes
from qexp.jobs.launchers import AROUND, LAUNCHERS
from qexp.jobs.scheduler import Scheduler, Submission, launch_options
from qexp.kinds.tables import OPEN
from qexp.networks.heads import HeadEntry
from qexp.networks.modules import EXAMPLE_SHAPE, EXAMPLE_SHAPES, JoiningEntry
from qexp.observations.observation import Observation, read_observation, write_observation
from qexp.observations.readers import READERS, Reader
from qexp.observations.reading import ReadOptions
from qexp.simulation.generators import Source
from qexp.spec.kinds import KINDS, dataset_with_defaults, documents_of, load_stage
from qexp.store.record import State

__all__ = ["check_entry", "check_kind", "check_launcher", "check_package", "check_reader", "check_source"]

FEW_SOURCES = 20
SINGLE_PRECISION = 2e-5
"""Largest error of a kernel in single precision, as a part of the source's largest displacement."""
PLACES = ((0.0, 0.0), (1.2, 0.5), (-3.0, 2.5), (0.4, -1.8))
"""Stations [km]."""


def _require(holds: object, words: str) -> None:
    if not holds:
        raise AssertionError(words)


def check_source(
    source: Source,
    ranges: Mapping[str, tuple[float, float]],
    special: Sequence[Sequence[float]] = (),
    places: Sequence[tuple[float, float]] = (),
    quantities: Quantities = QUANTITIES,
) -> None:
    """Whether the kernel of a source is what training, inversions and matrices rely on.

    A batch gives what its sources give one by one, in the precision of its argument; a source moves with its stations;
    displacements are linear in the amplitudes, have gradients, are finite for shallow sources and decrease far away; a
    source above the surface is refused.
    ranges      variable → least and largest value, in the unit of specs; combinations that the source's requirements
                exclude are not tried
    special     further values, (source, variable), such as those for which a kernel takes another way
    places      further stations for the gradients, east and north [km], such as those above an edge
    quantities  what the variables are; with those of a package or workspace for variables of its own
    """
    factors = torch.tensor([quantities[name].si_factor if name in quantities else 1.0 for name in source.variables])
    factors, depth = factors.double(), source.variables.index("depth")
    random = np.random.default_rng(0)
    drawn = np.stack([random.uniform(*ranges[name], 50 * FEW_SOURCES) for name in source.variables], axis=-1)
    usual = torch.from_numpy(drawn)[_possible(source, drawn * factors.numpy())][:FEW_SOURCES]
    _require(len(usual) == FEW_SOURCES, "too few of the combinations in `ranges` are possible; make them narrower")
    values = torch.cat([usual, torch.tensor(special, dtype=torch.float64).reshape(-1, len(source.variables))])
    batch, stations = values * factors, 1000 * torch.tensor(PLACES, dtype=torch.float64)
    moved = source.kernel(batch, stations)
    _check_batches(source, batch, stations, moved)
    _check_symmetries(source, batch, stations, moved, quantities)
    for pair in torch.cat([usual[:2], values[FEW_SOURCES:]]).split(2):
        _check_gradients(source, pair, factors, [*PLACES[:2], *places])
    shallow = batch[:FEW_SOURCES].clone()
    shallow[:, depth] *= 1e-3
    shallow = shallow[_possible(source, shallow.numpy())]
    _require(source.kernel(shallow, stations).isfinite().all(), "shallow sources displace stations by infinity or NaN")
    for wrong in (-1.0, float("nan")):
        above = batch[:2].clone()
        above[1, depth] = wrong
        try:
            source.kernel(above, stations)
        except ValueError:
            continue
        raise AssertionError(f"a depth of {wrong:g} m is not refused with a ValueError")


def _possible(source: Source, values: Any) -> Any:
    columns = dict(zip(source.variables, values.T, strict=True))
    return np.all([np.ones(len(values), bool), *(each.holds(columns) for each in source.requirements)], axis=0)


def _close(actual: Tensor, expected: Tensor, words: str, rtol: float = 1e-9) -> None:
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=1e-14, msg=lambda text: f"{words}: {text}")


def _check_batches(source: Source, batch: Tensor, stations: Tensor, moved: Tensor) -> None:
    wanted = (len(batch), len(stations), 3)
    _require(tuple(moved.shape) == wanted, f"it returns {tuple(moved.shape)} and not (batch, station, 3) = {wanted}")
    _require(moved.isfinite().all(), "displacements are infinite or NaN")
    own = stations + 50 * torch.arange(len(batch), dtype=torch.float64)[:, None, None]
    alone = torch.cat([source.kernel(batch[[index]], own[index]) for index in range(len(batch))])
    _close(source.kernel(batch, own), alone, "a batch differs from its sources one by one", 1e-11)
    single = source.kernel(batch.float(), stations.float())
    _require(single.dtype == torch.float32, f"an argument in single precision gives {single.dtype}")
    error = ((single.double() - moved).abs().amax((1, 2)) / moved.abs().amax((1, 2))).max()
    _require(error < SINGLE_PRECISION, f"in single precision it is wrong by {error:.2g} of the largest displacement")
    empty = tuple(source.kernel(batch[:0], stations).shape)
    _require(empty == (0, len(stations), 3), f"no sources give {empty}")


def _check_symmetries(source: Source, batch: Tensor, stations: Tensor, moved: Tensor, quantities: Quantities) -> None:
    shift, shifted = torch.tensor([1234.0, -567.0], dtype=torch.float64), batch.clone()
    shifted[:, [source.variables.index(name) for name in ("x", "y")]] += shift
    _close(source.kernel(shifted, stations + shift), moved, "it does not move with its stations")
    linear, scaled = amplitudes(source, quantities), batch.clone()
    scaled[:, [source.variables.index(name) for name in linear]] *= -3
    if linear:
        _close(source.kernel(scaled, stations), -3 * moved, f"it is not linear in {', '.join(linear)}")
    known = {name: quantities[name].unit for name in source.variables if name in quantities}
    lengths = [source.variables.index(name) for name, unit in known.items() if unit == "km"]
    size = batch[:, lengths].abs().amax(1)[:, None, None]
    near, far = (source.kernel(batch, times * size * torch.ones(1, 1, 2).double()).norm(dim=-1) for times in (1e2, 1e3))
    _require((far <= 0.2 * near).all(), "displacements do not decrease with the distance")


def _check_gradients(source: Source, values: Tensor, factors: Tensor, places: Sequence[tuple[float, float]]) -> None:
    """By values in the units of specs and stations in km, along a direction that is drawn."""
    stations = torch.tensor(places, dtype=torch.float64)
    unit = source.kernel(values * factors, 1000 * stations).abs().max()
    arguments = (values.clone().requires_grad_(), stations.clone().requires_grad_())
    try:
        torch.autograd.gradcheck(
            lambda each, where: source.kernel(each * factors, 1000 * where) / unit, arguments, fast_mode=True
        )
    except RuntimeError as error:
        raise AssertionError(f"gradients are not those of finite differences: {error}") from None


def check_entry(table: str, name: str, entry: Entry) -> None:
    """Whether the schema, example and builder of an entry of one of the tables of specs fit each other.

    table  such as `losses`; see `qexp tables`
    """
    key, where = "module" if table == "modules" else "type", f"{table}['{name}']"
    _require(entry.help.endswith(".") and "\n" not in entry.help, f"{where}: its help is no sentence in a line")
    shown = entry.example.get(key)  # perhaps another name of the same entry
    _require(shown == name or OPEN[table].get(shown) is entry, f"{where}: its example must have {key!r}: {name!r}")
    unknown = set(entry.example) - {key, "parameters"}
    _require(not unknown, f"{where}: its example has the keys {unknown}")
    schema, given = entry.schema(), entry.example.get("parameters", {})
    Draft202012Validator.check_schema(schema)
    taken = {key: each for key, each in signature(entry.build).parameters.items() if each.kind in OF_SPECS}
    _require(set(schema["properties"]) == set(taken), f"{where}: its builder takes {sorted(taken)}, its schema others")
    needed = {key for key, each in taken.items() if each.default is Parameter.empty}
    _require(set(schema.get("required", [])) == needed, f"{where}: its builder needs {sorted(needed)}")
    try:
        Draft202012Validator(schema).validate(given)
        for key, value in entry.defaults.items():
            plain = list(value) if isinstance(value, tuple) else value
            Draft202012Validator(schema["properties"][key]).validate(plain)
    except ValidationError as error:
        raise AssertionError(f"{where}: its own schema refuses its example or a default: {error.message}") from None
    made = built({name: entry}, {"type": name, "parameters": given}, *_context(table, str(shown), entry))
    _require(made is not None, f"{where}: its example builds nothing")


OF_SPECS = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


def _context(table: str, name: str, entry: Entry) -> tuple[Any, ...]:
    """What a builder gets besides the parameters of the spec."""
    if table == "modules":
        shapes = EXAMPLE_SHAPES.get(name, [EXAMPLE_SHAPE])
        outputs = [2] if isinstance(entry, HeadEntry) else []
        return (shapes if isinstance(entry, JoiningEntry) else shapes[0], *outputs)
    return ([torch.nn.Parameter(torch.zeros(3))], 0.1) if table == "optimizers" else ()


def check_package(name: str) -> list[str]:
    """Whether all that an installed package adds to qexp can be loaded; its entries of specs are checked, too.

    Returns the names, such as `losses.log_cosh`.
    """
    tables = {**OPEN, "kinds": KINDS, "readers": READERS, "launchers": LAUNCHERS}
    found = [point for points in entry_points().values() for point in points if point.dist and point.dist.name == name]
    _require(found, f"there is no installed package {name} with entry points of qexp")
    for point in found:
        table = point.group.removeprefix("qexp.")
        _require(table in tables, f"qexp has no table '{table}'; it has {', '.join(sorted(tables))}")
        entry = point.load()
        trouble = tables[table].trouble(entry)
        _require(trouble is None, f"{table}.{point.name} {trouble}")
        _require(tables[table].get(point.name) is entry, f"{table}.{point.name} is not the one that qexp finds")
        if isinstance(entry, Entry):
            check_entry(table, point.name, entry)
    return sorted(f"{point.group.removeprefix('qexp.')}.{point.name}" for point in found)


def check_reader(reader: Reader, file: str | Path, options: ReadOptions | None = None) -> None:
    """Whether a reader of observations knows its files alone, and makes sound tracks of one.

    file     a file of its format, whose numbers another test compares
    options  those that this file needs
    """
    path, options = Path(file), options or ReadOptions()
    _require(reader.recognises(path), f"it does not recognise {path}")
    reading = reader.read(path, options)
    _require(reading.tracks, f"{path} gives no track")
    with TemporaryDirectory() as folder:
        others = {
            "empty.txt": b"",
            "table.csv": b"east,north,los\n1,2,3\n",
            "picture.tif": b"II*\0",
            "x.h5": b"\x89HDF",
        }
        for name, content in others.items():
            if name.partition(".")[2] != path.suffix[1:]:
                other = Path(folder) / name
                other.write_bytes(content)
                _require(not reader.recognises(other), f"it takes {name}, which another program wrote, for its own")
        _require(not reader.recognises(Path(folder)), "it takes a folder without its files for its own")
        written = Path(folder) / "observation.nc"
        write_observation(Observation(reading.tracks, None), written)  # refuses what is not sound
        _require(not reader.recognises(written), "it takes qexp's own observation files for its own")
        for before, after in zip(reading.tracks, read_observation(written).tracks, strict=True):
            same = np.array_equal(before.displacement[before.observed], after.displacement[after.observed])
            _require(same, f"the displacements of {before.name} change in an observation file")
        if path.is_file():
            _check_damaged(reader, path, Path(folder) / f"damaged{path.suffix}", options)
    if "name" in reader.takes and len(reading.tracks) == 1:
        (named,) = reader.read(path, replace(options, name="other")).tracks
        _require(named.name == "other", "it takes the option name, which has no effect")
    if "unit" in reader.takes and options.unit is None:
        read = (reader.read(path, replace(options, unit=unit)) for unit in ("m", "mm"))
        metres, smaller = (reading.tracks[0].displacement for reading in read)
        _require(np.allclose(1000 * smaller, metres, equal_nan=True), "it takes the option unit, which has no effect")


def _check_damaged(reader: Reader, file: Path, damaged: Path, options: ReadOptions) -> None:
    """A file that is cut off, or that is none: read, or refused in words, and no other error."""
    content = file.read_bytes()
    for share in (b"", content[: len(content) // 2], b"\xff\xfe\0\x01" * 100):
        damaged.write_bytes(share)
        try:
            if reader.recognises(damaged):
                reader.read(damaged, options)
        except QexpError:
            continue
        except Exception as error:
            words = f"a damaged file ends in {type(error).__name__}: {error}; raise QexpError with what is wrong"
            raise AssertionError(words) from error


HELD = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(130)); time.sleep(600)"
ASKED = """import sys
from pkgutil import resolve_name
open(sys.argv[2], "w").write(str((resolve_name(sys.argv[1])().this_job() or [None])[0]))"""


def check_launcher(
    launcher: Scheduler, folder: str | Path, options: Mapping[str, Any] | None = None, seconds: float = 120.0
) -> None:
    """Whether a launcher submits jobs, tells how they end, and cancels them: with real jobs.

    folder   a new folder that the jobs can reach, for scripts and output
    options  as after `--option`
    seconds  after which a job that has not ended is a failure
    """
    _require(launcher.this_job() is None, "it takes this process for one of its jobs")
    kind, home = type(launcher), Path(folder).absolute()
    chosen = launch_options("the launcher", {**launcher.options, **AROUND}, {}, options or {}, None, {})
    home.mkdir(parents=True, exist_ok=True)
    (home / "output").mkdir(exist_ok=True)
    told = home / "told.txt"
    asking = [ASKED, f"{kind.__module__}:{kind.__qualname__}", str(told)]
    commands = [[sys.executable, "-c", *words] for words in (asking, ["raise SystemExit(3)"], [HELD])]
    jobs = launcher.submit_commands(Submission(home, "check", chosen), commands)
    _require(len({*jobs}) == len(commands), f"{len(commands)} commands make the jobs {jobs}")
    done, failed, held = jobs

    def state(job: str) -> State | None:
        return launcher.states({job: home}).get(job)

    _until(lambda: state(done) is State.DONE, seconds, "a job that ends with 0 does not become done")
    _require(told.read_text() == done, f"within the job {done}, this_job() says {told.read_text()!r}")
    _until(lambda: state(failed) is State.FAILED, seconds, "a job that ends with 3 does not become failed")
    _until(lambda: state(held) is State.RUNNING, seconds, "a job does not become running")
    launcher.cancel({held: home})
    _until(lambda: state(held) in (State.INTERRUPTED, None), seconds, "a cancelled job does not become interrupted")
    _require(not launcher.states({"no such job": home}), "it has a state for a job that it never had")


def _until(holds: Callable[[], bool], seconds: float, words: str) -> None:
    end = time.monotonic() + seconds
    while not holds():
        _require(time.monotonic() < end, f"{words} within {seconds:g} s")
        time.sleep(0.2)


def check_kind(experience: str, workspace: str | Path, stages: Iterable[str] = ()) -> Run:
    """Whether an experience on a dataset of one's own kind is trained, repeated bit for bit, and shown.

    experience  its name in the workspace; one that takes seconds
    workspace   where it is, with the data; gets the runs `check_a` and `check_b`
    stages      what the kind must have besides, such as `predict` and `look`
    returns     the first run
    """
    runs = [run(experience, seed=1, name=name, device="cpu", workspace=workspace) for name in ("check_a", "check_b")]
    weights = [[file.read_bytes() for file in each.directory.weight_files()] for each in runs]
    _require(weights[0], "it trains no network")
    _require(weights[0] == weights[1], "the same spec and seed give other bits")
    first = runs[0]
    _require(first.state == "done", f"a run is {first.state}, and not done")
    _require(first.directory.evaluation_file().is_file(), f"there is no {first.directory.evaluation_file()}")
    _require(first.results, "a run has no results")
    documents, dataset = documents_of(first.spec["dataset"]), first.spec["dataset"]
    _require(dataset == dataset_with_defaults(dataset, OPEN), "a dataset with its defaults written out gets others")
    _require(documents.summary(first.spec), "qexp show has no line about its data")
    for output in first.spec["outputs"]:
        _require(output in documents.units([output], dataset, OPEN["quantities"]), f"{output} has no unit, not even ''")
    for stage in stages:
        load_stage(dataset, stage)  # raises QexpError where there is none
    return first

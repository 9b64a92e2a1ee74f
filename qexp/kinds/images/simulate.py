"""Simulations that are kept: samples of a simulated dataset, drawn once, in pieces that any number of processes share.

A piece is a file, which is complete or missing, and whoever holds its lock computes it. Whoever finds all of them there
joins them to the file of a dataset of the type `simulated`, and deletes them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from qexp.base import files, formats, machine
from qexp.base.arrays import Array
from qexp.base.options import words_of
from qexp.base.quantities import NOISE, VIEW_KEYS, base_name, quantity
from qexp.base.seeds import Seeds
from qexp.base.workspace import VARIABLE
from qexp.errors import QexpError, RunFailedError
from qexp.jobs import launchers
from qexp.kinds.experiments import TYPES, SpecCache
from qexp.kinds.images.experiment import DATA, Trial
from qexp.kinds.images.preview import dimensions
from qexp.kinds.images.spec import sources_of
from qexp.kinds.options import SimulateOptions, SubmitSimulationsOptions
from qexp.rows.table import HUGE_NUMBER
from qexp.simulation.dataset import Values
from qexp.simulation.stored import MOST_SIMULATIONS, SIMULATION
from qexp.spec.reading import Document, digest
from qexp.spec.resolution import FOLDERS
from qexp.store.directory import RunDirectory
from qexp.store.record import require_name

LARGEST_PIECE, MOST_SMALLER_PIECES = 100, 200
"""Simulations of a piece; and the number of pieces if they have fewer, as a single simulation may take hours."""

FAILURES = (ValueError, ArithmeticError, RuntimeError, subprocess.SubprocessError, TimeoutError)
MISTAKES = (NotImplementedError, RecursionError)
"""Of the errors of a simulator, those that say that it found no solution, but for these. Others are mistakes in it."""

SECONDS_BETWEEN_LOOKS = 0.5


class Simulator:
    """Simulates a dataset; see `qexp.simulate`.

    path      of its spec
    document  resolved
    Raises QexpError for what cannot be simulated, and if something else has the name.
    """

    def __init__(self, path: Path, document: Document, cache: SpecCache, options: SimulateOptions) -> None:
        if not 1 <= options.count <= MOST_SIMULATIONS:
            raise QexpError(f"`count={options.count}`: from 1 to {MOST_SIMULATIONS:,}")
        if options.jobs < 1:
            raise QexpError(f"`jobs={options.jobs}`: at least 1")
        self._path, self._document, self._options, self._workspace = path, document, options, cache.workspace
        self._dataset = DATA.untried_dataset(document, cache.tables, cache.workspace)
        self._shapes = {image: self._dataset.shapes()[image] for image in self._dataset.images}
        name = require_name(f"{path.stem}_simulated" if options.name is None else options.name)
        self._file = cache.workspace.root / "data" / f"{name}.nc"
        self._pieces = self._file.with_suffix(".pieces")
        self._spec = cache.workspace.specs / FOLDERS["dataset"] / f"{name}.json"
        spec = DATA.pinned(document, self._dataset, cache.workspace)
        of_spec = digest(spec, TYPES["training"].extensions(cache.workspace))
        self._origin = {"count": options.count, "seed": options.seed, "spec or code": of_spec}
        """What determines every bit."""
        self._size = min(LARGEST_PIECE, max(1, options.count // MOST_SMALLER_PIECES))
        self._there: dict[int, Document] = {}
        """First simulation of a piece that is there → what the piece says of itself."""
        self._require_own_name()

    def run(self) -> list[Path]:
        """Simulate what is missing, and wait for what other processes have begun.

        returns  the file of the simulations, and the spec of their dataset
        Raises QexpError for a mistake in the simulator's code, and if nothing can be written; RunFailedError if all
        simulations failed.
        """
        if self._is_finished():
            self._options.tell(f"{self._workspace.shown(self._file)} has these simulations already")
        else:
            for text in self._dataset.warnings:
                self._options.warn(text)
            values = self._values()
            with machine.threads(1), self._others():
                while not self._is_finished():
                    self._work(values)
        if not self._spec.exists():
            formats.write_json(self._spec, self._stored_document())
        shutil.rmtree(self._pieces, ignore_errors=True)
        if failed := (about := _about(self._file))["failed"]:
            of_all = f"{failed:,} of {self._options.count:,} simulations failed, and have no values"
            self._options.warn(f"{of_all}; the first: {about['reason']}")
        return [self._file, self._spec]

    def submit(self, options: SubmitSimulationsOptions) -> launchers.Submitted:
        """Submit processes that share the work to a scheduler. Raises SchedulerError if it refuses."""
        processes = {f"process {number}": self._words for number in range(1, options.jobs + 1)}
        place = RunDirectory(self._pieces)  # what a wrap may name instead of a run's
        launcher, settings = launchers.settled(options, self._workspace)
        return launchers.submit(self._workspace, launcher, settings, "data simulate", place, processes)

    @property
    def _words(self) -> list[str]:
        """What a process that shares the work is given besides the workspace."""
        others = ("dataset", "jobs", "workspace", "launcher", "options", "profile")
        return [str(self._path.absolute()), *words_of(self._options, others)]

    @contextmanager
    def _others(self) -> Iterator[None]:
        """Further processes until the block ends. An error that ends one of them ends this one, too, which tells it."""
        command = [sys.executable, "-m", "qexp", "data", "simulate", *self._words]
        variables = {"OMP_NUM_THREADS": "1", VARIABLE: str(self._workspace.root)}
        with Path(os.devnull).open("wb") as nowhere:
            count = min(self._options.jobs, len(self._starts)) - 1
            others = [machine.start_child(command, nowhere, variables, apart=False) for _ in range(count)]
        try:
            yield
        finally:
            for other in others:
                other.terminate()
            for other in others:
                with suppress(subprocess.TimeoutExpired):
                    other.wait(machine.SECONDS_TO_HEAR)

    def _work(self, values: Mapping[str, Values]) -> None:
        """Compute each piece that is missing and that no other process computes; join them if all are there."""
        files.make_folder(self._pieces)
        before, started, count = sum(map(self._is_there, self._starts)), time.monotonic(), self._options.count
        for start in self._starts:
            self._take(self._piece(start), partial(self._is_there, start), partial(self._compute, start, values))
            done, seconds = len(self._there), time.monotonic() - started
            per_second = f"{(done - before) * self._size / seconds:.3g} per second"
            counted = f"{min(done * self._size, count):,} of {count:,} simulations"
            self._options.watch(f"{counted}, {per_second}, {self._failed[0]:,} failed", done / len(self._starts))
        if len(self._there) < len(self._starts):
            time.sleep(SECONDS_BETWEEN_LOOKS)
        else:
            self._take(self._pieces / "all", self._is_finished, partial(self._join, values))

    def _values(self) -> dict[str, Values]:
        """Parameter → (simulation,), in its unit."""
        part = {name: of for name, of in self._dataset.whole.items() if name != NOISE}
        if not part:
            raise QexpError(f"no parameter of '{self._path.stem}' varies")
        return self._dataset.values(part, self._options.count, Seeds(self._options.seed), ("simulated",))

    def _is_finished(self) -> bool:
        return self._file.exists() and self._origin.items() <= _about(self._file).items()

    def _require_own_name(self) -> None:
        for path in [*filter(Path.exists, [self._file]), *sorted(self._pieces.glob("*.npz"))[:1]]:
            self._require_own(path)
        if self._spec.exists() and formats.object_in(self._spec).get("path") != self._file.name:
            raise QexpError(f"{self._workspace.shown(self._spec)} is another dataset; give another `name`")

    def _require_own(self, path: Path) -> Document:
        """What a file says of its simulations. Raises QexpError if they are others."""
        about, place = _about(path), path if path == self._file else path.parent
        if others := [key for key, value in self._origin.items() if about.get(key) != value]:
            why = f"has simulations of another {' and '.join(others)}, which stay as they are"
            raise QexpError(f"{self._workspace.shown(place)} {why}; delete it, or give another `name`")
        return about

    # Pieces.

    @property
    def _starts(self) -> range:
        return range(0, self._options.count, self._size)

    def _piece(self, start: int) -> Path:
        return self._pieces / f"{start:08}.npz"

    def _is_there(self, start: int) -> bool:
        if start not in self._there and (path := self._piece(start)).exists():
            self._there[start] = self._require_own(path)
        return start in self._there

    @property
    def _failed(self) -> tuple[int, str]:
        """The number of simulations that failed, of the pieces that are there, and why the first did."""
        pieces = [of for _, of in sorted(self._there.items()) if of["failed"]]
        return sum(piece["failed"] for piece in pieces), pieces[0]["reason"] if pieces else ""

    def _take(self, file: Path, is_done: Callable[[], bool], work: Callable[[], None]) -> None:
        """Work on a file, unless that is done, or another process does it."""
        with ExitStack() as until_the_end:
            mine = False
            with files.writing(f"to {self._pieces}"), suppress(QexpError, FileNotFoundError):  # if all have been joined
                if not is_done():
                    until_the_end.enter_context(files.locked(file, 0.0))
                    mine = True
            if mine and not is_done() and not self._is_finished():
                work()

    def _compute(self, start: int, values: Mapping[str, Values]) -> None:
        of_piece = {name: of[start : start + self._size] for name, of in values.items()}
        images, reasons = self._simulated(of_piece, start)
        failed = [f"simulation {start + row}, {reason}" for row, reason in enumerate(reasons) if reason]
        about = {**self._origin, "failed": len(failed), "reason": "".join(failed[:1])}
        with files.writing(path := self._piece(start)), files.replacing(path) as file:
            np.savez(file, *images, about=np.array(json.dumps(about)))
        self._there[start] = about

    def _simulated(self, values: Mapping[str, Values], start: int) -> tuple[list[Array], Sequence[str]]:
        """Images, (simulation, channel, height, width) each, and why each simulation failed, empty if it did not.

        Those of a batch that fails are tried one by one.
        """
        count = len(next(iter(values.values())))
        Seeds(self._options.seed).seed_globally("simulated", start, count)
        trial = Trial(self._workspace, (), sources_of(self._document)[0][0]["type"])
        signals = trial.call(partial(self._signals, values))
        if isinstance(signals, str) and count > 1:
            one_by_one = [{name: of[[row]] for name, of in values.items()} for row in range(count)]
            images, reasons = zip(*map(self._simulated, one_by_one, range(start, start + count)), strict=True)
            return [np.concatenate(image) for image in zip(*images, strict=True)], [reason for (reason,) in reasons]
        if isinstance(signals, str):
            return [np.full((1, *shape), np.nan, np.float32) for shape in self._shapes.values()], [signals]
        right = np.ones(count, dtype=bool)
        for image, shape in self._shapes.items():
            if (made := tuple(signals[image].shape)) != (count, *shape):
                raise QexpError(f"the simulator made '{image}' of the shape {made}, but must make {(count, *shape)}")
            mask = self._dataset.view(image).mask(self._dataset.size)
            hidden = False if mask is None else mask.numpy() == 0
            right &= ((signals[image].abs().numpy() < HUGE_NUMBER) | hidden).all(axis=(1, 2, 3))
        reasons = np.where(right, "", "values that are missing or infinite").tolist()
        return [signals[image].float().numpy() for image in self._shapes], reasons

    def _signals(self, values: Mapping[str, Values]) -> dict[str, Tensor] | str:
        """What is simulated, or why the simulator failed."""
        try:
            return self._dataset.signals(values)
        except FAILURES as error:
            if isinstance(error, MISTAKES) or machine.ran_out_of_memory(error):
                raise
            return f"{type(error).__name__}: {error}"

    # The dataset that is kept.

    def _join(self, values: Mapping[str, Values]) -> None:
        import h5netcdf.legacyapi
        import h5py

        self._require_own_name()
        failed, reason = self._failed
        if failed == self._options.count:
            again = f"to try again, delete {self._workspace.shown(self._pieces)}"
            raise RunFailedError(f"all {failed:,} simulations failed; the first: {reason}; {again}")
        names = {name: self._document.get("columns", {}).get(name, name) for name in [*values, *self._shapes]}
        sides = {name: dimensions(self._dataset, name) for name in names}
        with files.writing(self._file), files.beside(self._file) as draft:
            with closing(h5netcdf.legacyapi.Dataset(draft, "w")) as file:
                file.setncattr("simulations", json.dumps({**self._origin, "failed": failed, "reason": reason}))
                file.createDimension(SIMULATION, self._options.count)
                for name, called in names.items():
                    for side, size in sides[name].items():
                        file.createDimension(f"{called}.{side}", size)
                    axes = (SIMULATION, *(f"{called}.{side}" for side in sides[name]))
                    variable = file.createVariable(called, np.float64 if name in values else np.float32, axes)
                    variable.setncattr("units", quantity(name, self._dataset.quantities).unit)
            with h5py.File(draft, "r+") as arrays:  # which h5netcdf fills slowly
                for name, of in values.items():
                    arrays[names[name]][:] = of
                for start in self._starts:
                    with np.load(self._piece(start)) as piece:
                        for place, image in enumerate(self._shapes):
                            rows = piece[f"arr_{place}"].reshape(-1, *sides[image].values())
                            arrays[names[image]][start : start + len(rows)] = rows

    def _stored_document(self) -> Document:
        document, options = self._document, self._options
        words = f"{self._path.stem} --count {options.count} --seed {options.seed} --name {self._file.stem}"
        kept = ("description", "angles", "views", "columns", "noise_model")
        varyings = {name: [] if name == NOISE else held_out for name, held_out in document["varyings"].items()}
        is_kept = {name: name == NOISE or base_name(name) in VIEW_KEYS for name in document["fixed"]}
        return {
            "type": "simulated",
            "path": self._file.name,
            "made_by": f"qexp data simulate {words}",
            "observations": [*self._shapes],
            "varyings": varyings,
            "fixed": {name: value for name, value in document["fixed"].items() if is_kept[name]},
            "distributions": {name: document["distributions"][name] for name in varyings},
            **{key: document[key] for key in kept if key in document},
        }


def _about(path: Path) -> Document:
    """What a piece, or the file of all, says of its simulations; empty if it is something else."""
    import h5py

    with suppress(*formats.BROKEN_NETCDF, zipfile.BadZipFile):
        if path.suffix == ".npz":
            with np.load(path) as piece:
                return dict(json.loads(str(piece["about"])))
        with h5py.File(path) as file:
            return dict(json.loads(file.attrs["simulations"]))
    return {}

"""Simulations that are kept: samples of a simulated dataset, drawn once, in pieces that any number
of processes share.

A piece is a file, which is complete or missing, and whoever holds its lock computes it. Whoever
finds all of them there joins them to the file of a dataset of the type `simulated`, and deletes
them.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import chain, filterfalse
from pathlib import Path

import numpy as np
from torch import Tensor

from qexp.base import files, formats, machine
from qexp.base.arrays import Array
from qexp.base.options import words_of
from qexp.base.quantities import NOISE, VIEW_KEYS, base_name, quantity
from qexp.base.seeds import Seeds
from qexp.base.workspace import VARIABLE
from qexp.errors import DamagedError, NotFoundError, QexpError, RunFailedError
from qexp.jobs import launchers
from qexp.kinds.experiments import TYPES, SpecCache
from qexp.kinds.images.experiment import DATA
from qexp.kinds.images.files import DAMAGED_ARCHIVE, NpzImages
from qexp.kinds.images.preview import dimensions
from qexp.kinds.images.spec import sources_of, variable_of
from qexp.kinds.images.trial import Trial
from qexp.kinds.options import SimulateOptions, SubmitSimulationsOptions
from qexp.rows.table import HUGE_NUMBER
from qexp.simulation.dataset import Values
from qexp.simulation.stored import MOST_SIMULATIONS, SIMULATION
from qexp.simulation.views import SIZED
from qexp.spec.reading import Document, digest
from qexp.spec.resolution import FOLDERS
from qexp.store.directory import RunDirectory
from qexp.store.record import require_name

LARGEST_PIECE, MOST_SMALLER_PIECES = 100, 200
"""Simulations of a piece; and the number of pieces if they have fewer, as a single simulation may
take hours.
"""

FAILURES = (ValueError, ArithmeticError, RuntimeError, subprocess.SubprocessError, TimeoutError)
MISTAKES = (NotImplementedError, RecursionError)
"""Of the errors of a simulator, those that say that it found no solution, but for these. Others are
mistakes in it.
"""

SECONDS_BETWEEN_LOOKS = 0.5

HEADER = 2**16
"""Bytes of a file besides its arrays, at most."""

ABOUT = "simulations"
"""The attribute of the file that says what its simulations are of, and how many failed."""


class Simulator:
    """Simulates a dataset; see `qexp.simulate`.

    path      of its spec
    document  resolved
    Raises QexpError for what cannot be simulated, and if something else has the name.
    """

    def __init__(
        self, path: Path, document: Document, cache: SpecCache, options: SimulateOptions
    ) -> None:
        for option in ("count", "jobs"):
            if not 1 <= (value := getattr(options, option)) <= MOST_SIMULATIONS:
                raise QexpError(f"`{option}={value}`: from 1 to {MOST_SIMULATIONS:,}")
        self._path, self._document, self._options = path, document, options
        self._workspace = cache.workspace
        if "classes" in document:
            raise QexpError(
                "simulations of several classes are not kept in files: make a dataset of each, and"
                " name it here"
            )
        self._dataset = DATA.untried_dataset(document, cache.tables, cache.workspace)
        name = require_name(f"{path.stem}_simulated" if options.name is None else options.name)
        self._file = cache.workspace.root / "data" / f"{name}.nc"
        self._spec = cache.workspace.specs / FOLDERS["dataset"] / f"{name}.json"
        self._pieces = self._file.with_suffix(".pieces")
        pinned = DATA.pinned(document, self._dataset, cache.workspace)
        of_spec = digest(pinned, TYPES["training"].extensions(cache.workspace))
        self._origin = {"count": options.count, "seed": options.seed, "spec or code": of_spec}
        """What determines every bit."""
        self._size = min(LARGEST_PIECE, max(1, options.count // MOST_SMALLER_PIECES))
        self._starts = range(0, options.count, self._size)
        self._there: dict[int, Document] = {}
        """First simulation of each piece that is there → what the piece says of itself."""
        self._fixed = {**self._pixels(), **document["fixed"]}
        self._require_own_name()

    def run(self) -> list[Path]:
        """Simulate what is missing, and wait for what other processes have begun.

        returns  the file of the simulations, and the spec of their dataset
        Raises QexpError for a mistake in the simulator's code, and if nothing can be written;
        RunFailedError if all simulations failed.
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
        """Submit processes that share the work to a scheduler. Raises SchedulerError if it
        refuses.
        """
        processes = {f"process {number}": self._words for number in range(1, options.jobs + 1)}
        place = RunDirectory(self._pieces)  # what a wrap may name instead of a run's
        launcher, settings = launchers.settled(options, self._workspace)
        return launchers.submit(
            self._workspace, launcher, settings, "data simulate", place, processes
        )

    @property
    def _words(self) -> list[str]:
        """What a process that shares the work is given besides the workspace."""
        others = ("dataset", "jobs", "workspace", "launcher", "options", "profile")
        return [str(self._path.absolute()), *words_of(self._options, others)]

    @contextmanager
    def _others(self) -> Iterator[None]:
        """Further processes until the block ends. An error that ends one of them ends this one,
        too, which tells it.
        """
        command = [sys.executable, "-m", "qexp", "data", "simulate", *self._words]
        variables = {"OMP_NUM_THREADS": "1", VARIABLE: str(self._workspace.root)}
        with Path(os.devnull).open("wb") as nowhere:
            count = min(self._options.jobs, len(self._starts)) - 1
            others = [
                machine.start_child(command, nowhere, variables, apart=False) for _ in range(count)
            ]
        try:
            yield
        finally:
            for other in others:
                other.terminate()
            for other in others:
                with suppress(subprocess.TimeoutExpired):
                    other.wait(machine.SECONDS_TO_HEAR)

    def _work(self, values: Mapping[str, Values]) -> None:
        """Compute each piece that is missing and that no other process computes; join them if all
        are there.
        """
        files.make_folder(self._pieces)
        missing = [*filterfalse(self._is_there, self._starts)]
        started = time.monotonic()
        count = self._options.count
        for start in missing:
            self._take(
                self._piece(start),
                partial(self._is_there, start),
                partial(self._compute, start, values),
            )
            done = len(self._there)
            seconds = time.monotonic() - started
            per_second = (done + len(missing) - len(self._starts)) * self._size / seconds
            counted = f"{min(done * self._size, count):,} of {count:,} simulations"
            words = f"{counted}, {per_second:.3g} per second, {self._failed[0]:,} failed"
            self._options.watch(words, done / len(self._starts))
        if len(self._there) == len(self._starts):
            with suppress(DamagedError):  # of a piece, which is computed anew
                self._take(self._pieces / "all", self._is_finished, partial(self._join, values))
        if not self._is_finished():
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _pixels(self) -> dict[str, float]:
        """Widths and heights of pixels that do not vary, as a dataset fixes them; noise may depend
        on no others.
        """
        sides = {}
        values = self._dataset.quantiles(0.1, 0.6)
        for index, image in enumerate(self._dataset.images):
            if self._dataset.view(image).points is None:
                for key, metres in zip(
                    SIZED, self._dataset.pixel_sizes(image, values), strict=True
                ):
                    if not np.ptp(metres):
                        sides[variable_of(key, index)] = metres[0] / self._dataset.si_factor(key)
                    elif self._dataset.noise.depends_on_pixels(image):
                        raise QexpError(
                            f"the pixels of '{image}' vary in size, and its noise depends on that;"
                            " fix it"
                        )
        return sides

    def _values(self) -> dict[str, Values]:
        """Parameter → (simulation,), in its unit."""
        part = {name: varying for name, varying in self._dataset.whole.items() if name != NOISE}
        if not part:
            raise QexpError(f"no parameter of '{self._path.stem}' varies")
        return self._dataset.values(
            part, self._options.count, Seeds(self._options.seed), ("simulated",)
        )

    def _is_finished(self) -> bool:
        return self._file.exists() and self._origin.items() <= _about(self._file).items()

    def _require_own_name(self) -> None:
        if self._file.exists():
            self._require_own(self._file)
        for piece in sorted(self._pieces.glob("*.npz")):
            if _about(piece):  # else it is damaged, and computed anew
                self._require_own(piece)
                break
        if self._spec.exists() and formats.object_in(self._spec).get("path") != self._file.name:
            raise QexpError(
                f"{self._workspace.shown(self._spec)} is another dataset; give another `name`"
            )

    def _require_own(self, path: Path) -> Document:
        """What a file says of its simulations. Raises QexpError if they are others."""
        about = _about(path)
        place = path if path == self._file else path.parent
        if others := [key for key, value in self._origin.items() if about.get(key) != value]:
            why = f"has simulations of another {' and '.join(others)}, which stay as they are"
            raise QexpError(
                f"{self._workspace.shown(place)} {why}; delete it, or give another `name`"
            )
        return about

    # Pieces.

    def _piece(self, start: int) -> Path:
        return self._pieces / f"{start:08}.npz"

    def _is_there(self, start: int) -> bool:
        if start not in self._there and _about(path := self._piece(start)):
            self._there[start] = self._require_own(path)
        return start in self._there

    @property
    def _failed(self) -> tuple[int, str]:
        """The number of simulations that failed, of the pieces that are there, and why the first
        did.
        """
        pieces = [piece for _, piece in sorted(self._there.items()) if piece["failed"]]
        return sum(piece["failed"] for piece in pieces), pieces[0]["reason"] if pieces else ""

    def _take(self, file: Path, is_done: Callable[[], bool], work: Callable[[], None]) -> None:
        """Work on a file, unless that is done, or another process does it."""
        if is_done():
            return
        with ExitStack() as until_the_end:
            mine = False
            # if all have been joined
            with files.writing(f"to {self._pieces}"), suppress(QexpError, FileNotFoundError):
                until_the_end.enter_context(files.locked(file, 0.0))
                mine = True
            if mine and not is_done() and not self._is_finished():
                work()

    def _compute(self, start: int, values: Mapping[str, Values]) -> None:
        of_piece = {name: column[start : start + self._size] for name, column in values.items()}
        images, reasons = self._simulated(of_piece, start)
        failed = []
        for row, reason in enumerate(reasons, start=start):
            if reason:
                failed.append(f"simulation {row}, {reason}")
        about = {**self._origin, "failed": len(failed), "reason": "".join(failed[:1])}
        with files.writing(path := self._piece(start)), files.replacing(path) as file:
            np.savez(file, *images, about=np.array(json.dumps(about)))
        self._there[start] = about

    def _simulated(self, values: Mapping[str, Values], start: int) -> tuple[list[Array], list[str]]:
        """Images, (simulation, channel, height, width) each, and why each simulation failed, empty
        if it did not.

        Those of a batch that fails are tried one by one.
        """
        count = len(next(iter(values.values())))
        every = self._dataset.shapes()
        shapes = {image: every[image] for image in self._dataset.images}
        trial = Trial(self._workspace, (), sources_of(self._document)[0][0]["type"])
        with Seeds(self._options.seed).globally("simulated", start, count):
            signals = trial.call(partial(self._signals, values))
        if isinstance(signals, str) and count > 1:
            alone = []
            for row in range(count):
                own = {name: column[[row]] for name, column in values.items()}
                alone.append(self._simulated(own, start + row))
            parts, reasons = zip(*alone, strict=True)
            images = list(map(np.concatenate, zip(*parts, strict=True)))
            return images, list(chain.from_iterable(reasons))
        if isinstance(signals, str):
            return [np.full((1, *shape), np.nan, np.float32) for shape in shapes.values()], [
                signals
            ]
        right = np.ones(count, dtype=bool)
        for image, shape in shapes.items():
            if (made := tuple(signals[image].shape)) != (count, *shape):
                raise QexpError(
                    f"the simulator made '{image}' of the shape {made}, but must make"
                    f" {(count, *shape)}"
                )
            mask = self._dataset.view(image).mask(self._dataset.size)
            hidden = False if mask is None else mask.numpy() == 0
            right &= ((signals[image].abs().numpy() < HUGE_NUMBER) | hidden).all(axis=(1, 2, 3))
        images = [signals[image].float().numpy() for image in shapes]
        return images, np.where(right, "", "values that are missing or infinite").tolist()

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
        import h5netcdf
        import h5py

        self._require_own_name()
        failed, reason = self._failed
        if failed == self._options.count:
            again = f"to try again, delete {self._workspace.shown(self._pieces)}"
            raise RunFailedError(f"all {failed:,} simulations failed; the first: {reason}; {again}")
        called = {
            name: self._document.get("columns", {}).get(name, name)
            for name in [*values, *self._dataset.images]
        }
        axes = {
            name: {
                f"{called[name]}.{side}": size
                for side, size in dimensions(self._dataset, name).items()
            }
            for name in called
        }
        count = self._options.count
        size = HEADER + sum(
            (8 if name in values else 4) * count * math.prod(sizes.values())
            for name, sizes in axes.items()
        )
        # where the disk is full, HDF5 ends the process
        if size > (free := shutil.disk_usage(self._file.parent).free):
            there = f"it takes {files.in_bytes(size)}, and {files.in_bytes(free)} are free"
            raise QexpError(f"cannot write {self._file}: {there}")
        with files.writing(self._file), files.beside(self._file) as draft:
            with h5netcdf.File(draft, "w") as table:
                table.dimensions = {
                    SIMULATION: count,
                    **dict(item for sizes in axes.values() for item in sizes.items()),
                }
                for name, sizes in axes.items():
                    kind = np.float64 if name in values else np.float32
                    variable = table.create_variable(called[name], (SIMULATION, *sizes), kind)
                    variable.attrs["units"] = quantity(name, self._dataset.quantities).unit
            with h5py.File(draft, "r+") as file:  # which h5netcdf fills slowly
                file.attrs[ABOUT] = json.dumps({**self._origin, "failed": failed, "reason": reason})
                for name in values:
                    file[called[name]][:] = values[name]
                shapes = {
                    called[image]: tuple(axes[image].values()) for image in self._dataset.images
                }
                for start in self._starts:
                    for column, rows in self._rows(start, shapes).items():
                        file[column][start : start + len(rows)] = rows

    def _rows(self, start: int, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
        """The images of a piece. Raises DamagedError for a damaged one, which is then missing."""
        path = self._piece(start)
        count = min(self._size, self._options.count - start)
        try:
            piece = NpzImages(path)
            read = ((name, piece.read(f"arr_{place}", None)) for place, name in enumerate(shapes))
            return {name: rows.reshape(count, *shapes[name]) for name, rows in read}
        except (QexpError, LookupError, ValueError) as error:
            del self._there[start]
            path.unlink(missing_ok=True)
            raise DamagedError(f"{path} is damaged") from error

    def _stored_document(self) -> Document:
        document = self._document
        options = self._options
        words = (
            f"{self._path.stem} --count {options.count} --seed {options.seed} --name"
            f" {self._file.stem}"
        )
        kept = ("description", "angles", "views", "columns", "noise_model")
        varyings = {
            name: [] if name == NOISE else held_out
            for name, held_out in document["varyings"].items()
        }
        fixed = {
            name: value
            for name, value in self._fixed.items()
            if base_name(name) in {NOISE, *VIEW_KEYS}
        }
        return {
            "type": "simulated",
            "path": self._file.name,
            "made_by": f"qexp data simulate {words}",
            "observations": self._dataset.images,
            "varyings": varyings,
            "fixed": fixed,
            "distributions": {name: document["distributions"][name] for name in varyings},
            **{key: document[key] for key in kept if key in document},
        }


def _about(path: Path) -> Document:
    """What a piece, or the file of all, says of its simulations; empty if it is damaged, or
    something else.
    """
    import h5py

    with suppress(*formats.BROKEN_NETCDF, *DAMAGED_ARCHIVE, NotFoundError):
        files.require_file(path)
        if path.suffix == ".npz":
            with np.load(path) as piece:
                about = json.loads(str(piece["about"]))
        else:
            with h5py.File(path) as file:
                about = json.loads(file.attrs[ABOUT])
        if isinstance(about["failed"], int) and isinstance(about["reason"], str):
            return dict(about)
    return {}

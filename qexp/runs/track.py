"""Runs that a script logs by itself: `with qexp.track("fit", parameters={"rate": 0.1}) as run:
run.log(loss=0.3)`.
"""

from __future__ import annotations

import atexit
import itertools
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractContextManager,
    closing,
    contextmanager,
    nullcontext,
    redirect_stderr,
    redirect_stdout,
    suppress,
)
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TextIO

import orjson

from qexp.base import files, formats
from qexp.base.machine import terminable
from qexp.base.seeds import require_seed
from qexp.base.workspace import Workspace
from qexp.errors import NotFoundError, Problem, QexpError, SpecError
from qexp.jobs.states import Watch
from qexp.kinds.attempt import OwnRecord, Results
from qexp.kinds.figures import FIGURES_FOLDER
from qexp.runs import followed
from qexp.runs.catalog import Catalog, find_run
from qexp.runs.execute import keep, recorded
from qexp.runs.prepare import Plan, prepare
from qexp.spec.experiences import RESULTS, TRACKED, program_results
from qexp.spec.reading import digest, plain
from qexp.spec.validation import in_schema
from qexp.store import provenance
from qexp.store.directory import RunDirectory, add_annotations, require_valid_annotations
from qexp.store.lease import Lease, take_lease
from qexp.store.record import Epochs, Line, Numbers, State, require_name

log = logging.getLogger("qexp.run")

FIGURES = (".png", ".jpg", ".jpeg", ".svg", ".pdf")
"""The endings of pictures that are taken over as they are."""


LONGEST_WAIT = 120.0
"""Seconds for runs of the same name that start before this one."""


class TrackedRun:
    """A run that this process logs; made by `qexp.track`."""

    def __init__(self, own: OwnRecord, lease: Lease, lost: threading.Event) -> None:
        self.directory = own.directory
        self._own = own
        self._lease = lease
        self._lost = lost
        self._spec = own.directory.spec()
        self._lock, self._next_note = threading.Lock(), 0.0
        files.make_folder(self.directory.results)
        self._open(self.directory.metrics())
        self._continues = self._steps.count > 0
        """Whether nothing was logged yet since the run was continued."""
        self._results: Numbers = {**own.record.results}
        self._seconds = own.record.seconds
        self._began = time.monotonic()
        epochs = own.record.epochs
        self._counts_epochs = epochs.of > 0 or (epochs.done > 0 and epochs.step is None)

    def _open(self, lines: Sequence[Line]) -> None:
        """Go on after these lines, in a new file: another process may have the old open."""
        formats.write_lines(self.directory.metrics_file, lines)
        self._file = self.directory.metrics_file.open("r+b", buffering=0)
        self._steps = followed.Steps(lines)
        self._end = self._start = self._file.seek(0, os.SEEK_END)
        """Where the file ends, and where its last line starts."""

    def __repr__(self) -> str:
        return f"<run {self.name}: step {self.step}>"

    @property
    def name(self) -> str:
        """The name of the run, which is the name of its directory."""
        return self.directory.name

    @property
    def path(self) -> Path:
        """The directory of the run; files in it are pushed, exported and removed with it."""
        return self.directory.path

    @property
    def seed(self) -> int:
        """The seed given, else the number of earlier runs with equal parameters."""
        return self._own.record.seed

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters that were given, also when the run is continued."""
        return dict(self._spec["parameters"])

    @property
    def step(self) -> float:
        """The last step that was logged, a whole number if it is one; 0 before the first."""
        return int(self._steps.step) if self._steps.step % 1 == 0 else self._steps.step

    def log(
        self,
        step: float | Mapping[str, Any] | None = None,
        numbers: Mapping[str, Any] = {},
        /,
        **named: Any,
    ) -> None:
        """Log numbers of a step, which are kept at once: they survive even the death of the
        process.

        step     never less than the last; if left out, the number called `step`, else that called
                 `epoch`, else the one after the last; numbers of the same step are one line
        numbers  name → number, for names that cannot be keywords: {"val/depth/mae": 0.1}
        named    name = number
        Names begin with `train_`, `val_` or `test_` (or `/`); others are of the training part. `lr`
        or `learning_rate` is the learning rate. The first step of a run that is continued may be an
        earlier one: what was logged from there on is replaced. Raises QexpError for what is not a
        number, and for a step before the last.

        >>> with qexp.track("fit") as run:
        ...     run.log(loss=0.5, val_loss=0.6)
        """
        given = _by_name("run.log", numbers, named)
        if isinstance(step, Mapping):  # `run.log({"loss": 0.1})`
            given, step = {**step, **given}, None
        row = {name: _number(name, value) for name, value in given.items()}
        if step is not None:
            position: float | None = _number("the step", step)
        else:
            self._counts_epochs = self._counts_epochs or ("epoch" in row and "step" not in row)
            position = next((row.pop(name) for name in ("step", "epoch") if name in row), None)
        self._require_own()
        with self._lock:
            self._require_own()  # the run may have ended meanwhile
            if self._continues and position is not None and position <= self._steps.step:
                self._file.close()
                lines = self.directory.metrics()
                self._open([line for line in lines if followed.step_of(line) < position])
                log.info(
                    "continues at step %g: what was logged from there on is replaced", position
                )
            self._continues = False
            steps_before = self._steps.count
            line = self._steps.add(row, position)
            # A step may have thousands of numbers, each of a call of its own.
            content = orjson.dumps(line) if self._steps.finite else formats.line_bytes(line)
            if self._steps.count > steps_before:
                self._start = self._end
            # A line of the same step replaces the last, in one call and never shorter.
            self._write(content.rstrip(b"\n").ljust(self._end - self._start - 1) + b"\n")
            if time.monotonic() >= self._next_note:
                self._note()

    def _write(self, content: bytes) -> None:
        try:
            done = 0
            while done < len(content):
                done += os.pwrite(self._file.fileno(), content[done:], self._start + done)
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._start)
            raise QexpError(
                f"cannot write to {self.directory.metrics_file}: {error.strerror}"
            ) from error
        self._end = self._start + len(content)

    def result(self, numbers: Mapping[str, Any] = {}, /, **named: Any) -> None:
        """Keep numbers as results of the run, besides earlier ones: `run.result(rmse=0.1)`.

        numbers  by part, output and metric, {"test": {"depth": {"mae": 0.1}}}; else they are of the
                 part `test`
        named    metric = number, of the part `test`
        Without any, the last numbers of each name that were logged are its results.

        >>> with qexp.track("fit") as run:
        ...     run.result(rmse=0.1)
        """
        finite = plain(formats.with_marks(_by_name("run.result", numbers, named)), "run.result")
        finite.pop("not_finite", None)
        given = program_results(finite, "run.result")
        with self._lock:
            self._require_own()
            for part, outputs in given.items():
                merged = {**self._results.get(part, {})}
                for output, metrics in outputs.items():
                    merged[output] = {**merged.get(output, {}), **metrics}
                self._results = {**self._results, part: merged}
            self._keep_results()
            self._note()

    def _keep_results(self) -> None:
        formats.write_json(self.directory.results / RESULTS, self._results)
        outputs = dict.fromkeys(itertools.chain(*self._results.values()))
        units = TRACKED.units_of(self._spec, outputs)
        self._own.keep(results=self._results, units=units)

    def figure(self, figure: Any, name: str = "figure", *, step: float | None = None) -> Path:
        """Keep a picture with the run: a figure of Matplotlib, or a file. Returns its path in the
        run.

        figure  a figure of Matplotlib, or the path of a PNG, JPEG, SVG or PDF file
        name    of the picture, which replaces an earlier one of that name
        step    kept beside those of other steps

        >>> from matplotlib.figure import Figure
        >>> with qexp.track("fit") as run:
        ...     path = run.figure(Figure(), "residuals")
        """
        self._require_own()
        stem = require_name(name if step is None else f"{name}_{step:06.10g}")
        folder = self.directory.path / FIGURES_FOLDER
        files.make_folder(folder)
        if hasattr(figure, "savefig"):
            with files.replacing(folder / f"{stem}.png") as file:
                figure.savefig(file, format="png", bbox_inches="tight", dpi=150)
            return folder / f"{stem}.png"
        path = Path(figure) if isinstance(figure, str | os.PathLike) else None
        if path is None or path.suffix.lower() not in FIGURES:
            what = f"'{path}'" if path else f"a {type(figure).__name__}"
            raise QexpError(
                f"{what} is no figure of Matplotlib, and no file that ends in {', '.join(FIGURES)}"
            )
        if not path.is_file():
            raise NotFoundError(f"there is no file {path}")
        target = folder / f"{stem}{path.suffix.lower()}"
        files.write_bytes(target, path.read_bytes())
        return target

    def _require_own(self) -> None:
        if not self._lease.is_own:
            pid = self._lease.process.pid
            raise QexpError(
                f"{self.name} is logged by another process, {pid}; log there, or track another run"
            )
        if self._lost.is_set():
            raise self._lease.lost()
        if self._file.closed:
            raise QexpError(f"{self.name} has ended; log inside its `with` block")

    def _note(self) -> None:
        """Write the record, so that others see how far the run is."""
        self._next_note = time.monotonic() + followed.SECONDS_BETWEEN_NOTES
        done = self._steps.count
        total = self._own.record.epochs.of
        if total < done:
            total = 0
        step = None if self._counts_epochs or not done else self._steps.step
        epochs = Epochs(done=done, of=total, best=self._steps.best, step=step)
        seconds = round(self._seconds + time.monotonic() - self._began, 3)
        self._own.note(epochs=epochs, seconds=seconds)

    def finish(self) -> Results:
        """The run's results, once its work is done."""
        logged = followed.results_of(self._steps.latest)
        if self._results:  # by the validation part one chooses, whatever else is kept
            logged = {part: of_part for part, of_part in logged.items() if part == "validation"}
        self._results = {**logged, **self._results}
        self._keep_results()
        return Results(self._own.record.results, units=self._own.record.units)

    def close(self) -> None:
        """Nothing is logged from here on."""
        if not self._lease.is_own:
            return
        with self._lock:
            if not self._lost.is_set():
                self._note()
            os.fsync(self._file.fileno())
            self._file.close()


def _by_name(what: str, numbers: Mapping[str, Any], named: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(numbers, Mapping) and all(isinstance(name, str) for name in numbers):
        return {**numbers, **named}
    raise QexpError(
        f"{what}: give numbers as name = number, or as a dictionary of texts and numbers"
    )


def _number(name: str, value: Any) -> float:
    # the last as torch says that there are several
    with suppress(TypeError, ValueError, OverflowError, RuntimeError):
        if not isinstance(value, str | bytes):
            return float(value)
    # of which Python prints no long one
    shown = "too large" if isinstance(value, int) else repr(str(value)[:60])
    raise QexpError(f"run.log: {name} must be a number, but is {shown} ({type(value).__name__})")


class Block(AbstractContextManager[TrackedRun]):
    """Holds the lease of a run while a block of code logs it, and records how the block ends.

    In a process that the script forks, leaving the block does nothing. One that is never left ends
    with Python.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self._logged = _logged(directory)

    def __enter__(self) -> TrackedRun:
        run = self._logged.__enter__()
        atexit.register(self._end)
        return run

    def __exit__(self, *error: Any) -> bool | None:
        atexit.unregister(self._end)
        return self._logged.__exit__(*error)

    def _end(self) -> None:
        error = QexpError("the script ended inside the `with` block of `qexp.track`")
        with suppress(QexpError):
            self.__exit__(type(error), error, None)


@contextmanager
def _logged(directory: RunDirectory) -> Iterator[TrackedRun]:
    ignored = signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, None)
    # A script with a handler of its own knows what to do.
    with nullcontext() if ignored else terminable(), take_lease(directory) as lease:
        own = OwnRecord(directory, directory.record())
        left = None
        with recorded(own, lease) as outcome, _copied(lease.attempt / "log.txt"):
            formats.write_json(
                directory.path / "environment.json", provenance.environment(None, None, {})
            )
            with closing(TrackedRun(own, lease, outcome.lost)) as run:
                try:
                    yield run
                except SystemExit as end:
                    if end.code:
                        raise
                    left = end
                if lease.is_own:
                    keep(run.finish(), own)
    error = outcome.error or left
    if error is not None:
        raise error


@contextmanager
def _copied(log_file: Path) -> Iterator[None]:
    """What the block prints is in the log, too."""
    with (
        log_file.open("a", encoding="utf-8", errors="replace", buffering=1) as copy,
        redirect_stdout(_Both(sys.stdout, copy)),
        redirect_stderr(_Both(sys.stderr, copy)),
    ):
        yield


class _Both:
    """A stream whose text goes to a second one, too; in all else the first."""

    def __init__(self, first: TextIO, second: TextIO) -> None:
        self._first, self._second = first, second

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):  # a full disk; a logger that lives on
            self._second.write(text)
        return self._first.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._first, name)


# The directory of a run that is tracked.


def directory_of(
    name: str,
    parameters: Any,
    workspace: Workspace,
    *,
    seed: int | None,
    resume: bool,
    tags: Iterable[str],
    note: str,
    more: Mapping[str, Any],
) -> RunDirectory:
    """A new run's directory, or that of a run which is to continue.

    more  further keys of its spec: dataset, model, metrics, units
    Raises QexpError for a run that is at work or done, and for parameters other than its own.
    """
    require_name(name)
    seed = None if seed is None else require_seed(seed)
    tags = [tags] if isinstance(tags, str) else list(tags)
    require_valid_annotations(tags, note)
    root, script = _script(workspace.root.absolute())
    parameters = plain(parameters, "parameters")
    spec = {"type": "tracked", "parameters": parameters, **more, "script": script}
    found = in_schema(spec, TRACKED.schema())
    if found:
        raise SpecError([Problem("qexp.track", *finding) for finding in found])
    prints = {script: files.sha256_of(root / script)} if script else {}
    spec = {**TRACKED.with_defaults(spec, {}), "fingerprints": prints}
    wanted = name if seed is None else f"{name}_{seed}"
    if resume and (seed is None or RunDirectory(workspace.runs / wanted).holds_record):
        directory = find_run(wanted, Catalog(workspace))
        _require_resumable(directory, spec)
        add_annotations(directory.path, tags, note)
        return directory
    epochs = parameters.get("epochs")
    overrides = [f"parameters.{key}={json.dumps(value)}" for key, value in parameters.items()]
    plan = Plan(
        name=name,
        experience=name,
        dataset=spec["dataset"],
        model=spec["model"],
        seed=0 if seed is None else seed,
        spec=spec,
        digest=digest(spec),
        epochs=Epochs(of=epochs if isinstance(epochs, int) and epochs > 0 else 0),
        overrides=tuple(overrides),
        metrics=spec["metrics"],
        files=prints,
        root=root,
        script=script,
        tags=tuple(tags),
        note=note,
    )
    return _prepared(plan, workspace, seed is not None)


def _prepared(plan: Plan, workspace: Workspace, with_seed: bool) -> RunDirectory:
    """A run under the first free name: that of the plan, with its seed or a number."""
    files.make_folder(workspace.runs)
    # One after the other, or of many that start at once all but one would lose what they write.
    with files.locked(workspace.runs / f".track-{plan.name}", LONGEST_WAIT):
        # repeats count within equal parameters, so that settings are compared seed by seed
        if not with_seed:
            runs = _recorded(Workspace(workspace.root.absolute()))()
            used = {run["seed"] for run in runs if run["digest"] == plan.digest}
            plan = replace(plan, seed=next(free for free in itertools.count() if free not in used))
        wanted = f"{plan.name}_{plan.seed}" if with_seed else plan.name
        for number in itertools.count(int(with_seed)):
            free = wanted if with_seed and number == 1 else f"{wanted}_{number}"
            if os.path.lexists(workspace.runs / free):
                continue
            with suppress(FileExistsError):
                return prepare(replace(plan, name=free), workspace)
    raise AssertionError("there is always a free number")


@cache
def _recorded(workspace: Workspace) -> Callable[[], list[dict[str, Any]]]:
    """The summaries of all runs, for a script that starts many: only new ones are read."""
    return Catalog(workspace).follow(as_recorded=True)


def _script(workspace: Path) -> tuple[Path, str]:
    """A folder, the workspace if possible, and the path in it of the file that Python was started
    with; the path is empty in a notebook and at a prompt.
    """
    file = getattr(sys.modules["__main__"], "__file__", None)
    if file is None or not Path(file).is_file():
        return workspace, ""
    if any(part.endswith("-packages") for part in Path(file).parts):
        return workspace, ""
    script = Path(file).absolute()
    root = workspace if script.is_relative_to(workspace) else script.parent
    return root, str(script.relative_to(root))


def _require_resumable(directory: RunDirectory, spec: Mapping[str, Any]) -> None:
    record = directory.record()
    state = Watch().state(directory)
    if record.script is None:
        how = record.continued_by(directory.name)
        raise QexpError(f"{directory.name} is not a run of `qexp.track`; continue it: {how}")
    if state is State.DONE or state.at_work:
        raise QexpError(f"{directory.name} is {state}; leave out `resume` for a new run")
    given = spec["parameters"]
    own = directory.spec()["parameters"]
    if given and given != own:
        names = sorted(name for name in {*given, *own} if given.get(name) != own.get(name))
        raise QexpError(
            f"{directory.name} has other parameters: {', '.join(names)}; leave out `resume` for a"
            " new run"
        )

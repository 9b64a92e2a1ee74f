"""Executing a prepared run. It needs nothing but the run's directory."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch

from qexp import assemble, files
from qexp.errors import InterruptedRunError, QexpError, RunFailedError
from qexp.models.inversion import Inversion
from qexp.runs import provenance
from qexp.runs.directory import RunDirectory, read_lines
from qexp.runs.launch.slurm import this_job
from qexp.runs.prepare import now
from qexp.runs.process import HEARTBEAT_SECONDS, alive, this_process
from qexp.runs.results import write_results
from qexp.runs.signals import handled
from qexp.seeds import Seeds
from qexp.training import checkpoint
from qexp.training.events import EventWriter
from qexp.training.loop import Progress, Trainer

log = logging.getLogger("qexp.run")


class Display(Protocol):
    """Shows a run's progress to whoever looks on."""

    def start(self, name: str, epochs: int, done: int) -> None: ...
    def batch(self, epoch: int, batch: int, batches: int) -> None: ...
    def epoch(self, line: dict[str, Any], seconds: float) -> None: ...
    def stop(self) -> None: ...


class Silent:
    """Shows nothing."""

    def start(self, name: str, epochs: int, done: int) -> None: ...
    def batch(self, epoch: int, batch: int, batches: int) -> None: ...
    def epoch(self, line: dict[str, Any], seconds: float) -> None: ...
    def stop(self) -> None: ...


def execute(
    directory: RunDirectory, device: str = "auto", display: Display | None = None, threads: int | None = None
) -> None:
    """Train and judge a prepared or interrupted run, in this process, from where it stands.

    threads  at most so many; all of the machine's if left out
    Returns when the run is done. Raises RunFailedError or InterruptedRunError after the record says so.
    """
    record = directory.record()
    if record["state"] == "done":
        return
    with _watched_signals() as interrupted:  # from here on a signal cannot leave a record that says "running"
        attempt = _begin(directory, record)
        with _logging_to(attempt / "log.txt"), _heartbeat(attempt / "heartbeat"), _threads_restored():
            log.info("run %s, process %d, attempt %s", record["name"], os.getpid(), attempt.name)
            state, error = _outcome(
                lambda: _train(directory, record, device, display or Silent(), interrupted, threads)
            )
            if error is not None:
                record["error"] = _last_line(error)
                log.error("%s", "".join(traceback.format_exception(error)))
            record["attempts"][-1] |= {"ended": now(), "state": state}
            record |= {"state": state, "ended": now()}
            log.info("%s", state)
            files.write_json(directory.record_file, record)
    if state == "interrupted":
        raise InterruptedRunError(f"{record['name']} was interrupted; go on with --resume")
    if error is not None:
        raise RunFailedError(
            f"{record['name']} {state.replace('_', ' ')}: {record['error']}\nsee {attempt / 'log.txt'}"
        ) from error


def _begin(directory: RunDirectory, record: dict[str, Any]) -> Path:
    """Claim the next attempt, and write down that the run is running. Returns the attempt's folder."""
    number = _claim_attempt(directory, record)
    attempt = directory.attempt(number)
    record["attempts"].append(
        {"number": number, "process": this_process().document(), "started": now(), "ended": None, "state": "running"}
    )
    record |= {"state": "running", "started": record["started"] or now(), "ended": None, "error": None}
    record["job"] = this_job()
    files.write_json(attempt / "command.json", {"argv": sys.argv, "directory": str(Path.cwd())})
    files.write_json(directory.record_file, record)
    return attempt


def _outcome(train: Callable[[], bool]) -> tuple[str, BaseException | None]:
    """The state in which training ends, and the error if it was one."""
    try:
        return ("done" if train() else "interrupted"), None
    except (MemoryError, torch.OutOfMemoryError) as error:
        return "out_of_memory", error
    except KeyboardInterrupt:
        return "interrupted", None
    except BaseException as error:
        return "failed", error


def _train(
    directory: RunDirectory,
    record: dict[str, Any],
    device_name: str,
    display: Display,
    interrupted: Callable[[], bool],
    threads: int | None,
) -> bool:
    """From the directory to results; False if interrupted. Fills in the record, but does not write it."""
    spec, seeds = directory.spec(), Seeds(record["seed"])
    device = assemble.device_of(device_name)
    tables = assemble.tables_with(directory.extensions)
    if device.type == "cpu":
        wanted = assemble.threads_for(spec, tables)
        torch.set_num_threads(min(wanted, threads or wanted))
    files.write_json(
        directory.path / "environment.json", provenance.environment(_called(device), torch.get_num_threads())
    )
    dataset = assemble.dataset_of(spec["dataset"], tables)
    data = assemble.data_of(spec, dataset, seeds, device)
    model = assemble.initial_model(spec, tables, seeds)
    pretrained = directory.checkpoints / "pretrained.safetensors"
    if pretrained.exists():
        model.load_state_dict(checkpoint.read(pretrained)[0])
    else:
        assemble.fit_transforms(model.to(device), data)
    trainer = Trainer(model, data, assemble.recipe_of(spec, tables), seeds, device, directory.checkpoints)
    done = trainer.resume()
    _cut_metrics(directory.metrics_file, done)
    log.info("device %s, %d threads, %s weights", _called(device), torch.get_num_threads(), _weights(model))
    if done:
        log.info("goes on after epoch %d", done)

    started = time.perf_counter()
    seconds_before = record["seconds"]
    with EventWriter(directory.path / "tensorboard", done) as events, directory.metrics_file.open("a") as lines:
        listener = _Listener(lines, events, display, partial(_note_progress, directory, record))
        display.start(record["name"], spec["epochs"], done)
        try:
            finished = trainer.run(listener, interrupted)
        finally:
            display.stop()
            lines.flush()
            os.fsync(lines.fileno())
            record["seconds"] = round(seconds_before + time.perf_counter() - started, 3)
    if not finished:
        return False
    if trainer.progress.stopped:
        log.info("stopped early: %s", trainer.progress.stopped)
    record["stopped"] = trainer.progress.stopped
    results = {"validation": trainer.evaluate(data.validation), "test": trainer.evaluate(data.test)}
    write_results(directory, trainer.model, data.test)
    record["results"] = results
    return True


class _Listener:
    """Writes an epoch's line to the metrics, the events, the log and the display."""

    def __init__(
        self, lines: Any, events: EventWriter, display: Display, note_progress: Callable[[Progress], None]
    ) -> None:
        self._lines, self._events, self._display, self._note_progress = lines, events, display, note_progress

    def batch_done(self, epoch: int, batch: int, batches: int) -> None:
        self._display.batch(epoch, batch, batches)

    def epoch_done(self, line: dict[str, Any], seconds: float) -> None:
        # No times in here: two runs of one seed write the same bytes.
        self._lines.write(json.dumps(files.with_marks(line), separators=(",", ":")) + "\n")
        self._lines.flush()
        self._events.epoch(line)
        self._display.epoch(line, seconds)
        log.info(
            "epoch %d: loss %.6g, validation %.6g%s, %.3f s",
            line["epoch"],
            line["train"]["loss"],
            line["validation"]["loss"],
            " (best)" if line["best"] else "",
            seconds,
        )

    def checkpoint_written(self, progress: Progress) -> None:
        self._events.flush()
        self._note_progress(progress)


def _note_progress(directory: RunDirectory, record: dict[str, Any], progress: Progress) -> None:
    record["epochs"] |= {"done": progress.epoch - 1, "best": progress.best_epoch or None}
    files.write_json(directory.record_file, record)


def _claim_attempt(directory: RunDirectory, record: dict[str, Any]) -> int:
    """Make the next attempt's folder; of several processes that try, one succeeds."""
    attempts = record["attempts"]
    if attempts and attempts[-1]["state"] == "running":
        last = attempts[-1]
        if alive(last["process"], directory.attempt(last["number"]) / "heartbeat"):
            raise QexpError(f"{record['name']} is running already, as process {last['process']['pid']}")
        last["state"] = "lost"
    taken = [int(path.name) for path in (directory.path / "attempts").iterdir() if path.name.isdigit()]
    number = max(taken, default=0) + 1
    if number > len(attempts) + 1 and _just_claimed(directory, number - 1):
        raise QexpError(f"{record['name']} is being started by another process")
    try:
        directory.attempt(number).mkdir()
    except FileExistsError:
        raise QexpError(f"{record['name']} is being started by another process") from None
    except OSError as error:
        raise QexpError(f"cannot write to {directory.path}: {error.strerror}") from error
    return number


def _just_claimed(directory: RunDirectory, number: int) -> bool:
    """Whether an attempt that the record does not know yet is a few seconds old, and not a dead one's."""
    return time.time() - directory.attempt(number).stat().st_mtime < 10


def _cut_metrics(path: Path, epochs: int) -> None:
    """Drop the lines of epochs that will be trained again."""
    if not path.exists():
        return
    kept = [line for line in read_lines(path) if line["epoch"] <= epochs]
    content = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in kept)
    files.write_bytes(path, content.encode())


def _weights(model: Inversion) -> str:
    return f"{sum(weight.numel() for weight in model.parameters()):,}"


def _called(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _last_line(error: BaseException) -> str:
    text = str(error).strip() or "no message"
    return text if isinstance(error, QexpError) else f"{type(error).__name__}: {text}"


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    before = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]
        handler.close()


@contextmanager
def _threads_restored() -> Iterator[None]:
    """Leave torch's number of threads to the caller as it was."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _heartbeat(path: Path) -> Iterator[None]:
    """Touch a file for as long as this process works, also during a long step."""
    path.touch()
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):  # a full disk or a vanished directory is training's to report
                path.touch()

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def _watched_signals() -> Iterator[Callable[[], bool]]:
    """Note the first SIGINT or SIGTERM, so that training can end in order; a second SIGINT acts at once.

    A second SIGTERM does not: it comes where two ask for the end, such as `qexp stop`, a pool and Slurm, and must not
    cost the checkpoint. What does not end is killed.
    """
    received = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        if received.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.set()

    with handled((signal.SIGINT, signal.SIGTERM), note):
        yield received.is_set

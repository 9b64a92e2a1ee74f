"""The cost of managing a run, and how busy a pool keeps its slots."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import torch

import qexp
from benchmarks.bare_loop import Deaf
from benchmarks.startup import workspace_of_runs
from benchmarks.timing import seconds
from qexp.base.machine import threads
from qexp.base.seeds import Seeds
from qexp.base.workspace import Workspace, find
from qexp.jobs.launchers import Watcher
from qexp.kinds.experiments import experience
from qexp.kinds.objects import (
    data_kind,
    dataset_of,
    fit_transforms,
    initial_model,
    recipe_of,
    threads_for,
)
from qexp.kinds.tables import BUILT_IN
from qexp.networks.training import Trainer
from qexp.runs.catalog import Catalog
from qexp.runs.launch import check_order, open_launch, run_here, start
from qexp.runs.order import Order

REPEATS = 5


def overhead(others: int) -> tuple[float, float]:
    """Median seconds of a managed run of mogi_quick, and of training alone, in a workspace with
    `others` runs.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "workspace"
        workspace_of_runs(root, others)
        (root / "specs").rmdir()
        (root / "specs").symlink_to(find().specs)
        workspace = Workspace(root)
        qexp.runs(workspace=root)
        pairs = []
        for turn in range(REPEATS + 1):
            pairs.append((_managed(workspace, turn), _alone(workspace, turn)))
        ours, bare = (statistics.median(times) for times in zip(*pairs[1:], strict=True))
        return ours, bare


def _managed(workspace: Workspace, turn: int) -> float:
    def work() -> None:
        start(Order("mogi_quick", [turn], device="cpu"), workspace)
        Catalog(workspace).refresh_if_small()

    return seconds(work)


def _alone(workspace: Workspace, turn: int) -> float:
    """The same samples, network and loop, and the test error at the end; no run directory, no
    figures.
    """

    def work() -> None:
        spec, tables = experience("mogi_quick", {}, workspace).document, BUILT_IN
        seeds, device = Seeds(turn), torch.device("cpu")
        with threads(threads_for(spec, tables)):
            dataset = dataset_of(spec["dataset"], tables)
            data = data_kind(spec["dataset"]).data(spec, dataset, tables, seeds, device)
            model = initial_model(spec, tables, seeds)
            fit_transforms(model, data.to_fit)
            trainer = Trainer(
                model, data, recipe_of(spec, tables), seeds, device, Path(tempfile.mkdtemp())
            )
            trainer.run(Deaf(), lambda: False)
            trainer.evaluate(data.test)

    return seconds(work)


def logged_steps(steps: int = 5_000) -> tuple[float, float]:
    """Seconds a step that a script logs by `qexp.track`, and that it writes as a line of JSON to a
    file of its own.
    """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "specs").mkdir()
        with qexp.track("steps", workspace=folder) as run:
            ours = seconds(lambda: [run.log(step, loss=1 / step) for step in range(1, steps + 1)])
        with (Path(folder) / "lines.jsonl").open("w", buffering=1) as lines:
            bare = seconds(
                lambda: [lines.write(f'{{"step": {step}}}\n') for step in range(1, steps + 1)]
            )
        return ours / steps, bare / steps


class Lives(Watcher):
    """A watcher that adds up how long the pool's processes lived."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def run_ended(self, run: str, state: str, seconds: float) -> None:
        self.seconds += seconds


def busy_slots(jobs: int = 4, runs: int = 40) -> float:
    """The fraction of the pool's slots in which a process was running, from the pool's start to its
    end.
    """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "specs").symlink_to(find().specs)
        workspace, lives = Workspace(Path(folder)), Lives()
        brief = {"epochs": 2, "sizes": [96, 32, 32]}
        order = Order("mogi_quick", seeds=range(runs), overrides=brief, jobs=jobs, device="cpu")
        launch, directories = open_launch(check_order(order, workspace), workspace)
        elapsed = seconds(lambda: run_here(launch, directories, lives))
        return lives.seconds / (jobs * elapsed)

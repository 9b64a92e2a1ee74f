"""How costs grow with runs, samples, pixels, rows, seeds, folds and processes.

Run: python -m benchmarks.scale [DIRECTION ...] [--quick] [--to FOLDER]
Two idle cores take a quarter of an hour, and a few minutes with --quick, which takes smaller sizes,
once each. Every measurement is a line that is added to scale.jsonl, and medians are of all lines in
it: it can go on at another time, and without that file it begins anew. Draws scale.png.

Every cost is that of a whole command in a process of its own, start-up included. Sizes are measured
in turn, so that a machine that slows down slows all of them. This process stays small, since the
peak memory of a process is never less than that of the one that started it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Ways = Mapping[tuple[str, int], Callable[[], "Cost"]]
"""(what is measured, its size) → how."""

SIZES: dict[str, tuple[int, ...]] = {
    "runs": (100, 1_000, 10_000, 100_000),
    "queued": (10, 100, 1_000),
    "samples": (1_000, 10_000, 100_000),
    "pixels": (32, 64, 128),
    "rows": (10_000, 100_000, 1_000_000),
    "images": (1_000, 10_000, 100_000),
    "seeds": (1, 2, 4, 8),
    "folds": (5, 20, 50),
    "processes": (1, 2, 4),
}

QUICK: dict[str, tuple[int, ...]] = {
    "runs": (10, 100, 1_000),
    "queued": (1, 10, 100),
    "samples": (100, 1_000, 10_000),
    "pixels": (32, 64),
    "rows": (100, 1_000, 10_000),
    "images": (10, 100, 1_000),
    "seeds": (1, 2),
    "folds": (5, 10),
    "processes": (1, 2),
}

REPEATS = 3

EPOCHS = 2
"""Of runs whose training is measured."""

IMAGES_OF_EPOCH = 1_000
SWEEP = 4
NETWORKS = (5, 50)
"""Of a run on rows: one for each fold."""

LISTED = "50"
"""Runs that `qexp ls` shows on a terminal."""

new_seeds = itertools.count(1_000)


@dataclass(frozen=True)
class Cost:
    seconds: float
    """From start to end, waiting included."""
    core_seconds: float
    """Of all cores together: what other work on the machine changes least."""
    megabytes: float
    """Peak memory of the largest process."""


@dataclass(frozen=True)
class Line:
    """What is measured, at several sizes."""

    name: str
    sizes: list[int]
    costs: list[Cost]
    """Medians at each size."""
    times: int
    """Measurements at the size with the fewest."""

    def each(self, what: str = "core_seconds") -> float:
        """What one more costs, between the two largest sizes."""
        if len(self.costs) == 1:
            return math.nan
        before, last = (getattr(cost, what) for cost in self.costs[-2:])
        return float(last - before) / (self.sizes[-1] - self.sizes[-2])

    def ratio(self, what: str = "core_seconds") -> float:
        """The cost at the largest size over that at the smallest."""
        return float(getattr(self.costs[-1], what) / getattr(self.costs[0], what))


@dataclass(frozen=True)
class Direction:
    lines: list[Line]
    facts: dict[str, float]
    """What does not depend on the size: medians."""


@dataclass(frozen=True)
class Bench:
    """A workspace to measure in, and the file of the measurements."""

    folder: Path
    sizes: Mapping[str, tuple[int, ...]]
    repeats: int
    direction: str
    file: Path

    def qexp(
        self, *words: str, root: Path | None = None, variables: Mapping[str, str] | None = None
    ) -> Cost:
        return self.call("-m", "qexp", *words, root=root, variables=variables)

    def call(
        self, *words: str, root: Path | None = None, variables: Mapping[str, str] | None = None
    ) -> Cost:
        """The cost of a command of Python in a workspace. Raises RuntimeError with its messages if
        it fails.
        """
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **(variables or {})}
        environment.pop("QEXP_WORKSPACE", None)
        with tempfile.TemporaryFile() as messages:
            started = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, *words], cwd=root or self.folder, env=environment,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=messages,
            )  # fmt: skip
            _, status, usage = os.wait4(process.pid, 0)  # with what its own processes used
            seconds = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
            messages.seek(0)
            if process.returncode:
                raise RuntimeError(f"{' '.join(words)}\n{messages.read().decode()}")
        kilo = 1024 if sys.platform != "darwin" else 1
        return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * kilo / 1e6)

    def in_turn(self, ways: Ways, once: float = math.inf) -> None:
        """once  from which size on a measurement is not repeated"""
        for number in range(self.repeats):
            for (name, size), measure in ways.items():
                if number and size >= once:
                    continue
                cost = measure()
                self.note(name=name, size=size, **asdict(cost))
                print(f"    {name}, {size:,}: {cost.seconds:.2f} s", file=sys.stderr, flush=True)

    def note(self, **values: str | float) -> None:
        with self.file.open("a") as lines:
            lines.write(json.dumps({"direction": self.direction, **values}) + "\n")

    def fact(self, **facts: float) -> None:
        for name, value in facts.items():
            self.note(fact=name.replace("_", " "), value=value)


# Runs of a workspace


def runs(bench: Bench) -> None:
    """Commands that read, over copies of a run: its record and its spec, which are all that they
    read.
    """
    bench.qexp("run", "mogi_quick", "--seed", "0")
    run = bench.folder / "runs" / "mogi_quick_0"
    ways: dict[tuple[str, int], Callable[[], Cost]] = {}
    for count in bench.sizes["runs"]:
        root = bench.folder / f"workspace_{count}"
        _copies(run, root, count)

        def first(root: Path = root) -> Cost:
            (root / "runs" / "catalog.json").unlink(missing_ok=True)
            return bench.qexp("ls", "--limit", LISTED, root=root)

        def ask(*words: str, root: Path = root) -> Callable[[], Cost]:
            return lambda: bench.qexp(*words, root=root)

        def complete(
            root: Path = root, beginning: str = f"qexp show mogi_quick_{count - 1}"
        ) -> Cost:
            line = {"COMP_WORDS": beginning, "COMP_CWORD": "2", "_QEXP_COMPLETE": "complete_bash"}
            return bench.qexp(root=root, variables=line)

        ways["ls, no index yet", count] = first
        ways["ls", count] = ask("ls", "--limit", LISTED)
        ways["ls --no-refresh", count] = ask("ls", "--limit", LISTED, "--no-refresh")
        ways["ls --where, keys of specs", count] = ask(
            "ls", "--limit", LISTED, "--where", "learning_rate > 1e-3"
        )
        ways["show", count] = ask("show", f"mogi_quick_{count - 1}")
        ways["completion", count] = complete
    bench.in_turn(ways, once=100_000)  # minutes
    most = bench.sizes["runs"][-1]
    entries = [run, *run.rglob("*")]
    bench.fact(
        files_of_a_run=sum(entry.is_file() for entry in entries),
        folders_of_a_run=sum(entry.is_dir() for entry in entries),
        kilobytes_of_a_run=sum(entry.stat().st_size for entry in entries if entry.is_file()) / 1e3,
        kilobytes_of_a_run_on_disk=sum(entry.stat().st_blocks * 512 for entry in entries) / 1e3,
        bytes_of_a_run_in_the_index=(bench.folder / f"workspace_{most}/runs/catalog.json")
        .stat()
        .st_size
        / most,
    )


def _copies(run: Path, root: Path, count: int) -> None:
    record, spec = json.loads((run / "run.json").read_bytes()), (run / "spec.json").read_bytes()
    (root / "specs").mkdir(parents=True)
    (root / "runs").mkdir()
    for number in range(count):
        folder = root / "runs" / f"mogi_quick_{number}"
        folder.mkdir()
        (folder / "spec.json").write_bytes(spec)
        (folder / "run.json").write_text(
            json.dumps({**record, "name": folder.name, "seed": number})
        )


# Runs of one command


def queued(bench: Bench) -> None:
    """Runs that a command prepares and hands to a scheduler; commands that answer at once stand for
    the scheduler.
    """
    scheduler = bench.folder / "scheduler"
    calls = scheduler / "calls"
    for name, answer in (
        ("sbatch", f"echo array >> {calls}; echo $$"),
        ("scontrol", "echo 'MaxArraySize = 1001'"),
        ("squeue", "true"),
        ("sacct", "true"),
    ):
        scheduler.mkdir(exist_ok=True)
        (scheduler / name).write_text(f"#!/bin/sh\n{answer}\n")
        (scheduler / name).chmod(0o755)
    path = {"PATH": f"{scheduler}{os.pathsep}{os.environ['PATH']}"}
    places = itertools.count()

    def submit(count: int, *options: str) -> Callable[[], Cost]:
        def measure() -> Cost:
            root = _workspace(bench, f"queued_{next(places)}")
            words = ("run", "mogi_quick", "--seeds", f"0:{count}", "--launcher", "slurm", *options)
            return bench.qexp(*words, root=root, variables=path)

        return measure

    ways = {("a job array", count): submit(count) for count in bench.sizes["queued"]}
    bench.in_turn(ways)
    bench.fact(job_arrays_of_a_round=len(calls.read_text().splitlines()) / bench.repeats)


# What training and estimating cost


def samples(bench: Bench) -> None:
    ways: dict[tuple[str, int], Callable[[], Cost]] = {}
    for count in bench.sizes["samples"]:
        ways["training samples", count] = _train(
            bench, "mogi_quick", sizes=[count, 100, 100], batch_size=32
        )
        ways["validation samples", count] = _train(
            bench, "mogi_quick", sizes=[1_000, count, 100], batch_size=32
        )
    bench.in_turn(ways)


def pixels(bench: Bench) -> None:
    """Sizes are pixels of an image."""
    noise: dict[str, Any] = {
        "dataset.fixed.noise": 0.01,
        "dataset.noise_model": {"type": "exponential", "parameters": {"range": 2.0}},
    }
    ways: dict[tuple[str, int], Callable[[], Cost]] = {}
    for side in bench.sizes["pixels"]:
        images: dict[str, Any] = {
            "dataset.size": [side, side],
            "model.inputs.displacement.size": [side, side, 1],
        }
        images |= {"sizes": [IMAGES_OF_EPOCH, 100, 100]}
        ways["training", side**2] = _train(bench, "mogi_quick", **images)
        ways["training, noise", side**2] = _train(bench, "mogi_quick", **images, **noise)
        run = f"side_{side}"
        _train(bench, "mogi_quick", "--name", run, **images)()
        ways["matrix", side**2] = lambda run=run: bench.qexp("matrix", run, "--force")  # type: ignore[misc]
    bench.in_turn(ways)


def predictions(bench: Bench) -> None:
    """Sizes are rows or images of a file; the weights do not matter."""
    ways: dict[tuple[str, int], Callable[[], Cost]] = {}
    _train(bench, "mogi_quick", "--name", "images", sizes=[100, 100, 100])()
    for folds in NETWORKS:
        _folds(bench, folds, "--name", f"rows_{folds}")()
    _files_by_another_process(bench)

    def predict(run: str, source: str, ending: str) -> Callable[[], Cost]:
        words = ("predict", run, source, "--output", f"estimates{ending}", "--overwrite")
        return lambda: bench.qexp(*words)

    for count in bench.sizes["rows"]:
        for folds in NETWORKS:
            ways[f"rows, {folds} networks", count] = predict(
                f"rows_{folds}", f"rows_{count}.parquet", ".parquet"
            )
    for count in bench.sizes["images"]:
        ways["images", count] = predict("images", f"images_{count}.npy", ".parquet")
    bench.in_turn(ways)
    most = bench.sizes["rows"][-1]
    predict("rows_5", f"rows_{most}.parquet", ".parquet")()
    read, written = (bench.folder / name for name in (f"rows_{most}.parquet", "estimates.parquet"))
    bench.fact(
        bytes_read_of_a_row=read.stat().st_size / most,
        bytes_written_of_a_row=written.stat().st_size / most,
    )


def seeds(bench: Bench) -> None:
    ways: dict[tuple[str, int], Callable[[], Cost]] = {}
    for count in bench.sizes["seeds"]:
        for name, stack in (("seeds, each alone", 1), ("seeds in stacks of 8", 8)):
            ways[name, count] = _sweep(bench, count, "--stack", str(stack), epochs=5)
    bench.in_turn(ways)


def folds(bench: Bench) -> None:
    bench.in_turn({("folds", count): _folds(bench, count) for count in bench.sizes["folds"]})


def processes(bench: Bench) -> None:
    """Elapsed seconds: of a sweep's command, and of one run's training alone."""
    ways: dict[tuple[str, int], Callable[[], Cost]] = {}
    for count in bench.sizes["processes"]:
        ways[f"sweep of {SWEEP} runs", count] = _sweep(
            bench, SWEEP, "--stack", "1", "-j", str(count), epochs=10
        )
        ways["one run by torchrun", count] = _together(bench, count)
    bench.in_turn(ways)


def _together(bench: Bench, count: int) -> Callable[[], Cost]:
    def measure() -> Cost:
        name = f"together_{next(new_seeds)}"
        starter = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count))
        words = _words("mogi_standard", "--name", name, epochs=EPOCHS, sizes=[1_024, 64, 64])
        cost = bench.call(*starter, "-m", "qexp", *words)
        record = json.loads((bench.folder / "runs" / name / "run.json").read_bytes())
        return Cost(record["seconds"], cost.core_seconds, cost.megabytes)

    return measure


def _train(
    bench: Bench, experience: str, *options: str, epochs: int = EPOCHS, **values: Any
) -> Callable[[], Cost]:
    def measure() -> Cost:
        seed = str(next(new_seeds))
        return bench.qexp(*_words(experience, "--seed", seed, *options, epochs=epochs, **values))

    return measure


def _sweep(bench: Bench, count: int, *options: str, epochs: int) -> Callable[[], Cost]:
    def measure() -> Cost:
        chosen = ",".join(str(next(new_seeds)) for _ in range(count))
        words = _words(
            "mogi_quick",
            "--seeds",
            chosen,
            *options,
            epochs=epochs,
            sizes=[IMAGES_OF_EPOCH, 100, 100],
        )
        return bench.qexp(*words)

    return measure


def _folds(bench: Bench, count: int, *options: str) -> Callable[[], Cost]:
    """One network for each fold of the rows, without a choice of settings."""
    split = {"type": "k_fold", "parameters": {"folds": count}}
    values = {"split": split, "inner": None, "select": {}, "members": 1, "baselines": ["mean"]}
    return _train(bench, "lunar_tio2", *options, epochs=200, **values)


def _words(experience: str, *options: str, **values: Any) -> list[str]:
    changes = [
        word for key, value in values.items() for word in ("--set", f"{key}={json.dumps(value)}")
    ]
    return ["run", experience, *options, *changes]


def _workspace(bench: Bench, name: str) -> Path:
    """Another one with the same specs and data."""
    root = bench.folder / name
    root.mkdir()
    for part in ("specs", "data"):
        (root / part).symlink_to(bench.folder / part)
    return root


def _files_by_another_process(bench: Bench) -> None:
    words = [
        f"--rows={','.join(map(str, bench.sizes['rows']))}",
        f"--images={','.join(map(str, bench.sizes['images']))}",
    ]
    bench.call("-m", "benchmarks.scale", "--write", str(bench.folder), *words)


def _write_files(folder: Path, of_rows: list[int], of_images: list[int]) -> None:
    """Files to estimate: rows of a table and images of a simulator, both repeated."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    import qexp

    table = pyarrow.csv.read_csv(folder / "data" / "lunar" / "stand_in_TiO2.csv")
    random = np.random.default_rng(0)
    for (
        count
    ) in of_rows:  # each another row: the same one again and again would take no room in a file
        drawn = table.drop_columns(["TiO2"]).take(pa.array(random.integers(0, len(table), count)))
        for place, name in enumerate(drawn.column_names):
            if pa.types.is_floating(drawn.schema.field(name).type):
                near = drawn[name].to_numpy() * random.uniform(0.99, 1.01, count)
                drawn = drawn.set_column(place, name, pa.array(near.astype(np.float32)))
        pyarrow.parquet.write_table(drawn, folder / f"rows_{count}.parquet")
    images = qexp.samples("mogi", "test", count=100, workspace=folder)[
        "displacement"
    ].values.astype(np.float32)
    for count in of_images:
        shape = (count, *images.shape[1:])
        file = np.lib.format.open_memmap(folder / f"images_{count}.npy", "w+", np.float32, shape)
        for start in range(0, count, len(images)):
            file[start : start + len(images)] = images[: count - start]


DIRECTIONS: dict[str, Callable[[Bench], None]] = {
    "runs": runs,
    "queued": queued,
    "samples": samples,
    "pixels": pixels,
    "predictions": predictions,
    "seeds": seeds,
    "folds": folds,
    "processes": processes,
}


# The figure


@dataclass(frozen=True)
class Panel:
    title: str
    x: str
    directions: tuple[str, ...]
    of: str = "core_seconds"


UNITS = {
    "core_seconds": "core seconds",
    "seconds": "elapsed seconds",
    "megabytes": "peak memory (MB)",
}

LINE_OF_LEGEND = 0.085
"""Share of a panel's height that a line of the legend takes."""

PANELS = (
    Panel("commands that read", "runs in the workspace", ("runs",)),
    Panel("submitting", "runs of one command", ("queued",)),
    Panel("networks of one command", "seeds or folds", ("seeds", "folds")),
    Panel("training, time", "samples", ("samples",)),
    Panel("training, memory", "samples", ("samples",), "megabytes"),
    Panel("size of images", "pixels of an image", ("pixels",)),
    Panel("estimating, time", "rows or images", ("predictions",)),
    Panel("estimating, memory", "rows or images", ("predictions",), "megabytes"),
    Panel("several processes", "processes", ("processes",), "seconds"),
)


def draw(measured: Mapping[str, Direction], path: Path) -> None:
    from qexp.figures.canvas import COLOURS, add_title, folded, sized, small
    from qexp.figures.writing import save

    figure, axes = folded(len(PANELS), 2.8, 3.0)
    for axis, panel in zip(axes, PANELS, strict=True):
        lines = [
            line for name in panel.directions if name in measured for line in measured[name].lines
        ]
        for line, colour in zip(lines, COLOURS, strict=False):
            values = [getattr(cost, panel.of) for cost in line.costs]
            axis.loglog(
                line.sizes, values, "o-", color=colour, markersize=3, linewidth=1.2, label=line.name
            )
        axis.set_title(panel.title, fontsize=sized(9))
        axis.set_xlabel(panel.x, fontsize=small())
        axis.set_ylabel(UNITS[panel.of], fontsize=small())
        axis.tick_params(labelsize=small())
        if not lines:
            axis.set_axis_off()
        else:
            _set_ticks(axis, panel, sorted({size for line in lines for size in line.sizes}))
            _leave_room(axis, len(lines))
            axis.legend(
                frameon=False,
                fontsize=sized(7.5),
                handlelength=1.2,
                loc="upper left",
                labelspacing=0.3,
            )
    add_title(figure, "Whole commands, from start to end; both axes are logarithmic")
    save(figure, path)


def _set_ticks(axis: Any, panel: Panel, sizes: list[int]) -> None:
    """Few sizes are written out, pixels by the side of their image; many are powers of ten."""
    from matplotlib.ticker import NullFormatter, NullLocator

    axis.xaxis.set_minor_formatter(NullFormatter())
    if panel.directions == ("pixels",):
        axis.set_xticks(sizes, [f"{round(size**0.5)}²" for size in sizes])
    elif sizes[-1] <= 100:
        axis.set_xticks(sizes, [str(size) for size in sizes])
    else:
        return
    axis.xaxis.set_minor_locator(NullLocator())


def _leave_room(axis: Any, lines: int) -> None:
    """Whole powers of ten, of which at least one is seen, and above them room for the legend."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    low, high = (math.log10(value) for value in axis.dataLim.intervaly)
    bottom, top = math.floor(low - 0.05), math.ceil(high + 0.05)
    axis.set_ylim(10**bottom, 10 ** (bottom + (top - bottom) / (1 - LINE_OF_LEGEND * lines)))
    axis.yaxis.set_major_locator(FixedLocator([10.0**power for power in range(bottom, top + 1)]))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.yaxis.set_minor_locator(
        FixedLocator([step * 10.0**power for power in range(bottom, top) for step in range(2, 10)])
    )
    axis.yaxis.set_minor_formatter(NullFormatter())


# What the page says


def report(measured: Mapping[str, Direction]) -> None:
    for name, direction in measured.items():
        print(f"\n{name}")
        for line in direction.lines:
            for size, cost in zip(line.sizes, line.costs, strict=True):
                print(
                    f"  {line.name:28s} {size:>9,} {cost.seconds:9.2f} s {cost.core_seconds:9.2f}"
                    f" core s {cost.megabytes:7.0f} MB"
                )
            print(
                f"  {line.name:28s} one more  {1e6 * line.each():12.4g} core µs"
                f" {1e6 * line.each('megabytes'):10.4g} bytes   {line.times} times   largest /"
                f" smallest {line.ratio():.2f}, {line.ratio('seconds'):.2f}"
            )
        for fact, value in direction.facts.items():
            print(f"  {fact}: {value:.4g}")


RUNS, ROWS, ROWS_OF_FILE, SIMULATIONS = 10**6, 10**10, 10**8, 10**7


def extrapolate(measured: Mapping[str, Direction]) -> None:
    """What much larger sizes would cost if one more goes on costing what it costs between the
    largest two.
    """
    print("\nextrapolated")
    if "runs" in measured:
        for line in measured["runs"].lines:
            each = line.each()
            print(
                f"  {RUNS:,} runs, {line.name}: {1e6 * each:.3g} µs × {RUNS:,} = {each * RUNS:.3g}"
                " core s"
            )
            if line.ratio("megabytes") > 2:
                memory = line.each("megabytes")
                print(
                    f"  {RUNS:,} runs, {line.name}: {1e3 * memory:.3g} kB × {RUNS:,} ="
                    f" {memory * RUNS / 1e3:.3g} GB"
                )
        facts = measured["runs"].facts
        print(f"  {RUNS:,} runs: {facts['kilobytes of a run on disk'] * RUNS / 1e9:.3g} TB on disk")
        print(
            f"  {RUNS:,} runs: {(facts['files of a run'] + facts['folders of a run']) * RUNS:,.0f}"
            " inodes"
        )
        print(
            f"  {RUNS:,} runs: {facts['bytes of a run in the index'] * RUNS / 1e9:.3g} GB of index"
        )
    if "predictions" in measured:
        for line in measured["predictions"].lines[: len(NETWORKS)]:
            each = line.each()
            hours = each * ROWS / 3600
            print(
                f"  {ROWS:.0e} {line.name}: {1e6 * each:.3g} µs × {ROWS:.0e} = {hours:.3g} core"
                " hours"
            )
        jobs = ROWS // ROWS_OF_FILE
        for fact, value in measured["predictions"].facts.items():
            if not fact.startswith("bytes"):
                continue
            print(
                f"  {ROWS:.0e} rows, {fact}: {value:.3g} × {ROWS:.0e} = {value * ROWS / 1e9:.3g} GB"
                f" in {jobs} files"
            )
    if "samples" in measured:
        line = measured["samples"].lines[0]
        each, memory = line.each() / EPOCHS, line.each("megabytes")
        print(
            f"  {SIMULATIONS:,} samples: {1e6 * each:.3g} µs × {SIMULATIONS:,} ="
            f" {each * SIMULATIONS:.3g} core s"
        )
        total = memory * SIMULATIONS / 1e3
        print(
            f"  {SIMULATIONS:,} samples: {1e3 * memory:.3g} kB × {SIMULATIONS:,} = {total:.3g} GB"
        )


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "directions", nargs="*", metavar="DIRECTION", help=f"some of {', '.join(DIRECTIONS)}"
    )
    parser.add_argument("--quick", action="store_true", help="smaller sizes, once each")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="of which medians are taken")
    parser.add_argument(
        "--to", type=Path, default=Path(), help="folder of scale.json and scale.png"
    )
    for hidden in ("--write", "--rows", "--images"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    if arguments.write:
        of_rows, of_images = (
            [int(word) for word in words.split(",")] for words in (arguments.rows, arguments.images)
        )
        return _write_files(Path(arguments.write), of_rows, of_images)
    if unknown := set(arguments.directions) - DIRECTIONS.keys():
        parser.error(f"no direction {', '.join(sorted(unknown))}; known: {', '.join(DIRECTIONS)}")
    file = arguments.to.absolute() / "scale.jsonl"
    for name in arguments.directions or DIRECTIONS:
        _measure(name, file, arguments.quick, arguments.repeats)
    measured = read(file)
    report(measured)
    extrapolate(measured)
    draw(measured, arguments.to / "scale.png")
    return None


def _measure(name: str, file: Path, quick: bool, repeats: int) -> None:
    busy = _busy()
    print(f"{name}: {busy:.1f} of {os.cpu_count()} cores are busy", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "workspace"
        bench = Bench(root, QUICK if quick else SIZES, 1 if quick else repeats, name, file)
        bench.fact(busy_cores_before=busy)
        root.mkdir()
        bench.qexp("init", ".")
        DIRECTIONS[name](bench)


def _busy() -> float:
    """Cores that others use, over some seconds."""
    import psutil

    return float(psutil.cpu_percent(2.0)) / 100 * (os.cpu_count() or 1)


def read(path: Path) -> dict[str, Direction]:
    """Medians of the measurements in a file."""
    costs: dict[str, dict[str, dict[int, list[Cost]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    facts: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in map(json.loads, path.read_text().splitlines()):
        direction = line.pop("direction")
        if "fact" in line:
            facts[direction][line["fact"]].append(line["value"])
        else:
            costs[direction][line.pop("name")][line.pop("size")].append(Cost(**line))
    return {
        direction: Direction(
            [
                Line(
                    name,
                    sorted(sizes),
                    [_median(sizes[size]) for size in sorted(sizes)],
                    min(map(len, sizes.values())),
                )
                for name, sizes in lines.items()
            ],
            {name: statistics.median(values) for name, values in facts[direction].items()},
        )
        for direction, lines in costs.items()
    }


def _median(costs: list[Cost]) -> Cost:
    return Cost(
        **{
            name: statistics.median(getattr(cost, name) for cost in costs)
            for name in asdict(costs[0])
        }
    )


if __name__ == "__main__":
    main()

"""Commands that only read, with as many runs as a long project has, start-up included."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.timing import seconds

ERRORS = {"mae": 0.1, "rmse": 0.2, "bias": 0.0, "r2": 0.9, "mre": 5.0}


@dataclass(frozen=True)
class Look:
    name: str
    seconds: float
    python: float
    """Of `python -c pass`, beside it."""
    limit: float
    megabytes: float
    """Peak memory of the process."""


def workspace_of_runs(root: Path, count: int) -> None:
    """Records as `prepare` and `execute` write them."""
    (root / "specs").mkdir(parents=True)
    for index in range(count):
        name = f"made_{index}"
        record = {
            "schema": 1,
            "name": name,
            "experience": "made",
            "dataset": "mogi",
            "model": "mogi_cnn",
            "seed": index,
            "state": "done",
            "created": f"2026-01-01T00:00:00.{index % 1000:03d}+00:00",
            "started": None,
            "ended": None,
            "digest": f"{index:064x}",
            "overrides": [],
            "tags": [],
            "parents": [],
            "units": {"depth": "km", "delta_volume": "10⁶ m³"},
            "attempts": [],
            "epochs": {"done": 100, "of": 100, "best": 90},
            "seconds": 10.0,
            "error": None,
            "results": {
                part: {"depth": ERRORS, "delta_volume": ERRORS} for part in ("validation", "test")
            },
        }
        (root / "runs" / name).mkdir(parents=True)
        (root / "runs" / name / "run.json").write_text(json.dumps(record))


LOOKS: list[tuple[str, int, list[str], float]] = [
    ("qexp --help", 0, ["--help"], 0.35),
    ("qexp ls, 1,000 runs", 1_000, ["ls"], 0.5),
    ("qexp ls, 10,000 runs", 10_000, ["ls"], 0.8),
    ("qexp reindex, 10,000 runs", 10_000, ["reindex"], 15),
    ("qexp ls after one run of 10,000 has changed", 10_000, ["ls", "-q"], 0.86),
    ("qexp ls --limit 20, 100,000 runs", 100_000, ["ls", "--limit", "20"], 3),
]
"""What is looked at, over how many runs, and how many seconds it may take."""


def measure(repeats: int = 7) -> list[Look]:
    """Medians of calls that alternate with `python -c pass`."""
    with tempfile.TemporaryDirectory() as folder:
        looks = []
        for name, count, arguments, limit in LOOKS:
            root = Path(folder) / str(count)
            if not root.exists():
                workspace_of_runs(root, count)
                _call("-m", "qexp", "--workspace", str(root), "ls", "-q")  # makes the catalog
            pairs = []
            for turn in range(repeats if count < 100_000 else 3):
                if "has changed" in name:
                    os.utime(root / "runs" / f"made_{turn}" / "run.json")
                command = ("-m", "qexp", "--workspace", str(root), *arguments)
                ours = seconds(partial(_call, *command))
                pairs.append((ours, seconds(lambda: _call("-c", "pass"))))
            ours, python = (statistics.median(times) for times in zip(*pairs, strict=True))
            looks.append(
                Look(
                    name,
                    ours,
                    python,
                    limit,
                    _peak("-m", "qexp", "--workspace", str(root), *arguments),
                )
            )
        return looks


def _call(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _peak(*arguments: str) -> float:
    """Peak memory of a call [MB], measured by a process without other children."""
    script = (
        "import resource, subprocess, sys\n"
        "subprocess.run([sys.executable, *sys.argv[1:]], check=True, stdout=-3, stderr=-3)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script, *arguments], check=True, capture_output=True, text=True
    )
    return int(finished.stdout) / (1024 if sys.platform != "darwin" else 1024**2)

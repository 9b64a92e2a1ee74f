"""Start-up of commands that only look, against Python itself."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import seconds

RUNS = 1000


def workspace_of_many_runs(root: Path) -> None:
    """Records as `prepare` and `execute` write them."""
    (root / "specs").mkdir(parents=True)
    errors = {"mae": 0.1, "rmse": 0.2, "bias": 0.0, "r2": 0.9, "mre": 5.0}
    for index in range(RUNS):
        name = f"made_{index}"
        record = {
            "schema": 1, "name": name, "experience": "made", "dataset": "mogi", "model": "mogi_cnn", "seed": index,
            "state": "done", "created": f"2026-01-01T00:00:00.{index % 1000:03d}+00:00", "started": None,
            "ended": None, "digest": f"{index:064x}", "overrides": [], "tags": [], "parents": [],
            "units": {"depth": "km", "delta_volume": "10⁶ m³"}, "attempts": [],
            "epochs": {"done": 100, "of": 100, "best": 90}, "seconds": 10.0, "error": None,
            "results": {part: {"depth": errors, "delta_volume": errors} for part in ("validation", "test")},
        }  # fmt: skip
        (root / "runs" / name).mkdir(parents=True)
        (root / "runs" / name / "run.json").write_text(json.dumps(record))


def measure() -> list[tuple[str, float, float, str, bool]]:
    """Name, seconds, seconds of `python -c pass`, demand, whether it holds; medians of alternating calls."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "many"
        workspace_of_many_runs(root)
        commands = {
            "qexp --help": (["--help"], 0.35),
            "qexp ls, 1,000 runs": (["--workspace", str(root), "ls"], 0.5),
        }
        made = []
        for name, (arguments, limit) in commands.items():
            pairs = []
            for _ in range(8):
                ours = seconds(lambda arguments=arguments: _call("-m", "qexp", *arguments))  # type: ignore[misc]
                pairs.append((ours, seconds(lambda: _call("-c", "pass"))))
            ours, python = (statistics.median(times) for times in zip(*pairs[1:], strict=True))
            made.append((name, ours, python, f"≤ {limit} s", ours <= limit))
        return made


def _call(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

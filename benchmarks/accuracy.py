"""Time to reach the final test error of VDI's published experience."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import qexp

SEED = 3


@dataclass(frozen=True)
class Reached:
    experience: str
    seconds: float
    """Total training time."""
    depth: float
    delta_volume: float
    seconds_to_standard: float | None
    """Time until the test errors of both outputs were at most those of `mogi_standard` at its
    end.
    """


def measure() -> list[Reached]:
    """Train the three with test curves; all see the same test samples."""
    runs = {
        name: qexp.run(
            name,
            seed=SEED,
            overrides={"additional_callbacks": [*_callbacks(name), "test_evaluate"]},
            device="cpu",
        )
        for name in ("mogi_standard", "mogi_cnn", "mogi_quick")
    }
    goal = runs["mogi_standard"].results["test"]
    return [
        Reached(
            name,
            run.record["seconds"],
            run.results["test"]["depth"]["mae"],
            run.results["test"]["delta_volume"]["mae"],
            _time_to(run, goal["depth"]["mae"], goal["delta_volume"]["mae"]),
        )
        for name, run in runs.items()
    ]


def _callbacks(name: str) -> list[object]:
    return [["reduce_on_plateau", {"patience": 8}]] if name == "mogi_standard" else []


def _time_to(run: qexp.Run, depth: float, delta_volume: float) -> float | None:
    passed = 0.0
    for line, seconds in zip(
        run.metrics, _epoch_seconds(run.path / "attempts/01/log.txt"), strict=True
    ):
        passed += seconds
        if (
            line["test"]["depth"]["mae"] <= depth
            and line["test"]["delta_volume"]["mae"] <= delta_volume
        ):
            return passed
    return None


def _epoch_seconds(log: Path) -> list[float]:
    return [
        float(match[1])
        for match in re.finditer(r"epoch \d+: .*, ([\d.]+) s$", log.read_text(), re.MULTILINE)
    ]

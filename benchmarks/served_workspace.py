"""A workspace with as many runs as a long project has, whose records and specs qexp's own code
writes.

Run: python -m benchmarks.served_workspace FOLDER [COUNT]
"""

from __future__ import annotations

import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from qexp import api
from qexp.base import files, formats
from qexp.runs.prepare import Plan
from qexp.spec.reading import digest
from qexp.store.directory import RunDirectory
from qexp.store.record import Epochs, Record, State

EXPERIENCES = ("mogi_quick", "mogi_cnn", "mogi_noisy")
TAGS = ((), (), ("good",), ("draft",), ("paper", "good"))
RATES = (1e-4, 3e-4, 1e-3, 3e-3)


def make(root: Path, count: int = 10_000) -> None:
    """Runs of three experiences over learning rates, most of them done."""
    api.init(root)
    random.seed(0)
    plans = {name: plan_of(name, root) for name in EXPERIENCES}
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(count):
        name = random.choice(EXPERIENCES)
        write(root, plans[name], number, begun + timedelta(minutes=7 * number))


def plan_of(experience: str, root: Path) -> Plan:
    return api.prepare(api.Order([experience]), workspace=root).plans[0]


def write(root: Path, plan: Plan, number: int, created: datetime) -> None:
    rate = random.choice(RATES)
    state = random.choices([State.DONE, State.FAILED, State.INTERRUPTED], [90, 7, 3])[0]
    error = random.lognormvariate(-3, 0.5)
    metrics = {
        "mae": error,
        "rmse": 1.3 * error,
        "bias": random.gauss(0, error),
        "r2": 1 - error,
        "mre": 100 * error,
    }
    done = 20 if state is State.DONE else random.randrange(20)
    spec = {**plan.spec, "learning_rate": rate}
    record = Record(
        name=f"{plan.experience}_{number}",
        experience=plan.experience,
        seed=number,
        state=state,
        dataset=plan.dataset,
        model=plan.model,
        created=created.isoformat(timespec="milliseconds"),
        digest=digest(spec),
        overrides=(f"learning_rate={rate:g}",),
        tags=random.choice(TAGS),
        units={"depth": "km", "delta_volume": "10⁶ m³"},
        epochs=Epochs(done=done, of=20, best=done or None),
        seconds=random.uniform(10, 500),
        error=None if state is not State.FAILED else "the loss is not finite",
        results=(
            {part: {"depth": metrics, "delta_volume": metrics} for part in ("validation", "test")}
            if state is State.DONE
            else {}
        ),
    )
    directory = RunDirectory(root / "runs" / record.name)
    files.make_folder(directory.path)
    directory.spec_file.write_bytes(formats.json_bytes(spec))
    directory.record_file.write_bytes(formats.json_bytes(record.document()))


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10_000)

"""The validation loss that a search reaches, learning from its trials or at random.

Run: python -m benchmarks.searches
Two cores take an hour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import qexp

SPACE = {
    "learning_rate": "log:1e-4:3e-2",
    "batch_size": [4, 8, 16, 32],
    "optimizer.parameters.weight_decay": "log:1e-4:1e-1",
}

TRIALS, REPETITIONS, COUNTS = 40, range(5), (10, 20, 40)


def least_so_far(sampler: str, seed: int, root: Path) -> list[float]:
    """The least validation loss after each trial of a search of mogi_quick, whose trials have this seed."""
    tuned = qexp.tune(
        "mogi_quick", space=SPACE, trials=TRIALS, sampler=sampler, seeds=[seed], final_seeds=0, jobs=2,
        out=root / f"{sampler}_{seed}", workspace=root,
    )  # fmt: skip
    return list(accumulate((trial.values[0] for trial in tuned.trials if trial.values), min))


def main() -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder)
        qexp.init(root)
        reached: Mapping[str, Sequence[list[float]]] = {
            sampler: [least_so_far(sampler, seed, root) for seed in REPETITIONS] for sampler in ("tpe", "random")
        }
    for sampler, searches in reached.items():
        for count in COUNTS:
            losses = [losses[count - 1] for losses in searches]
            print(f"{sampler:6} {count:3} trials: {median(losses):.4f} ({', '.join(f'{one:.4f}' for one in losses)})")


if __name__ == "__main__":
    main()

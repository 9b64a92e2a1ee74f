"""The validation loss that a search reaches, learning from its trials or at random.

Run: python -m benchmarks.searches
Two cores take an hour. Draws searches.png.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

import qexp
from qexp.figures.canvas import COLOURS, add_title, folded, whole_numbers
from qexp.figures.writing import save

SPACE = {
    "learning_rate": "log:1e-4:3e-2",
    "batch_size": [4, 8, 16, 32],
    "optimizer.parameters.weight_decay": "log:1e-4:1e-1",
}

TRIALS, REPETITIONS, COUNTS = 40, range(5), (10, 20, 40)

NAMES = {"tpe": "tree of Parzen estimators", "random": "random"}
FIGURE = Path("searches.png")


def least_so_far(sampler: str, seed: int, root: Path) -> list[float]:
    """The least validation loss after each trial of a search of mogi_quick, whose trials have this
    seed.
    """
    tuned = qexp.tune(
        "mogi_quick",
        space=SPACE,
        trials=TRIALS,
        sampler=sampler,
        seeds=[seed],
        final_seeds=0,
        jobs=2,
        out=root / f"{sampler}_{seed}",
        workspace=root,
    )
    return list(accumulate((trial.values[0] for trial in tuned.trials if trial.values), min))


def draw(reached: Mapping[str, Sequence[list[float]]]) -> None:
    """All searches and their median, against the number of trials."""
    figure, (panel,) = folded(1, 6.0, 3.6)
    trials = np.arange(1, TRIALS + 1)
    for (sampler, searches), colour in zip(reached.items(), COLOURS, strict=False):
        losses = np.array(searches)
        panel.step(trials, losses.T, where="post", color=colour, alpha=0.35, linewidth=0.8)
        panel.step(
            trials,
            np.median(losses, 0),
            where="post",
            color=colour,
            linewidth=2,
            label=NAMES[sampler],
        )
    panel.set_ylim(0.015, 0.03)  # the first trials are what they are
    panel.set_xlim(1, TRIALS)
    panel.set_xlabel("trials")
    panel.set_ylabel("least validation loss")
    whole_numbers(panel.xaxis)
    panel.legend(frameon=False)
    add_title(figure, f"{len(REPETITIONS)} searches of mogi_quick, and their median")
    save(figure, FIGURE)


def main() -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder)
        qexp.init(root)
        reached: Mapping[str, Sequence[list[float]]] = {
            sampler: [least_so_far(sampler, seed, root) for seed in REPETITIONS]
            for sampler in NAMES
        }
    draw(reached)
    for sampler, searches in reached.items():
        for count in COUNTS:
            losses = [losses[count - 1] for losses in searches]
            print(
                f"{sampler:6} {count:3} trials: {median(losses):.4f}"
                f" ({', '.join(f'{one:.4f}' for one in losses)})"
            )


if __name__ == "__main__":
    main()

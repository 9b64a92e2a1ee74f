"""The lines of `metrics.jsonl` of a stack: one per epoch and network, kept as a row of numbers until it is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

Line = dict[str, Any]


def line_of(numbers: Sequence[float], epoch: int, names: Sequence[str]) -> Line:
    """An epoch's line from its numbers.

    numbers  learning rate, training losses, validation losses if there are any, 1 if the epoch is the best so far
    names    names of the outputs, in the order of the losses
    """
    rate, *losses, best = numbers
    parts = {"train": losses[: len(names)], "validation": losses[len(names) :]}
    return {
        "epoch": epoch,
        "learning_rate": rate,
        **{
            part: {"loss": sum(values), "losses": dict(zip(names, values, strict=True))}
            for part, values in parts.items()
            if values
        },
        "best": bool(best),
    }


class EpochLines(Mapping[int, Line]):
    """Position of a task → its line of one epoch, made when it is read."""

    def __init__(self, names: Sequence[str], epoch: int, numbers: Mapping[int, Sequence[float]]) -> None:
        """numbers  position → the numbers that `line_of` takes"""
        self._names, self._epoch, self._numbers = list(names), epoch, numbers

    def __getitem__(self, position: int) -> Line:
        return line_of(self._numbers[position], self._epoch, self._names)

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def mean(self) -> Line:
        """Means of learning rate and losses over the networks; best only if it is the best epoch so far of them all."""
        *means, _ = torch.tensor(list(self._numbers.values()), dtype=torch.float64).mean(dim=0).tolist()
        best = all(numbers[-1] for numbers in self._numbers.values())
        return line_of([*means, float(best)], self._epoch, self._names)

"""What is written of an epoch of a stack: a line for each network, kept as a row of numbers until it is looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

Line = dict[str, Any]


def line_of(numbers: Sequence[float], epoch: int, names: Sequence[str]) -> Line:
    """An epoch's line, of its numbers: rate, training losses, validation losses if any, whether it is the best so far.

    names  of the outputs
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
    """Lines of an epoch by the task's position, made when they are looked at."""

    def __init__(self, names: Sequence[str], epoch: int, numbers: Mapping[int, Sequence[float]]) -> None:
        """numbers  position → those of `line_of`"""
        self._names, self._epoch, self._numbers = list(names), epoch, numbers

    def __getitem__(self, position: int) -> Line:
        return line_of(self._numbers[position], self._epoch, self._names)

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def mean(self) -> Line:
        """Rate and losses on average; the best so far only if it is that of all."""
        *means, _ = torch.tensor(list(self._numbers.values()), dtype=torch.float64).mean(dim=0).tolist()
        best = all(numbers[-1] for numbers in self._numbers.values())
        return line_of([*means, float(best)], self._epoch, self._names)

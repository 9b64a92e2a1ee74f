"""Splits of rows into two parts."""

from __future__ import annotations

import numpy as np

from qexp.datasets.splits import Column, Rows, Split, SplitError


def one_fold(split: Split, rows: Rows, column: Column, random: np.random.Generator, advice: str) -> tuple[Rows, Rows]:
    """The rows that a split keeps and those that it holds out. Raises SplitError if it does so more than once.

    advice  added to the error if the split makes several parts
    """
    folds = split.folds(rows, column, random)
    if len(folds) != 1:
        raise SplitError(None, f"makes {len(folds)} parts, but {advice}")
    return folds[0].train, folds[0].test

"""Splits of rows into two parts."""

from __future__ import annotations

import numpy as np

from qexp.datasets.splits import Column, Rows, Split, SplitError


def one_fold(split: Split, rows: Rows, column: Column, random: np.random.Generator, advice: str) -> tuple[Rows, Rows]:
    """What a split leaves and what it holds out, where that is to be done once. Raises SplitError.

    advice  what is said of a split that makes several parts
    """
    folds = split.folds(rows, column, random)
    if len(folds) != 1:
        raise SplitError(None, f"makes {len(folds)} parts, but {advice}")
    return folds[0].train, folds[0].test

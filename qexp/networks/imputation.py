"""Gaps in the inputs of tables: what a network is given in the place of missing values."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.errors import QexpError, some
from qexp.networks.transforms import FittedModule

REGRESSION, ROUNDS = "regression", 10


class Imputation(FittedModule):
    """Fills gaps in the inputs of rows, by what the rows tell that it is fitted to.

    A gap gets the mean or median of its column; by regression then, round by round and column by
    column, the value of a linear function of the row's other columns, within the column's range:
    van Buuren and Groothuis-Oudshoorn (2011), J. Stat. Softw. 45(3), without random draws. A row
    without any value stays as it is.

    by         "mean", "median", or "regression"
    columns    input → its columns
    indicator  name of a further input with a column for each other: 1 where it had a gap, unless no
               row had one there while a network learned; None: there is no such input
    """

    statistics: Tensor
    """(4, column): what first fills a gap, least and largest value, whether a row had a gap."""
    lines: Tensor
    """(column, column + 1): the weights of the other columns, and the offset."""

    def __init__(
        self, by: str, columns: Mapping[str, Sequence[str]], indicator: str | None = None
    ) -> None:
        super().__init__()
        self.by = by
        self.columns = dict(columns)
        self.indicator = indicator
        self.register_buffer("statistics", torch.zeros(4, 1))
        self.register_buffer("lines", torch.zeros(1, 2))

    def fit(self, samples: Mapping[str, Tensor]) -> None:
        """Fit to input → (row, column). Raises QexpError for a column without any value."""
        from sklearn.impute import SimpleImputer  # takes a second to load

        values = self._joined(samples).double().cpu().numpy()
        names = list(chain.from_iterable(self.columns.values()))
        if empty := without_values(values, names):
            raise QexpError(empty)
        imputer = SimpleImputer(strategy="median" if self.by == "median" else "mean")
        fill = imputer.fit(values).statistics_
        gaps_known = np.isnan(values).any(axis=0)
        ends = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
        self.statistics = torch.from_numpy(np.stack([fill, *ends, gaps_known]))
        self.lines = torch.from_numpy(
            _regressions(values) if self.by == REGRESSION else np.zeros((0, 0))
        )

    def forward(self, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The samples without gaps, and with their indicator."""
        values = self._joined(samples)
        gaps = values.isnan() & ~values.isnan().all(dim=1, keepdim=True)
        fill, low, high, gaps_known = self.statistics
        filled = torch.where(gaps, fill, values.double())
        columns = torch.arange(values.shape[1], device=values.device)
        for column, line in [*enumerate(self.lines)] * ROUNDS:
            value = (filled * line[:-1]).sum(dim=1, keepdim=True) + line[-1]
            filled = torch.where(
                gaps & (columns == column), value.clamp(low[column], high[column]), filled
            )
        parts = filled.to(values.dtype).split([*map(len, self.columns.values())], dim=1)
        indicator = (
            {}
            if self.indicator is None
            else {self.indicator: (gaps & gaps_known.bool()).to(values.dtype)}
        )
        return {**samples, **dict(zip(self.columns, parts, strict=True)), **indicator}

    def _joined(self, samples: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([samples[name] for name in self.columns], dim=1)


def without_values(values: NDArray[np.floating], columns: Sequence[str]) -> str:
    """What is said of columns of (row, column) without any value; empty if there are none."""
    empty = [
        f"'{name}'" for name, gaps in zip(columns, np.isnan(values).T, strict=True) if gaps.all()
    ]
    if not empty:
        return ""
    way_out = "leave it out of the inputs, or hold out fewer rows together"
    return f"none of {len(values)} training rows has a value in column {some(empty)}: {way_out}"


def _regressions(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each column as a linear function of the others, see `Imputation.lines`."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - lets the next be imported
    from sklearn.impute import IterativeImputer

    center = np.nanmean(values, axis=0)
    spread = np.nanstd(values, axis=0)
    spread[spread == 0] = 1
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        steps = (
            IterativeImputer(max_iter=ROUNDS).fit((values - center) / spread).imputation_sequence_
        )
    lines = np.column_stack([np.diag(center) * 0, center])
    for column, others, line in steps[-len(center) :]:
        lines[column, others] = line.coef_ * spread[column] / spread[others]
        lines[column, -1] += spread[column] * line.intercept_ - lines[column, :-1] @ center
    return lines

"""A trained network with the spectra on which it is evaluated, and what its tables have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp import files
from qexp.datasets.spectra import SPECTRUM, SpectraDataset
from qexp.datasets.splits import Rows
from qexp.metrics.metric import Metrics
from qexp.networks.estimator import Inversion
from qexp.networks.training import Data
from qexp.runs.record.directory import RunDirectory

Array = NDArray[np.float64]

AT_ONCE = 512
"""Number of spectra that are estimated together."""

CORE = "core"
"""The column of the cores, and the kind of group by which errors are listed."""


@dataclass(frozen=True)
class Subject:
    """A trained network and what it is evaluated on.

    train, test  rows of the dataset: those that the network was trained on, and those of `data.test` in their order
    metrics      output → name → metric
    """

    dataset: SpectraDataset
    model: Inversion
    data: Data
    train: Rows
    test: Rows
    metrics: Mapping[str, Metrics]

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def transformed(subject: Subject, rows: Rows) -> Iterator[tuple[Rows, Tensor]]:
    """Spectra as the network sees them, (row, channel), in blocks, each with the positions of its rows among `rows`."""
    for start in range(0, len(rows), AT_ONCE):
        some = rows[start : start + AT_ONCE]
        counts = torch.from_numpy(subject.dataset.read(some)).to(subject.device)
        yield np.arange(start, start + len(some)), subject.model.transformed(SPECTRUM, counts)


def identifiers(dataset: SpectraDataset) -> dict[str, NDArray[np.str_]]:
    """Columns that identify spectra, (row,) each."""
    return {"name": dataset.names, CORE: dataset.cores}


def attributes(directory: RunDirectory, note: str) -> dict[str, str]:
    return {"run": directory.name, "part": directory.part, **({"caution": note} if note else {})}


def write_table(path: Path, table: Mapping[str, Sequence[Any]], note: str) -> None:
    """Write columns of equal length as CSV; NaN becomes an empty cell, and a note is repeated in every line."""
    columns = {**table, "caution": [note] * len(next(iter(table.values())))} if note else table
    lines = zip(*columns.values(), strict=True)
    files.write_csv(path, columns, ([_finite(value) for value in line] for line in lines))


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value

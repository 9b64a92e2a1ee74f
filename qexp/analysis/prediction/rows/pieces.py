"""Rows of a file with their estimates, in order; predicted in parallel."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.analysis.prediction.columns import WORDS
from qexp.analysis.prediction.read_ahead import read_ahead
from qexp.limits import Limits
from qexp.rows.chunks import Chunk, Rows

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK = 4_096
"""Number of rows that are predicted between two checks for interruption."""

Matrix = NDArray[np.float32]
Estimate = Callable[[Matrix], tuple[NDArray[np.floating], ...]]
"""(row, feature) → means and spreads over networks and, if there are intervals, their lower and upper ends; (row,
output) each."""


@dataclass(frozen=True)
class RowModel:
    """The parts of a run that are needed to predict rows."""

    features: Sequence[str]
    """Columns of the input, in the order of `estimate`'s argument."""
    ranges: NDArray[np.floating]
    """(feature, 2): smallest and largest value in the training data."""
    outputs: Mapping[str, str]
    """Name → unit."""
    estimate: Estimate
    limits: Mapping[str, Limits] = field(default_factory=dict)
    """Output → limits of its estimates, if it has some."""
    origin: Mapping[str, str] = field(default_factory=dict)
    """The origin that is written to every output: run, digest and caution, such as "selected on the test data"."""
    coverage: float | None = None
    """What the intervals promise; None if there are none."""
    interval: str = ""
    """The same in words: `90 % intervals for rows of a new mission`."""

    @property
    def attributes(self) -> dict[str, str]:
        """What a file says of all its rows: the origin, and what the intervals promise."""
        return {**self.origin, **({"interval": self.interval} if self.interval else {})}


@dataclass(frozen=True)
class Piece:
    """A chunk with its estimates."""

    kept: pa.Table
    means: NDArray[np.floating]
    spreads: NDArray[np.floating]
    ends: Sequence[NDArray[np.floating]]
    """Of the intervals; empty without any."""
    outside: NDArray[np.int16]
    done: float

    def table(self, schema: pa.Schema) -> pa.Table:
        import pyarrow as pa

        columns: list[Any] = list(self.kept.columns)
        of_outputs = zip(*(values.T for values in (self.means, *self.ends, self.spreads)), strict=True)
        # NaN becomes a missing value.
        columns += [pa.array(values.astype(np.float32), from_pandas=True) for one in of_outputs for values in one]
        columns.append(pa.array(self.outside))
        if (words := (schema.field(-1).metadata or {}).get(WORDS)) is not None:
            columns.append(pa.repeat(words.decode(), len(self.outside)))
        return pa.table(columns, schema=schema)


def estimated(rows: Rows, model: RowModel, chunk: int, workers: int | None) -> Iterator[Piece]:
    """All chunks in order, predicted while earlier ones are written and later ones are read.

    Each chunk is predicted on one core, because several cores on small matrix products mostly wait for each other.
    """
    import torch

    threads = torch.get_num_threads()
    workers = workers or threads
    least, most = model.ranges.astype(np.float32).T  # rounded like the features, so that the limits count as inside
    given_up = Event()

    def piece(chunk: Chunk) -> Piece:
        features, blocks = chunk.features, []
        for start in range(0, len(features), BLOCK):
            if given_up.is_set():  # Ctrl-C must not wait for the rest of a chunk
                raise CancelledError
            blocks.append(model.estimate(np.ascontiguousarray(features[start : start + BLOCK])))
        mean, spread, *ends = (np.concatenate(column) for column in zip(*blocks, strict=True))
        empty = ~np.isfinite(features).all(axis=1)
        for values in (mean, spread, *ends):
            values[empty] = np.nan
        outside = np.zeros(len(features), dtype=np.int16)
        for values, low, high in zip(features.T, least, most, strict=True):
            outside += ~((values >= low) & (values <= high))
        return Piece(chunk.kept, mean, spread, ends, outside, chunk.done)

    waiting: deque[Future[Piece]] = deque()
    pool = ThreadPoolExecutor(workers, "estimating", torch.set_num_threads, (1,))
    try:
        with closing(read_ahead(rows.chunks(chunk), rows.path)) as chunks:
            for one in (one for one in chunks if len(one.features)):
                waiting.append(pool.submit(piece, one))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        given_up.set()
        pool.shutdown()
        torch.set_num_threads(threads)  # the workers' setting also applies to later threads

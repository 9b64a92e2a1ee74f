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

from qexp.analysis.prediction.columns import ESTIMATES_OUTSIDE, WORDS
from qexp.analysis.prediction.draws import Draws
from qexp.analysis.prediction.read_ahead import read_ahead
from qexp.analysis.prediction.trained import TrainedRange
from qexp.limits import Limits
from qexp.rows.formats import Chunk, Rows, in_equal_chunks

if TYPE_CHECKING:
    import pyarrow as pa

    from qexp.networks.estimator import Posterior

BLOCK = 4_096
"""Number of rows that are predicted between two checks for interruption."""
DRAWN = 256
"""Number of rows that are drawn for together; fixed, because draws depend on it and must not depend on --chunk."""
HELD = 2**24
"""Draws in memory, about, for each chunk."""

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
    trained: Mapping[str, TrainedRange] = field(default_factory=dict)
    """Output → range of its true values in the training data, where that is known."""
    origin: Mapping[str, str] = field(default_factory=dict)
    """The origin that is written to every output: run, digest and caution, such as "selected on the test data"."""
    coverage: float | None = None
    """What the intervals promise; None if there are none."""
    interval: str = ""
    """The same in words: `90 % intervals for rows of a new mission`."""
    posteriors: Callable[[Matrix], Sequence[Posterior]] | None = None
    """From (row, feature) to the posteriors of all networks, if they have posterior heads."""
    draws: Draws | None = None
    """From the mixture of these, for a file of their own, if they were asked for."""

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
    drawn: NDArray[np.float32] | None
    """(draw, row, output), if draws were asked for."""

    def table(self, schema: pa.Schema, beyond: NDArray[np.int16]) -> pa.Table:
        """The columns of a file; beyond: (row,), number of estimates outside the range of the training data."""
        import pyarrow as pa

        columns: list[Any] = list(self.kept.columns)
        of_outputs = zip(*(values.T for values in (self.means, *self.ends, self.spreads)), strict=True)
        # NaN becomes a missing value.
        columns += [pa.array(values.astype(np.float32), from_pandas=True) for one in of_outputs for values in one]
        columns.append(pa.array(self.outside))
        if ESTIMATES_OUTSIDE in schema.names:
            columns.append(pa.array(beyond))
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

    def piece(chunk: Chunk, first: int) -> Piece:
        features, blocks = chunk.features, []
        for start in range(0, len(features), BLOCK):
            if given_up.is_set():  # Ctrl-C must not wait for the rest of a chunk
                raise CancelledError
            blocks.append(model.estimate(np.ascontiguousarray(features[start : start + BLOCK])))
        mean, spread, *ends = (np.concatenate(column) for column in zip(*blocks, strict=True))
        empty = np.asarray(~np.isfinite(features).all(axis=1))
        for values in (mean, spread, *ends):
            values[empty] = np.nan
        outside = np.zeros(len(features), dtype=np.int16)
        for values, low, high in zip(features.T, least, most, strict=True):
            outside += ~((values >= low) & (values <= high))
        drawn = None if model.draws is None else _drawn(model.draws, features, empty, model, first, given_up)
        return Piece(chunk.kept, mean, spread, ends, outside, chunk.done, drawn)

    waiting: deque[Future[Piece]] = deque()
    pool = ThreadPoolExecutor(workers, "estimating", torch.set_num_threads, (1,))
    try:
        with closing(read_ahead(_chunks(rows, model, chunk), rows.path)) as chunks:
            first = 0
            for one in (one for one in chunks if len(one.features)):
                waiting.append(pool.submit(piece, one, first))
                first += len(one.features)
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        given_up.set()
        pool.shutdown()
        torch.set_num_threads(threads)  # the workers' setting also applies to later threads


def _chunks(rows: Rows, model: RowModel, size: int) -> Iterator[Chunk]:
    """The rows in chunks; with draws, in whole blocks of rows that are drawn for together."""
    if model.draws is None:
        return rows.chunks(size)
    blocks = min(size, HELD // (model.draws.count * len(model.draws.units))) // DRAWN
    whole = max(blocks, 1) * DRAWN
    return in_equal_chunks(rows.chunks(whole), whole)


def _drawn(
    draws: Draws, features: Matrix, empty: NDArray[np.bool_], model: RowModel, first: int, given_up: Event
) -> NDArray[np.float32]:
    """Draws, (draw, row, output), from the posteriors of rows.

    empty  whether a feature of a row is missing; its draws are NaN
    first  the number of the first row
    """
    assert model.posteriors is not None, "there are draws from posterior heads only"
    known, made = np.where(empty[:, None], model.ranges[:, 0].astype(np.float32), features), []
    for start in range(0, len(known), DRAWN):
        if given_up.is_set():
            raise CancelledError
        made.append(draws.of(model.posteriors(known[start : start + DRAWN]), first + start))
    drawn = np.concatenate(made, axis=1)
    drawn[:, empty] = np.nan
    return drawn

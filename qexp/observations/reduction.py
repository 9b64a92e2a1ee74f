"""Reduction: many pixels or points to the means of fewer cells, small where it matters and large
elsewhere.

Cells are squares of pixels that are split into four, again and again. The mean of a cell has the
mean of its points' positions, displacements and directions, and the error of a mean of independent
errors. Noise that is correlated between points has the covariance of `noise.covariance_of_means`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qexp.base.arrays import Array, Pair
from qexp.errors import QexpError, extra
from qexp.observations.observation import Track, joined

PIECE = 2048
"""The largest side of a cell, in pixels: about what is in memory at a time."""
MOST_CELLS = 1 << 22
"""The largest number of smallest cells for a criterion that looks at all cells together."""
SMALL, LARGE = 512, 8
"""Smallest and largest cells along the longer side of a grid, by default: at most, and at least."""


@dataclass(frozen=True)
class Reduction:
    """How points become fewer.

    criterion  says which cells are split
    smallest   side of the smallest cells [pixels]; None for one that fits the size of the grid
    largest    side of the largest cells, likewise; at most, as it is the smallest times 2ⁿ
    share      of its pixels that must be observed: a cell with less is split, the smallest dropped
    """

    criterion: Criterion
    smallest: int | None = None
    largest: int | None = None
    share: float = 0.5

    def __post_init__(self) -> None:
        for size in (self.smallest, self.largest, self.criterion.side):
            if size is not None and not 1 <= size <= PIECE:
                raise QexpError(f"cells of {size:,} × {size:,} pixels: a side has 1 to {PIECE:,}")
        if self.smallest and self.largest and self.smallest > self.largest:
            raise QexpError(
                f"the smallest cells, of {self.smallest} pixels, exceed the largest, of"
                f" {self.largest}"
            )
        if not 0 <= self.share <= 1:
            raise QexpError(
                f"the share of observed pixels is {self.share:g}, but must lie between 0 and 1"
            )

    def in_system(self, crs: str | None) -> Reduction:
        """A reduction of points in a coordinate reference system, see `Criterion.in_system`."""
        return replace(self, criterion=self.criterion.in_system(crs))

    def sizes(self, shape: tuple[int, int]) -> tuple[int, int]:
        """The side of the smallest cells [pixels], and how often the largest ones are halved to get
        there.
        """
        if self.criterion.side is not None:
            return self.criterion.side, 0
        smallest = self.smallest or min(_power_of_two(max(shape) / SMALL), self.largest or PIECE)
        largest = self.largest or max(min(_power_of_two(max(shape) / LARGE), PIECE), smallest)
        return smallest, int(np.log2(largest / smallest))


def _power_of_two(size: float) -> int:
    """The least power of two that is not below a size."""
    return 1 << max(0, int(np.ceil(np.log2(max(size, 1.0)))))


def reduction(
    text: str, smallest: int | None = None, largest: int | None = None, share: float | None = None
) -> Reduction:
    """The reduction of a text such as `quadtree:0.005`: a criterion of `CRITERIA` and its numbers.
    Raises QexpError.
    """
    name, _, numbers = text.partition(":")
    if name not in CRITERIA:
        criteria = ", ".join(entry.form for entry in CRITERIA.values())
        raise QexpError(f"`reduce={text}`: no criterion '{name}'; known are {criteria}")
    try:
        criterion = CRITERIA[name].build(*(float(number) for number in numbers.split(",")))
    except (TypeError, ValueError):
        raise QexpError(
            f"`reduce={text}`: write {CRITERIA[name].form}, {CRITERIA[name].help}"
        ) from None
    if criterion.side is not None and (smallest or largest):
        option = "`smallest_cell`" if smallest else "`largest_cell`"
        raise QexpError(f"`reduce={text}`: all cells have one size; leave {option} out")
    plan = Reduction(criterion, smallest, largest)
    return plan if share is None else replace(plan, share=share)


def reduced(blocks: InBlocks, shape: tuple[int, int], metres: Pair, plan: Reduction) -> Track:
    """The means of cells, with the number of points in each as `count`.

    shape   rows and columns of pixels
    metres  of one unit of x and of y
    Raises QexpError if no cell is left, or if the criterion would need too many at a time.
    """
    side, levels = plan.sizes(shape)
    largest = side << levels
    cells = -(-shape[0] // largest), -(-shape[1] // largest)
    if plan.criterion.local:
        several = max(PIECE // largest, 1)
        base = _Base(side, levels, (min(several, cells[0]), min(several, cells[1])))
        each = (partial(iter, [block]) for block in blocks(several * largest))
        parts = [_means(block, base, plan, metres) for block in each]
    else:
        base = _Base(side, levels, cells)
        if base.size > MOST_CELLS:
            raise QexpError(
                f"{shape[0]:,} × {shape[1]:,} pixels are {base.size:,} cells of {side} × {side},"
                f" more than the {MOST_CELLS:,} that are looked at together; take larger ones, such"
                f" as `smallest_cell` {side * 4}"
            )
        parts = [_means(lambda: blocks(PIECE), base, plan, metres)]
    means = [part for part in parts if part is not None]
    if not means:
        raise QexpError(
            f"no cell has observed pixels on {plan.share:.0%} of its area; give a lower"
            f" `least_share`, or a `smallest_cell` below {side} pixels"
        )
    return joined(means)


def reduced_points(track: Track, plan: Reduction) -> Track:
    """The means of the points of a track that count, wherever they lie; stations stay as they are,
    and so do points that are means already.
    """
    if not track.instrument.imaging or track.count is not None or not track.size:
        return track
    means = reduced(*_scattered(track), (1.0, 1.0), plan)
    return replace(means, noise=track.noise, look=track.look)


@dataclass(frozen=True)
class _Base:
    """The smallest cells of a part of the pixels, which begins at multiples of its sides.

    side     of a smallest cell [pixels]
    levels   how often a largest cell is halved
    largest  rows and columns of largest cells
    """

    side: int
    levels: int
    largest: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        return self.largest[0] << self.levels, self.largest[1] << self.levels

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1]

    def cells(self, pixels: Pixels) -> Integers:
        """The smallest cell of each point."""
        rows, columns = self.shape
        return pixels.row // self.side % rows * columns + pixels.column // self.side % columns


def _means(
    blocks: Callable[[], Iterable[Pixels]],
    base: _Base,
    plan: Reduction,
    metres: Pair,
) -> Track | None:
    """The means of the cells of some blocks, which are gone through twice; None if no cell is
    left.
    """
    sums: list[Array] = []
    for block in blocks():
        points = block.where_observed()
        cells = base.cells(points)
        lines = [
            np.bincount(base.cells(block), minlength=base.size).astype(np.float64),
            np.bincount(cells, minlength=base.size).astype(np.float64),
        ]
        features = plan.criterion.features(points)
        lines += [np.bincount(cells, feature, base.size).astype(np.float64) for feature in features]
        sums = [total + part for total, part in zip(sums, lines, strict=True)] if sums else lines
    label = _leaves(np.stack(sums).reshape(-1, *base.shape), base.levels, plan, metres).ravel()
    count = int(label.max()) + 1
    if not count:
        return None
    example = None
    origin = np.zeros(2)
    totals = np.zeros((len(MEANS), count))
    for block in blocks():
        points = block.where_observed()
        if example is None and len(points.row):
            example = points.track
            origin = np.array([points.track.x[0], points.track.y[0]])
        track = points.track
        cell = label[base.cells(points)]
        x, y = track.x - origin[0], track.y - origin[1]  # so that their squares keep their digits
        elevation = np.full(len(x), np.nan) if track.elevation is None else track.elevation
        positions = (np.ones(len(x)), x, y, x**2, y**2)
        data = (track.displacement, track.error**2, *track.direction.T)
        parts = (*positions, *data, elevation)
        for row, weights in enumerate(parts):
            totals[row] += np.bincount(cell[cell >= 0], weights[cell >= 0], count)
    assert example is not None  # as there is a cell
    return _track(example, origin, totals, metres)


def _leaves(sums: Array, levels: int, plan: Reduction, metres: Pair) -> Integers:
    """The cell to which each smallest cell belongs, (row, column), from 0; -1 if to none.

    sums  (2 + feature, row, column)  pixels, observed points, and features of these
    """
    pyramid = [sums]
    for level in range(1, levels + 1):
        squares = pyramid[-1].reshape(
            len(sums),
            sums.shape[1] >> level,
            2,
            -1,
            2,
        )
        pyramid.append(squares.sum(axis=(2, 4)))
    leaf = [np.zeros(level.shape[1:], bool) for level in pyramid]
    leaf[levels] = pyramid[levels][1] > 0
    while True:
        cells = [level[:, mask] for level, mask in zip(pyramid, leaf, strict=True)]
        pixels, counts, *features = np.concatenate(cells, axis=1)
        split = counts < plan.share * pixels
        if len(counts):
            split |= plan.criterion.splits(counts, np.reshape(features, (-1, len(counts))), metres)
        splits = np.split(split, np.cumsum([mask.sum() for mask in leaf])[:-1])
        if not any(flags.any() for flags in splits[1:]):
            break
        for level in range(1, levels + 1):
            parents = np.zeros_like(leaf[level])
            parents[leaf[level]] = splits[level]
            leaf[level] &= ~parents
            children = np.repeat(np.repeat(parents, 2, axis=0), 2, axis=1)
            leaf[level - 1] |= children & (pyramid[level - 1][1] > 0)
    leaf[0] &= sums[1] >= plan.share * sums[0]
    label = np.full(sums.shape[1:], -1)
    first = 0
    for level, mask in enumerate(leaf):
        numbers = np.full(mask.shape, -1)
        numbers[mask] = first + np.arange(mask.sum())
        first += int(mask.sum())
        wide = np.repeat(np.repeat(numbers, 1 << level, axis=0), 1 << level, axis=1)
        label = np.maximum(label, wide)
    return label


MEANS = (
    "count", "x", "y", "xx", "yy", "displacement", "squared_error", "east", "north", "up",
    "elevation",
)  # fmt: skip
"""The sums from which the means of cells are made."""


def _track(example: Track, origin: Array, totals: Array, metres: Pair) -> Track:
    """The track of means; its name and instrument are those of the example."""
    number = totals[0]
    means = dict(zip(MEANS, totals / totals[0], strict=True))
    direction = np.stack([means[name] for name in ("east", "north", "up")], axis=1)
    variance = np.stack([means["xx"] - means["x"] ** 2, means["yy"] - means["y"] ** 2], axis=1)
    x = means["x"] + origin[0]
    y = means["y"] + origin[1]
    error = np.sqrt(means["squared_error"] / number)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    elevation = None if np.isnan(means["elevation"]).all() else means["elevation"]
    observed = np.ones(len(number), bool)
    whose = (example.name, example.kind)
    moved = means["displacement"]
    track = Track(*whose, x, y, moved, error, direction, observed, elevation)
    return replace(track, count=number, spread=np.sqrt(np.maximum(variance, 0)) * metres)


Flags = NDArray[np.bool_]


class Criterion:
    """What decides whether a cell is split; this one looks at nothing and splits nothing.

    local     whether a cell can be judged without the others
    side      of cells that are all of one size [pixels]; None if there are several sizes
    features  properties of points, (point,) each, of which a cell has the sums
    splits    whether cells are to be split, (cell,); for counts, (cell,), of observed points, sums,
              (feature, cell), of the features over these points, and the metres of one unit of x
              and of y
    """

    local: ClassVar[bool] = True
    side: int | None = None

    def in_system(self, crs: str | None) -> Criterion:
        """The criterion for points in a coordinate reference system. Raises QexpError if its place
        is not one there.
        """
        return self

    def features(self, pixels: Pixels) -> Iterator[Array]:
        yield from ()

    def splits(self, counts: Array, sums: Array, metres: Pair) -> Flags:
        return np.zeros(len(counts), bool)

    def follows(self, noise: float) -> bool:
        """Whether noise of this standard deviation alone splits cells [m]."""
        return False

    def passes_over(self, deviation: float) -> bool:
        """Whether displacements of this standard deviation split no cell by far [m]."""
        return False


@dataclass(frozen=True)
class Quadtree(Criterion):
    """Splits a cell in which the displacements' standard deviation exceeds a threshold [m].

    Jónsson et al. (2002), Bull. Seismol. Soc. Am. 92, 1377-1389.
    """

    threshold: float

    def __post_init__(self) -> None:
        if not self.threshold > 0:
            raise ValueError

    def features(self, pixels: Pixels) -> Iterator[Array]:
        displacement = pixels.track.displacement
        # About their mean, so that sums of squares keep their digits.
        value = displacement - (displacement.mean() if len(displacement) else 0.0)
        yield from (value, value**2)

    def splits(self, counts: Array, sums: Array, metres: Pair) -> Flags:
        mean, square = sums / counts
        return np.asarray(square - mean**2 > self.threshold**2)

    def follows(self, noise: float) -> bool:
        return noise >= self.threshold

    def passes_over(self, deviation: float) -> bool:
        return 3 * deviation < self.threshold


@dataclass(frozen=True)
class Resolution(Criterion):
    """Splits a cell whose datum is needed more than a threshold for a point source at a place.

    The datum of each cell counts alike. What is needed of it is its element on the diagonal of the
    data resolution matrix N = G (GᵀG)⁻¹ Gᵀ, between 0 and 1, where G holds the derivatives of the
    displacement of Mogi's source with respect to its position, depth and volume change, and a
    column for an offset; the elements add up to 5. The displacements themselves play no part, and
    neither does their noise.
    Lohman and Simons (2005), Geochem. Geophys. Geosyst. 6, Q01007, for a point, not a fault.

    threshold    of the elements
    depth        of the source [m]
    east, north  its place in the coordinates of the points, or longitude and latitude [degrees]
    """

    threshold: float
    depth: float
    east: float
    north: float
    local = False

    def __post_init__(self) -> None:
        if not (0 < self.threshold < 1 and self.depth > 0):
            raise ValueError

    def in_system(self, crs: str | None) -> Resolution:
        if crs is None:
            return self
        with extra("geo"):
            import pyproj

        degrees = abs(self.east) <= 360 and abs(self.north) <= 90
        system = pyproj.CRS.from_user_input(crs)
        if system.is_geographic and not degrees:
            raise QexpError(
                f"the source at {self.east:.0f}, {self.north:.0f}: the grid is in longitude and"
                " latitude; give these"
            )
        if system.is_geographic or not degrees:
            return self
        east, north = pyproj.Transformer.from_crs(4326, system, always_xy=True).transform(
            self.east, self.north
        )
        return replace(self, east=float(east), north=float(north))

    def features(self, pixels: Pixels) -> Iterator[Array]:
        yield from (pixels.track.x, pixels.track.y, *pixels.track.direction.T)

    def splits(self, counts: Array, sums: Array, metres: Pair) -> Flags:
        x, y, *direction = sums / counts
        places = np.stack([(x - self.east) * metres[0], (y - self.north) * metres[1]], axis=1)
        return data_resolution(places, np.stack(direction, axis=1), self.depth) > self.threshold


@dataclass(frozen=True)
class Uniform(Criterion):
    """Splits nothing: all cells are squares of `side` by `side` pixels."""

    side: int


class Entry(NamedTuple):
    build: Callable[..., Criterion]
    form: str
    """As on the command line, with an example of what it may be."""
    help: str


CRITERIA: Mapping[str, Entry] = {
    "quadtree": Entry(
        Quadtree,
        "quadtree:THRESHOLD",
        "cells whose displacements have at most this standard deviation [m]",
    ),
    "resolution": Entry(
        Resolution,
        "resolution:THRESHOLD,DEPTH,EAST,NORTH",
        "cells that are small near a source at this depth [m] and place, independently of the"
        " displacements",
    ),
    "uniform": Entry(lambda side: Uniform(_whole(side)), "uniform:N", "cells of N × N pixels"),
}
"""Name → criterion, with the numbers that it takes."""


def data_resolution(stations: Array, direction: Array, depth: float) -> Array:
    """The diagonal of the data resolution matrix for a point source and an offset.

    stations   (datum, 2)  east, north of the source [m]
    direction  (datum, 3)  unit vectors from the ground to the satellite
    depth      of the source [m]
    returns    (datum,)    0 to 1; all 1 if there are no more than 5 data
    """
    import torch

    from qexp.physics.point import mogi

    one_source = torch.tensor([0.0, 0.0, depth, 1.0], dtype=torch.float64)
    source = one_source.repeat(len(stations), 1).requires_grad_()
    moved = mogi(source, torch.as_tensor(stations)[:, None])[:, 0]
    along_sight = moved * torch.as_tensor(direction)
    # of each datum, as each has a source of its own
    (derivatives,) = torch.autograd.grad(along_sight.sum(), source)
    design = torch.cat([derivatives, torch.ones_like(derivatives[:, :1])], dim=1)
    scaled = design / torch.linalg.norm(design, dim=0)
    basis, sizes, _ = torch.linalg.svd(scaled, full_matrices=False)
    return np.asarray(basis[:, sizes > sizes[0] * 1e-12].square().sum(dim=1).numpy())


def _whole(side: float) -> int:
    if not (side >= 1 and side == int(side)):
        raise ValueError
    return int(side)


# Points with the pixels in which they lie: what a reduction to cells goes through, block by block.

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Pixels:
    """Points of a track, and the row and column of the pixel in which each lies: (point,) each."""

    track: Track
    row: Integers
    column: Integers

    def where_observed(self) -> Pixels:
        """The points that count."""
        observed = self.track.observed
        if observed.all():
            return self
        return Pixels(self.track.select(observed), self.row[observed], self.column[observed])


InBlocks = Callable[[int], Iterator[Pixels]]
"""All points, in squares of so many pixels, whose corners are multiples of that."""


def _scattered(track: Track) -> tuple[InBlocks, tuple[int, int]]:
    """The points of a track that count, on pixels as wide as the median distance from a point to
    the nearest other; and rows and columns of these pixels.
    """
    from scipy.spatial import cKDTree

    points = track.where_observed()
    positions = points.places
    nearest = np.ones(1)
    if len(positions) > 1:
        nearest = cKDTree(positions).query(positions, k=2)[0][:, 1]
    apart = nearest[nearest > 0]
    step = float(np.median(apart)) if len(apart) else 1.0
    column, row = np.round((positions - positions.min(axis=0)) / step).astype(np.int64).T

    def blocks(side: int) -> Iterator[Pixels]:
        squares = np.stack([row // side, column // side])
        _, inverse = np.unique(squares, axis=1, return_inverse=True)
        block = inverse.ravel()
        order = np.argsort(block, kind="stable")
        starts = np.flatnonzero(np.diff(block[order])) + 1
        for some in np.split(order, starts):
            yield Pixels(points.select(some), row[some], column[some])

    return blocks, (int(row.max()) + 1, int(column.max()) + 1)

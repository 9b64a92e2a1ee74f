"""Reduction: many pixels or points to the means of fewer cells, small where it matters and large elsewhere.

Cells are squares of pixels that are split into four, again and again. The mean of a cell has the mean of its points'
positions, displacements and directions, and the error of a mean of independent errors. For the noise that is correlated
between points, an inversion takes the covariance between the cells' mean positions: an approximation for cells that are
small against its range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from qexp.errors import QexpError
from qexp.observations.criteria import CRITERIA, Criterion
from qexp.observations.observation import Array, Track
from qexp.observations.pixels import Integers, Pixelated, Pixels, Scattered, joined

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
    largest    side of the largest cells [pixels], likewise; at most, as it is the smallest times a power of two
    share      of a cell's pixels that must be observed; cells with less are split, and dropped if they are the smallest
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
            raise QexpError(f"the smallest cells, of {self.smallest} pixels, exceed the largest, of {self.largest}")
        if not 0 <= self.share <= 1:
            raise QexpError(f"the share of observed pixels is {self.share:g}, but must lie between 0 and 1")

    def placed(self, crs: str | None) -> Reduction:
        """The same for points in a coordinate reference system; see `Criterion.placed`."""
        return replace(self, criterion=self.criterion.placed(crs))

    def sizes(self, shape: tuple[int, int]) -> tuple[int, int]:
        """The side of the smallest cells [pixels], and how often the largest ones are halved to get there."""
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
    """The reduction of a text such as `quadtree:0.005`: a criterion of `CRITERIA` and its numbers. Raises QexpError."""
    name, _, numbers = text.partition(":")
    if name not in CRITERIA:
        known = ", ".join(entry.form for entry in CRITERIA.values())
        raise QexpError(f"--reduce {text}: no criterion '{name}'; known are {known}")
    try:
        criterion = CRITERIA[name].build(*(float(one) for one in numbers.split(",")))
    except (TypeError, ValueError):
        raise QexpError(f"--reduce {text}: write {CRITERIA[name].form}, {CRITERIA[name].help}") from None
    if criterion.side is not None and (smallest or largest):
        option = "--smallest-cell" if smallest else "--largest-cell"
        raise QexpError(f"--reduce {text}: all cells have one size; leave {option} out")
    plan = Reduction(criterion, smallest, largest)
    return plan if share is None else replace(plan, share=share)


def reduced(source: Pixelated, plan: Reduction) -> Track:
    """The means of cells, with the number of points in each as `count`.

    Raises QexpError if no cell is left, or if the criterion would need too many at a time.
    """
    side, levels = plan.sizes(source.shape)
    largest = side << levels
    across = -(-source.shape[0] // largest), -(-source.shape[1] // largest)
    if plan.criterion.local:
        several = max(PIECE // largest, 1)
        base = _Base(side, levels, (0, 0), (min(several, across[0]), min(several, across[1])))
        parts = [_of_block(block, base, plan, source.metres) for block in source.blocks(several * largest)]
    else:
        base = _Base(side, levels, (0, 0), across)
        if base.size > MOST_CELLS:
            raise QexpError(
                f"{source.shape[0]:,} × {source.shape[1]:,} pixels are {base.size:,} cells of {side} × {side}, more "
                f"than the {MOST_CELLS:,} that are looked at together; take larger ones, such as --smallest-cell "
                f"{side * 4}"
            )
        parts = [_means(lambda: source.blocks(PIECE), base, plan, source.metres)]
    means = [part for part in parts if part is not None]
    if not means:
        raise QexpError(
            f"no cell has observed pixels on {plan.share:.0%} of its area; give a lower --least-share, or a "
            f"--smallest-cell below {side} pixels"
        )
    return joined(means)


def reduced_points(track: Track, plan: Reduction) -> Track:
    """The same for points anywhere; points that do not count are left out.

    Stations stay as they are, and so do points that are means already.
    """
    if track.kind != "radar" or track.count is not None or not track.size:
        return track
    return replace(reduced(Scattered(track), plan), noise=track.noise)


def _of_block(block: Pixels, base: _Base, plan: Reduction, metres: tuple[float, float]) -> Track | None:
    side = max(PIECE // (base.side << base.levels), 1) * (base.side << base.levels)
    corner = int(block.row[0]) // side * side, int(block.column[0]) // side * side
    return _means(lambda: [block], replace(base, corner=corner), plan, metres)


@dataclass(frozen=True)
class _Base:
    """The smallest cells of a part of the pixels.

    side     of a smallest cell [pixels]
    levels   how often a largest cell is halved
    corner   row and column of the first pixel
    largest  rows and columns of largest cells
    """

    side: int
    levels: int
    corner: tuple[int, int]
    largest: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        return self.largest[0] << self.levels, self.largest[1] << self.levels

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1]

    def cells(self, pixels: Pixels) -> Integers:
        """The smallest cell of each point."""
        row, column = (pixels.row - self.corner[0]) // self.side, (pixels.column - self.corner[1]) // self.side
        return row * self.shape[1] + column


def _means(
    blocks: Callable[[], Iterable[Pixels]], base: _Base, plan: Reduction, metres: tuple[float, float]
) -> Track | None:
    """The means of the cells of some blocks, which are gone through twice; None if no cell is left."""
    sums: list[Array] = []
    for block in blocks():
        lines = _added_up(base, block, plan.criterion)
        sums = [one + more for one, more in zip(sums, lines, strict=True)] if sums else lines
    label = _leaves(np.stack(sums).reshape(-1, *base.shape), base.levels, plan, metres).ravel()
    count = int(label.max()) + 1
    if not count:
        return None
    name, origin, totals = "", np.zeros(2), np.zeros((len(MEANS), count))
    for block in blocks():
        seen = block.seen()
        if not name and len(seen.row):
            name, origin = seen.track.name, np.array([seen.track.x[0], seen.track.y[0]])
        own = label[base.cells(seen)]
        for row, weights in enumerate(_averaged(seen.track, origin)):
            totals[row] += np.bincount(own[own >= 0], weights[own >= 0], count)
    return _track(name, origin, totals, metres)


def _added_up(base: _Base, block: Pixels, criterion: Criterion) -> list[Array]:
    """Sums over the smallest cells: all pixels, observed points, and the criterion's features of these."""
    seen = block.seen()
    cells = base.cells(seen)
    sums = [np.bincount(base.cells(block), minlength=base.size), np.bincount(cells, minlength=base.size)]
    features = [np.bincount(cells, one, base.size) for one in criterion.features(seen)]
    return [one.astype(np.float64) for one in (*sums, *features)]


def _leaves(sums: Array, levels: int, plan: Reduction, metres: tuple[float, float]) -> Integers:
    """The cell to which each smallest cell belongs, (row, column), from 0; -1 if to none.

    sums  (2 + feature, row, column)  pixels, observed points, and features of these
    """
    pyramid = [sums]
    for _ in range(levels):
        pyramid.append(pyramid[-1].reshape(len(sums), sums.shape[1] >> len(pyramid), 2, -1, 2).sum(axis=(2, 4)))
    leaf = [np.zeros(level.shape[1:], bool) for level in pyramid]
    leaf[levels] = pyramid[levels][1] > 0
    while True:
        pixels, counts, *features = np.concatenate(
            [level[:, mask] for level, mask in zip(pyramid, leaf, strict=True)], axis=1
        )
        split = counts < plan.share * pixels
        if len(counts):
            split |= plan.criterion.splits(counts, np.reshape(features, (-1, len(counts))), metres)
        places = np.split(split, np.cumsum([mask.sum() for mask in leaf])[:-1])
        if not any(flags.any() for flags in places[1:]):
            break
        for level in range(1, levels + 1):
            parents = np.zeros_like(leaf[level])
            parents[leaf[level]] = places[level]
            leaf[level] &= ~parents
            leaf[level - 1] |= np.repeat(np.repeat(parents, 2, axis=0), 2, axis=1) & (pyramid[level - 1][1] > 0)
    leaf[0] &= sums[1] >= plan.share * sums[0]
    label, first = np.full(sums.shape[1:], -1), 0
    for level, mask in enumerate(leaf):
        numbers = np.full(mask.shape, -1)
        numbers[mask] = first + np.arange(mask.sum())
        first += int(mask.sum())
        label = np.maximum(label, np.repeat(np.repeat(numbers, 1 << level, axis=0), 1 << level, axis=1))
    return label


MEANS = ("count", "x", "y", "xx", "yy", "displacement", "squared_error", "east", "north", "up", "elevation")
"""The sums from which the means of cells are made."""


def _averaged(track: Track, origin: Array) -> Iterable[Array]:
    """Positions are those from the origin, so that their squares keep their digits."""
    x, y = track.x - origin[0], track.y - origin[1]
    yield from (np.ones(len(x)), x, y, x**2, y**2, track.displacement, track.error**2, *track.direction.T)
    yield np.full(len(x), np.nan) if track.elevation is None else track.elevation


def _track(name: str, origin: Array, totals: Array, metres: tuple[float, float]) -> Track:
    number, means = totals[0], dict(zip(MEANS, totals / totals[0], strict=True))
    direction = np.stack([means[one] for one in ("east", "north", "up")], axis=1)
    variance = np.stack([means["xx"] - means["x"] ** 2, means["yy"] - means["y"] ** 2], axis=1)
    return Track(
        name,
        "radar",
        means["x"] + origin[0],
        means["y"] + origin[1],
        means["displacement"],
        np.sqrt(means["squared_error"] / number),
        direction / np.linalg.norm(direction, axis=1, keepdims=True),
        np.ones(len(number), bool),
        None if np.isnan(means["elevation"]).all() else means["elevation"],
        count=number,
        spread=np.sqrt(np.maximum(variance, 0)) * metres,
    )

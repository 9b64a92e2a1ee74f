"""Splits: how rows are divided into folds, and rows that are copies of others.

A split uses row numbers and the values of columns only; another split can divide the training rows
of a fold again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from qexp.base.arrays import Array
from qexp.base.tables import Entry, array, integer, number
from qexp.errors import QexpError, suggestion

Rows = NDArray[np.int64]
Column = Callable[[str], NDArray[np.str_]]
"""All rows' values of a column or group, as texts."""


@dataclass(frozen=True)
class Fold:
    """Training and test rows, with a name."""

    name: str
    """Valid as the name of a folder."""
    train: Rows
    test: Rows
    """Row numbers, ascending; rows in neither are not used."""


class SplitError(QexpError, ValueError):
    """The rows cannot be divided by this split."""

    def __init__(self, parameter: str | None, message: str) -> None:
        self.parameter = parameter
        """The parameter to change, if it is one."""
        super().__init__(message)


class Split(Protocol):
    """A way to divide rows into folds."""

    def folds(self, rows: Rows, column: Column, random: Generator) -> list[Fold]:
        """The folds of the given rows. Raises SplitError."""


class LeaveOneOut:
    """Leave-one-out: every row is held out once, alone."""

    def folds(self, rows: Rows, column: Column, random: Generator) -> list[Fold]:
        return _holding_out(rows, [rows[[index]] for index in range(len(rows))])


class KFold:
    """k-fold: the rows in parts of equal size, each held out once.

    With several repeats, names of folds start with the number of the repeat: `02-007`.
    """

    def __init__(
        self,
        folds: int = 5,
        shuffle: bool = True,
        repeats: int = 1,
        stratify: str | None = None,
    ) -> None:
        if repeats > 1 and not shuffle:
            raise SplitError(
                "repeats", "without 'shuffle' all repeats are the same; leave out one of them"
            )
        self._folds = folds
        self._shuffle = shuffle
        self._repeats = repeats
        self._stratify = stratify

    def folds(self, rows: Rows, column: Column, random: Generator) -> list[Fold]:
        if self._folds > len(rows):
            raise SplitError(
                "folds", f"{self._folds} folds of {len(rows)} rows; use at most {len(rows)}"
            )
        folds = []
        for repeat in range(1, self._repeats + 1):
            order = random.permutation(len(rows)) if self._shuffle else np.arange(len(rows))
            dealt = np.array_split(order, self._folds)
            if self._stratify is not None:
                labels = column(self._stratify)[rows]
                values, counts = np.unique(labels, return_counts=True)
                _require(self._stratify, values, counts, self._folds, "rows")
                order = order[np.argsort(labels[order], kind="stable")]
                dealt = [order[part :: self._folds] for part in range(self._folds)]
            parts = _holding_out(rows, [rows[part] for part in dealt])
            folds += (
                parts
                if self._repeats == 1
                else [replace(fold, name=f"{repeat:02d}-{fold.name}") for fold in parts]
            )
        return folds


class GroupKFold:
    """Group k-fold: rows of one group are held out together."""

    def __init__(self, by: str, folds: int | None = None, stratify: str | None = None) -> None:
        if folds is None and stratify is not None:
            raise SplitError(
                "stratify", "folds of a single group have its values; set 'folds', or leave it out"
            )
        self._by, self._folds, self._stratify = by, folds, stratify

    def folds(self, rows: Rows, column: Column, random: Generator) -> list[Fold]:
        values = column(self._by)[rows]
        groups, number, counts = np.unique(values, return_inverse=True, return_counts=True)
        if len(groups) < 2:
            raise SplitError(
                "by",
                f"all {len(rows)} rows have the same '{self._by}', so that holding it out leaves no"
                " training rows",
            )
        if self._folds is None:
            return _holding_out(
                rows, [rows[values == group] for group in groups], _folder_names(list(groups))
            )
        if self._folds > len(groups):
            raise SplitError(
                "folds",
                f"{self._folds} folds of {len(groups)} groups; use at most {len(groups)}, or leave"
                " it out",
            )
        kinds, kind = np.unique(
            np.full(len(rows), "") if self._stratify is None else column(self._stratify)[rows],
            return_inverse=True,
        )
        table = np.zeros((len(groups), len(kinds)), dtype=np.int64)
        np.add.at(table, (number, kind), 1)
        totals = table.sum(axis=0, dtype=np.float64)
        if self._stratify is not None:
            holders = np.count_nonzero(table, axis=0)
            _require(self._stratify, kinds, holders, self._folds, f"'{self._by}'")
        # Parts of about the same size: the largest group first, each to the part with the fewest
        # rows of its kinds so far, as shares of all rows of a kind.
        # so that the seed decides between groups of equal size
        shuffled = random.permutation(len(groups))
        owner = np.empty(len(groups), dtype=np.int64)
        sizes = np.zeros((self._folds, len(kinds)), dtype=np.int64)
        for index in shuffled[np.argsort(-counts[shuffled], kind="stable")]:
            owner[index] = np.argmin(sizes @ (table[index] / totals**2))
            sizes[owner[index]] += table[index]
        return _holding_out(rows, [rows[owner[number] == part] for part in range(self._folds)])


class HeldOut:
    """One fold: the rows with certain values in a column."""

    def __init__(self, by: str, values: Sequence[str]) -> None:
        self._by, self._values = by, values

    def folds(self, rows: Rows, column: Column, random: Generator) -> list[Fold]:
        labels = column(self._by)
        for value in self._values:
            if value not in labels:
                raise SplitError(
                    "values",
                    f"no row has the {self._by} '{value}'; {suggestion(value, set(labels))}",
                )
        held_out = np.isin(labels[rows], list(self._values))
        if held_out.all():
            raise SplitError(
                "values", f"all {len(rows)} rows are held out, which leaves no training rows"
            )
        if not held_out.any():
            raise SplitError("values", f"none of the {len(rows)} rows is held out")
        return _holding_out(rows, [rows[held_out]], ["held_out"])


class Parts:
    """One fold: the rows that the files assign to the test part or, if there are none, to
    validation.
    """

    def folds(self, rows: Rows, column: Column, random: Generator) -> list[Fold]:
        parts = column("part")[rows]
        for part in ("test", "validation"):
            held_out = parts == part
            if held_out.all():
                raise SplitError(
                    None,
                    f"all {len(rows)} rows belong to the {part} part, which leaves no training"
                    " rows",
                )
            if held_out.any():
                return _holding_out(rows, [rows[held_out]], ["held_out"])
        raise SplitError(
            None,
            f"none of the {len(rows)} rows belongs to a test or a validation part by its file;"
            ' choose another split, such as {"type": "random_groups", "parameters": {"by":'
            ' "core", "share": 0.2}}',
        )


class Random:
    """A random fraction of the rows, drawn again in every repeat."""

    def __init__(self, share: float = 0.2, repeats: int = 1, stratify: str | None = None) -> None:
        self._share, self._repeats, self._stratify = share, repeats, stratify

    def folds(self, rows: Rows, column: Column, random: Generator) -> list[Fold]:
        strata = {"": rows}
        if self._stratify is not None:
            labels = column(self._stratify)[rows]
            strata = {}
            for label in np.unique(labels):
                strata[f" with the {self._stratify} '{label}'"] = rows[labels == label]
        parts = []
        for _ in range(self._repeats):
            drawn = []
            for where, members in strata.items():
                count = _share_of(len(members), self._share, where)
                drawn.append(random.permutation(members)[:count])
            parts.append(np.concatenate(drawn))
        return _holding_out(rows, parts)


class RandomGroups:
    """One fold: a random fraction of the groups, at least one."""

    def __init__(self, by: str, share: float = 0.2) -> None:
        self._by, self._share = by, share

    def folds(self, rows: Rows, column: Column, random: Generator) -> list[Fold]:
        values = column(self._by)[rows]
        groups = np.unique(values)
        count = max(round(self._share * len(groups)), 1)
        if count >= len(groups):
            raise SplitError(
                "share",
                f"{self._share:g} of {len(groups)} different '{self._by}' leaves no training rows;"
                " take less, or the "
                "last rows of each for validation: {"
                f'"type": "time_block", "parameters": {{"by": "{self._by}"}}}}',
            )
        chosen = random.permutation(groups)[:count]
        return _holding_out(rows, [rows[np.isin(values, chosen)]], ["held_out"])


class TimeBlock:
    """One fold: the last rows of every group, or of all, in the order of the file."""

    def __init__(self, by: str | None = None, share: float = 0.2) -> None:
        self._by, self._share = by, share

    def folds(self, rows: Rows, column: Column, random: Generator) -> list[Fold]:
        ascending = np.sort(rows)
        values = np.zeros(len(rows)) if self._by is None else column(self._by)[ascending]
        blocks = []
        for group in np.unique(values):
            of_group = ascending[values == group]
            where = "" if self._by is None else f" with the {self._by} '{group}'"
            blocks.append(of_group[-_share_of(len(of_group), self._share, where) :])
        return _holding_out(rows, [np.concatenate(blocks)], ["held_out"])


def _require(
    stratify: str, values: NDArray[np.str_], counts: NDArray[np.int64], folds: int, noun: str
) -> None:
    """Raises SplitError if a value occurs fewer times than there are folds."""
    rarest = np.argmin(counts)
    if counts[rarest] < folds:
        raise SplitError(
            "stratify",
            f"{counts[rarest]} {noun} with the {stratify} '{values[rarest]}' cannot be shared by"
            f" {folds} folds; use fewer folds, or leave out 'stratify'",
        )


def _share_of(rows: int, share: float, where: str = "") -> int:
    """How many rows a share of them is. Raises SplitError for none, and for all."""
    count = round(share * rows)
    if not 0 < count < rows:
        what = "none" if count == 0 else "all of them"
        raise SplitError("share", f"{share:g} of {rows} rows{where} is {what}")
    return count


def _holding_out(
    rows: Rows, parts: Sequence[Rows], names: Sequence[str] | None = None
) -> list[Fold]:
    """A fold for each part; without names the parts are numbered from 1."""
    if len(rows) < 2:
        raise SplitError(None, f"{len(rows)} rows cannot be divided; at least two are needed")
    names = names or [f"{number:03d}" for number in range(1, len(parts) + 1)]
    ascending = np.sort(rows).astype(np.int64)
    folds = []
    for name, part in zip(names, parts, strict=True):
        tested = np.isin(ascending, part)
        folds.append(Fold(name, ascending[~tested], ascending[tested]))
    return folds


def _folder_names(groups: Sequence[str]) -> list[str]:
    """The groups' names as names of folders, distinct also where upper and lower case are equal."""
    names: list[str] = []
    for group in groups:
        plain = re.sub(r"[^\w.+-]+", "_", group).strip("._-")[:60] or "unnamed"
        name, number = plain, 1
        while name.lower() in {other.lower() for other in names}:
            number += 1
            name = f"{plain}_{number}"
        names.append(name)
    return names


BY = {
    "type": "string",
    "description": "a column of the file, or a group of the dataset; for fields: folder or time",
}
REPEATS = integer("number of repetitions, each with new random folds", least=1, most=99)
SHARE = number(above=0, below=1)
FOLDS = integer("number of folds", least=2)
STRATIFY = {
    "type": ["string", "null"],
    "description": "a column with few values, such as classes, whose shares each fold keeps",
    "x-left-out": "default",
}

SPLITS: dict[str, Entry] = {
    "leave_one_out": Entry.documented(LeaveOneOut, {"type": "leave_one_out"}),
    "k_fold": Entry.documented(
        KFold,
        {"type": "k_fold", "parameters": {"folds": 5}},
        folds=FOLDS,
        shuffle={
            "type": "boolean",
            "description": "in random order, by the seed; false: in the order of the file",
        },
        repeats=REPEATS,
        stratify=STRATIFY,
    ),
    "group_k_fold": Entry.documented(
        GroupKFold,
        {"type": "group_k_fold", "parameters": {"by": "mission"}},
        by=BY,
        folds={
            **FOLDS,
            "type": ["integer", "null"],
            "description": "number of folds; null: one for each group",
        },
        stratify=STRATIFY,
    ),
    "held_out": Entry.documented(
        HeldOut,
        {
            "type": "held_out",
            "parameters": {"by": "core", "values": ["PS97/085", "PS97/093"]},
        },
        by=BY,
        values=array(
            {"type": "string"}, "rows with one of these values are held out", uniqueItems=True
        ),
    ),
    "parts": Entry.documented(Parts, {"type": "parts"}),
    "random": Entry.documented(
        Random,
        {"type": "random", "parameters": {"share": 0.2, "repeats": 10}},
        share={**SHARE, "description": "fraction of the rows that is held out in each repeat"},
        repeats=REPEATS,
        stratify=STRATIFY,
    ),
    "random_groups": Entry.documented(
        RandomGroups,
        {"type": "random_groups", "parameters": {"by": "folder", "share": 0.25}},
        by=BY,
        share={**SHARE, "description": "fraction of the groups"},
    ),
    "time_block": Entry.documented(
        TimeBlock,
        {"type": "time_block", "parameters": {"by": "folder", "share": 0.25}},
        by={
            **BY,
            "type": ["string", "null"],
            "description": (
                "the last rows of each group in this column are held out; null: of the whole file"
            ),
        },
        share={**SHARE, "description": "fraction of the rows of each group"},
    ),
}

# Rows of numbers that are copies of other rows: the same in single precision, or but for rounding
# or noise.


Numbers = NDArray[np.int64]

NEAR_DEVIATIONS = (1e-2, 1e-3)
"""Rows are nearly the same if none of their columns differs by more than this number of its
standard deviations: by the first one at which copies are told from chance, as rows may lie densely.
"""

WIDER_FACTOR = 3
"""How many times farther rows are counted, to see how many lie so near by chance."""

NEIGHBOURS = 8
"""The nearest rows that a row is joined with; copies of copies are joined through each other."""

ROWS_PER_COPY = 10_000
"""One equal row among so many is not worth a word."""

MOST_VALUES = 10**7
"""Numbers in a table above which only rows that are exactly the same are looked for."""


@dataclass(frozen=True)
class Copies:
    """The rows of a table in sets of copies, (row,): of equal rows, and of nearly equal ones."""

    equal: Numbers
    alike: Numbers

    def among(self, some: Numbers, others: Numbers) -> tuple[Numbers, Numbers]:
        """Some rows that are equal to one of the others, and some that are nearly so."""
        shared = []
        for sets in (self.equal, self.alike):
            shared.append(np.bincount(sets[others], minlength=len(sets))[sets[some]] > 0)
        equal, alike = shared
        return some[equal], some[alike & ~equal]


def copies(columns: Array) -> Copies:
    """The copies among the rows of a table, (row, column).

    Nearly equal rows are copies if there are more of them than chance explains: in a space that
    rows fill, at least `WIDER_FACTOR` times as many pairs lie within `WIDER_FACTOR` times a
    distance. For equal rows see `chance`.
    """
    numbers = np.asarray(columns, dtype=np.float64)
    first, equal = _distinct(numbers)
    alike = np.arange(len(first))
    if numbers.size <= MOST_VALUES and len(first) > 1:
        alike = _joined(numbers[first])
    return Copies(equal, alike[equal])


def chance(some: Array, others: Array) -> int:
    """The largest number of some rows that may equal one of the others by chance, as columns have
    few distinct values.

    Each column of the others is shuffled, which keeps its values and takes the rows apart. Where
    one with fractions tells all different rows apart, chance makes none equal.
    """
    different = len(_distinct(others)[0])
    if any((column % 1).any() and len(np.unique(column)) >= different for column in others.T):
        return len(some) // ROWS_PER_COPY
    random = np.random.default_rng(0)
    shuffled = np.stack([random.permutation(column) for column in others.T], axis=1)
    equal = _distinct(np.concatenate([shuffled, some]))[1]
    expected = int(np.isin(equal[len(others) :], equal[: len(others)]).sum())
    return max(int(2 * expected + 3 * expected**0.5), len(some) // ROWS_PER_COPY)


def _distinct(numbers: Array) -> tuple[Numbers, Numbers]:
    """The first row of each set that is equal in single precision, and the set of each row."""
    single = np.ascontiguousarray(numbers, dtype=np.float32) + np.float32(0)  # -0 is 0
    whole_row = np.dtype((np.void, single.dtype.itemsize * single.shape[1]))
    rows = single.view(whole_row)[:, 0]
    found = np.unique(rows, return_index=True, return_inverse=True)
    first, sets = (numbers.astype(np.int64) for numbers in found[1:])
    return first, sets.reshape(-1)


def _joined(rows: Array) -> Numbers:
    """The set of nearly equal rows to which each of some distinct rows belongs, (row,)."""
    from scipy.sparse import coo_array  # these take a while to load
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    count = len(rows)
    # The standard deviation of each column; where a few values are far off, as of the half of the
    # values between.
    quarter, three_quarters = np.quantile(rows, [0.25, 0.75], axis=0)
    deviation = rows.std(axis=0)
    of_half = (three_quarters - quarter) / 1.349
    scale = np.where(of_half > 0, np.minimum(deviation, of_half), deviation)
    if not (scale > 0).any():
        return np.arange(count)
    tree = cKDTree(rows[:, scale > 0] / scale[scale > 0])
    farthest = WIDER_FACTOR * NEAR_DEVIATIONS[0]
    distance, index = tree.query(
        tree.data, min(NEIGHBOURS + 1, count), p=np.inf, distance_upper_bound=farthest
    )
    for radius in NEAR_DEVIATIONS:
        # rows that may have more than these neighbours
        crowded = distance[:, -1] <= WIDER_FACTOR * radius
        counts = []
        for reach in (radius, WIDER_FACTOR * radius):
            dense = tree.query_ball_point(tree.data[crowded], reach, p=np.inf, return_length=True)
            pairs = int((distance[~crowded] <= reach).sum()) + int(dense.sum())
            counts.append(pairs - count)  # a row is its own nearest
        close, farther = counts
        most = (farther - close) / (WIDER_FACTOR - 1)  # pairs that lie near by chance
        if close - most > close / 4 + 4 * most**0.5:
            row, neighbour = np.nonzero(distance <= radius)
            places = np.ones(len(row), dtype=bool), (row, index[row, neighbour])
            graph = coo_array(places, shape=(count, count))
            return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)
    return np.arange(count)

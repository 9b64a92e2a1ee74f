"""Intervals by the errors of held-out samples: of these themselves, of other data, and of new rows
and spectra.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from qexp.base import formats
from qexp.base.arrays import Array
from qexp.base.outputs import (
    Classes,
    Estimated,
    classes_of,
    estimate_of,
    high_of,
    joined,
    low_of,
    quantile_of,
    set_of,
)
from qexp.base.quantities import nearest
from qexp.errors import QexpError
from qexp.kinds.networks import scale_of
from qexp.kinds.scores import write_table
from qexp.kinds.tables import tables_of
from qexp.metrics import conformal
from qexp.metrics.conformal import Scale
from qexp.results.intervals import (
    INTERVALS,
    INTERVALS_OF_ROWS,
    OVERALL,
    USUAL_COVERAGE,
    Coverage,
    HeldOutIntervals,
)
from qexp.spec.kinds import TEST_PREDICTIONS, documents_of, load_stage
from qexp.store.directory import RunDirectory

if TYPE_CHECKING:
    import xarray

ROW = "row"

Ends = tuple[NDArray[Any], ...]
"""Lower and upper end of intervals, (row,) each; or which classes belong to sets, (row, class)."""


class ExchangeableUnits(NamedTuple):
    """How held-out samples belong together.

    unit      kind of the units that are exchangeable: `row`, or the kind of group that is held out
    grouping  kind of the groups by which coverage is listed; None if there are none
    folds     the folds that hold out each sample, (sample,), which are several if they are
              repeated; empty without folds
    """

    unit: str
    grouping: str | None
    folds: Sequence[tuple[str, ...]]


# The held-out estimates of a run and their errors, read from its files: what intervals are made
# from.


@dataclass(frozen=True)
class HeldOutEstimates:
    """One output's estimates of held-out rows or spectra; `unit` and `grouping` are those of
    `ExchangeableUnits`.

    quantiles  probability → quantiles of a posterior head, (row,); empty where the output has none
    units      the unit of each row, as numbers from 0; likewise below (row,)
    patterns   the folds that hold a row out, which are several if they are repeated; empty for a
               run without folds
    pattern    that of each row, by its place in `patterns`
    """

    output: str
    scale: Scale
    truth: Array
    estimate: Array
    quantiles: Mapping[float, Array]
    unit: str
    units: NDArray[np.int64]
    grouping: str | None
    groups: NDArray[np.str_]
    patterns: tuple[tuple[str, ...], ...]
    pattern: NDArray[np.int64]

    def probabilities(self, coverage: float) -> tuple[float, ...]:
        """Of the quantiles that intervals of a coverage are laid around; none if that is the
        estimate.

        Those of the head's own interval whose probability is nearest: any are right once they are
        corrected.
        """
        lower = [probability for probability in self.quantiles if probability < 0.5]
        if not lower:
            return ()
        low = min(lower, key=lambda probability: abs(1 - 2 * probability - coverage))
        return low, min(self.quantiles, key=lambda probability: abs(1 - low - probability))

    def start(self, coverage: float) -> tuple[Array, Array]:
        """What intervals of a coverage are laid around, in the output's unit: two quantiles, or
        twice the estimate.
        """
        starts = [self.quantiles[probability] for probability in self.probabilities(coverage)]
        starts = starts or [self.estimate]
        return starts[0], starts[-1]

    def scores(self, coverage: float) -> Array:
        """How far true values lie outside, (row,); absolute errors around an estimate."""
        return self.scale.scores(*self.start(coverage), self.truth)

    @property
    def count(self) -> int:
        """The number of units."""
        return int(self.units.max()) + 1

    def around(self, coverage: float, radius: Array) -> Ends:
        """The interval of each row, as large as scores up to a radius, (row,)."""
        return self.scale.around(*self.start(coverage), radius)

    def held(self, ends: Ends) -> tuple[NDArray[np.bool_], Array]:
        """Whether intervals hold the true values, and how wide they are, (row,) each."""
        low, high = ends
        tie = TIE_SHARE * np.abs(self.truth)
        return (low - tie <= self.truth) & (self.truth <= high + tie), high - low

    def columns(self, ends: Ends) -> dict[str, Any]:
        """Of a table with the intervals."""
        low, high = (values.tolist() for values in ends)
        return {low_of(self.output): low, high_of(self.output): high}

    def true(self, predictions: xarray.Dataset) -> Array:
        """The true values of a file of predictions, (row,)."""
        return np.asarray(predictions[self.output].values, dtype=np.float64)

    def rule(self, coverage: float, folds: Sequence[str]) -> Rule | SetRule:
        """How the intervals of new rows follow from what folds estimate."""
        patterns = [pattern or ("",) for pattern in self.patterns]
        counts = np.array([list(map(pattern.count, folds)) for pattern in patterns])
        shares = counts / np.array([[len(pattern)] for pattern in patterns])
        weight = conformal.weights(self.units)
        scores = self.scores(coverage)
        if len(patterns) == 1:  # one network: the quantile alone says all
            radius = conformal.quantile(scores, weight, coverage)
            fewer = radius[None], np.zeros(1, np.int64), np.ones(1)
        else:
            fewer = conformal.thinned(scores, self.pattern, weight, MOST_SCORES, coverage)
        return Rule(self.scale, self.probabilities(coverage), shares, *fewer, coverage)


@dataclass(frozen=True)
class HeldOutClasses(HeldOutEstimates):
    """Probabilities of the classes of held-out rows as `estimate`, (row, class), and their codes as
    `truth`; in place of intervals there are sets of classes.
    """

    classes: Classes = field(kw_only=True)

    def scores(self, coverage: float) -> Array:
        """Probabilities of the true classes, with a minus, (row,)."""
        return -np.take_along_axis(self.estimate, self.truth.astype(np.int64)[:, None], 1)[:, 0]

    def around(self, coverage: float, radius: Array) -> Ends:
        return (conformal.class_sets(self.estimate, -radius[:, None]),)

    def held(self, ends: Ends) -> tuple[NDArray[np.bool_], Array]:
        [members] = ends
        true = np.take_along_axis(members, self.truth.astype(np.int64)[:, None], 1)[:, 0]
        return true.astype(bool), members.sum(axis=1)

    def columns(self, ends: Ends) -> dict[str, Any]:
        return {set_of(self.output): self.classes.listed(*ends).tolist()}

    def true(self, predictions: xarray.Dataset) -> Array:
        return self.classes.codes(predictions[self.output].values)

    def rule(self, coverage: float, folds: Sequence[str]) -> SetRule:
        radius = conformal.quantile(self.scores(coverage), conformal.weights(self.units), coverage)
        return SetRule(-float(radius))


def read_held_out(directory: RunDirectory) -> list[HeldOutEstimates]:
    """The held-out estimates of a run, by output. Raises QexpError if it has none."""
    spec = directory.training_spec()
    if len(directory.members) > 1:
        raise QexpError(
            f"{directory.name}: intervals by held-out errors are those of one run; leave"
            " `interval` out"
        )
    try:
        units_of: Callable[[RunDirectory, Any], ExchangeableUnits] = load_stage(
            spec["dataset"], "held_out"
        )
    except QexpError as error:
        raise QexpError(f"{directory.name}: {error}") from None
    outputs = documents_of(spec["dataset"]).numbers_among(spec["outputs"])
    classes = classes_of(spec)
    predictions = read_test_predictions(directory)
    tables = tables_of(directory)
    unit, grouping, folds = units_of(directory, predictions)
    groups = _groups(predictions, grouping, len(folds))
    units = np.arange(len(groups)) if unit == ROW else np.unique(groups, return_inverse=True)[1]
    patterns = tuple(dict.fromkeys(folds))
    numbers = {pattern: number for number, pattern in enumerate(patterns)}
    pattern = np.array([numbers[of_sample] for of_sample in folds])
    shared = unit, units, grouping, groups, patterns, pattern
    held_out: list[HeldOutEstimates] = []
    for output in outputs:
        if (one := classes.get(output)) is not None:
            codes = one.codes(predictions[output].values)
            probabilities = np.asarray(one.read(predictions).middle, dtype=np.float64)
            held_out.append(
                HeldOutClasses(output, Scale(), codes, probabilities, {}, *shared, classes=one)
            )
            continue
        truth, estimate = (
            predictions[name].values.astype(np.float64) for name in (output, estimate_of(output))
        )
        scale = scale_of(spec, tables, output, truth)
        quantiles = quantiles_among(predictions, output)
        held_out.append(HeldOutEstimates(output, scale, truth, estimate, quantiles, *shared))
    return held_out


def _groups(predictions: xarray.Dataset, grouping: str | None, count: int) -> NDArray[np.str_]:
    """The group of each sample; empty names if there are none."""
    if grouping is None:
        return np.zeros(count, dtype=str)
    return predictions[grouping].values.astype(str)


def quantiles_among(predictions: xarray.Dataset, output: str) -> dict[float, Array]:
    """Probability → quantiles of an output; empty if it is of no posterior head, or the run of an
    older version.
    """
    if quantile_of(output) not in predictions:
        return {}
    quantiles = predictions[quantile_of(output)].astype(np.float64)
    probabilities = quantiles["quantile"].values
    return {
        float(probability): quantiles.sel(quantile=probability).values
        for probability in probabilities
    }


def read_test_predictions(directory: RunDirectory) -> xarray.Dataset:
    """The file of a run's test predictions. Raises QexpError or DamagedError."""
    path = directory.results / TEST_PREDICTIONS
    if not path.is_file():
        raise QexpError(
            f"{directory.name} has no held-out estimates ({path} is missing), so its errors are"
            " unknown"
        )
    return formats.read_netcdf(path)


# Intervals of held-out rows and how many rows they cover, written beside a run's results.


log = logging.getLogger("qexp.run")

COVERAGES = (0.5, 0.68, 0.9, 0.95)
"""Coverages that are counted."""

TIE_SHARE = 1e-6
"""Share of a true value that is a tie with an end: estimates have single precision."""


def keep_intervals(directory: RunDirectory) -> HeldOutIntervals:
    """Write the intervals of a run's held-out rows into its results, and how many rows they cover.

    Each row gets its interval from the errors of all other units: it is a row that is new to the
    rule. Raises QexpError if the run has no held-out estimates.
    """
    outputs = read_held_out(directory)
    most = conformal.promised(outputs[0].count - 1)
    coverages = [
        counted
        for rows in outputs
        if rows.count > 1  # else there are no other errors
        for coverage in COVERAGES
        for counted in count_covered(rows, coverage, most, intervals_of_rows(rows, coverage))
    ]
    if coverages:
        write_intervals(
            directory, [(rows, intervals_of_rows(rows, USUAL_COVERAGE)) for rows in outputs]
        )
    for counted in coverages:
        if counted.of == OVERALL and counted.interval == USUAL_COVERAGE:
            words = "intervals of 90 %% cover %d of %d held-out rows of %s"
            log.info(words, counted.covered, counted.n, counted.output)
    return _write_coverages(directory, outputs, coverages)


def keep_intervals_of(
    evaluation: RunDirectory,
    run: RunDirectory,
    estimates: Mapping[str, Sequence[Estimated]],
    folds: Sequence[str],
    grouping: str | None,
) -> None:
    """Write the intervals of evaluated rows or spectra, as the run's held-out errors promise them,
    and how many they cover; nothing if the run has no held-out errors.

    estimates  output → what each fold estimates of the rows; of posterior heads with all
               `HELD_OUT_QUANTILES`
    folds      their names; a run without folds has one with an empty name
    grouping   kind of the groups by which coverage is listed
    """
    try:
        outputs = read_held_out(run)
    except QexpError:
        return
    predictions = read_test_predictions(evaluation)
    most = conformal.promised(outputs[0].count)
    coverages: list[Coverage] = []
    for coverage in COVERAGES:
        rules = rules_of(outputs, coverage, folds).rules
        ends = {name: rule.ends(estimates[name]) for name, rule in rules.items()}
        for rows in outputs:
            truth = rows.true(predictions)
            groups = _groups(predictions, grouping, len(truth))
            evaluated = replace(rows, truth=truth, grouping=grouping, groups=groups)
            coverages += count_covered(evaluated, coverage, most, ends[rows.output])
        if coverage == USUAL_COVERAGE:
            write_intervals(evaluation, [(rows, ends[rows.output]) for rows in outputs])
    coverages.sort(key=lambda counted: list(estimates).index(counted.output))
    _write_coverages(evaluation, outputs, coverages)


def _write_coverages(
    directory: RunDirectory, outputs: Sequence[HeldOutEstimates], coverages: Sequence[Coverage]
) -> HeldOutIntervals:
    """outputs  the held-out estimates that the intervals are made from"""
    # their intervals are laid around quantiles
    heads = tuple(rows.output for rows in outputs if rows.quantiles)
    intervals = HeldOutIntervals(
        unit=outputs[0].unit,
        units=outputs[0].count,
        heads=heads,
        sets=tuple(rows.output for rows in outputs if isinstance(rows, HeldOutClasses)),
        coverages=tuple(coverages),
    )
    formats.write_json(directory.results / INTERVALS, intervals.document())
    return intervals


def intervals_of_rows(rows: HeldOutEstimates, coverage: float) -> Ends:
    """Each row's interval, from the scores of all other units.

    If these are too few for the coverage, it is the largest that they allow: that of their largest
    error.
    """
    attained = min(coverage, conformal.promised(rows.count - 1))
    radius = conformal.of_others(rows.scores(attained), rows.units, attained)
    return rows.around(attained, radius)


def count_covered(
    rows: HeldOutEstimates, coverage: float, most: float, ends: Ends
) -> Iterator[Coverage]:
    """How many rows lie in their intervals: of all, then by group.

    most  the largest coverage that can be promised
    ends  of the interval of each row
    """
    from scipy.stats import binomtest

    covered, widths = rows.held(ends)
    parts: list[tuple[str, str, NDArray[np.bool_]]] = [(OVERALL, "", np.ones_like(covered))]
    if rows.grouping is not None:
        for name in np.unique(rows.groups):
            parts.append((rows.grouping, str(name), rows.groups == name))
    for kind, name, members in parts:
        width = float(widths[members].mean())
        count = int(covered[members].sum())
        number = int(members.sum())
        share = binomtest(count, number).proportion_ci(confidence_level=0.95, method="exact")
        yield Coverage(
            output=rows.output,
            interval=coverage,
            promised=min(coverage, most),
            of=kind,
            name=name,
            n=number,
            covered=count,
            range=(float(share.low), float(share.high)),
            mean_width=width if np.isfinite(width) else None,
        )


def write_intervals(
    directory: RunDirectory, outputs: Sequence[tuple[HeldOutEstimates, Ends]]
) -> None:
    """Write a line per test row: what names it, then every output with its estimate and
    interval.
    """
    rows = read_test_predictions(directory)
    texts = [name for name in rows.data_vars if rows[name].dtype.kind in "OUST"]
    index = rows[outputs[0][0].output].dims[0]
    table = {str(name): rows[name].values.tolist() for name in (index, *texts)}
    for held_out, ends in outputs:
        names = held_out.output, estimate_of(held_out.output)
        table |= {name: rows[name].values.tolist() for name in names} | held_out.columns(ends)
    write_table(directory.results / INTERVALS_OF_ROWS, table, rows.attrs.get("caution", ""))


def networks_of_folds(directory: RunDirectory) -> dict[str, int]:
    """Fold → the number of its networks; of a run without folds one, under an empty name."""
    folds = {fold.path.name: fold.record().fold for fold in directory.all_folds()}
    return {name: len(fold.networks or ()) for name, fold in folds.items() if fold is not None} or {
        "": 1
    }


# Intervals of new rows and spectra, by the errors of those that a run held out.


MOST_SCORES = 200
"""More scores are replaced by quantiles of each fold, since they are sorted for every new row."""


@dataclass(frozen=True)
class Rule:
    """How the intervals of one output follow from the estimates of all folds.

    probabilities  of the quantiles of a posterior head that scores are laid around; none: around
                   the estimate
    shares         (pattern, fold): the share of each fold in the estimates of the rows with that
                   pattern of folds
    scores         (score,); likewise the pattern and the weight of each
    """

    scale: Scale
    probabilities: tuple[float, ...]
    shares: Array
    scores: Array
    pattern: NDArray[np.int64]
    weight: Array
    coverage: float

    def ends(self, folds: Sequence[Estimated]) -> Ends:
        """Lower and upper end, (row,) each, in the output's unit; NaN without an estimate.

        folds  what each fold estimates, arrays or tensors, (row,) or (row, 1) each
        """
        estimates = joined(folds, _stacked)
        laid_around = [estimates.quantiles[probability] for probability in self.probabilities]
        starts = []
        for values in laid_around or [estimates.middle]:
            near_first = nearest(values, values[:1], self.scale.period).astype(np.float64)
            starts.append(self.shares @ near_first)
        lower, upper = self.scale.forwarded(starts[0], starts[-1])
        low, high = conformal.cross_interval(
            lower, upper, self.scores, self.pattern, self.weight, self.coverage
        )
        unknown = np.isnan(estimates.middle).any(axis=0)
        low, high = self.scale.ends(low, high)
        return np.where(unknown, np.nan, low), np.where(unknown, np.nan, high)


@dataclass(frozen=True)
class SetRule:
    """The probability from which a class belongs to the set of a new row."""

    threshold: float
    probabilities: tuple[float, ...] = ()

    def ends(self, folds: Sequence[Estimated]) -> Ends:
        """Which classes belong to sets, by the mean over folds of what each of them estimates."""
        means = joined(folds, _stacked).middle.mean(axis=0)
        return (conformal.class_sets(means, self.threshold),)


def _stacked(folds: list[Any]) -> Array:
    """Arrays or tensors of rows as one, (fold, row)."""
    return np.stack([flat(values) for values in folds])


def flat(values: Any) -> Array:
    """(row, 1) as (row,); several numbers of a row stay (row, number)."""
    numbers = torch.as_tensor(values).cpu()
    return (numbers if numbers[:1].numel() > 1 else numbers.flatten()).numpy()


@dataclass(frozen=True)
class NewIntervals:
    """Rules for the intervals of all outputs of a run.

    coverage  what the intervals promise
    rows      what rows they are for: `new rows like those of the training data`
    rules     output → its rule
    """

    coverage: float
    rows: str
    rules: Mapping[str, Rule | SetRule]

    @property
    def probabilities(self) -> tuple[float, ...]:
        """Of all quantiles of posterior heads that the rules need."""
        return tuple(
            sorted(
                {probability for rule in self.rules.values() for probability in rule.probabilities}
            )
        )

    @property
    def words(self) -> str:
        """`90 % intervals for rows of a new mission`."""
        return f"{100 * self.coverage:.3g} % intervals for {self.rows}"


def new_intervals(
    directory: RunDirectory, coverage: float | None, folds: Sequence[str]
) -> NewIntervals | None:
    """The rules for new rows of a finished run; None if none were asked for and the run has no
    held-out errors.

    coverage  what the intervals must promise; if left out, 90 % or as much as the number of rows or
              groups allows
    folds     the names of the run's folds, in the order of `Rule.ends`; one empty name for a run
              without folds
    Raises QexpError for a coverage that the run cannot promise.
    """
    if coverage is not None:
        return rules_of_run(directory, coverage, folds)
    try:
        return rules_of(read_held_out(directory), USUAL_COVERAGE, folds)
    except QexpError:
        return None


def with_ends(
    estimates: Mapping[str, Estimated], intervals: NewIntervals | None
) -> dict[str, Estimated]:
    """Estimates, (row, 1) with those of folds, as arrays, (row,), with their intervals."""
    arrays = {}
    for name, made in estimates.items():
        arrays[name] = replace(made, quantiles={}, folds=()).each(flat)
        if intervals is not None and name in intervals.rules:
            ends = intervals.rules[name].ends(made.folds)
            arrays[name] = replace(
                arrays[name], ends=tuple(each.astype(np.float32) for each in ends)
            )
    return arrays


def require_coverage(interval: float | None) -> None:
    """Raise QexpError for a coverage that cannot be; None stands for the usual one."""
    if interval is not None and not 0 < interval < 1:
        raise QexpError(f"`interval={interval:g}`: a coverage lies between 0 and 1, such as 0.9")


def rules_of_run(directory: RunDirectory, coverage: float, folds: Sequence[str]) -> NewIntervals:
    """The rules for a coverage. Raises QexpError if the run cannot promise it."""
    require_coverage(coverage)
    outputs = read_held_out(directory)
    most = conformal.promised(outputs[0].count)
    unit = outputs[0].unit
    if coverage > most:
        held_out = f"{outputs[0].count} {'rows' if unit == ROW else f'groups ({unit})'}"
        rounded_down = np.floor(1000 * most) / 1000  # so that it can be asked for
        raise QexpError(
            f"`interval={coverage:g}`: {directory.name} held out {held_out}, which promise no more"
            f" than {rounded_down:g}; ask for that"
        )
    return rules_of(outputs, coverage, folds)


def rules_of(
    outputs: Sequence[HeldOutEstimates], coverage: float, folds: Sequence[str]
) -> NewIntervals:
    """The rules for a coverage, or for the largest that the number of rows or groups allows.

    outputs  the held-out rows of a run; `folds` as for `new_intervals`
    """
    attained = min(coverage, conformal.promised(outputs[0].count))
    rules = {rows.output: rows.rule(attained, folds) for rows in outputs}
    unit = outputs[0].unit
    new_rows = (
        "new rows like those of the training data" if unit == ROW else f"rows of a new {unit}"
    )
    return NewIntervals(attained, new_rows, rules)

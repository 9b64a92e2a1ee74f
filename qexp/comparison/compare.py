"""Comparison of runs: differences of their specs, and their results as tables. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from qexp.base.text import Table, measure, without_end
from qexp.base.workspace import Workspace
from qexp.comparison.figures import draw_runs, folder_name, with_figures
from qexp.comparison.groups import (
    PARTS,
    LeftOut,
    Numbers,
    compared_part,
    differ_by_seed,
    runs_to_compare,
    seed_groups,
    with_results,
)
from qexp.comparison.seeds import (
    GroupRow,
    Pair,
    PairRow,
    SeedComparison,
    compare_across_seeds,
    costs,
    differing_parts,
    outputs_and_metrics,
)
from qexp.errors import QexpError, some
from qexp.jobs.states import Watch
from qexp.metrics.intervals import LEVEL, Estimate
from qexp.metrics.meaning import (
    NONE,
    UNKNOWN,
    Meaning,
    measured,
    number,
    rounding,
    rounding_of_interval,
    with_interval,
)
from qexp.results.calibration import SIGNIFICANT_P
from qexp.results.calibration_report import PASSED
from qexp.results.capabilities import compared_columns, is_of_capability, unit_of
from qexp.runs.catalog import Catalog
from qexp.runs.options import ComparisonOptions
from qexp.spec.experiences import differences
from qexp.store.directory import RunDirectory, with_caution
from qexp.store.evaluations import find_evaluation
from qexp.store.record import Record, meaning_of


@dataclass(frozen=True)
class MetricRow:
    """A metric of an output with a value per run; `best` are the indices of the best validated."""

    output: str
    metric: str
    meaning: Meaning
    unit: str
    values: list[float | None]
    validation: list[float | None]
    """The metric on the validation part, which chooses runs; None if that is the compared part."""
    best: list[int]
    """Empty if it is unknown which values are better, or if the runs cannot be compared."""

    @property
    def is_validated(self) -> bool:
        return any(value is not None for value in self.validation)

    def document(self) -> dict[str, Any]:
        return {
            "output": self.output,
            "metric": self.metric,
            "direction": self.meaning.best,
            "unit": self.unit,
            "values": self.values,
            "validation": self.validation,
            "best": self.best,
        }


@dataclass(frozen=True)
class Comparison:
    names: list[str]
    specs: dict[str, list[str]]
    """model and dataset → name in each run; what networks cost, if they differ."""
    differences: dict[str, list[str]]
    """Path in the spec → value in each run."""
    results: list[MetricRow]
    figures: list[Path]
    evaluation: str | None = None
    """The evaluation whose results are compared; None for those of the runs' own test parts."""
    differing_data: str | None = None
    """How the samples differ on which the runs were evaluated, in words; None if they do not."""
    part: str = "test"
    """Of which the results are, if not of an evaluation; see `compared_part`."""
    not_evaluated: Mapping[str, str] = field(default_factory=dict)
    """Run → its state, of runs that have no results of the compared part."""

    @property
    def caveat(self) -> str:
        """Why none of the runs is called the best; empty if nothing speaks against it."""
        if not self.differing_data:
            return ""
        return f"the runs answer different questions: {self.differing_data}"

    def document(self) -> dict[str, Any]:
        return {
            "runs": self.names,
            "evaluation": self.evaluation,
            "part": self.part,
            "specs": self.specs,
            "differences": self.differences,
            "results": [row.document() for row in self.results],
            "figures": [str(path) for path in self.figures],
        }


def compare_named(
    arguments: Sequence[str], catalog: Catalog, options: ComparisonOptions
) -> Comparison | SeedComparison:
    """Compare the named runs, or groups of runs that differ by seed only; see `differ_by_seed`."""
    if options.evaluation is not None and options.part is not None:
        raise QexpError("`evaluation` has results of its own; leave out `part`")
    chosen = runs_to_compare(arguments, catalog, options.evaluation, options.part)
    if differ_by_seed(chosen, gathered=bool(options.launch or options.tags)):
        groups, untested = with_results(seed_groups(chosen))
        if untested:
            part = PARTS[chosen[0].part]
            options.warn(
                f"without results on a {part} part, and left out:"
                f" {some([one.name for one in untested], 4)}"
            )
        comparison = compare_across_seeds(groups)
        return with_figures(comparison, catalog.workspace) if options.figures else comparison
    return compare([run.directory for run in chosen], catalog.workspace, options)


def compare(
    directories: Sequence[RunDirectory], workspace: Workspace, options: ComparisonOptions
) -> Comparison:
    """Compare two or more runs.

    Raises NotFoundError if a run has no such evaluation.
    """
    names = [directory.name for directory in directories]
    evaluation = options.evaluation
    if len(set(names)) < len(names):
        raise QexpError("the same run is named twice")
    specs = [directory.spec() for directory in directories]
    states = Watch().states(directories)
    evaluated: Sequence[RunDirectory] = directories
    if evaluation:
        evaluations = [find_evaluation(directory, evaluation) for directory in directories]
        evaluated = evaluations
        records = [directory.record() for directory in evaluations]
        part = compared_part([], options.part)
        parts = [directory.part for directory in evaluations]
        contents = {directory.evaluation().content for directory in evaluations}
        differing = f"their evaluations '{evaluation}' are of different samples"
        differing_data = differing if len(contents) > 1 else None
    else:
        records = [directory.record() for directory in directories]
        part = compared_part([record.results for record in records], options.part)
        parts = [part] * len(records)
        differing_data = differing_parts(specs, part)
    shown = [record.results.get(own, {}) for record, own in zip(records, parts, strict=True)]
    choice: list[Numbers] = [{}] * len(records)
    if not (evaluation or differing_data):
        # An evaluation is no validation, and of different samples none is the best.
        choice = [record.results.get("validation", {}) for record in records]
    folder = workspace.root / "comparisons" / folder_name(names)
    units = {output: unit for record in records for output, unit in record.units.items()}
    with_states = zip(records, shown, states.values(), strict=True)
    return Comparison(
        names=[with_caution(record.name, record.caution) for record in records],
        specs={
            "model": [record.model for record in records],
            "dataset": [record.dataset for record in records],
            **costs([directory.record() for directory in directories]),
        },
        differences=differences(specs),
        results=[*_rows(records, shown, choice, part), *_rows_of_capabilities(evaluated, units)],
        figures=draw_runs(directories, folder) if options.figures else [],
        evaluation=evaluation,
        differing_data=differing_data,
        part=PARTS[part],
        not_evaluated={
            record.name: state.words for record, numbers, state in with_states if not numbers
        },
    )


def _rows(
    records: Sequence[Record], shown: Sequence[Numbers], choice: Sequence[Numbers], part: str
) -> Iterator[MetricRow]:
    for output, name in outputs_and_metrics(shown):
        units = [record.units[output] for record in records if output in record.units]
        values = [results.get(output, {}).get(name) for results in shown]
        validation = [results.get(output, {}).get(name) for results in choice]
        meaning = meaning_of(name, [record.metrics for record in records])
        known = {}
        for index, value in enumerate(validation):
            badness = None if value is None else meaning.badness(value)
            if badness is not None:
                known[index] = badness
        best = [index for index, badness in known.items() if badness == min(known.values())]
        if part == "validation":
            validation = [None] * len(values)
        yield MetricRow(
            output,
            name,
            meaning,
            meaning.in_unit(units[0] if units else ""),
            values,
            validation,
            best if len(known) > 1 else [],
        )


def _rows_of_capabilities(
    directories: Sequence[RunDirectory], units: Mapping[str, str]
) -> Iterator[MetricRow]:
    """Such as coverage and widths of calibrated posteriors; which is better depends on both."""
    columns = [compared_columns(directory) for directory in directories]
    for output, name in outputs_and_metrics(columns):
        values = [numbers.get(output, {}).get(name) for numbers in columns]
        unit = unit_of(output, name, units)
        yield MetricRow(
            output,
            name,
            UNKNOWN,
            unit,
            values,
            [None] * len(values),
            [],
        )


# Tables of comparisons: rounded texts for readers, and plain numbers for programs.

Rows = tuple[list[str], list[list[Any]]]
"""Columns and rows of a table for programs."""

LONGEST_VALUE = 48
"""Largest number of characters of a value in a table; JSON output has all."""

INTERVAL = f"{100 * LEVEL:.0f} % interval"

AT_ONCE = f"{INTERVAL}, all at once"
"""Of differences: the intervals of a metric hold together."""

UNPAIRED = "unpaired (Welch)"
"""How groups are compared that have no two seeds in common."""


def differing_specs(comparison: Comparison | SeedComparison) -> Table | None:
    """Differences between the specs; None if there are none.

    If models or datasets have different names, only the names are listed. Long values are cut.
    """
    if not comparison.differences:
        return None
    rows = [[kind, *names] for kind, names in comparison.specs.items() if len(set(names)) > 1]
    for path, values in comparison.differences.items():
        kind = path.partition(".")[0]
        if kind == "model" and len(set(comparison.specs[kind])) > 1:
            continue
        rows.append([path, *(without_end(value, LONGEST_VALUE) for value in values)])
    return Table("Differences between the specs", ["spec", *comparison.names], rows)


def results_of_runs(comparison: Comparison) -> Table:
    """Metrics per run; the best value of each row of the validation part is highlighted."""
    rows = list[list[str]]()
    strong = set[tuple[int, int]]()
    part = comparison.evaluation or comparison.part
    for row in comparison.results:
        strong |= {(len(rows), 3 + index) for index in row.best}
        if row.is_validated:
            rows.append(_of_part(row, row.validation, "validation"))
        rows.append(_of_part(row, row.values, "" if is_of_capability(row.metric) else part))
    columns = ["output", "metric", "part", *comparison.names, "unit"]
    return Table(
        "Results",
        columns,
        rows,
        frozenset(comparison.names),
        frozenset(strong),
    )


def _of_part(row: MetricRow, values: Sequence[float | None], part: str) -> list[str]:
    texts = [number(value, row.meaning) for value in values]
    return [row.output, row.metric, part, *texts, row.unit]


def groups_of_seeds(comparison: SeedComparison) -> Table:
    rows = []
    for group in comparison.groups:
        seeds = ranges(group.counted)
        left_out = left_out_words(group.left_out, comparison.missing(group))
        rows.append([group.name, str(len(group.counted)), seeds or NONE, left_out or NONE])
    columns = ["group", "n", "seeds", "not counted"]
    return Table("Runs that differ by seed only", columns, rows, frozenset({"n"}))


def results_of_groups(comparison: SeedComparison) -> Table:
    title = f"Results {on_part(comparison)} over seeds"
    return _over_seeds(comparison.results, title, _metric(comparison))


def calibrations_of_groups(comparison: SeedComparison) -> Table | None:
    """Coverage and widths of intervals over seeds, and how many runs passed; None without any."""
    rows = comparison.calibrations
    return _over_seeds(rows, "Calibration over seeds", "metric") if rows else None


def _over_seeds(of_groups: Sequence[GroupRow], title: str, metric: str) -> Table:
    rows = [[row.output, row.metric, row.group, *cells_of(row), row.unit] for row in of_groups]
    columns = ["output", metric, "group", "n", "mean ± deviation", INTERVAL, "min", "max", "unit"]
    return Table(title, columns, rows, frozenset(columns[3:-1]))


def cells_of(row: GroupRow) -> list[str]:
    """The number of seeds, mean ± deviation, interval, least and greatest value."""
    estimate = row.estimate
    if estimate is None:
        return [*of_mean(None, row.meaning), NONE, NONE]
    if _passed(row.metric):
        return [str(estimate.n), f"{sum(row.values.values()):.0f} of {estimate.n}", *[NONE] * 3]
    ends = [estimate.least, estimate.greatest]
    if estimate.standard_deviation:  # to the digits that are significant given this
        form = rounding(estimate.mean, estimate.standard_deviation)
        return [*of_mean(estimate, row.meaning), *map(form.number, ends)]
    return [*of_mean(estimate, row.meaning), *(number(value, row.meaning) for value in ends)]


def _passed(metric: str) -> bool:
    return is_of_capability(metric) and metric.endswith(f".{PASSED}")


def on_part(comparison: Comparison | SeedComparison) -> str:
    """`on the test part`, or `on` an evaluation."""
    if comparison.evaluation is None:
        return f"on the {comparison.part} part"
    return f"on {comparison.evaluation}"


def _metric(comparison: Comparison | SeedComparison) -> str:
    """Title of the column of metrics."""
    if comparison.evaluation is None:
        return f"{comparison.part} metric"
    return f"metric {on_part(comparison)}"


def differences_of(pair: Pair, comparison: SeedComparison) -> Table:
    """The differences of two groups; the better one is named if the interval excludes 0."""
    rows = []
    for row in pair.rows:
        numbers = of_mean(row.estimate, row.meaning)
        rows.append([row.output, compared_name(row), *numbers, row.unit, row.better or NONE])
    how = UNPAIRED if pair.not_paired else f"seed by seed ({ranges(pair.seeds)})"
    title = f"{pair.first} minus {pair.second}, {how}"
    numeric = ["n", "difference ± deviation", AT_ONCE]
    columns = ["output", _metric(comparison), *numeric, "unit", "better"]
    return Table(title, columns, rows, frozenset(numeric))


def remarks(
    comparison: Comparison | SeedComparison, letters: Mapping[str, str] | None = None
) -> list[str]:
    """Remarks that a reader of the tables needs.

    letters  group → what it is called, if not by its name
    """
    called = letters or {name: name for name in comparison.names}
    unknown = dict.fromkeys(
        row.metric
        for row in comparison.results
        if row.meaning.best is None and not is_of_capability(row.metric)
    )
    sentences = [
        f"the runs do not say which values of {name} are better, or contradict each other"
        for name in unknown
    ]
    if isinstance(comparison, Comparison):
        for name, state in comparison.not_evaluated.items():
            sentences.append(f"{name} is {state}, and was not evaluated")
        return [comparison.caveat, *sentences] if comparison.caveat else sentences
    unpaired: dict[str, list[str]] = {}
    for pair in comparison.pairs:
        if pair.not_paired:
            how = f"compared {UNPAIRED}" if pair.rows else "not compared"
            names = f"{called[pair.first]} and {called[pair.second]}"
            unpaired.setdefault(f"are {how}: {pair.not_paired}", []).append(names)
    sentences += [f"{', '.join(names)} {how_and_why}" for how_and_why, names in unpaired.items()]
    if any(_passed(row.metric) for row in comparison.calibrations):
        sentences.append(
            f"calibration.{PASSED}: runs in whose posteriors no test finds a fault; of right"
            f" posteriors, {100 * (1 - SIGNIFICANT_P):.0f} % pass"
        )
    for row in comparison.results:
        if row.not_finite:
            seeds = f"seed{'s' * (len(row.not_finite) > 1)} {ranges(row.not_finite)}"
            what = measure(row.output, row.metric)
            sentences.append(
                f"{called[row.group]}: no finite {what} for {seeds}; not counted there"
            )
    compared = [pair for pair in comparison.pairs if pair.rows]
    if compared:
        shown = {row.metric for pair in compared for row in pair.rows}
        together = max(comparison.simultaneous[metric] for metric in shown)
        how = "" if any(pair.not_paired for pair in compared) else "paired "
        sentence = f"better: the {INTERVAL} of the {how}difference excludes 0"
        if together > 1:
            sentence += f", family-wise over {together} differences of a metric (Bonferroni)"
        sentences.append(sentence)
    return sentences


def tables(comparison: Comparison | SeedComparison) -> list[Table]:
    specs = differing_specs(comparison)
    if isinstance(comparison, Comparison):
        found = [specs, results_of_runs(comparison)]
    else:
        found = [groups_of_seeds(comparison), specs, results_of_groups(comparison)]
        found.append(calibrations_of_groups(comparison))
        found += [differences_of(pair, comparison) for pair in comparison.pairs if pair.rows]
    return [table for table in found if table is not None]


def plain_rows(comparison: Comparison | SeedComparison) -> Rows:
    """Columns and rows for a program, with all digits. Rows with a `minus` are differences."""
    if isinstance(comparison, Comparison):
        rows: list[list[Any]] = []
        for each in comparison.results:
            part = comparison.evaluation or comparison.part
            if is_of_capability(each.metric):
                part = ""
            if each.is_validated:
                rows.append([each.output, each.metric, "validation", each.unit, *each.validation])
            rows.append([each.output, each.metric, part, each.unit, *each.values])
        return ["output", "metric", "part", "unit", *comparison.names], rows
    columns = [
        "group",
        "minus",
        "output",
        "metric",
        "unit",
        "n",
        "mean",
        "standard_deviation",
        "interval_low",
        "interval_high",
        "min",
        "max",
        "better",
        "seeds",
        "not_counted",
    ]
    left_out = {
        group.name: left_out_words(group.left_out, comparison.missing(group))
        for group in comparison.groups
    }
    rows = []
    for row in (*comparison.results, *comparison.calibrations):
        not_finite = f"{ranges(row.not_finite)} not finite" if row.not_finite else ""
        remark = "; ".join(filter(None, [left_out[row.group], not_finite]))
        key = [row.group, "", row.output, row.metric, row.unit]
        rows.append([*key, *_plain(row.estimate), "", _in_words(row.values), remark])
    for group in comparison.groups:
        if not group.counted:
            rows.append([group.name, *[""] * 4, 0, *[""] * 8, left_out[group.name]])
    for pair in comparison.pairs:
        if not pair.rows:
            end = [_in_words(pair.seeds), pair.not_paired]
            rows.append([pair.first, pair.second, *[""] * 11, *end])
        for compared in pair.rows:
            name = compared_name(compared)
            key = [pair.first, pair.second, compared.output, name, compared.unit]
            seeds = _in_words(compared.seeds)
            how = UNPAIRED if pair.not_paired else ""
            rows.append([*key, *_plain(compared.estimate), compared.better or "", seeds, how])
    return columns, rows


def ranges(seeds: Iterable[int]) -> str:
    """Numbers as ranges: `0-4, 7` for 0, 1, 2, 3, 4, 7."""
    texts = []
    for _, stretch in groupby(enumerate(sorted(seeds)), lambda pair: pair[1] - pair[0]):
        (_, first), *others = stretch
        texts.append(f"{first}-{others[-1][1]}" if others else str(first))
    return ", ".join(texts)


def compared_name(row: PairRow) -> str:
    """A metric, between bars if its absolute values are compared."""
    return f"|{row.metric}|" if row.absolute else row.metric


def _in_words(seeds: Iterable[int]) -> str:
    return " ".join(map(str, seeds))


def left_out_words(runs: Iterable[LeftOut], missing: Sequence[int]) -> str:
    """`seed 2 failed (sound_2); seeds 3-4 missing`: a bare number would be read as how many."""
    words = [f"seed {run.seed} {run.why} ({run.run})" for run in runs]
    if missing:
        words.append(f"seed{'s' * (len(missing) != 1)} {ranges(missing)} missing")
    return "; ".join(words)


def of_mean(estimate: Estimate | None, meaning: Meaning) -> list[str]:
    """The cells n, mean ± standard deviation, and interval."""
    if estimate is None:
        return ["0", NONE, NONE]
    if estimate.interval is None:
        return [str(estimate.n), number(estimate.mean, meaning), NONE]
    if estimate.standard_deviation is None:
        return [str(estimate.n), *with_interval(estimate.mean, estimate.interval)]
    form = rounding_of_interval(estimate.interval, estimate.mean, estimate.standard_deviation)
    interval = f"[{estimate.mean:.4g}, {estimate.mean:.4g}]"
    if form is not None:
        interval = form.interval(*estimate.interval)
    return [str(estimate.n), measured(estimate.mean, estimate.standard_deviation), interval]


def _plain(over_seeds: Estimate | None) -> list[Any]:
    if over_seeds is None:
        return [0, *[""] * 6]
    ends = over_seeds.interval or ("", "")
    return [
        over_seeds.n,
        over_seeds.mean,
        over_seeds.standard_deviation,
        *ends,
        over_seeds.least,
        over_seeds.greatest,
    ]

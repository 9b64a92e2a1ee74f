"""The calibrations of a run for readers: a table, and verdicts in sentences.

Among the tests of a calibration the least p-value is small by chance: what is called a fault has a probability of at
most `SIGNIFICANT` for all tests together (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from qexp.analysis.comparison.result_tables import Parts
from qexp.analysis.comparison.rounding import NONE, number
from qexp.analysis.comparison.typesetting import Table
from qexp.quantities import in_words
from qexp.runs.record.calibration import (
    INTERVAL,
    REGIONS,
    SIGNIFICANT,
    WELL_ABOVE,
    WHOLE,
    BoundRatio,
    Calibration,
    CellShare,
    CoverageShare,
    ExactComparison,
    OutputCalibration,
    Regions,
)

PARTS = {"all": "whole prior", "train": "training part", "validation": "validation part", "test": "test part"}


def calibrated(found: Collection[Calibration]) -> Parts:
    """All that is said of the calibrations of a run: verdicts, one table, and each in turn; nothing without any."""
    for one in found:
        yield f"{kind_in_words(one)}: {one.verdict}" if len(found) > 1 else one.verdict
    if found:
        yield _table(found)
    for one in found:
        yield from _sentences(one)


def calibrated_runs(found: Mapping[str, Calibration]) -> Table:
    """A line for each run: its 90 % intervals, and whether a test finds a fault."""
    names = list(dict.fromkeys(name for of in found.values() for name in of.outputs))
    ratios = _ratios(found.values())
    columns = ["run"]
    for name in names:
        columns += [f"{name} in {100 * INTERVAL:g} %", f"{name} width", *(f"{name} / {ratio}" for ratio in ratios)]
    columns += [*(["C2ST"] if any(of.exact for of in found.values()) else []), "tests"]
    rows = []
    for run, of in found.items():
        cells = [cell for name in names for cell in _of_output(of.outputs.get(name), ratios)]
        if "C2ST" in columns:
            cells.append(NONE if of.exact is None else f"{100 * of.exact.accuracy:.1f} %")
        verdict = f"{of.faults} of {len(of.p_values)} find a fault" if of.faults else "passed"
        rows.append([run, *cells, verdict])
    title = f"calibration: {', '.join(dict.fromkeys(kind_in_words(of) for of in found.values()))}"
    return Table(title, columns, rows, frozenset(columns[1:-1]))


def _of_output(one: OutputCalibration | None, ratios: Sequence[str]) -> list[str]:
    if one is None:
        return [NONE] * (2 + len(ratios))
    width = f"{number(one.width)} {one.unit}".strip()
    return [f"{100 * _verdict(one.coverage).share:.1f} %", width, *_widths_beside(one, ratios)]


def _ratios(found: Collection[Calibration]) -> list[str]:
    """What widths of any of the calibrations are compared with."""
    outputs = [one for of in found for one in of.outputs.values()]
    exact, bound = any(one.width_ratio for one in outputs), any(one.bound_ratio for one in outputs)
    return [*(["exact"] if exact else []), *(["bound"] if bound else [])]


def _widths_beside(one: OutputCalibration, ratios: Sequence[str]) -> list[str]:
    known = {"exact": one.width_ratio, "bound": one.bound_ratio}
    return [NONE if (of := known[ratio]) is None else f"{of.median:.3g}" for ratio in ratios]


def kind_in_words(of: Calibration) -> str:
    """`head`, `refined`, `head, training part`: whose posteriors, and where they were tested."""
    whose = "refined" if of.refined else "head"
    return whose if of.part == WHOLE else f"{whose}, {PARTS.get(of.part, of.part)}"


def _sentences(of: Calibration) -> Iterator[str]:
    by = "the likelihood, from the network's estimates" if of.refined else "the network's posterior head"
    yield (
        f"calibration: {of.draws:,} new observations of {of.dataset}, drawn from the {PARTS.get(of.part, of.part)} "
        f"(seed {of.seed}), {of.samples:,} samples from the posterior of each, "
        f"by {by}"
    )
    if of.caution:
        yield of.caution
    if of.doubted:
        yield f"of {of.doubted:,} observations the samples are not to be trusted, by the diagnostics of their method"
    for name, one in of.outputs.items():
        yield _of_intervals(name, _verdict(one.coverage), of.draws)
        yield _of_ranks(name, one, of.draws, of.least)
        yield _of_places(name, of, of.least)
        if one.width_ratio is not None:
            yield _of_width(name, one)
        if one.bound_ratio is not None:
            yield _beside_bound(name, one.bound_ratio)
    if any(one.bound_ratio for one in of.outputs.values()):
        yield "this bound is asymptotic and knows no prior: ratios below one are possible"
    yield from _jointly({REGIONS[name]: region for name, region in of.regions.items()}, of.least)
    if of.exact is not None:
        yield _beside_exact(of.exact)
    yield what_would_be_noticed(of)


def _table(found: Collection[Calibration]) -> Table:
    """A row per output and kind of calibration, then one for each kind of region of all outputs."""
    several, ratios = len(found) > 1, _ratios(found)
    shares = [f"in {100 * one.probability:g} %" for of in list(found)[:1] for one in of.balls.coverage]
    texts = ["of", *(["posteriors"] if several else [])]
    columns = [*texts, *shares, "p", "median width", *(f"width / {name}" for name in ratios)]
    rows = []
    for name in dict.fromkeys(name for of in found for name in of.outputs):
        for of in (of for of in found if name in of.outputs):
            one = of.outputs[name]
            width = f"{number(one.width)} {one.unit}".strip()
            ratio = _widths_beside(one, ratios)
            kind = [kind_in_words(of)] if several else []
            rows.append([f"intervals of {name}", *kind, *_percents(one.coverage), chance(one.p_value), width, *ratio])
    for name, words in REGIONS.items():
        for of in (of for of in found if name in of.regions):
            region, kind = of.regions[name], [kind_in_words(of)] if several else []
            rows.append(
                [words, *kind, *_percents(region.coverage), chance(region.p_value), *[NONE] * (1 + len(ratios))]
            )
    title = "true values in intervals and regions (%), by their probability"
    return Table(title, columns, rows, frozenset(columns[len(texts) :]))


def _percents(coverage: Sequence[CoverageShare]) -> list[str]:
    return [f"{100 * one.share:.1f}" for one in coverage]


def _verdict(coverage: Sequence[CoverageShare]) -> CoverageShare:
    return min(coverage, key=lambda one: abs(one.probability - INTERVAL))


def _of_intervals(name: str, one: CoverageShare, draws: int) -> str:
    low, high = (100 * end for end in one.expected)
    said = f"the {100 * one.probability:g} % intervals of {in_words(name)} hold the truth in {100 * one.share:.1f} %"
    right = f"(95 % of calibrated ones: {low:.1f} to {high:.1f} %)"
    if one.expected[0] <= one.share <= one.expected[1]:
        return f"{said} of {draws:,} draws, as calibrated ones do {right}"
    return f"{said} of {draws:,} draws: too {'narrow' if one.share < one.expected[0] else 'wide'} {right}"


def _of_ranks(name: str, one: OutputCalibration, draws: int, least: float) -> str:
    words = f"the ranks of the true {in_words(name)} among the samples"
    if one.p_value >= least:
        return f"{words} are uniform, as in calibrated posteriors ({equals(one.p_value, least)})"
    faults = "; ".join(_faults(one, draws)) or "the shape of the posteriors is wrong"
    return f"{words} are not uniform ({equals(one.p_value, least)}): {faults}"


def _faults(one: OutputCalibration, draws: int) -> Iterator[str]:
    """What makes ranks not uniform."""
    if fault := one.median_fault(draws):
        below = f"{100 * one.mean_position:.1f} % of the samples are below the truth"
        yield f"medians tend to be too {fault}, as {below}"
    if fault := one.width_fault(draws):
        yield f"posteriors tend to be too {fault}"


def _of_places(name: str, of: Calibration, least: float) -> str:
    """Where an output's intervals are wrong, by where the estimates lie."""
    local, words = of.outputs[name].local, f"the 90 % intervals of {in_words(name)}"
    cells = f"{local.cells} cells of estimated {' and '.join(in_words(axis) for axis in local.axes)}"
    chances = equals(local.p_value, least)
    if not local.cells:
        return f"where {words} are wrong is unknown: no cell has enough draws"
    wrong = [f"too {kind} in {count}" for kind, count in local.wrong.items() if count]
    clearly = f"{' and '.join(wrong)} of {cells}" if wrong else f"clearly wrong in none of {cells}"
    if local.p_value >= least:
        return f"whether {words} hold the truth does not visibly depend on the estimates ({chances}; {clearly})"
    said = f"whether {words} hold the truth depends on the estimates ({chances}; {clearly})"
    if local.fewest is None or local.most is None:
        return said
    return f"{said}: in single cells from {_cell(local.fewest, of)} to {_cell(local.most, of)}"


def _cell(one: CellShare, of: Calibration) -> str:
    """`84 % (of 51 with depth 1.2 to 1.4 km, delta volume 0.3 to 0.5 10⁶ m³)`."""
    ends = ", ".join(
        f"{in_words(name)} {low:.3g} to {high:.3g} {of.outputs[name].unit}".rstrip()
        for name, (low, high) in one.between.items()
    )
    return f"{100 * one.share:.0f} % (of {one.observations:,} with {ends})"


def _of_width(name: str, one: OutputCalibration) -> str:
    assert one.width_ratio is not None
    low, high = one.width_ratio.interval
    return (
        f"the 90 % intervals of {in_words(name)} are {_ratio(one.width_ratio.median)} times as wide as those of exact "
        f"posteriors (median, with 95 % interval {_ratio(low)} to {_ratio(high)})"
    )


def _beside_bound(name: str, of: BoundRatio) -> str:
    low, high = of.interval
    return (
        f"the 90 % intervals of {in_words(name)} are {_ratio(of.median)} times as wide as 3.29 standard deviations of "
        f"the Cramér–Rao bound (median of the {of.observations:,} of {of.of:,} observations with a signal-to-noise "
        f"ratio above {WELL_ABOVE:g}, with 95 % interval {_ratio(low)} to {_ratio(high)})"
    )


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def _jointly(regions: Mapping[str, Regions], least: float) -> Iterator[str]:
    """What is wrong with all outputs together although, or because, something is with one."""
    wrong = {words: region for words, region in regions.items() if region.p_value < least}
    for words, region in wrong.items():
        yield (
            f"{words} hold the truth {region.fault} than they should ({equals(region.p_value, least)}): those of "
            f"{100 * region.worst.probability:g} % in {100 * region.worst.share:.1f} % of draws"
        )
    if regions and not wrong:
        chances = ", ".join(f"{words}: {equals(region.p_value, least)}" for words, region in regions.items())
        yield f"in how the outputs depend on each other no fault is seen ({chances})"


def _beside_exact(exact: ExactComparison) -> str:
    share, error, most = (100 * one for one in (exact.accuracy, exact.standard_error, exact.largest))
    return (
        f"a classifier distinguishes the samples of {exact.observations} posteriors from those of exact ones in "
        f"{share:.1f} ± {error:.1f} % of cases (C2ST: 50 % if they are equal; for the worst {most:.0f} %; "
        f"{exact.classifier})"
    )


def what_would_be_noticed(of: Calibration) -> str:
    """Which faults this number of draws would show, so that nobody takes silence for soundness."""
    if not of.notices_narrow or of.notices_shift is None:
        return f"{of.draws:,} draws would show hardly any fault, so that silence means little; take more with --draws"
    return (
        f"power of the test: had posteriors been {100 * (1 - of.notices_narrow):.0f} % too narrow, or their medians "
        f"off by {of.notices_shift:.2g} of their standard deviations, the ranks of {of.draws:,} draws would show it in "
        "nine of ten cases; smaller faults can stay unseen"
    )


def chance(p_value: float) -> str:
    """A p-value: `0.42`, `0.004`, `< 0.001`."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.1g}" if p_value < 0.01 else f"{p_value:.2f}"


def equals(p_value: float, least: float) -> str:
    """`p = 0.42`; of a small one that is no fault, why it is none.

    least  the p-value below which something is called a fault
    """
    words = chance(p_value)
    said = f"p {words}" if words.startswith("<") else f"p = {words}"
    if p_value < least or p_value >= SIGNIFICANT:
        return said
    return f"{said}, as among {SIGNIFICANT / least:.0f} tests by chance"

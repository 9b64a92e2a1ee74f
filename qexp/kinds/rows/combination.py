"""Maps of several runs, combined cell by cell by an expression that carries their errors."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from qexp.base.arrays import Array
from qexp.base.outputs import Estimated, Number, Words, high_of, low_of, spread_of
from qexp.errors import QexpError, some, suggestion
from qexp.kinds.held_out import NewIntervals, require_coverage
from qexp.kinds.options import CombineOptions
from qexp.kinds.prediction import (
    CAUTION,
    ESTIMATES_OUTSIDE,
    OUTSIDE,
    Prediction,
    require_not_read,
    require_there,
)
from qexp.kinds.rows.prediction import Estimates, RowModel
from qexp.rows.arrays import NetcdfTable
from qexp.rows.cell_means import position_columns
from qexp.rows.formats import Matrix, Rows
from qexp.rows.geotiff import open_map

if TYPE_CHECKING:
    import xarray

DRAWS, FEWEST_DRAWS = 8192, 400
"""Of every cell, by a Sobol sequence that is the same for all; those possible without which a cell
has no error.
"""

CELLS_TOGETHER = 16

HEAVY_TAILS = 4
"""A standard deviation that is larger than as many halves of the range of 68 % of the draws is
none: where a divisor may be zero it grows with their number.
"""

AMOUNTS = ("wt%", "ppm")
"""Units of what cannot be negative."""

LONGEST = 400
"""Characters of an expression."""

WEIGHTS = (
    "H 1.008 C 12.011 N 14.007 O 15.999 F 18.998 Na 22.990 Mg 24.305 Al 26.982 Si 28.085 P 30.974"
    " S 32.06 Cl 35.45 K 39.098 Ca 40.078 Ti 47.867 V 50.942 Cr 51.996 Mn 54.938 Fe 55.845"
    " Co 58.933 Ni 58.693 Cu 63.546 Zn 65.38 Sr 87.62 Zr 91.224 Ba 137.327 Th 232.04 U 238.03"
)
"""Elements, each before its standard atomic weight (IUPAC 2021)."""

OPERATIONS: Mapping[type[ast.operator], Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


def molar_mass(formula: str) -> float:
    """Mass of a mole of a formula, such as Al2O3 [g]. Raises QexpError for another text."""
    words = WEIGHTS.split()
    weights = dict(zip(words[::2], map(float, words[1::2]), strict=True))
    atoms = re.findall(r"([A-Z][a-z]?)(\d*)", formula)
    whole = "".join(map("".join, atoms)) == formula
    if not whole or not {*dict(atoms)} <= {*weights}:
        raise QexpError(
            f"`molar`: '{formula}' is no formula; call maps by the formula whose mass they hold,"
            " such as MgO=mgo.nc:mgo"
        )
    return sum(weights[element] * int(count or 1) for element, count in atoms)


class Expression:
    """Numbers and names of maps, with + - * / ** and brackets. Raises QexpError for another text.

    names    of the maps, all of which must be in it
    factors  name → what its values are multiplied with, if anything
    """

    def __init__(self, text: str, names: Sequence[str], factors: Mapping[str, float]) -> None:
        self.text = text
        self._factors = factors
        try:
            if len(text) > LONGEST:
                raise ValueError
            self._tree = ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise self._mistake(f"cannot be understood; write such as {'/'.join(names)}") from None
        used = {node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name)}
        for name in sorted(used ^ {*names}):
            lack = "is not in it" if name in names else f"is no map; {suggestion(name, names)}"
            raise self._mistake(f"'{name}' {lack}")
        self({name: np.ones(1) for name in names})

    def unit(self, names: Sequence[str], unit: str) -> str:
        """The unit of a sum, by doubling all maps; empty for others, such as a ratio."""
        both = np.array([1, 2])
        once, doubled = self({name: (1 + 0.37 * place) * both for place, name in enumerate(names)})
        return unit if np.allclose(doubled, 2 * once) else ""

    def _mistake(self, why: str) -> QexpError:
        return QexpError(f"expression {self.text[:60]!r}: {why}")

    def __call__(self, values: Mapping[str, Array]) -> Array:
        """Its value, NaN where that is not finite."""
        with np.errstate(all="ignore"):
            made = np.asarray(self._value(self._tree, values), np.float64)
        return np.where(np.isfinite(made), made, np.nan)

    def _value(self, node: ast.expr, values: Mapping[str, Array]) -> Any:
        match node:
            case ast.Name(id=name):
                return values[name] * self._factors.get(name, 1.0)
            case ast.Constant(value=int() | float() as number) if abs(number) < 1e300:
                return np.float64(number)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self._value(operand, values)
            case ast.BinOp(left=left, op=sign, right=right) if type(sign) in OPERATIONS:
                first = self._value(left, values)
                return OPERATIONS[type(sign)](first, self._value(right, values))
        raise self._mistake(
            f"'{ast.unparse(node)[:40]}' is neither name nor number, nor + - * / **"
        )


class JoinedMaps(NetcdfTable):
    """Maps over the same cells as one table, with columns such as `MgO`, `MgO_low`, `MgO_outside`.

    maps  name → `FILE:OUTPUT`
    Raises QexpError for files that are no such maps, and for different cells.
    """

    def __init__(self, maps: Mapping[str, str]) -> None:
        self.files: dict[str, Path] = {}
        self.columns: list[str] = []
        self.about: dict[str, Mapping[str, Any]] = {}
        """Map → what its file says of itself."""
        self._outputs: dict[str, str] = {}
        for name, text in maps.items():
            file, _, self._outputs[name] = text.rpartition(":")
            if not file:
                raise QexpError(f"{name}={text}: write {name}={text}:OUTPUT")
            self.files[name] = Path(file)
            require_there(self.files[name])
        super().__init__(next(iter(self.files.values())))

    def _dataset(self) -> xarray.Dataset:
        import xarray

        parts = []
        for name, path in self.files.items():
            data = open_map(path)
            self.about[name] = data.attrs
            output = self._outputs[name]
            if output not in data:
                known = [str(variable) for variable in data.data_vars]
                raise QexpError(f"{path} has no '{output}'; {suggestion(output, known)}")
            columns = {flag: f"{name}_{flag}" for flag in (OUTSIDE, ESTIMATES_OUTSIDE)}
            columns[output] = name
            for part in (low_of, high_of, spread_of):
                columns[part(output)] = part(name)
            there = {column: new for column, new in columns.items() if column in data.variables}
            self.columns += there.values()
            places = position_columns([*map(str, data.variables)]) or ()
            if name in data.coords or name in places:
                raise QexpError(f"'{name}' is a position of {path}; choose another name")
            parts.append(data[[*there, *places]].rename(there))
        try:
            return xarray.merge(
                parts, compat="equals", join="exact", combine_attrs="drop_conflicts"
            )
        except ValueError as error:
            why = str(error).partition("\n")[0]
            raise QexpError(f"the maps have different cells: {why}") from None


def correlated(names: Sequence[str], correlation: Mapping[str, float]) -> Array:
    """Draws for maps, (map, draw), standard normal; correlation: as {"MgO,FeO": 0.5}

    Raises QexpError for correlations that cannot be.
    """
    from scipy.stats import qmc

    matrix = np.eye(len(names))
    for pair, value in correlation.items():
        both = [name.strip() for name in pair.split(",")]
        if len({*both} & {*names}) != 2 or not -1 <= value <= 1:
            raise QexpError(
                f"`correlation`: {pair}={value:g}: give two maps and a number from -1 to 1,"
                f" such as {','.join(names[:2])}=0.5"
            )
        first, second = map(names.index, both)
        matrix[first, second] = matrix[second, first] = value
    if np.linalg.eigvalsh(matrix).min() < -1e-9:
        raise QexpError("`correlation`: no errors have all of these correlations at once")
    sequence = qmc.MultivariateNormalQMC(np.zeros(len(names)), matrix, rng=0)
    return np.asarray(sequence.random(DRAWS).T)


@dataclass(frozen=True)
class Carried:
    """An expression of estimates, and its error by draws of their errors.

    reaches  map → by how much its `low` and `high` are farther from the estimate than a standard
             error
    normal   of `correlated`
    share    coverage of the intervals
    """

    expression: Expression
    reaches: Mapping[str, float]
    amounts: bool
    normal: Array
    share: float

    def __call__(self, columns: Mapping[str, Array]) -> Estimated:
        """From the columns of cells to their estimate, standard deviation and interval, (cell,)."""
        middle = self.expression(columns)
        parts = []
        for start in range(0, len(middle), CELLS_TOGETHER):
            cells = slice(start, start + CELLS_TOGETHER)
            draws = self._draws({name: values[cells, None] for name, values in columns.items()})
            parts.append(self._summary(draws))
        spread, low, high = np.concatenate(parts, axis=1).astype(np.float32)
        return Estimated(middle.astype(np.float32), spread, ends=(low, high))

    def _draws(self, columns: Mapping[str, Array]) -> Array:
        """Values of the expression, (cell, draw); NaN for draws that cannot be."""
        drawn = {}
        possible = np.True_
        for normal, (name, reach) in zip(self.normal, self.reaches.items(), strict=True):
            middle = columns[name]
            down = up = columns.get(spread_of(name), np.zeros_like(middle))
            if low_of(name) in columns:
                down = (middle - columns[low_of(name)]).clip(0) / reach
                up = (columns[high_of(name)] - middle).clip(0) / reach
            drawn[name] = middle + down * normal.clip(max=0) + up * normal.clip(0)
            if self.amounts:
                possible = possible & (drawn[name] >= 0)
        return np.where(possible, self.expression(drawn), np.nan)

    def _summary(self, draws: Array) -> Array:
        """Standard deviation, lower and upper end of cells, (3, cell)."""
        ordered = np.sort(draws, axis=1)  # NaN is last
        count = np.isfinite(ordered).sum(axis=1)[:, None]
        shares = np.array([0.1587, 0.8413, (1 - self.share) / 2, (1 + self.share) / 2])
        places = np.rint(shares * np.maximum(count - 1, 0)).astype(np.int64)
        low, high, *ends = np.take_along_axis(ordered, places, axis=1).T
        few = count[:, 0] < FEWEST_DRAWS
        ordered[few] = 0
        spread = np.nanstd(ordered, axis=1)
        spread[spread > HEAVY_TAILS * (high - low) / 2 + 1e-12] = np.nan
        return np.where(few, np.nan, [spread, *ends])


@dataclass(frozen=True, kw_only=True)
class Combination(RowModel):
    """Joined maps, of which every cell is a row."""

    table: JoinedMaps
    makes_maps: ClassVar[bool] = True

    def rows(self, source: Path) -> Rows:
        return Rows(self.table, self.features)

    def sources(self, source: Path) -> Sequence[Path]:
        return list(self.table.files.values())


def combine(options: CombineOptions) -> Prediction:
    """The combined map; see `qexp.combine`. Raises QexpError."""
    names = list(options.maps)
    if not names:
        raise QexpError("name at least one map, such as FeO=feo.nc:feo")
    table = JoinedMaps(options.maps)
    target = Path(options.target)
    require_not_read(target, table.files.values())
    require_coverage(options.interval)
    model = _model(options, table)
    prediction = model.predict(target, target, overwrite=options.overwrite)
    remarks = [*prediction.remarks, model.origin["correlation"]]
    warnings = [*prediction.warnings]
    if alone := [name for name in names if low_of(name) not in table.columns]:
        warnings.append(
            f"{some(alone)}: no intervals: their errors are how far networks disagree, or none"
        )
    return replace(prediction, remarks=remarks, warnings=warnings)


def _model(options: CombineOptions, table: JoinedMaps) -> Combination:
    """What estimates the cells of joined maps, and what their file says of it.

    Flags of what is outside of the training data are columns, too, in whose range 0 lies alone.
    """
    carried = _carried(options, table)
    features = [column for column in table.names if column in table.columns]
    ranges = np.tile([-np.inf, np.inf], (len(features), 1))
    ranges[[column.endswith(OUTSIDE) for column in features]] = 0
    names = list(options.maps)
    unit = ""
    if not options.molar:
        unit = carried.expression.unit(names, table.units.get(names[0], ""))
    output = Number(re.sub(r"\W", "_", Path(options.target).stem), unit)

    def estimate(rows: Matrix) -> Estimates:
        columns = dict(zip(features, rows.T.astype(np.float64), strict=True))
        return {output.name: carried(columns)}

    pairs = [f"{pair} {value:g}" for pair, value in options.correlation.items()]
    cautions = [about[CAUTION] for about in table.about.values() if about.get(CAUTION)]
    origin = {
        "expression": f"{options.expression}{' of moles' if options.molar else ''}",
        "correlation": f"correlation of errors: {', '.join(pairs) or 'none'}",
        CAUTION: "; ".join(dict.fromkeys(cautions)),
    }
    return Combination(
        table=table,
        features=features,
        ranges=ranges,
        outputs={output.name: output},
        estimate=estimate,
        words=Words("expression of the estimates", spread=f"standard deviation of {DRAWS:,} draws"),
        intervals=NewIntervals(options.interval, "the errors of all maps", {}),
        origin=origin,
    )


def _carried(options: CombineOptions, table: JoinedMaps) -> Carried:
    """The expression, with what turns the maps into its amounts. Raises QexpError."""
    names = list(options.maps)
    masses = {name: molar_mass(name) for name in names if options.molar}
    factors = {name: 1 / mass for name, mass in masses.items()}
    expression = Expression(options.expression, names, factors)
    units = {name: table.units.get(name, "") for name in names}
    unit = units[names[0]]
    if {*units.values()} != {unit} or (options.molar and unit != "wt%"):
        given = some([f"'{other}' of {name}" for name, other in units.items()])
        raise QexpError(f"maps need one unit, with `molar` 'wt%', and have {given}")
    reaches = {}
    for name in names:
        reach = _standard_errors(table.about[name])
        if reach is None and low_of(name) in table.columns:
            raise QexpError(
                f"{table.files[name]} does not say which share its intervals cover, in its"
                " attribute 'interval'"
            )
        reaches[name] = reach or 1.0
    normal = correlated(names, options.correlation)
    return Carried(expression, reaches, unit in AMOUNTS, normal, share=options.interval)


def _standard_errors(about: Mapping[str, Any]) -> float | None:
    """Standard errors between an estimate and an end of its interval, as far as a file says it."""
    from scipy.stats import norm

    coverage = re.match(r"([\d.]+) %", str(about.get("interval", "")))
    return None if coverage is None else float(norm.ppf(0.5 + float(coverage[1]) / 200))

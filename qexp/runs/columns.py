"""Columns of a listing, their filters, groups, and cells as texts."""

from __future__ import annotations

import ast
import json
import math
import operator
import re
import statistics
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import Any

from qexp.base import files
from qexp.base.files import in_bytes
from qexp.base.options import is_number
from qexp.base.quantities import with_unit
from qexp.base.text import NOTHING, RESULT, Table, measure, number_in, output_and_metric, value_at
from qexp.errors import (
    LONGEST_SHOWN,
    DamagedError,
    NotFoundError,
    QexpError,
    nearest,
    shortened,
    some,
    suggestion,
)
from qexp.metrics.meaning import MAIN_METRICS, NONE, UNKNOWN, Meaning, main_metric, measured, number
from qexp.results.capabilities import CAPABILITIES, class_of, possible_columns
from qexp.runs.options import ListOptions
from qexp.store.directory import EVALUATIONS, RunDirectory
from qexp.store.provenance import Summary
from qexp.store.record import LISTED, Record, meaning_of

Look = Callable[[str], Callable[[Summary], Any]]
"""Name of a field → function from a run's summary to the value of that field; None for a run
without it.
"""

MOST_LEVELS = 50
"""Largest nesting depth of an expression; a field with a dozen dots and a few brackets has depth
twenty.
"""

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: _within(a, b),
    ast.NotIn: lambda a, b: not _within(a, b),
    ast.Is: operator.eq,
    ast.IsNot: operator.ne,
}


class Unknown:
    """Neither true nor false, as in SQL: whether a value that a run lacks is less than 1."""

    def __bool__(self) -> bool:
        return False


UNKNOWN_TRUTH = Unknown()

Truth = bool | Unknown


def _joined(parts: Iterable[Any], deciding: bool) -> Truth:
    """`or` of parts if true decides, `and` if false does; unknown if one is unknown and none
    decides.
    """
    joined: Truth = not deciding
    for part in parts:
        if part is UNKNOWN_TRUTH:
            joined = UNKNOWN_TRUTH
        elif bool(part) is deciding:
            return deciding
    return joined


Doubts = dict[int, QexpError | None]
"""Comparison → why it cannot hold for some run; None if it can for another one."""


def selected(runs: Iterable[Summary], text: str, look: Look | None = None) -> list[Summary]:
    """The runs for which an expression holds, such as `seed < 5 and experience == 'mogi_cnn'`.

    Dots lead into a field: `results.test.depth.mae < 0.1`; names with other characters than
    letters, digits and underscores go into brackets: `evaluations["new-cores"].all['TOC%'].mae`. Of
    a value that a
    run lacks, less, greater and `in` are neither true nor false, also with `not` before them; it
    equals null alone. A field is looked up only for runs for which the rest of the expression does
    not decide already.

    Raises QexpError for what is no such expression, and for a comparison that can hold for none of
    the runs, such as of a text with a number; where it can for some, it is neither true nor false
    for the others.
    """
    try:
        tree = ast.parse(_with_indices(text.strip()), mode="eval")
    except (
        SyntaxError,
        ValueError,
        RecursionError,
        MemoryError,
    ) as error:  # the last: nested too deep
        where = (
            f" at column {error.offset}" if isinstance(error, SyntaxError) and error.offset else ""
        )
        words = repr(shortened(text))
        example = "results.test['TOC%'].mae < 1" if "%." in text else "seed < 5"
        write = (
            f'write "{meant}"'
            if (meant := _in_python(text))
            else f'write, for example, "{example}"'
        )
        raise QexpError(f"`where`: cannot understand {words}{where}; {write}") from None
    level: list[ast.AST] = [tree]
    # without recursion, so that the recursive functions below are safe
    for _ in range(MOST_LEVELS):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    if level:
        raise QexpError(
            f"`where`: more than {MOST_LEVELS} steps inside each other: {shortened(text)!r}"
        )
    constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    if any(isinstance(value, int) and abs(value) >= 2**63 for value in constants):
        raise QexpError(f"`where`: a number must be less than 2^63: {shortened(text)!r}")
    doubts: Doubts = {}
    look = look or (lambda name: lambda summary: field(summary, name))
    holds = _compiled(tree.body, text, look, partial(_compare, doubts))
    found = [run for run in runs if holds(run)]
    for doubt in filter(None, doubts.values()):
        raise doubt
    return found


QUOTED = re.compile(r"""('[^']*'|"[^"]*")""")
"""What every second part of a split expression is then: a text in quotation marks."""


def _with_indices(text: str) -> str:
    """An expression with entries of lists, `sizes.0`, as Python has those of a mapping:
    `sizes['0']`.
    """
    parts = QUOTED.split(text)
    parts[::2] = [re.sub(r"([A-Za-z_]\w*)\.(\d+)\b", r"\1['\2']", part) for part in parts[::2]]
    return "".join(parts)


def _in_python(text: str) -> str | None:
    """An expression with `=`, `&&` and `||`, as other languages have them, in the words of this
    one.
    """
    parts = QUOTED.split(text)
    for pattern, word in (
        (r"\s*&&\s*", " and "),
        (r"\s*\|\|\s*", " or "),
        (r"\s*(?<![=<>!])={1,2}(?!=)\s*", " == "),
    ):
        parts[::2] = [re.sub(pattern, word, part) for part in parts[::2]]
    meant = "".join(parts).strip()
    try:
        return meant if ast.parse(meant, mode="eval") and len(meant) <= LONGEST_SHOWN else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def compared(column: str, value: Any) -> Any:
    """What a column is compared, sorted and grouped by: bare `epochs` is their number in the
    spec.
    """
    return value["of"] or None if column == "epochs" and isinstance(value, dict) else value


def field(summary: Summary, path: str) -> Any:
    """The value of a dotted field in a summary; None if missing. Raises QexpError if no summary has
    such a field.
    """
    first, *rest = steps(path)
    if first not in summary:
        raise QexpError(f"no field '{first}'; {suggestion(first, summary)}")
    value = value_at(summary[first], rest, None)
    return None if value is NOTHING else value


BRACKETS = re.compile(r"""\[(?:"([^"]*)"|'([^']*)')\]""")


def steps(path: str) -> list[str]:
    """The keys of a dotted path; one in brackets and quotes may hold dots:
    `evaluations["core.2"].test`.
    """
    start, *pieces = BRACKETS.split(path)
    keys = start.split(".") if start or not pieces else []
    for in_double, in_single, rest in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True):
        keys += [
            in_single if in_double is None else in_double,
            *(rest.removeprefix(".").split(".") if rest else []),
        ]
    return keys


def newest(summaries: list[Summary], count: int) -> list[Summary]:
    """The summaries of the runs that were created last, in the order in which they are given.

    count  how many there are to be

    >>> len(qexp.api.newest(qexp.runs(), 1))
    1
    """
    names = {
        run["name"] for run in sorted(summaries, key=lambda run: run["created"] or "")[-count:]
    }
    return [run for run in summaries if run["name"] in names]


def unknown_tags(summaries: Sequence[Summary], tags: Iterable[str]) -> str:
    """The end of a message about tags that no run has; empty if there are none."""
    known = {tag for run in summaries for tag in run["tags"]}
    return "".join(
        f"; no run has the tag '{tag}', {suggestion(tag, known)}"
        for tag in tags
        if tag not in known
    )


def _compiled(
    node: ast.expr, text: str, look: Look, compare: Callable[..., Truth]
) -> Callable[[Summary], Any]:
    """A function from a run to the value of a part of an expression. Raises QexpError for what
    cannot be one.
    """
    match node:
        case ast.BoolOp(op=junction, values=values):
            parts = [_compiled(value, text, look, compare) for value in values]
            deciding = isinstance(junction, ast.Or)
            return lambda run: _joined((part(run) for part in parts), deciding)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = _compiled(operand, text, look, compare)
            return lambda run: (
                UNKNOWN_TRUTH if (value := inner(run)) is UNKNOWN_TRUTH else not value
            )
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _compiled(operand, text, look, compare)
            return lambda run: _negative(inner(run))
        case ast.Compare(left=left, ops=operators, comparators=others):
            parts = [_compiled(value, text, look, compare) for value in (left, *others)]

            def holds(run: Summary) -> Truth:
                values = [
                    (side, part(run)) for side, part in zip((left, *others), parts, strict=True)
                ]
                return _joined(map(compare, operators, values, values[1:]), deciding=False)

            return holds
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            parts = [_compiled(element, text, look, compare) for element in elements]
            return lambda run: [part(run) for part in parts]
        case ast.Constant(value=value):
            return lambda run: value
        case ast.Name(id="true" | "false" | "null" as word):
            return lambda run: json.loads(word)
        case ast.Name(id="nan" | "NaN"):  # which records keep as null
            return lambda run: None
        case ast.Name(id=name):
            value_of = look(name)
            return lambda run: compared(name, value_of(run))
        case (
            ast.Attribute(value=inside)
            | ast.Subscript(value=inside, slice=ast.Constant(value=str()))
        ):
            if not isinstance(inside, ast.Attribute | ast.Name | ast.Subscript):
                raise QexpError(
                    f"`where`: a dot must follow a field, as in results.test.depth.mae: {text!r}"
                )
            _compiled(inside, text, look, compare)
            return look(ast.unparse(node))
    raise QexpError(
        "`where`: only comparisons, and, or, not, in, numbers and texts are allowed, not"
        f" {ast.unparse(node)!r}"
    )


def _negative(number: Any) -> Any:
    if number is None:
        return None
    if not is_number(number):
        raise QexpError(f"`where`: {number!r} is not a number and cannot have a minus sign")
    return -number


_EQUAL = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot)


def _compare(
    doubts: Doubts, comparison: ast.cmpop, left: tuple[ast.expr, Any], right: tuple[ast.expr, Any]
) -> Truth:
    """Whether a comparison holds; unknown, which is a doubt with what to write, for values for
    which none could.
    """
    a, b = _as_compared(*left, right[1]), _as_compared(*right, left[1])
    if a is None or b is None:
        return (
            _COMPARISONS[type(comparison)](a, b)
            if isinstance(comparison, _EQUAL)
            else UNKNOWN_TRUTH
        )
    meant, truth = _meant(comparison, left[0], a, right[0], b), False
    try:
        truth = meant is None and _COMPARISONS[type(comparison)](a, b)
    except TypeError:
        meant = f"{_kind(a)} and {_kind(b)}"
    if meant is None:
        doubts[id(right[0])] = None
        return truth
    words = shortened(ast.unparse(ast.Compare(left[0], [comparison], [right[0]])))
    doubts.setdefault(id(right[0]), QexpError(f"`where`: cannot compare {words}: {meant}"))
    return UNKNOWN_TRUTH


def _as_compared(node: ast.expr, value: Any, other: Any) -> Any:
    """A value of a run; a text that reads as a number, such as "inf", as one if it is compared with
    one.
    """
    if isinstance(node, ast.Constant) or not isinstance(value, str) or not is_number(other):
        return value
    number = number_in(value)
    return value if number is None else None if math.isnan(number) else number


def _within(a: Any, b: Any) -> bool:
    """Whether a list has an item, where true is not 1, or a text a part."""
    if isinstance(b, list):
        return any(item == a and isinstance(item, bool) == isinstance(a, bool) for item in b)
    return a in b


def _meant(comparison: ast.cmpop, left: ast.expr, a: Any, right: ast.expr, b: Any) -> str | None:
    """What is wrong with a comparison that holds for no values of these kinds, and what to write;
    None if it may.
    """
    first, second = ast.unparse(left), ast.unparse(right)
    if isinstance(comparison, ast.In | ast.NotIn):
        word = "in" if isinstance(comparison, ast.In) else "not in"
        if is_number(b) or isinstance(b, bool):
            brackets = (
                f"write {first} {word} [{second}]"
                if isinstance(right, ast.Constant)
                else f"it is {_kind(b)}"
            )
            return f"behind '{word}' stands a list or a text; {brackets}"
        if isinstance(a, list) and (
            isinstance(b, str) or not any(isinstance(item, list) for item in b)
        ):
            items = right.elts if isinstance(right, ast.List | ast.Tuple) else [right]
            joined = (" or " if word == "in" else " and ").join(
                f"{ast.unparse(item)} {word} {first}" for item in items
            )
            return f"{first} is a list; write {joined}"
        return None
    for name, value, text, other, node in (
        (first, a, second, b, right),
        (second, b, first, a, left),
    ):
        if isinstance(value, dict) and not isinstance(other, dict):
            return f"{name} has the fields {some(list(value))}" + (
                f"; write {name}.{next(iter(value))}" * bool(value)
            )
        if isinstance(value, list) and not isinstance(other, list | dict):
            word = "not in" if isinstance(comparison, ast.NotEq | ast.IsNot) else "in"
            return (
                f"{name} is a list; write {text} {word} {name}"
                if isinstance(comparison, _EQUAL)
                else None
            )
        if is_number(value) and isinstance(other, bool):  # which Python takes for 0 and 1
            return f"{name} is a number, and {text} is {_kind(other)}"
        reads_as_number = isinstance(other, str) and number_in(other) is not None
        if is_number(value) and reads_as_number and isinstance(comparison, _EQUAL):
            constant = isinstance(node, ast.Constant)
            return (
                f"{name} is a number; write {other}"
                if constant
                else f"{text} is a text; write {str(value)!r}"
            )
    return None


def _kind(value: Any) -> str:
    return {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
    }.get(type(value), "several fields")


def ordered(
    summaries: list[Summary], by: str, reverse: bool, values: Sequence[Any]
) -> list[Summary]:
    """The runs sorted by a field, of which they have these values; runs without it come last.
    Raises QexpError.
    """
    keyed = [(compared(by, value), run) for value, run in zip(values, summaries, strict=True)]
    having = [pair for pair in keyed if isinstance(pair[0], int | float | str)]
    if len({isinstance(value, str) for value, _ in having}) > 1 or (
        not having and any(value is not None for value, _ in keyed)
    ):
        raise QexpError(
            f"`sort={by}`: the values are neither all numbers nor all texts; "
            "name a field inside, as in results.test.depth.mae"
        )
    having.sort(key=lambda pair: pair[0], reverse=reverse)
    return [run for _, run in having] + [
        run for value, run in keyed if not isinstance(value, int | float | str)
    ]


PARTS = ("test", "validation", "train")

SHOWN_PARTS = ("validation", "test")
"""Those of a listing: the part to choose by, and what it is worth."""

LOSS = "validation.loss"
"""The column of the validation loss of the best epoch, which it was chosen by: of `metrics.jsonl`,
not the results.
"""

FIELDS = frozenset(field.name for field in fields(Record)) - {"others"}

TEXTS = ("name", "state", "experience", "dataset", "model")
"""Fields of a summary that are texts, which one may forget to put into quotation marks."""


class Columns:
    """The values of columns for some runs.

    A column is a field of the summary or of the record (`seed`, `epochs.best`, `code.commit`), a
    metric (`test.depth.mae`, with or without `results.` before it, or
    `evaluations.NAME.test.depth.mae`), a key of the spec (`learning_rate`, `dataset.fixed.noise`,
    with or without `spec.` before it), of a calibration (`calibration.depth.coverage_90`), or
    `size`, the bytes of the directory. Files are read only for values that are not in the
    summaries.
    """

    def __init__(self, runs: Sequence[Summary]) -> None:
        self.runs = runs
        self.warnings: list[str] = []
        """Messages about runs that could not be read; their cells are empty."""
        self._of_specs: dict[tuple[str, str, tuple[str, ...]], Any] = {}
        """Path and digest of a run, and keys of its spec → value: a spec is never changed."""
        self._has_value: dict[str, bool | None] = {}
        """Column of `one_by_one` → whether a run has it; None if no run was looked at."""
        self._spec = cache(lambda path: self._read(RunDirectory(Path(path)).spec_as_written))
        self._record = cache(
            lambda path: self._read(lambda: RunDirectory(Path(path)).record().document())
        )
        self._loss = cache(lambda path: self._read(lambda: _loss_of_best(RunDirectory(Path(path)))))
        self._results = cache(
            lambda capability, path: self._read(
                class_of(capability)(RunDirectory(Path(path))).columns
            )
        )

    def over(self, runs: Sequence[Summary]) -> Columns:
        """The columns of other runs; values of specs that have been read once are not read
        again.
        """
        columns = Columns(runs)
        columns._of_specs = self._of_specs
        return columns

    def values(self, column: str) -> list[Any]:
        """One value per run, None if missing. Raises QexpError with similar names if no run can
        have the column.
        """
        look = self._lookup(column)
        values = [look(run) for run in self.runs]
        if values and all(value is NOTHING for value in values):
            self._require_possible(column)
        return [None if value is NOTHING else value for value in values]

    def one_by_one(self, column: str) -> Callable[[Summary], Any]:
        """A function run → value, None if missing, that reads files of a run only when it is called
        for that run.

        If it finds no value for any run, `require_found` says so.
        """
        if self._in_summaries(column):
            return lambda run: field(run, column)
        look = self._lookup(column)
        self._has_value[column] = None

        def value_of(run: Summary) -> Any:
            value = look(run)
            self._has_value[column] = self._has_value[column] or value is not NOTHING
            return None if value is NOTHING else value

        return value_of

    def require_found(self) -> None:
        """Raise QexpError, with similar names, if `one_by_one` looked for a column that no run can
        have.
        """
        for column, has_value in self._has_value.items():
            if has_value is False:
                self._require_possible(column, in_condition=True)

    def _require_possible(self, column: str, *, in_condition: bool = False) -> None:
        """Raise QexpError, with similar names, unless one of the runs can have the column once it
        is done, or calibrated.

        in_condition  it may be a text without its quotation marks
        """
        part, _, rest = column.removeprefix("results.").partition(".")
        output, metric = output_and_metric(rest)
        units = units_of(self.runs)
        of_capabilities = possible_columns(units)
        if column.removeprefix("results.") == LOSS or column.removeprefix("spec.") in changed_keys(
            self.runs
        ):
            return
        if column in of_capabilities or (
            part in PARTS and output in units and self.meaning(metric) != UNKNOWN
        ):
            return
        fields = {*FIELDS, *self.runs[0], "size"}
        specs = [path for run in self.runs[:20] for path in _paths(self._spec(run["path"]))]
        prefix = "spec." if column.startswith("spec.") else ""
        deep = {*fields, *(f"{prefix}{path}" for path in specs), *of_capabilities}
        for run in self.runs:
            deep |= {*_paths(run), *_paths(run["results"])}
        if in_condition:
            deep = {re.sub(r"\.([^.]*[^\w.][^.]*)", r"['\1']", path) for path in deep}
        unread = f"\nsome runs could not be read: {self.warnings[0]}" if self.warnings else ""
        names = deep if nearest(column, deep) else fields
        meant = suggestion(column, names)
        if inside := _fields_with(column, deep - {*of_capabilities}) or _fields_with(column, deep):
            meant = f"did you mean '{inside[0]}'?"
            meant += f" Others with {column}: {some(inside[1:])}" if inside[1:] else ""
        ends = f"{part}.", f".{rest}"
        if rest and (
            of_all := sorted(
                path for path in deep if path.startswith(ends[0]) and path.endswith(ends[1])
            )
        ):
            meant = f"each output has its own: {some(of_all)}"
        if column in ("parameters", "params"):
            meant = "the number of weights of the network is 'weights'"
        elif column in ("loss", "val_loss"):
            meant = f"did you mean '{LOSS}'?"
        elif column.startswith("-"):
            meant = "for the other order: `reverse`"
        elif column == "set":
            meant = "what --set changed is 'overrides'"
        elif in_condition and column == "tag":
            meant = "for runs with a tag, write 'TAG' in tags"
        elif in_condition and any(
            column in (*run["tags"], *map(run.get, TEXTS)) for run in self.runs
        ):
            meant = f"a text has quotation marks: '{column}'"
        raise QexpError(f"no field '{shortened(column)}'; {meant}{unread}")

    def _in_summaries(self, column: str) -> bool:
        first, *rest = steps(column)
        summary = self.runs[0] if self.runs else {}
        # `dataset` and `model` in the summary are names; paths below them refer to the spec.
        return first in summary and not (rest and isinstance(summary[first], str))

    def _lookup(self, column: str) -> Callable[[Summary], Any]:
        """A function run → value: the first of summary, record and spec that has the column's first
        key.
        """
        first, *rest = path = steps(column)
        summary = self.runs[0] if self.runs else {}
        if column == "size":
            return lambda run: files.size_of(Path(run["path"]))
        if first == "spec":
            return lambda run: self._in_spec(run, rest)
        if self._in_summaries(column):
            return lambda run: value_at(run, path, None)
        if column.removeprefix("results.") == LOSS:
            return lambda run: self._loss(run["path"])
        if first in PARTS:
            return lambda run: _result(run["results"], path)
        if first in CAPABILITIES:
            return lambda run: value_at(self._results(first, run["path"]), rest, None)
        # The record's `metrics` describe how results are read; as a column `metrics` refers to the
        # spec.
        if first in FIELDS and first not in (*summary, "metrics"):
            return lambda run: value_at(self._record(run["path"]), path, None)
        return lambda run: self._in_spec(run, path)

    def _in_spec(self, run: Summary, path: Sequence[str]) -> Any:
        key = run["path"], run["digest"], tuple(path)
        if key not in self._of_specs:
            self._of_specs[key] = value_at(self._spec(run["path"]), path, None)
        return self._of_specs[key]

    def _read(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except (DamagedError, NotFoundError) as error:
            self.warnings.append(str(error))
            return NOTHING

    def unit(self, column: str) -> str:
        """The unit of a metric of the runs or of their evaluations; empty for other columns and for
        numbers without.
        """
        path, units = steps(column), units_of(self.runs)
        if path[0] in ("results", EVALUATIONS):
            path = path[1:] if path[0] == "results" else path[2:]
        elif path[0] in CAPABILITIES:
            return possible_columns(units).get(column, "")
        output, metric = output_and_metric(".".join(path[1:]))
        output = output or RESULT
        return self.meaning(metric).in_unit(units[output]) if output in units else ""

    def cautions(self, column: str) -> list[str]:
        """Per run whose value of a column is of an evaluation with a caution: its name and the
        caution.
        """
        name = path[1] if len(path := steps(column)) > 2 and path[0] == EVALUATIONS else None
        cautions = {
            run["name"]: run["evaluations"].get(name, {}).get("caution") for run in self.runs
        }
        return [f"{run} on {name}: {caution}" for run, caution in cautions.items() if caution]

    def meaning(self, metric: str) -> Meaning:
        """Direction and unit of a metric; those of custom metrics are taken from the runs'
        records.
        """
        from qexp.metrics.built_in import METRICS

        records = [] if metric in METRICS else [self._record(run["path"]) for run in self.runs]
        return meaning_of(
            metric, [record["metrics"] for record in records if isinstance(record, dict)]
        )


def _result(results: Mapping[str, Any], path: Sequence[str]) -> Any:
    """A number of the results; `test.mse` is that of the only output of a program that names
    none.
    """
    found = value_at(results, path, None)
    return (
        value_at(results, [path[0], RESULT, *path[1:]], None)
        if found in (None, NOTHING) and path[1:]
        else found
    )


def _loss_of_best(directory: RunDirectory) -> Any:
    best = [line for line in directory.metrics() if line.get("best")]
    return value_at(best[-1], LOSS.split("."), None) if best else NOTHING


def changed_keys(runs: Sequence[Summary]) -> list[str]:
    """The keys that some of the runs override, and not all of them alike."""
    by_run = [dict(text.partition("=")[::2] for text in texts) for texts in changes(runs).values()]
    keys = dict.fromkeys(key for of_run in by_run for key in of_run)
    return [key for key in keys if len({of_run.get(key) for of_run in by_run}) > 1]


def changed_columns(runs: Sequence[Summary]) -> list[str]:
    """The columns of these keys: `learning_rate`, but `spec.epochs` where a summary has a field of
    that name.
    """
    return [
        f"spec.{key}" if key.partition(".")[0] in runs[0] else key for key in changed_keys(runs)
    ]


def _fields_with(word: str, paths: Collection[str]) -> list[str]:
    """The fields that have a word in their path and nothing below them, the errors on test data
    first.
    """
    above = {path.rpartition(".")[0] for path in paths}
    found = [
        path for path in paths if path not in above and not path.startswith(("results.", "spec."))
    ]
    found = [path for path in found if word in re.split(r"[\W_]+", path) or word in path.split(".")]
    return sorted(
        found,
        key=lambda path: (
            not path.startswith("test"),
            not path.endswith(MAIN_METRICS),
            len(path),
            path,
        ),
    )


def _paths(document: Any, before: str = "") -> Iterator[str]:
    """All dotted paths in nested dictionaries."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield f"{before}{key}"
            yield from _paths(value, f"{before}{key}.")


# Listings: the runs that are chosen, and columns and groups of them with cells as texts, for the
# shell and for pages.


def choose(
    columns: Columns, options: ListOptions, names: Collection[str] | None = None
) -> list[Summary]:
    """The runs of some columns in a state, with all of the tags and one of the names, that match an
    expression.

    Raises QexpError for an invalid expression or an unknown state.
    """
    where, status = options.where, options.status
    if status is not None and status not in LISTED:
        raise QexpError(f"`status={status}`: no such state; {suggestion(status, LISTED)}")
    wanted = set(options.tags)
    runs = [
        run for run in columns.runs if status in (None, run["state"]) and wanted <= {*run["tags"]}
    ]
    if where is not None:
        runs = selected(runs, where, columns.one_by_one)
        columns.require_found()
    return runs if names is None else [run for run in runs if run["name"] in names]


@dataclass(frozen=True)
class Column:
    """A column with a cell for each run."""

    title: str
    field: str
    """The field that it shows, by which runs can be sorted."""
    text: Callable[[Summary], str]
    numeric: bool = False


def changes(runs: Sequence[Summary]) -> dict[str, list[str]]:
    """Run → what was set in it, or in another run with the same spec, so that equal specs read
    alike.
    """
    of_spec: dict[str, dict[str, str]] = {}
    for run in runs:
        of_spec.setdefault(run.get("digest") or run["name"], {}).update(
            (change.partition("=")[0], change) for change in run["overrides"]
        )
    return {run["name"]: [*of_spec[run.get("digest") or run["name"]].values()] for run in runs}


def usual_columns(runs: Sequence[Summary], without: Collection[str] = ()) -> list[Column]:
    """Name and changes, state and progress, the main metric of each output on the validation part,
    which runs are chosen by, with that on the test part beside it, and labels if a run has any.

    without  changes that are not shown
    """
    changed = changes(runs) if any(run["overrides"] for run in runs) else {}

    def set_in(run: Summary) -> str:
        return str(in_csv([change for change in changed[run["name"]] if change not in without]))

    units = units_of(runs)
    used = {key for key in ("overrides", "tags", "caution") if any(run[key] for run in runs)}
    return [
        Column("name", "name", lambda run: str(run["name"])),
        *([Column("set", "overrides", set_in)] if "overrides" in used else []),
        Column("state", "state", lambda run: str(run["state"])),
        Column(
            "seed",
            "seed",
            lambda run: NONE if run["seed"] is None else str(run["seed"]),
            numeric=True,
        ),
        Column("epochs", "epochs.done", progress, numeric=True),
        *(
            Column(error_title(*path, units), ".".join(path), partial(_error, path), numeric=True)
            for path in _main_metrics([run["results"] for run in runs])
        ),
        Column("created", "created", lambda run: time(run["created"])),
        *(Column(key, key, partial(_label, key)) for key in ("tags", "caution") if key in used),
    ]


def _error(path: tuple[str, str, str], run: Summary) -> str:
    part, output, metric = path
    return number(run["results"].get(part, {}).get(output, {}).get(metric))


def _label(key: str, run: Summary) -> str:
    return str(in_csv(run[key]))


def column_of(field: str, columns: Columns) -> Column:
    """The column of any field, with its unit. Raises QexpError with similar names if no run can
    have it.
    """
    values, unit = columns.values(field), columns.unit(field)
    by_run = {run["name"]: value for run, value in zip(columns.runs, values, strict=True)}
    numeric = all(value is None or is_number(value) for value in values)
    return Column(
        with_unit(field, unit), field, lambda run: cell(field, by_run[run["name"]]), numeric
    )


def groups(
    runs: Sequence[Summary],
    fields: Sequence[str],
    values: Sequence[Sequence[Any]],
    means: Mapping[str, Sequence[Any]] | None = None,
) -> list[dict[str, Any]]:
    """Groups of runs with the same values, in order of first appearance: number, states and mean
    errors.

    values   those of the fields of each run, by which to group
    means    column → values of the runs, whose means are wanted besides: `means` of a group, column
             → n, mean, std
    returns  for each group `values`, `runs`, `n`, `states` (state → count), `validation` and `test`
             (output → mae, or the main metric of a program → n, mean, std)
    """
    shown = _main_metrics([run["results"] for run in runs])
    members: dict[str, list[int]] = {}
    values = [[*map(compared, fields, of_run)] for of_run in values]
    for index, of_run in enumerate(values):
        members.setdefault(json.dumps(list(of_run), sort_keys=True), []).append(index)
    return [
        {
            "values": list(values[indices[0]]),
            "runs": [runs[index] for index in indices],
            "n": len(indices),
            "states": dict(Counter(runs[index]["state"] for index in indices).most_common()),
            **{
                part: _mean_errors([runs[index] for index in indices], part, shown)
                for part in SHOWN_PARTS
            },
            **({"means": _means(means, indices)} if means else {}),
        }
        for indices in members.values()
    ]


def _mean_errors(
    runs: Sequence[Summary], part: str, shown: Sequence[tuple[str, str, str]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Output → its main metric → n, mean, std over the runs."""
    means = {}
    for _, output, metric in (one for one in shown if one[0] == part):
        of_runs = [run["results"].get(part, {}).get(output, {}).get(metric) for run in runs]
        if values := [value for value in of_runs if value is not None]:
            means[output] = {metric: _mean(values)}
    return means


def _means(means: Mapping[str, Sequence[Any]], indices: Sequence[int]) -> dict[str, dict[str, Any]]:
    of_group = {column: [values[index] for index in indices] for column, values in means.items()}
    for column, values in of_group.items():
        if odd := next(
            (value for value in values if value is not None and not is_number(value)), None
        ):
            raise QexpError(
                f"`columns={column}`: a group has means of numbers, and {shortened(str(odd))} is"
                " none; leave out the column, or name it in `group`"
            )
    return {
        column: _mean([value for value in values if value is not None])
        for column, values in of_group.items()
    }


def _mean(values: Sequence[float]) -> dict[str, Any]:
    return {
        "n": len(values),
        "mean": statistics.fmean(values) if values else None,
        "std": statistics.stdev(values) if len(values) > 1 else None,
    }


def group_table(
    groups: Sequence[dict[str, Any]],
    fields: Sequence[str],
    units: Mapping[str, str],
    shown: Mapping[str, str] | None = None,
) -> Table:
    """A row per group: the values of the fields, how many runs, in which states, and their mean
    errors; or the means of columns that are shown instead.

    shown  column → its title
    """
    outputs = outputs_of_groups(groups) if shown is None else []
    titles = [error_title(*of_output, units) for of_output in outputs]
    rows = [
        [
            *map(cell, fields, group["values"]),
            str(group["n"]),
            ", ".join(f"{count} {state}" for state, count in group["states"].items()),
            *(
                (
                    measured(errors[output][metric]["mean"], errors[output][metric]["std"])
                    if output in (errors := group[part])
                    else NONE
                )
                for part, output, metric in outputs
            ),
            *(
                NONE if mean["mean"] is None else measured(mean["mean"], mean["std"])
                for mean in (group["means"][column] for column in shown or ())
            ),
        ]
        for group in groups
    ]
    titles += (shown or {}).values()
    return Table("", [*fields, "n", "states", *titles], rows, frozenset(["n", *titles]))


def outputs_of_groups(groups: Sequence[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Each part, output and main metric, of an output both parts beside each other."""
    return _main_metrics([{part: group[part] for part in SHOWN_PARTS} for group in groups])


def _main_metrics(results: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Part, output and the output's main metric, which is another one where a program lacks the
    usual.
    """
    metrics: dict[str, dict[str, dict[str, None]]] = {}
    for of_run in results:
        for part in SHOWN_PARTS:
            for output, of_output in of_run.get(part, {}).items():
                metrics.setdefault(output, {}).setdefault(part, {}).update(dict.fromkeys(of_output))
    return [
        (part, output, main_metric(of_parts[part]) or MAIN_METRICS[0])
        for output, of_parts in metrics.items()
        for part in SHOWN_PARTS
        if part in of_parts
    ]


def cell(column: str, value: Any) -> str:
    """The value of a field as a reader wants it, in one line."""
    if value is None:
        return NONE
    if column in ("created", "started", "ended"):
        return time(value)
    if column == "epochs" and isinstance(value, dict):
        return _epochs(value)
    if column == "size":
        return in_bytes(value)
    if column == "weights" and isinstance(value, int):
        return f"{value:,}"
    if is_number(value):
        return number(value)
    return value if isinstance(value, str) else str(in_csv(value))


def in_csv(value: Any) -> Any:
    """Numbers and texts as they are; lists of words as words; all else as JSON."""
    if value is None or isinstance(value, str) or is_number(value):
        return value
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return " ".join(value)
    return json.dumps(value, ensure_ascii=False)


def time(stamp: str | None) -> str:
    return (stamp or "")[:16].replace("T", " ")


def progress(run: Summary) -> str:
    """Epochs, or folds, that are done, and their total number."""
    return f"{_epochs(run['folds'])} folds" if run["folds"] else _epochs(run["epochs"])


def _epochs(epochs: Summary | None) -> str:
    if not epochs or not (epochs["of"] or epochs["done"]):
        return NONE
    if epochs.get("step") is not None:
        return f"step {epochs['step']:g}"
    return f"{epochs['done']}/{epochs['of']}" if epochs["of"] else str(epochs["done"])


def units_of(runs: Sequence[Summary]) -> dict[str, str]:
    """Output → unit."""
    return {output: unit for run in runs for output, unit in run["units"].items()}


def error_title(part: str, output: str, metric: str, units: Mapping[str, str]) -> str:
    return with_unit(f"{part} {measure(output, metric)}", units.get(output, ""))

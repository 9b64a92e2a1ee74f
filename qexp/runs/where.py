"""Conditions on runs, such as `seed < 5 and 'paper' in tags`, in the words of Python and JSON."""

from __future__ import annotations

import ast
import json
import math
import operator
import re
from collections.abc import Callable, Iterable
from typing import Any

from qexp.base.options import is_number
from qexp.base.text import number_in
from qexp.errors import LONGEST_SHOWN, QexpError, shortened, some
from qexp.store.provenance import Summary

Look = Callable[[str], Callable[[Summary], Any]]
"""Name of a field → function from a run's summary to its value; None for a run without it."""

MOST_LEVELS = 50
"""Largest nesting depth of an expression; one of a dozen dots and a few brackets has twenty."""

NOT_PARSED = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What Python raises for a text that is no expression; the last two if it is nested too deep."""

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, container: _contains(container, item),
    ast.NotIn: lambda item, container: not _contains(container, item),
    ast.Is: operator.eq,
    ast.IsNot: operator.ne,
}

_EQUAL = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot)


class Unknown:
    """Neither true nor false, as in SQL: whether a value that a run lacks is less than 1."""

    def __bool__(self) -> bool:
        return False


UNKNOWN_TRUTH = Unknown()

Truth = bool | Unknown


def selected(runs: Iterable[Summary], text: str, look: Look) -> list[Summary]:
    """The runs for which an expression holds, such as `seed < 5 and experience == 'mogi_cnn'`.

    Dots lead into a field: `results.test.depth.mae < 0.1`; names with other characters than
    letters, digits and underscores go into brackets: `evaluations["new-cores"].all['TOC%'].mae`.
    Of a value that a run lacks, less, greater and `in` are neither true nor false, also with `not`
    before them; it equals null alone. A field is looked up only for runs for which the rest of the
    expression does not decide already.

    Raises QexpError for what is no such expression, and for a comparison that can hold for none of
    the runs, such as of a text with a number; where it can for some, it is neither true nor false
    for the others.
    """
    tree = _parsed(text)
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
    condition = _Condition(text, look)
    holds = condition.compiled(tree.body)
    found = [run for run in runs if holds(run)]
    for doubt in filter(None, condition.doubts.values()):
        raise doubt
    return found


QUOTED = re.compile(r"""('[^']*'|"[^"]*")""")
"""What every second part of a split expression is then: a text in quotation marks."""


def _parsed(text: str) -> ast.Expression:
    parts = QUOTED.split(text.strip())
    # an entry of a list, `sizes.0`, is `sizes['0']` to Python
    parts[::2] = [re.sub(r"([A-Za-z_]\w*)\.(\d+)\b", r"\1['\2']", part) for part in parts[::2]]
    try:
        return ast.parse("".join(parts), mode="eval")
    except NOT_PARSED as error:
        offset = error.offset if isinstance(error, SyntaxError) else None
    where = f" at column {offset}" if offset else ""
    meant = _in_python(text)
    if meant is None:
        example = "results.test['TOC%'].mae < 1" if "%." in text else "seed < 5"
        write = f'write, for example, "{example}"'
    else:
        write = f'write "{meant}"'
    raise QexpError(f"`where`: cannot understand {shortened(text)!r}{where}; {write}")


def _in_python(text: str) -> str | None:
    """An expression with `=`, `&&` and `||`, as in other languages, in the words of this one."""
    parts = QUOTED.split(text)
    for pattern, word in (
        (r"\s*&&\s*", " and "),
        (r"\s*\|\|\s*", " or "),
        (r"\s*(?<![=<>!])={1,2}(?!=)\s*", " == "),
    ):
        parts[::2] = [re.sub(pattern, word, part) for part in parts[::2]]
    meant = "".join(parts).strip()
    try:
        ast.parse(meant, mode="eval")
    except NOT_PARSED:
        return None
    return meant if len(meant) <= LONGEST_SHOWN else None


class _Condition:
    """Functions from a run's summary to the values of the parts of an expression."""

    def __init__(self, text: str, look: Look) -> None:
        self.text, self.look = text, look
        self.doubts: dict[int, QexpError | None] = {}
        """Comparison → why it cannot hold for some run; None if it can for another one."""

    def compiled(self, node: ast.expr) -> Callable[[Summary], Any]:
        """A function run → value of a part. Raises QexpError if it has none."""
        match node:
            case ast.BoolOp(op=junction, values=values):
                parts = [self.compiled(value) for value in values]
                deciding = isinstance(junction, ast.Or)
                return lambda run: _joined((part(run) for part in parts), deciding)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self.compiled(operand)
                return lambda run: _negated(inner(run))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self.compiled(operand)
                return lambda run: _negative(inner(run))
            case ast.Compare(left=left, ops=operators, comparators=others):
                sides = [left, *others]
                parts = [self.compiled(side) for side in sides]

                def holds(run: Summary) -> Truth:
                    values = [(side, part(run)) for side, part in zip(sides, parts, strict=True)]
                    compared = map(self._compare, operators, values, values[1:])
                    return _joined(compared, deciding=False)

                return holds
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                parts = [self.compiled(element) for element in elements]
                return lambda run: [part(run) for part in parts]
            case ast.Constant(value=value):
                return lambda run: value
            case ast.Name(id="true" | "false" | "null" as word):
                return lambda run: json.loads(word)
            case ast.Name(id="nan" | "NaN"):  # which records keep as null
                return lambda run: None
            case ast.Name(id=name):
                return self.look(name)
            case (
                ast.Attribute(value=owner)
                | ast.Subscript(value=owner, slice=ast.Constant(value=str()))
            ):
                if not isinstance(owner, ast.Attribute | ast.Name | ast.Subscript):
                    raise QexpError(
                        "`where`: a dot must follow a field, as in results.test.depth.mae:"
                        f" {self.text!r}"
                    )
                self.compiled(owner)
                return self.look(ast.unparse(node))
        raise QexpError(
            "`where`: only comparisons, and, or, not, in, numbers and texts are allowed, not"
            f" {ast.unparse(node)!r}"
        )

    def _compare(
        self, comparison: ast.cmpop, left: tuple[ast.expr, Any], right: tuple[ast.expr, Any]
    ) -> Truth:
        """Whether a comparison holds; unknown, with a doubt, for values for which none could."""
        compare = _COMPARISONS[type(comparison)]
        a = _as_compared(*left, right[1])
        b = _as_compared(*right, left[1])
        if a is None or b is None:
            return compare(a, b) if isinstance(comparison, _EQUAL) else UNKNOWN_TRUTH
        meant = _meant(comparison, left[0], a, right[0], b)
        truth = False
        try:
            truth = meant is None and compare(a, b)
        except TypeError:
            meant = f"{_kind(a)} and {_kind(b)}"
        key = id(right[0])
        if meant is None:
            self.doubts[key] = None
            return truth
        words = shortened(ast.unparse(ast.Compare(left[0], [comparison], [right[0]])))
        self.doubts.setdefault(key, QexpError(f"`where`: cannot compare {words}: {meant}"))
        return UNKNOWN_TRUTH


def _joined(parts: Iterable[Any], deciding: bool) -> Truth:
    """`or` of parts if true decides, `and` if false does; unknown if none decides but one is."""
    joined: Truth = not deciding
    for part in parts:
        if part is UNKNOWN_TRUTH:
            joined = UNKNOWN_TRUTH
        elif bool(part) is deciding:
            return deciding
    return joined


def _negated(value: Any) -> Truth:
    return UNKNOWN_TRUTH if value is UNKNOWN_TRUTH else not value


def _negative(number: Any) -> Any:
    if number is None:
        return None
    if not is_number(number):
        raise QexpError(f"`where`: {number!r} is not a number and cannot have a minus sign")
    return -number


def _as_compared(node: ast.expr, value: Any, other: Any) -> Any:
    """A value of a run; a text such as "inf" is a number where it is compared with one."""
    if isinstance(node, ast.Constant) or not isinstance(value, str) or not is_number(other):
        return value
    number = number_in(value)
    if number is None:
        return value
    return None if math.isnan(number) else number


def _contains(container: Any, item: Any) -> bool:
    """Whether a list has an item, where true is not 1, or a text a part."""
    if not isinstance(container, list):
        return item in container
    return any(one == item and isinstance(one, bool) == isinstance(item, bool) for one in container)


def _meant(comparison: ast.cmpop, left: ast.expr, a: Any, right: ast.expr, b: Any) -> str | None:
    """What is wrong with a comparison that can never hold for such values, and what to write."""
    if isinstance(comparison, ast.In | ast.NotIn):
        word = "in" if isinstance(comparison, ast.In) else "not in"
        return _meant_by_in(word, left, a, right, b)
    first = ast.unparse(left)
    second = ast.unparse(right)
    return _meant_by_equal(comparison, first, a, second, b, right) or _meant_by_equal(
        comparison, second, b, first, a, left
    )


def _meant_by_in(word: str, left: ast.expr, a: Any, right: ast.expr, b: Any) -> str | None:
    first = ast.unparse(left)
    second = ast.unparse(right)
    if is_number(b) or isinstance(b, bool):
        listed = f"write {first} {word} [{second}]"
        what = listed if isinstance(right, ast.Constant) else f"it is {_kind(b)}"
        return f"behind '{word}' stands a list or a text; {what}"
    if not isinstance(a, list):
        return None
    if isinstance(b, str) or not any(isinstance(item, list) for item in b):
        items = right.elts if isinstance(right, ast.List | ast.Tuple) else [right]
        junction = " or " if word == "in" else " and "
        joined = junction.join(f"{ast.unparse(item)} {word} {first}" for item in items)
        return f"{first} is a list; write {joined}"
    return None


def _meant_by_equal(
    comparison: ast.cmpop, name: str, value: Any, text: str, other: Any, other_node: ast.expr
) -> str | None:
    """What is wrong with a value, called `name`, in a comparison with another one."""
    if isinstance(value, dict) and not isinstance(other, dict):
        write = f"; write {name}.{next(iter(value))}" if value else ""
        return f"{name} has the fields {some(list(value))}{write}"
    equal = isinstance(comparison, _EQUAL)
    if isinstance(value, list) and not isinstance(other, list | dict):
        word = "not in" if isinstance(comparison, ast.NotEq | ast.IsNot) else "in"
        return f"{name} is a list; write {text} {word} {name}" if equal else None
    if not is_number(value):
        return None
    if isinstance(other, bool):  # which Python takes for 0 and 1
        return f"{name} is a number, and {text} is {_kind(other)}"
    if equal and isinstance(other, str) and number_in(other) is not None:
        if isinstance(other_node, ast.Constant):
            return f"{name} is a number; write {other}"
        return f"{text} is a text; write {str(value)!r}"
    return None


def _kind(value: Any) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "a text"}
    return kinds.get(type(value), "a list" if isinstance(value, list) else "several fields")

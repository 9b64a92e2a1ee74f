"""Filtering and sorting of runs; filter expressions hold comparisons of fields only and are never executed."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from qexp.did_you_mean import suggestion
from qexp.dotted import keys_of
from qexp.errors import QexpError, shortened
from qexp.runs.record.state import LISTED

Summary = dict[str, Any]

Look = Callable[[str], Callable[[Summary], Any]]
"""Name of a field → function from a run's summary to the value of that field; None for a run without it."""

Fields = dict[int, Callable[[Summary], Any]]
"""Field in the tree of an expression → function from a run's summary to its value."""

DEEPEST = 50
"""Largest nesting depth of an expression; a field with a dozen dots and a few brackets has depth twenty."""

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
    ast.Is: operator.eq,
    ast.IsNot: operator.ne,
}


def select(
    summaries: Iterable[Summary],
    *,
    where: str | None = None,
    status: str | None = None,
    tags: Iterable[str] = (),
    look: Look | None = None,
) -> list[Summary]:
    """The runs in a state, with all of the tags, that match an expression.

    look  gives access to the fields of the expression; only those of the summaries if left out
    Raises QexpError for an invalid expression or an unknown state.
    """
    if status is not None and status not in LISTED:
        raise QexpError(f"--status {status}: no such state; {suggestion(status, LISTED)}")
    holds = condition(where, look) if where is not None else lambda summary: True
    wanted = set(tags)
    return [
        one
        for one in summaries
        if (status is None or one["state"] == status) and wanted <= set(one["tags"] if wanted else ()) and holds(one)
    ]


def condition(text: str, look: Look | None = None) -> Callable[[Summary], bool]:
    """A predicate from an expression such as `seed < 5 and experience == 'mogi_cnn'`.

    Dots lead into a field: `results.test.depth.mae < 0.1`; names with other characters than letters, digits and
    underscores go into brackets: `evaluations["new-cores"].all['TOC%'].mae`. Comparisons with a value that a run lacks
    are false. A field is looked up only for runs for which the rest of the expression does not decide already.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (
        SyntaxError,
        ValueError,
        RecursionError,
        MemoryError,
    ) as error:  # the last: nested too deep
        where = f" at column {error.offset}" if isinstance(error, SyntaxError) and error.offset else ""
        shown = repr(shortened(text))
        example = "results.test['TOC%'].mae < 1" if "%" in text else "seed < 5"
        raise QexpError(f'--where: cannot understand {shown}{where}; write, for example, "{example}"') from None
    if _goes_deeper(tree, DEEPEST):
        raise QexpError(f"--where: more than {DEEPEST} steps inside each other: {shortened(text)!r}")
    if any(isinstance(node, ast.Constant) and _is_huge(node.value) for node in ast.walk(tree)):
        raise QexpError(f"--where: a number must be less than 2^63: {shortened(text)!r}")
    _check(tree.body, text)
    lookup = look or _in_summary
    fields = {id(node): _constant_or_field(ast.unparse(node), lookup) for node in _outermost_fields(tree.body)}
    return lambda summary: bool(_value(tree.body, summary, fields))


def _is_huge(value: Any) -> bool:
    return isinstance(value, int) and abs(value) >= 2**63


def field(summary: Summary, path: str) -> Any:
    """The value of a dotted field in a summary; None if missing. Raises QexpError if no summary has such a field."""
    first, *rest = steps(path)
    if first not in summary:
        raise QexpError(f"no field '{first}'; {suggestion(first, summary)}")
    found = summary[first]
    for step in keys_of(rest, found):
        found = found.get(step) if isinstance(found, dict) else None
    return found


BRACKETS = re.compile(r"""\[(?:"([^"]*)"|'([^']*)')\]""")


def steps(path: str) -> list[str]:
    """The keys of a dotted path; one in brackets and quotes may hold dots: `evaluations["core.2"].test`."""
    found: list[str] = []
    rest = path
    while bracket := BRACKETS.search(rest):
        before = rest[: bracket.start()].removeprefix(".") if found else rest[: bracket.start()]
        found += [*(before.split(".") if before else []), bracket[1] if bracket[1] is not None else bracket[2]]
        rest = rest[bracket.end() :]
    if found:
        return [*found, *(rest.removeprefix(".").split(".") if rest else [])]
    return path.split(".")


def newest(summaries: list[Summary], count: int) -> list[Summary]:
    """The runs created last, in the given order."""
    if len(summaries) <= count:
        return summaries
    kept = {one["name"] for one in sorted(summaries, key=lambda one: one["created"] or "")[-count:]}
    return [one for one in summaries if one["name"] in kept]


def _goes_deeper(tree: ast.AST, steps: int) -> bool:
    """Whether a tree has more levels; checked without recursion, so that the recursive functions below are safe."""
    level: list[ast.AST] = [tree]
    for _ in range(steps):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return bool(level)


def _check(node: ast.expr, text: str) -> None:
    match node:
        case ast.BoolOp(values=values):
            for value in values:
                _check(value, text)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            _check(operand, text)
        case ast.Compare(left=left, comparators=others):
            for value in (left, *others):
                _check(value, text)
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            for element in elements:
                _check(element, text)
        case ast.Constant() | ast.Name():
            pass
        case ast.Attribute(value=value) | ast.Subscript(value=value, slice=ast.Constant(value=str())):
            if not isinstance(value, ast.Attribute | ast.Name | ast.Subscript):
                raise QexpError(f"--where: a dot must follow a field, as in results.test.depth.mae: {text!r}")
            _check(value, text)
        case _:
            raise QexpError(
                f"--where: only comparisons, and, or, not, in, numbers and texts are allowed, not {ast.unparse(node)!r}"
            )


def _outermost_fields(node: ast.AST) -> Iterator[ast.expr]:
    """The fields of an expression, each with all of its dots and brackets."""
    if isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
        yield node
        return
    for child in ast.iter_child_nodes(node):
        yield from _outermost_fields(child)


def _value(node: ast.expr, summary: Summary, fields: Fields) -> Any:
    match node:
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_value(value, summary, fields) for value in values)
        case ast.BoolOp(values=values):
            return any(_value(value, summary, fields) for value in values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, summary, fields)
        case ast.UnaryOp(operand=operand):
            number = _value(operand, summary, fields)
            if number is not None and (isinstance(number, bool) or not isinstance(number, int | float)):
                raise QexpError(f"--where: {number!r} is not a number and cannot have a minus sign")
            return None if number is None else -number
        case ast.Compare(left=left, ops=operators, comparators=others):
            values = [_value(value, summary, fields) for value in (left, *others)]
            return all(
                _compare(comparison, a, b) for comparison, a, b in zip(operators, values, values[1:], strict=False)
            )
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            return [_value(element, summary, fields) for element in elements]
        case ast.Constant(value=value):
            return value
        case ast.Name() | ast.Attribute() | ast.Subscript():
            return fields[id(node)](summary)
    raise AssertionError(ast.dump(node))


def _constant_or_field(name: str, look: Look) -> Callable[[Summary], Any]:
    constants = {"true": True, "false": False, "null": None}
    if name in constants:
        return lambda summary: constants[name]
    return look(name)


def _in_summary(name: str) -> Callable[[Summary], Any]:
    return lambda summary: field(summary, name)


def _compare(comparison: ast.cmpop, a: Any, b: Any) -> bool:
    if (a is None or b is None) and not isinstance(comparison, ast.Eq | ast.NotEq | ast.Is | ast.IsNot):
        return False
    try:
        return _COMPARISONS[type(comparison)](a, b)
    except TypeError:
        raise QexpError(f"--where: cannot compare {a!r} with {b!r}") from None


def ordered(
    summaries: list[Summary], by: str | None, reverse: bool = False, values: Sequence[Any] | None = None
) -> list[Summary]:
    """The runs sorted by a field; runs without it come last. Raises QexpError for an unknown field.

    values  the runs' values of that field, if it is not in their summaries
    """
    if by is None or not summaries:
        return summaries[::-1] if reverse else summaries
    keyed = list(zip(values if values is not None else [field(one, by) for one in summaries], summaries, strict=True))
    having = [pair for pair in keyed if isinstance(pair[0], int | float | str)]
    if len({isinstance(value, str) for value, _ in having}) > 1 or (
        not having and any(v is not None for v, _ in keyed)
    ):
        raise QexpError(
            f"--sort {by}: the values are neither all numbers nor all texts; "
            "name a field inside, as in results.test.depth.mae"
        )
    having.sort(key=lambda pair: pair[0], reverse=reverse)
    return [one for _, one in having] + [one for value, one in keyed if not isinstance(value, int | float | str)]

"""Docstrings below the attributes of classes and modules, which Python itself does not keep."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

from qexp.base.options import help_of


def text_of(kind: type, name: str) -> str:
    """The docstring of an attribute of a class in one line, or the help of an option. Raises
    LookupError without.
    """
    for field in dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ():
        if field.name == name and field.metadata:
            return help_of(field)
    for owner in kind.__mro__[:-1]:
        if (owner.__name__, name) in (texts := documented(owner.__module__)):
            return texts[owner.__name__, name]
    raise LookupError(f"{kind.__name__}.{name} has no docstring")


@cache
def documented(module: str) -> dict[tuple[str, str], str]:
    """(class, or "" for the module itself, attribute) → docstring in one line."""
    tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    classes = [(node.name, node.body) for node in tree.body if isinstance(node, ast.ClassDef)]
    return {
        (owner, name): text
        for owner, body in [("", tree.body), *classes]
        for name, text in _in(body)
    }


def _in(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for statement, following in pairwise(body):
        targets = getattr(statement, "targets", None) or [getattr(statement, "target", None)]
        match following:
            case ast.Expr(ast.Constant(str() as text)):
                yield from (
                    (name.id, " ".join(text.split()))
                    for name in targets
                    if isinstance(name, ast.Name)
                )

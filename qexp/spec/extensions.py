"""The code of a workspace or of a run, `extensions.py`: described, and executed once in a
process.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from qexp.base import formats
from qexp.errors import QexpError
from qexp.spec.kinds import add_kinds

MOST_NAMES = 5
"""Largest number of names of one kind in a message."""

_EXECUTED: dict[bytes, Mapping[str, Any]] = {}
"""Content of an extension → its variables, so that a run's copy of the workspace's file is not
executed again.
"""


def variables_of(extensions: Path) -> tuple[bytes, Mapping[str, Any]]:
    """The content of an extension, which is executed, and its variables; its kinds of dataset are
    known afterwards.

    Raises QexpError if it cannot be executed, or for a kind that is none or has the name of a
    built-in one.
    """
    try:
        content = extensions.read_bytes()
    except OSError as error:
        raise QexpError(f"{extensions} cannot be read: {error.strerror}") from error
    if content not in _EXECUTED:
        name = f"qexp_extensions_{hashlib.sha256(content).hexdigest()[:16]}"
        module = sys.modules[name] = ModuleType(name)  # dataclasses look for theirs there
        vars(module)["__file__"] = str(extensions)
        try:
            exec(compile(content, str(extensions), "exec"), vars(module))
        except (Exception, SystemExit) as error:  # a user's code may raise any error
            raise QexpError(
                f"{extensions} cannot be used: {type(error).__name__}: {error}"
            ) from error
        _EXECUTED[content] = vars(module)
    add_kinds(_EXECUTED[content].get("KINDS", {}), str(extensions))
    return content, _EXECUTED[content]


def code_in_words(path: Path) -> str:
    """Describe a file of code, or a spec that names a program, without executing anything.

    Of code: its size, the tables that it fills, its functions and classes; of a spec: the command.
    """
    if path.suffix == ".json":
        return "runs: " + _first(
            ascii(word)[:40] for word in formats.read_json(path).get("command", ())
        )
    size = f"{path.stat().st_size:,} bytes"
    if path.stat().st_size > 1_000_000:
        return f"{size}, too large to be inspected"
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return f"{size}, which Python cannot read"
    return "; ".join([size, *_contents(tree)])


def dictionaries_in(tree: ast.Module) -> dict[str, list[Any]]:
    """Name → keys, of the dictionaries that are written out at the top level of code."""
    tables: dict[str, list[Any]] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            keys = [key.value for key in node.value.keys if isinstance(key, ast.Constant)]
            for target in targets:
                if isinstance(target, ast.Name):
                    tables[target.id] = keys
    return tables


def _contents(tree: ast.Module) -> Iterator[str]:
    defined: list[str] = []
    imported: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.append(node.name)
        elif isinstance(node, ast.Import):
            imported += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported.append(node.module or ".")
    for name, keys in list(dictionaries_in(tree).items())[:MOST_NAMES]:
        yield f"{name}: {_first(ascii(key)[:40] for key in keys)}"
    if defined:
        yield f"defines {_first(defined)}"
    if imported:
        yield f"imports {_first(dict.fromkeys(imported))}"


def _first(names: Iterable[str]) -> str:
    every = list(names)
    return (", ".join(every[:MOST_NAMES]) or "empty") + (", …" if len(every) > MOST_NAMES else "")

"""Permission to execute a run's own code: that of an imported run is executed only if the user trusts it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from qexp.base import files
from qexp.base.tables import Tables
from qexp.errors import UntrustedCodeError
from qexp.store.directory import RunDirectory, runs_around

LARGEST_LOOK = 1_000_000
"""Largest size [bytes] of a file of code whose definitions are listed."""

NAMED = 5
"""Largest number of names of one kind in a message."""


def tables_of(directory: RunDirectory) -> Tables:
    """The tables for a run's spec: the built-in ones with the entries of its own code, which is executed.

    Raises UntrustedCodeError for an imported run whose code the user has not trusted.
    """
    from qexp.kinds.tables import tables_of_a_run  # loads torch

    require_trust(directory)
    return tables_of_a_run(directory.extensions)


def require_trust(directory: RunDirectory) -> None:
    """Raise UntrustedCodeError if the run, or a run that contains it, was imported with code that is not trusted."""
    code = None if directory.code_trusted else directory.own_code()
    if code is None:
        return
    for folder in dict.fromkeys((directory.path, *runs_around(directory.path))):
        record = RunDirectory(folder).record()
        if record.imported is not None and record.imported.code_trusted is not True:
            raise UntrustedCodeError(
                f"{directory.name} was imported and has code of its own, which is not executed without permission: "
                f"{code} ({summary(code)}). Read it; if you trust it, repeat the "
                "command with --trust-code (in Python: trust_code=True)"
            )


def trust(directory: RunDirectory) -> None:
    """Record that the code of an imported run may be executed."""
    record = directory.record()
    if record.imported is not None:
        directory.write(replace(record, imported=replace(record.imported, code_trusted=True)))


def summary(path: Path) -> str:
    """Describe a file of code, or a spec that names a program, without executing anything.

    Of code: its size, the tables that it fills, its functions and classes; of a spec: the command.
    """
    if path.suffix == ".json":
        return "runs: " + _first(ascii(word)[:40] for word in files.read_json(path).get("command", ()))
    size = f"{path.stat().st_size:,} bytes"
    if path.stat().st_size > LARGEST_LOOK:
        return f"{size}, too large to be inspected"
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return f"{size}, which Python cannot read"
    return "; ".join([size, *_contents(tree)])


def _contents(tree: ast.Module) -> Iterator[str]:
    tables: dict[str, list[Any]] = {}
    defined: list[str] = []
    imported: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            keys = [key.value for key in node.value.keys if isinstance(key, ast.Constant)]
            tables |= {name.id: keys for name in node.targets if isinstance(name, ast.Name)}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.append(node.name)
        elif isinstance(node, ast.Import):
            imported += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported.append(node.module or ".")
    for name, keys in list(tables.items())[:NAMED]:
        yield f"{name}: {_first(ascii(key)[:40] for key in keys)}"
    if defined:
        yield f"defines {_first(defined)}"
    if imported:
        yield f"imports {_first(dict.fromkeys(imported))}"


def _first(names: Iterable[str]) -> str:
    known = list(names)
    return (", ".join(known[:NAMED]) or "empty") + (", …" if len(known) > NAMED else "")

"""The code of a workspace or of a run, `extensions.py`: described, and executed once in a process."""

from __future__ import annotations

import ast
import builtins
import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from qexp.base import formats
from qexp.base.workspace import PACKAGE
from qexp.errors import QexpError
from qexp.spec.kinds import add_kinds

MOST_NAMES = 5
"""Largest number of names of one kind in a message."""

_EXECUTED: dict[bytes, Mapping[str, Any]] = {}
"""Content of an extension → its variables, so that a run's copy of the workspace's file is not executed again."""


def variables_of(extensions: Path) -> tuple[bytes, Mapping[str, Any]]:
    """The content of an extension, which is executed, and its variables; its kinds of dataset are known afterwards.

    Raises QexpError if it cannot be executed, or for a kind that is none or has the name of a built-in one.
    """
    try:
        content = extensions.read_bytes()
    except OSError as error:
        raise QexpError(f"{extensions} cannot be read: {error.strerror}") from error
    if content not in _EXECUTED:
        name = f"qexp_extensions_{hashlib.sha256(content).hexdigest()[:16]}"
        module_spec = importlib.util.spec_from_file_location(name, extensions)
        assert module_spec is not None
        module = sys.modules[name] = importlib.util.module_from_spec(module_spec)  # dataclasses look for theirs there
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": _import}
        try:
            exec(compile(content, str(extensions), "exec"), vars(module))
        except (Exception, SystemExit) as error:  # a user's code may raise any error
            raise QexpError(f"{extensions} cannot be used: {type(error).__name__}: {error}") from error
        _EXECUTED[content] = vars(module)
    add_kinds(_EXECUTED[content].get("KINDS", {}), str(extensions))
    return content, _EXECUTED[content]


def code_in_words(path: Path) -> str:
    """Describe a file of code, or a spec that names a program, without executing anything.

    Of code: its size, the tables that it fills, its functions and classes; of a spec: the command.
    """
    if path.suffix == ".json":
        return "runs: " + _first(ascii(word)[:40] for word in formats.read_json(path).get("command", ()))
    size = f"{path.stat().st_size:,} bytes"
    if path.stat().st_size > 1_000_000:
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
    for name, keys in list(tables.items())[:MOST_NAMES]:
        yield f"{name}: {_first(ascii(key)[:40] for key in keys)}"
    if defined:
        yield f"defines {_first(defined)}"
    if imported:
        yield f"imports {_first(dict.fromkeys(imported))}"


def _first(names: Iterable[str]) -> str:
    every = list(names)
    return (", ".join(every[:MOST_NAMES]) or "empty") + (", …" if len(every) > MOST_NAMES else "")


# The paths of the imports of old extensions.

FACES = [
    "qexp.baselines.estimators", "qexp.datasets.distributions", "qexp.datasets.generators",
    "qexp.datasets.generators.deformation", "qexp.datasets.generators.generator",
    "qexp.datasets.generators.requirements", "qexp.datasets.noises.layout", "qexp.datasets.noises.noise",
    "qexp.datasets.splits", "qexp.datasets.transforms.transform", "qexp.errors", "qexp.forward.crack",
    "qexp.forward.dislocation", "qexp.forward.ellipsoid", "qexp.forward.geometry", "qexp.forward.point",
    "qexp.metrics.metric", "qexp.models.activations", "qexp.models.modules", "qexp.models.shapes", "qexp.quantities",
    "qexp.tables", "qexp.training.callbacks", "qexp.training.losses", "qexp.training.schedules",
]  # fmt: skip
"""Modules from which extensions imported what `qexp.extend` offers before it was there. The copies of extensions in old
runs still do: where there is no module of that name any more, or none above it, they get `qexp.extend`. Python itself
does not know of them, so that no other import depends on whether an extension was read before it."""


def _has_moved(name: str) -> bool:
    """Whether a module is one of these, or was above one, and has no file any more."""
    if not any(f"{face}.".startswith(f"{name}.") for face in FACES):
        return False
    place = PACKAGE.parent.joinpath(*name.split("."))
    return not (place.with_suffix(".py").is_file() or (place / "__init__.py").is_file())


def _stand_in(name: str) -> ModuleType:
    """What an extension gets of a module that has moved: `qexp.extend`; of one above it, those below, too."""
    module = ModuleType(name)
    vars(module).update(vars(importlib.import_module("qexp" if name == "qexp" else "qexp.extend")))
    for step in {face.removeprefix(f"{name}.").split(".")[0] for face in FACES if face.startswith(f"{name}.")}:
        if _has_moved(f"{name}.{step}"):
            setattr(module, step, _stand_in(f"{name}.{step}"))
    return module


def _import(
    name: str, globals: Any = None, locals: Any = None, fromlist: Sequence[str] | None = (), level: int = 0
) -> ModuleType:
    """The `__import__` of extensions, also in their functions when these are called: nobody else finds such modules."""
    if _has_moved(name):
        return _stand_in(name if fromlist else "qexp")
    return __import__(name, globals, locals, fromlist or (), level)

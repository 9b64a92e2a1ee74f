"""Reference of `import qexp`. A public name without a docstring is an error."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

import qexp
from _generate.attributes import documented, text_of
from _generate.docstrings import as_markdown
from _generate.markdown import code, prose, table
from _generate.signatures import signature
from qexp import api, extend
from qexp.base.options import own_first

HEAD = """# Python

A notebook or a script can do everything that the shell can: `import qexp`. The first section lists what `import qexp`
offers; the second what the commands use besides, in `qexp.api`; the third what extensions are made of, in
`qexp.extend`. Functions load what they need when they are called. Errors that a user can correct derive from
`qexp.errors.QexpError`. `workspace` is the workspace's directory; if left out, it is searched upwards from the current
directory, or named by `QEXP_WORKSPACE`."""

EXTENSIONS = """What a workspace's `specs/extensions.py` builds its entries of, see
[Add your own physics](../how-to/own-physics.md). This path stays, wherever modules move."""


def public(module: ModuleType) -> list[str]:
    """The names that a module offers, sorted: those that it imports by name, without its submodules."""
    names = [name for name in dir(module) if not name.startswith("_")]
    return sorted(name for name in names if not inspect.ismodule(getattr(module, name)))


def page() -> str:
    more = sorted(set(public(api)) - set(public(qexp)))
    return "\n\n".join([
        HEAD, "## qexp", *(_described("qexp", qexp, name) for name in public(qexp)),
        "## qexp.api", *(_described("qexp.api", api, name) for name in more),
        "## qexp.extend", EXTENSIONS,
        table(["name", "meaning"], [[code(name), prose(_sentence(name))] for name in public(extend)]),
    ]) + "\n"  # fmt: skip


def _described(module: str, owner: Any, name: str) -> str:
    thing = getattr(owner, name)
    if inspect.isclass(thing):
        return "\n\n".join([f"### {name}", as_markdown(_doc(name, thing)), *_members(thing)])
    if inspect.isfunction(thing):
        return "\n\n".join([f"### {name}", signature(f"{module}.{name}", thing), as_markdown(_doc(name, thing))])
    return f"### {name}\n\n{prose(documented('qexp.api.listing')['', name])}"


def _sentence(name: str) -> str:
    """The first paragraph on something of `qexp.extend`."""
    thing = getattr(extend, name)
    if inspect.isclass(thing) or inspect.isfunction(thing):
        return " ".join(_doc(name, thing).partition("\n\n")[0].split())
    return documented(_origins()[name])["", name]


@cache
def _origins() -> dict[str, str]:
    """Name of `qexp.extend` → the module from which it is imported."""
    imports = [node for node in ast.parse(inspect.getsource(extend)).body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def _members(kind: type) -> Iterator[str]:
    """The fields of a class, and each of its public methods and properties."""
    fields = own_first(kind) if dataclasses.is_dataclass(kind) else ()
    if fields:
        rows = [[code(field.name), _default(field), prose(text_of(kind, field.name))] for field in fields]
        yield table(["field", "default", "meaning"], rows)
    for name, member in vars(kind).items():
        if name.startswith("_") or name in {field.name for field in fields}:
            continue
        yield f"#### {kind.__name__}.{name}"
        if inspect.isfunction(member):
            yield signature(f"{kind.__name__}.{name}", member, method=True)
        yield as_markdown(_doc(f"{kind.__name__}.{name}", member))


def _doc(name: str, thing: Any) -> str:
    text = inspect.getdoc(thing)
    if not text or text.startswith(f"{name}("):  # what dataclasses write themselves
        raise LookupError(f"{name} has no docstring")
    return text


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return code(repr(field.default))
    return "required" if field.default_factory is dataclasses.MISSING else code(repr(field.default_factory()))

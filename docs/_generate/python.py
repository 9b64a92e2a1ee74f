"""Reference of `import qexp`. A public name without a docstring is an error."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType
from typing import Any

import qexp
from _generate import commands, used
from _generate.attributes import documented, text_of
from _generate.docstrings import Docstring, as_markdown, taken_apart
from _generate.markdown import code, prose, table
from _generate.signatures import signature
from qexp import api, errors, extend, testing
from qexp.base.options import Computing, own_first

HEAD = """# Python

A notebook or a script can do everything that the shell can: `import qexp`. The first tables list what `import qexp`
offers, the next what the commands use besides, in `qexp.api`; the last what extensions are made of, in `qexp.extend`.
Functions load what they need when they are called. Errors that a user can correct derive from
[`qexp.errors.QexpError`](exit-codes.md). The pages of functions and classes are made with the site, by `make docs`;
`help(qexp.run)` says the same."""

EXTENSIONS = """What a workspace's `specs/extensions.py` builds its entries of, see
[Add your own physics](../how-to/own-physics.md). This path stays, wherever modules move."""

CHECKS = """What authors of [packages](../how-to/packages.md) and extensions call in their tests; each raises
AssertionError, and `help(qexp.testing.check_source)` says what the arguments are."""

SUBJECTS = {
    "training": "Train",
    "order": "Train",
    "tracking": "Log from a script",
    "track": "Log from a script",
    "handles": "Runs and how far to trust them",
    "estimation": "Estimate",
    "deformation": "Observed deformation",
    "listing": "Look and compare",
    "columns": "Look and compare",
    "keeping": "Keep",
    "specs": "Specs and data",
}
"""Module in which something is defined → the table of the index in which it stands."""

COMMON = {field.name: text_of(Computing, field.name) for field in dataclasses.fields(Computing)} | {
    "warn": "Receives each warning, a line of text; Python's own warnings if left out.",
    "run": "A run: its name, a unique prefix of it, a path, or a `Run`.",
    "reference": "A run: its name, a unique prefix of it, a path, or a `Run`.",
    "references": (
        "Runs: names, unique prefixes, paths, patterns such as 'mogi_*', or a list of them."
    ),
    "experience": "Name or path of an experience spec.",
    "order": "What is trained, an `Order`.",
    "summaries": "Runs as `qexp.runs()` lists them.",
    "among": "All runs, in which ancestors are looked for.",
}
"""Parameter that many functions have → what it means where a docstring does not say it."""


SEE = re.compile(r";\s+see\s+(`\w+`\s+and\s+)?`qexp ([a-z-]+(?: [a-z]+)?)`")
"""Where a docstring leads to a command, which the page of the function names elsewhere."""


def public(module: ModuleType) -> list[str]:
    """The names that a module offers, sorted: those that it imports by name, without its
    submodules.
    """
    names = [name for name in dir(module) if not name.startswith("_")]
    return sorted(name for name in names if not inspect.ismodule(getattr(module, name)))


@cache
def names() -> dict[str, str]:
    """Name → the module that offers it, `qexp` or `qexp.api`."""
    return {
        **dict.fromkeys(public(qexp), "qexp"),
        **dict.fromkeys(sorted(set(public(api)) - set(public(qexp))), "qexp.api"),
    }


def index() -> str:
    parts = [HEAD]
    for module in ("qexp", "qexp.api"):
        parts.append(f"## {module}")
        rows: dict[str, list[list[str]]] = {}
        own = (name for name, owner in names().items() if owner == module)
        # functions first
        for name in sorted(own, key=lambda name: (inspect.isclass(_thing(name)), name)):
            old_address = (
                ""
                if name in public(qexp) and name.lower() != name
                else f'<a id="{name.lower()}"></a>'
            )
            link = f"{old_address}[`{name}`]({page_name(name)}.md)"
            rows.setdefault(_subject(name), []).append([link, SEE.sub("", _about(name).summary)])
        for title in dict.fromkeys(SUBJECTS.values()):
            if title in rows:
                parts += [f"### {title}", table(["name", "what it does"], rows[title])]
    extensions = [[code(name), prose(_sentence(name))] for name in public(extend)]
    parts += [
        "## qexp.extend",
        EXTENSIONS,
        table(["name", "meaning"], extensions),
        "## qexp.testing",
        CHECKS,
    ]
    checks = [
        [code(f"{name}{_arguments(name)}"), prose(_sentence(name, testing))]
        for name in testing.__all__
    ]
    return "\n\n".join([*parts, table(["check", "what it asserts"], checks)]) + "\n"


def _arguments(name: str) -> str:
    return f"({', '.join(inspect.signature(getattr(testing, name)).parameters)})"


def pages() -> dict[str, Callable[[], str]]:
    return {f"reference/{page_name(name)}": _writer(name) for name in names()}


def page_name(name: str) -> str:
    """`python/run`; `python/Run-class` for what differs from it only in capitals, which some file
    systems ignore.
    """
    twin = name != name.lower() and name.lower() in names()
    return f"python/{name}{'-class' if twin else ''}"


def functions_of(command: str) -> dict[str, str]:
    """The functions that do what a command does, by their name or by their docstring → their
    page.
    """
    return {name: page_name(name) for name in names() if command in _commands_of(name)}


def _commands_of(name: str) -> list[str]:
    """The command of the same name, those that it describes, and those that its text says to
    see.
    """
    if not inspect.isfunction(_thing(name)):
        return []
    every = commands.commands()
    described = [
        command
        for command, call in every.items()
        if (about := getattr(call.callback, "arranged", None)) and about.described == name
    ]
    seen = [command for _, command in SEE.findall(_about(name).text)]
    found = dict.fromkeys([name.replace("_", "-"), *described, *seen])
    return [command for command in found if command in every]


def _thing(name: str) -> Any:
    return getattr(api, name)


def _subject(name: str) -> str:
    """What a name is listed under; that of a type that stands for another is that of its
    neighbours.
    """
    return (
        SUBJECTS[getattr(_thing(name), "__module__", "").rpartition(".")[2]]
        if _described(name)
        else "Look and compare"
    )


def _described(name: str) -> bool:
    """Whether something is a class or a function, and not a name of a type."""
    return inspect.isclass(_thing(name)) or inspect.isfunction(_thing(name))


def _about(name: str) -> Docstring:
    if _described(name):
        return taken_apart(_doc(name, _thing(name)))
    return Docstring(prose(documented("qexp.api.listing")["", name]))


def _writer(name: str) -> Callable[[], str]:
    return lambda: "\n\n".join(part for part in _page(name) if part) + "\n"


def _page(name: str) -> Iterator[str]:
    about, thing, full_name = _about(name), _thing(name), f"{names()[name]}.{name}"
    yield f"# {full_name}\n\n{SEE.sub('', about.text)}"
    if inspect.isclass(thing):
        yield from _fields(thing)
    elif inspect.isfunction(thing):
        yield signature(full_name, thing)
        yield from _parameters(thing, about)
    if about.errors:
        yield f"## Errors\n\n{_errors_linked(about.errors)}"
    if about.example:
        yield f"## Example\n\n{about.example}"
    if inspect.isclass(thing):
        yield from _methods(thing)
    yield from _see_also(name)


def _parameters(function: Callable[..., Any], about: Docstring) -> Iterator[str]:
    """What a function takes, and what it returns."""
    described = inspect.signature(function)
    rows = [
        [
            code(("*" if parameter.kind is parameter.VAR_POSITIONAL else "") + name),
            _type(parameter.annotation),
            _default_of(parameter),
            about.meanings.get(name) or prose(COMMON.get(name, "")),
        ]
        for name, parameter in described.parameters.items()
    ]
    if rows:
        yield f"## Parameters\n\n{table(['parameter', 'type', 'default', 'meaning'], rows)}"
    meaning = about.meanings.get("returns") or about.meanings.get("yields") or ""
    kind = (
        "" if described.return_annotation in ("None", None) else _type(described.return_annotation)
    )
    if kind or meaning:
        title = "Yields" if "yields" in about.meanings else "Returns"
        yield f"## {title}\n\n{': '.join(filter(None, (kind, meaning)))}"


def _type(annotation: Any) -> str:
    """An annotation as it is written, with a link to the class that it is."""
    if annotation is inspect.Parameter.empty:
        return ""
    words = (
        annotation
        if isinstance(annotation, str)
        else getattr(annotation, "__name__", str(annotation))
    )
    known = words in names() and inspect.isclass(_thing(words))
    return f"[`{words}`](../{page_name(words)}.md)" if known else code(words)


def _default_of(parameter: inspect.Parameter) -> str:
    if parameter.default is parameter.empty:
        return (
            ""
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            else "required"
        )
    return code(getattr(parameter.default, "__name__", repr(parameter.default)))


def _errors_linked(text: str) -> str:
    kinds = "|".join(
        name
        for name, thing in vars(errors).items()
        if inspect.isclass(thing) and name.endswith("Error")
    )
    return re.sub(rf"\b({kinds})\b", r"[`\1`](../exit-codes.md)", text)


def _see_also(name: str) -> Iterator[str]:
    shell = [
        f"[qexp {command}](../commands/{commands.page_name(command)}.md)"
        for command in _commands_of(name)
    ]
    where = [page.link() for page in used.pages_with_function(name)]
    lines = [
        f"- {title}: {', '.join(links)}"
        for title, links in [("In the shell", shell), ("Used in", where)]
        if links
    ]
    if lines:
        yield "## See also\n\n" + "\n".join(lines)


def _sentence(name: str, module: ModuleType = extend) -> str:
    """The first paragraph on something of a module."""
    thing = getattr(module, name)
    if inspect.isclass(thing) or inspect.isfunction(thing):
        return " ".join(_doc(name, thing).partition("\n\n")[0].split())
    return documented(_origins()[name])["", name]


@cache
def _origins() -> dict[str, str]:
    """Name of `qexp.extend` → the module from which it is imported."""
    imports = [
        node
        for node in ast.parse(inspect.getsource(extend)).body
        if isinstance(node, ast.ImportFrom)
    ]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def _fields(kind: type) -> Iterator[str]:
    fields = own_first(kind) if dataclasses.is_dataclass(kind) else ()
    if fields:
        rows = [
            [code(field.name), _type(field.type), _default(field), prose(text_of(kind, field.name))]
            for field in fields
        ]
        yield f"## Fields\n\n{table(['field', 'type', 'default', 'meaning'], rows)}"


def _methods(kind: type) -> Iterator[str]:
    """Each public property and method of a class."""
    fields = (
        {field.name for field in dataclasses.fields(kind)}
        if dataclasses.is_dataclass(kind)
        else set()
    )
    members = {
        name: member for name, member in vars(kind).items() if name[0] != "_" and name not in fields
    }
    methods = {name: member for name, member in members.items() if inspect.isfunction(member)}
    if rows := [
        [code(name), prose(" ".join(_doc(f"{kind.__name__}.{name}", member).split()))]
        for name, member in members.items()
        if name not in methods
    ]:
        yield f"## Properties\n\n{table(['property', 'meaning'], rows)}"
    if methods:
        yield "## Methods"
    for name, member in methods.items():
        yield f"### {kind.__name__}.{name}"
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
    return (
        "required"
        if field.default_factory is dataclasses.MISSING
        else code(repr(field.default_factory()))
    )

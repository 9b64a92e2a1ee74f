"""Reference of `import qexp`. A public name without a docstring fails the build."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging

import qexp
from qexp import api

log = logging.getLogger(__name__)

HEAD = """# Python

A notebook or a script can do everything that the shell can: `import qexp`. The first section lists what `import qexp`
offers; the second what the commands use besides, in `qexp.api`. Functions load what they need when they are called.
Errors that a user can correct derive from `qexp.errors.QexpError`. `workspace` is the workspace's directory; if left
out, it is searched upwards from the current directory, or named by `QEXP_WORKSPACE`."""


def page() -> str:
    more = sorted(set(api.__all__) - set(qexp.__all__))
    return "\n\n".join([
        HEAD, "## qexp", *(_described("qexp", qexp, name) for name in qexp.__all__),
        "## qexp.api", *(_described("qexp.api", api, name) for name in more),
    ]) + "\n"  # fmt: skip


def _described(module: str, owner: Any, name: str) -> str:
    thing = getattr(owner, name)
    if not (inspect.isclass(thing) or inspect.isfunction(thing)):
        return f"### {name}\n\n{_of_an_alias(name)}"
    for missing in _undocumented(name, thing):
        log.warning("%s.%s has no docstring", module, missing)
    signature = "()" if dataclasses.is_dataclass(thing) else ""  # its fields follow, with their defaults
    kind = "autoclass" if inspect.isclass(thing) else "autofunction"
    members = "\n   :members:\n" if inspect.isclass(thing) else ""
    return f"### {name}\n\n```{{eval-rst}}\n.. currentmodule:: {module}\n.. {kind}:: {name}{signature}{members}\n```"


def _of_an_alias(name: str) -> str:
    """The docstring below the name of a type, in the module that declares it."""
    return " ".join(ModuleAnalyzer.for_module("qexp.api.looking").find_attr_docs()["", name])


def _undocumented(name: str, thing: Any) -> list[str]:
    """Names of a function, or of a class and its public members, that have no docstring of their own."""
    missing = [] if thing.__doc__ and not thing.__doc__.startswith(f"{name}(") else [name]
    if inspect.isclass(thing):
        described = ModuleAnalyzer.for_module(thing.__module__).find_attr_docs()
        fields = [one.name for one in dataclasses.fields(thing)] if dataclasses.is_dataclass(thing) else []
        members = {key: value for key, value in vars(thing).items() if not key.startswith("_") and key not in fields}
        missing += [f"{name}.{key}" for key in fields if (name, key) not in described]
        missing += [f"{name}.{key}" for key, value in members.items() if not inspect.getdoc(value)]
    return missing

"""The source of qexp as the tests see it: its modules, each parsed once, their imports, and the
layers of its rooms.
"""

import ast
import gc
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

import qexp

PACKAGE = Path(qexp.__file__).parent

LAYERS = [
    {"cli", "__main__"},
    {"api", "__init__", "testing"},
    {"web"},
    {"remotes"},
    {"comparison", "upkeep", "export", "extend", "tuning"},
    {"runs"},
    {"trust"},
    {"kinds"},
    {"deformation", "examples", "jobs", "results"},
    {"store"},
    {
        "spec",
        *(f"kinds.{kind}.spec" for kind in ("rows", "fields", "spectra", "images", "simulations")),
    },
    {"inference"},
    {"networks", "foreign", "simulation", "observations"},
    {"figures", "physics"},
    {"rows", "metrics"},
    {"base"},
    {"errors"},
]
"""From high to low: a module imports from its own layer and those below it."""

RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}


def modules() -> dict[str, Path]:
    """Every module of the package, by its dotted name without `qexp`; packages by the name of their
    folder.
    """
    by_name = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        steps = path.relative_to(PACKAGE).with_suffix("").parts
        if steps[:2] != ("examples", "specs"):  # of an installed package
            by_name[
                ".".join(steps[:-1] if steps[-1] == "__init__" and len(steps) > 1 else steps)
            ] = path
    return by_name


MODULES = modules()


reads_all_modules = pytest.mark.xdist_group("source files")
"""Tests that read the source of every module are run by one of pytest's workers, which parses it
once.
"""


@cache
def nodes_of(module: str) -> list[ast.AST]:
    """All nodes of a module's source, itself first."""
    collecting = gc.isenabled()
    # looks through all trees again and again while they grow: three quarters of the time
    gc.disable()
    try:
        return list(ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))))
    finally:
        if collecting:
            gc.enable()


@cache
def imports_of(module: str) -> set[str]:
    """The modules of qexp that a module imports anywhere: at its top, in functions, and for type
    checking.
    """
    return imports_in(nodes_of(module))


def imports_in(nodes: Iterable[ast.AST]) -> set[str]:
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, (
                f"{ast.unparse(node)}: a relative import, which this test cannot follow"
            )
            # `from qexp.jobs import logs` means the module, anything else what the package offers.
            module = node.module or ""
            found |= {
                (
                    f"{module}.{name.name}"
                    if f"{module}.{name.name}".removeprefix("qexp.") in MODULES
                    else module
                )
                for name in node.names
            }
    return {
        name.removeprefix("qexp.") if name != "qexp" else "__init__"
        for name in found
        if name.startswith("qexp")
    }


def part(module: str) -> str:
    """The part of the package that a module belongs to: the longest of its beginnings that has a
    layer.
    """
    steps = module.split(".")
    return next((name for end in (3, 2) if (name := ".".join(steps[:end])) in RANK), steps[0])

"""The source of qexp as the tests see it: its modules, each parsed once, their imports, and the
layers of its rooms.
"""

import ast
import gc
from functools import cache

import pytest

from _generate.house import MODULES, PACKAGE as PACKAGE, imports_in

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


def part(module: str) -> str:
    """The part of the package that a module belongs to: the longest of its beginnings that has a
    layer.
    """
    steps = module.split(".")
    return next((name for end in (3, 2) if (name := ".".join(steps[:end])) in RANK), steps[0])

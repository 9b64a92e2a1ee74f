"""What pages draw: their scripts read the fields of Python's dataclasses, all of them and no
others.
"""

import re
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

import qexp.web
from qexp.web.comparison_page import Column, Grouping, Paired, PairedMetric, Sweep
from qexp.web.drawings import (
    Axis,
    Layer,
    Maps,
    MatrixOfRun,
    Panel,
    PicturesOfRun,
    PicturesOfRuns,
    Points,
    Series,
)
from qexp.web.live import Head

WEB = Path(qexp.web.__file__).parent

READ_BY = {
    "curves": {"panel": Panel, "curves": Panel, "curve": Series},
    "server/live": {"panel": Panel, "curve": Series},
    "points": {"panel": Points},
    "pictures": {"": PicturesOfRuns, "run": PicturesOfRun},
    "matrix": {"matrix": Maps, "axis": Axis, "layer": Layer},
    "matrices": {"matrix": MatrixOfRun, "plane": Maps, "axis": Axis, "layer": Layer},
    "groups": {"": Grouping},
    "forest": {"": Paired, "metric": PairedMetric},
    "differences": {"": Paired, "of": PairedMetric},
    "sweep": {"": Sweep, "column": Column},
    "parallel": {"column": Column},
    "ranges": {"column": Column},
    "server/runs": {"": Head},
}
"""Script → its variable and what that holds; without a name what is taken apart at once."""

ADDED = {
    "count",
    "thick",
    "sparse",
    "numbers",
    "on",
    "title",
    "log",
    "flipped",
    "height",
    "smoothing",
}
"""What scripts themselves keep there."""

OF_TABLES = {"meaning", "raw"}
"""What Python alone reads of `Column`."""


@cache
def words(file: Path) -> set[str]:
    return set(re.findall(r"\w+", file.read_text(encoding="utf-8")))


def script(name: str) -> Path:
    return WEB / f"static/{name}.js"


@pytest.mark.parametrize("name", READ_BY)
def test_what_a_script_reads_of_a_drawing_is_a_field(name):
    for variable, kind in READ_BY[name].items():
        read = (
            set(re.findall(rf"\b{variable}\.(\w+)", script(name).read_text(encoding="utf-8")))
            if variable
            else set()
        )
        assert read - ADDED <= {field.name for field in fields(kind)}, variable


def test_every_field_of_a_drawing_is_read_by_its_scripts_or_templates():
    shared = [script("frame"), *(WEB / "templates").rglob("*.html")]
    for kind in {kind for kinds in READ_BY.values() for kind in kinds.values()}:
        scripts = [script(name) for name, kinds in READ_BY.items() if kind in kinds.values()]
        assert {field.name for field in fields(kind)} <= OF_TABLES.union(
            *map(words, [*scripts, *shared])
        ), kind

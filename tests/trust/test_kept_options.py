"""A word means one thing: what a result keeps under the name of an option is what was asked for by
that option.

Lists and objects are left out, which tell by themselves what they are: `exact` is a number of
observations for `calibrate`, and a comparison in what it keeps.
"""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import qexp as package
from qexp.kinds.options import (
    CalibrateOptions,
    DistilOptions,
    EvaluateOptions,
    IntervalsOptions,
    LimitOptions,
    MatrixOptions,
)
from qexp.results.capabilities import CAPABILITIES
from qexp.results.classes import KeptClasses
from qexp.results.distilled import DistilledErrors
from qexp.results.intervals import HeldOutIntervals
from qexp.runs.order import RunOptions
from tests.conftest import Specs, call, copied, shared_folder
from tests.trust.test_calibrate import DATASET, EXPERIENCE, MODEL


@shared_folder
def hardly_trained(root: Path) -> None:
    """A workspace with a run whose network has a posterior head."""
    Specs(root, {"dataset": DATASET, "model": MODEL, "experience": EXPERIENCE})
    call("run", "sound", "--device", "cpu", "--workspace", root).done()


def matrix(**options: Any) -> dict[str, Any]:
    return json.loads((package.matrix("sound_0", **options).folder / "record.json").read_text())


MAKERS: dict[str, tuple[type, dict[str, Any], Callable[..., dict[str, Any]]]] = {
    "results": (
        RunOptions,
        {"name": "another", "seed": 3, "note": "brief"},
        lambda **options: package.run("sound", **options).record,
    ),
    "limit": (
        LimitOptions,
        {"dataset": "sound", "samples": 2, "seed": 5},
        lambda **options: package.limit(**options).document(),
    ),
    "held_out_intervals": (
        IntervalsOptions,
        {},
        lambda: dict.fromkeys(field.name for field in fields(HeldOutIntervals)),
    ),
    "distilled": (
        DistilOptions,
        {},
        lambda: dict.fromkeys(field.name for field in fields(DistilledErrors)),
    ),
    "classes": (
        RunOptions,
        {},
        lambda: dict.fromkeys(field.name for field in fields(KeptClasses)),
    ),
    "calibration": (
        CalibrateOptions,
        {"observations": 40, "draws": 30, "seed": 7, "part": "train", "refined": False},
        lambda **options: package.calibrate("sound_0", **options).document(),
    ),
    "evaluation": (
        EvaluateOptions,
        {"dataset": "sound", "part": "validation", "seed": 2, "name": "once_more"},
        lambda **options: package.evaluate("sound_0", **options).record.document(),
    ),
    "matrix": (
        MatrixOptions,
        {
            "dataset": "sound",
            "axes": {"depth": (1, 2, 2)},
            "fixed": {"delta_volume": 1.5},
            "repeats": 2,
            "seed": 9,
            "bound": True,
        },
        matrix,
    ),
}
"""Capability, or what else is kept in a run → the options of what makes it, some of them, and how
it is made.
"""


def test_all_that_is_kept_is_tried():
    assert MAKERS.keys() == CAPABILITIES.keys() | {"evaluation", "matrix"}


@pytest.mark.heavy
@pytest.mark.parametrize("name", MAKERS)
def test_what_is_kept_under_the_name_of_an_option_is_its_value(
    name, hardly_trained, tmp_path, monkeypatch
):
    copied(hardly_trained, tmp_path, monkeypatch)
    options, given, make = MAKERS[name]
    kept = {
        key: value
        for key, value in make(**given).items()
        if not isinstance(value, dict | list | tuple)
    }
    # an option without a default is what the run itself says, if it is left out
    values = {field.name: given.get(field.name, field.default) for field in fields(options)}
    shared = [key for key in kept.keys() & values.keys() if values[key] is not None]
    assert {key: kept[key] for key in shared} == {key: values[key] for key in shared}

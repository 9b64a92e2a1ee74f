"""Matrices of the shipped experiences for observations, whose pixels are partly hidden, end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import qexp as package
from tests.conftest import call

STRONG = {
    "campi_flegrei": ({"depth": (1.5, 3.0, 2), "delta_volume": (15.0, 25.0, 2)}, {"x": 0.5, "y": -1.0}),
    "dike": (
        {"incidence": (30.0, 42.0, 2)},
        {"x": 0.0, "y": 0.0, "depth": 2.0, "length": 5.0, "width": 2.0, "strike": 15.0, "dip": 80.0, "opening": 4.0},
    ),
}
"""Experience → axes, and values of the other variables: signals of half a metre and more."""


@pytest.mark.heavy
@pytest.mark.parametrize("name", STRONG)
def test_clear_signals_are_refined_to_their_sources_from_a_network_that_is_hardly_trained(tmp_path: Path, name: str):
    root = tmp_path / "workspace"
    assert call("init", root).code == 0
    run = package.run(
        name, overrides={"epochs": 1, "sizes": [128, 16, 16], "batch_size": 32}, device="cpu", workspace=root
    )
    axes, fixed = STRONG[name]
    table = package.matrix(run, name, axes=axes, fixed=fixed, refine=True, workspace=root)
    for output in ("x", "y", "depth"):
        before, after = (abs(table[f"{output}{end}_error"]) for end in ("", "_refined"))
        assert np.isfinite(before).all()
        assert float(after.max()) < 0.3 < float(before.max())

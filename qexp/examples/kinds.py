"""The kinds of examples that a new workspace may begin with."""

from __future__ import annotations

from collections.abc import Mapping

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "volcano": ("experiences/mogi_quick",),
    "mechanism": ("experiences/mechanism", "experiences/mechanism_small"),
    "rows": (
        "experiences/lunar_tio2",
        "experiences/lunar_tio2_by_mission",
        "datasets/lunar_tio2_features",
    ),
    "fields": ("experiences/ice_cnn",),
    "spectra": ("experiences/msm_small", "experiences/toc_finetune", "experiences/toc_scratch"),
    "bare": (),
}
"""Kind → the specs of its tutorial; an experience brings its dataset and model."""

"""Groups of rows, by which residuals are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def grouped_by(spec: Mapping[str, Any]) -> str | None:
    """The column or group of the split, else the first group of the dataset; None if there is neither."""
    by: str | None = spec["split"]["parameters"].get("by") or next(iter(spec["dataset"]["groups"]), None)
    return by

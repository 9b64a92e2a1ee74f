"""Texts of options as the values that they stand for: seeds, grids, overrides, axes, ages."""

from __future__ import annotations

import re
from datetime import timedelta

from qexp.errors import QexpError, shortened

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def age(text: str | None) -> timedelta | None:
    """`30d` → 30 days; None where there is no text."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,6})([mhdw])", text)
    if not match:
        raise QexpError(
            f"--older-than {shortened(text)}: write a number and one of m, h, d, w (minutes, hours, days, weeks), "
            "as in 30d or 12h"
        )
    return timedelta(**{UNITS[match[2]]: int(match[1])})

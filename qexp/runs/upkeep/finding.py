"""A finding of `qexp doctor`, and its repair."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qexp.errors import QexpError


@dataclass(frozen=True)
class Finding:
    """One problem: where it is, what is wrong, and what to do about it."""

    where: Path
    what: str
    advice: str
    damaged: bool = False
    """Whether something is lost or cannot be read, as opposed to a leftover."""
    repair: Callable[[], None] | None = None
    """Does what the advice says; None if that could lose data."""
    repaired: bool = False

    def document(self) -> dict[str, Any]:
        return {
            "where": os.fsencode(self.where).decode(errors="backslashreplace"),
            "what": self.what,
            "advice": self.advice,
            "damaged": self.damaged,
            "repairable": self.repair is not None,
            "repaired": self.repaired,
        }


def treated(finding: Finding) -> Finding:
    """The finding after its repair; if that is impossible or fails, the finding itself, with the reason."""
    if finding.repair is None:
        return finding
    try:
        finding.repair()
    except QexpError as error:
        return replace(finding, advice=f"{finding.advice} ({error})")
    except OSError as error:
        return replace(finding, advice=f"{finding.advice} ({error.strerror or error})")
    return replace(finding, repaired=True)

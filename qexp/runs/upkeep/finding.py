"""What the doctor says of one thing that is wrong, and its mending."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qexp.errors import QexpError


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: where, what, and what would help."""

    where: Path
    what: str
    advice: str
    damaged: bool = False
    """Whether something is lost or cannot be read, and not only untidy."""
    mend: Callable[[], None] | None = None
    """Does what the advice says, where that can lose nothing."""
    mended: bool = False

    def document(self) -> dict[str, Any]:
        return {
            "where": os.fsencode(self.where).decode(errors="backslashreplace"),
            "what": self.what,
            "advice": self.advice,
            "damaged": self.damaged,
            "mendable": self.mend is not None,
            "mended": self.mended,
        }


def treated(finding: Finding) -> Finding:
    """The finding, mended if it can be; else as it was, with the reason if that failed."""
    if finding.mend is None:
        return finding
    try:
        finding.mend()
    except QexpError as error:
        return replace(finding, advice=f"{finding.advice} ({error})")
    except OSError as error:
        return replace(finding, advice=f"{finding.advice} ({error.strerror or error})")
    return replace(finding, mended=True)

"""Names of runs, and the time stamps in their records."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from qexp.errors import QexpError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def require_name(name: str) -> str:
    """Raise QexpError unless the name can be a directory and is easy to type."""
    if not NAME.fullmatch(name) or name.startswith("catalog.json"):
        raise QexpError(f"{name!r} is not a valid run name; use letters, digits, '.', '_' and '-'")
    return name


def now() -> str:
    """The current time in UTC, in ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")

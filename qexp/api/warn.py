"""How functions of `qexp.api` report what is no error."""

from __future__ import annotations

import warnings
from collections.abc import Callable

Report = Callable[[str], None]
"""Receives a line of text."""


def as_warning(text: str) -> None:
    """Issue a warning of Python."""
    warnings.warn(text, stacklevel=3)


def ignore(text: str) -> None: ...

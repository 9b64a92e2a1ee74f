"""How far a prediction is, for whoever watches."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, float], None]
"""Told after every chunk: rows or frames written, and the share of the file that has been read."""


def untold(count: int, share: float) -> None:
    """Nobody watches."""

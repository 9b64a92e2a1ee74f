"""How a metric's numbers are read in results that are there: as the records of their runs say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from qexp.metrics.meaning import BEST, UNKNOWN, Meaning


def meaning_of(name: str, recorded: Iterable[Mapping[str, Any]]) -> Meaning:
    """The meaning of a metric that some runs share: what their records say, else that of qexp's own metric.

    Unknown if they contradict each other: two extensions may call different metrics alike.
    recorded  what each record says of `metrics`
    """
    said = {one for metrics in recorded if (one := _recorded(name, metrics)) is not None}
    if len(said) == 1:
        return said.pop()
    return UNKNOWN if said else _built_in(name)


def _recorded(name: str, metrics: Mapping[str, Any]) -> Meaning | None:
    """What a record says, which may be from before records said it, or from elsewhere."""
    said = metrics.get(name)
    if not isinstance(said, dict):
        return None
    best, unit = said.get("best"), said.get("unit")
    return Meaning(best if best in BEST else None, unit if isinstance(unit, str) else "")


def _built_in(name: str) -> Meaning:
    from qexp.metrics.built_in import METRICS  # with numpy, which listing many runs should not wait for

    return METRICS[name].build().meaning if name in METRICS else UNKNOWN

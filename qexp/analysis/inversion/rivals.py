"""Several models of one observation, compared by information criteria."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qexp.analysis.inversion.result import Inversion
from qexp.inference.fit import aicc, bic


def compared(candidates: Sequence[Inversion]) -> list[Mapping[str, Any]]:
    """The criteria of candidates for one observation, the best by AICc first; differences are those to the best."""
    rows: list[dict[str, Any]] = [
        {
            "source": one.source,
            "unknowns": one.unknowns,
            "chi2_reduced": one.chi2_reduced,
            "aicc": aicc(one.chi2, one.observation.size, one.unknowns),
            "bic": bic(one.chi2, one.observation.size, one.unknowns),
        }
        for one in candidates
    ]
    best = {name: min(row[name] for row in rows) for name in ("aicc", "bic")}
    rows = [{**row, "delta_aicc": row["aicc"] - best["aicc"], "delta_bic": row["bic"] - best["bic"]} for row in rows]
    return sorted(rows, key=lambda row: row["aicc"])

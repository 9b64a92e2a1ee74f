"""Posterior heads: operations that end a branch in a probability density of all of its outputs together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qexp.models.heads.flow import FlowHead
from qexp.models.heads.gaussian import GaussianHead, MixtureHead
from qexp.tables import Entry

WIDTH = {"type": "integer", "minimum": 1}


def _from(least: int, most: int, description: str) -> dict[str, Any]:
    return {"type": "integer", "minimum": least, "maximum": most, "description": description}


@dataclass(frozen=True)
class HeadEntry(Entry):
    """An operation whose builder gets the shape of its input and the number of outputs, and makes a `Head`."""


HEADS: dict[str, Entry] = {
    "gaussian_posterior": HeadEntry(
        build=GaussianHead,
        parameters={},
        help="Posterior of all outputs of a branch: a normal density with full covariance, of transformed values.",
        example={"module": "gaussian_posterior"},
    ),
    "mixture_posterior": HeadEntry(
        build=MixtureHead,
        parameters={"properties": {"components": _from(1, 100, "number of normal densities")}},
        help="Posterior of all outputs of a branch: a mixture of normal densities with full covariances.",
        example={"module": "mixture_posterior", "parameters": {"components": 3}},
    ),
    "flow_posterior": HeadEntry(
        build=FlowHead,
        parameters={
            "properties": {
                "transforms": _from(1, 20, "number of splines, one after the other"),
                "units": {
                    "type": "array",
                    "items": WIDTH,
                    "minItems": 1,
                    "maxItems": 20,
                    "description": "width of each hidden layer of the networks that make their knots",
                },
                "bins": _from(2, 64, "pieces of a spline"),
            }
        },
        help="Posterior of all outputs of a branch: a normalizing flow of splines, for densities of any form.",
        example={"module": "flow_posterior", "parameters": {"transforms": 2, "units": [32, 32]}},
    ),
}

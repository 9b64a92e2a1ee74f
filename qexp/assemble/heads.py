"""Posterior heads of experiences: transforms that follow from the prior, and what does not fit them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from qexp.assemble.networks import heads_in
from qexp.datasets.transforms.transform import Transform
from qexp.networks.losses import OF_POSTERIORS
from qexp.simulation.distributions import Distribution
from qexp.spec.finding import Finding
from qexp.tables import Table, Tables

Document = dict[str, Any]

NORMAL_SCORE = "normal_score"

FAR = 6.0
"""Transformed value that few draws of a posterior exceed, whose inverse must be possible."""


def outputs_of_heads(document: Document, modules: Table) -> dict[str, str]:
    """Output → the posterior head that makes it, in a checked model."""
    return {output: head for head, outputs in heads_in(document["model"], modules).items() for output in outputs}


def with_normal_scores(document: Document, tables: Tables) -> Document:
    """An experience on a generated dataset: outputs of posterior heads without a transform get one from their prior."""
    distributions = document["dataset"]["distributions"]
    varying = document["dataset"]["varyings"]
    own = {
        name: {"type": NORMAL_SCORE, "parameters": {"distribution": distributions[name]}}
        for name in outputs_of_heads(document, tables["modules"])
        if name in varying
    }
    return {**document, "transforms": {**own, **document.get("transforms", {})}} if own else document


def in_heads(
    document: Document, tables: Tables, shapes: Mapping[str, tuple[int, ...]], transforms: Mapping[str, Transform]
) -> Iterator[Finding]:
    """Whether losses, transforms and shapes of an experience are those that its posterior heads need."""
    of_head = outputs_of_heads(document, tables["modules"])
    outputs, losses = document["outputs"], document["losses"]
    for name, head in of_head.items():
        if name not in outputs:
            yield ("outputs",), f"the posterior head '{head}' makes '{name}', too, which is not listed; add it"
    for index, name in enumerate(outputs):
        loss = losses[name] if isinstance(losses[name], str) else losses[name]["type"]
        if name in of_head and loss != OF_POSTERIORS:
            yield ("losses", name), f"'{name}' is made by a posterior head, whose loss is '{OF_POSTERIORS}'"
        if name not in of_head and loss == OF_POSTERIORS:
            yield (
                ("losses", name),
                f"'{OF_POSTERIORS}' is for outputs of a posterior head; end the branch of '{name}' with one, such as "
                "'gaussian_posterior', or choose another loss",
            )
        if name in of_head and name in shapes and shapes[name] != (1,):
            yield ("outputs", index), f"a posterior head makes single numbers, but '{name}' has several"
        if name in of_head and name in transforms and transforms[name].numbers > 1:
            yield (
                ("transforms", name),
                "a posterior head makes one number of each value; leave the transform out, which takes the prior's",
            )


def beyond_prior(
    document: Document, tables: Tables, distributions: Mapping[str, Distribution], transforms: Mapping[str, Transform]
) -> Iterator[Finding]:
    """Transforms whose inverse reaches values that the prior excludes."""
    for name in outputs_of_heads(document, tables["modules"]):
        if name not in distributions or name not in transforms or transforms[name].numbers > 1:
            continue
        low, high = distributions[name].support()
        reached = transforms[name].inverse(torch.tensor([[-FAR], [FAR]], dtype=torch.float64)).flatten().tolist()
        slack = 1e-6 * (high - low) if math.isfinite(high - low) else 1e-6
        if min(reached) < low - slack or max(reached) > high + slack:
            yield (
                ("transforms", name),
                f"lets posteriors reach from {min(reached):.3g} to {max(reached):.3g}, but the prior of '{name}' is "
                f"between {low:g} and {high:g}; leave the transform out, which takes the prior's normal scores",
            )

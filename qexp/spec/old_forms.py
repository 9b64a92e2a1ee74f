"""Old forms of VDI that are no longer read: the error shows the new form of the value."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from qexp.tables import Tables

Finding = tuple[tuple[str | int, ...], str]


def findings(kind: str, document: dict[str, Any], tables: Tables) -> list[Finding]:
    search = {"dataset": _in_dataset, "model": _in_model}.get(kind)
    return list(search(document, tables)) if search else []


def _in_dataset(document: dict[str, Any], tables: Tables) -> Iterator[Finding]:
    distributions = document.get("distributions")
    for variable, value in distributions.items() if isinstance(distributions, dict) else ():
        if isinstance(value, list) and value and isinstance(value[0], str) and value[0] in tables["distributions"]:
            names = tables["distributions"][value[0]].parameters.get("properties", {})
            new = {"type": value[0], "parameters": dict(zip(names, value[1:], strict=False))}
            yield (
                ("distributions", variable),
                f"a distribution as a list is an old form, which VDI refuses, too; write {json.dumps(new)}",
            )


def _in_model(document: dict[str, Any], tables: Tables) -> Iterator[Finding]:
    if "graph" not in document and (document.get("architecture") is None or "branches" in document):
        return
    operations = document.get("operations")
    inputs = {
        name: operation.get("parameters", {})
        for name, operation in (operations.items() if isinstance(operations, dict) else ())
        if isinstance(operation, dict) and operation.get("module") == "input"
    } or {"displacement": {"size": [64, 64, 1]}}
    first = next(iter(inputs))
    chain = _chain(document.get("graph"), first)
    branch = {"x_name": first, "y_name": "middle", "operations": chain or ["resnet_block_1", "down_sample"]}
    # One error for the whole document: every part of it has a new form.
    yield (
        (),
        (
            "a model with 'graph' is an old form, which VDI refuses, too; write its inputs, outputs and branches "
            f'instead, for example "inputs": {json.dumps(inputs)}, "outputs": ["depth", "delta_volume"], '
            f'"branches": [{json.dumps(branch)}, …], and leave out "graph", "architecture" and the module "input"'
        ),
    )


def _chain(graph: Any, start: str) -> list[str]:
    """The operations of an old graph in order, starting at an input."""
    chain: list[str] = []
    name = start
    while isinstance(graph, dict) and isinstance(following := graph.get(name), str) and following not in chain:
        chain.append(following)
        name = following
    return chain

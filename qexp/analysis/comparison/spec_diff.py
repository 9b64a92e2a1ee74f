"""Differences between specs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from qexp.spec.digest import COMMENTARY
from qexp.spec.experiences import type_name

ABSENT = "-"


def differences(specs: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Path → value in each spec as JSON, for paths where the specs differ; descriptions are ignored.

    Of specs of different types only the type: they have hardly a path in common.
    """
    types = [type_name(spec) for spec in specs]
    if len(set(types)) > 1:
        return {"type": [json.dumps(name) for name in types]}
    leaves = [dict(_leaves(spec)) for spec in specs]
    all_paths = dict.fromkeys(path for of_spec in leaves for path in of_spec)
    paths = [path for path in all_paths if path.rpartition(".")[2] not in COMMENTARY]
    values = {path: [of_spec.get(path, ABSENT) for of_spec in leaves] for path in paths}
    return {path: shown for path, shown in values.items() if len(set(shown)) > 1}


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Paths and values of a document; a list is one value."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    else:
        yield path, json.dumps(value)

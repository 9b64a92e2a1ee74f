"""Digests of resolved specs: specs of the same meaning have the same digest, however they are written."""

from __future__ import annotations

import hashlib
import json
from typing import Any

COMMENTARY = ("description", "found", "made_by")
"""Keys that do not change what is computed: descriptions, and where a file came from."""


def canonical(document: Any) -> str:
    """JSON with sorted keys, without commentary, and with 1 for 1.0."""
    return json.dumps(
        _canonical(_without_commentary(document)),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )


def digest(document: Any, *texts: str) -> str:
    """SHA-256 of the canonical document and of the texts that belong to it, in hexadecimal."""
    content = hashlib.sha256(canonical(document).encode())
    for text in texts:
        content.update(b"\0" + text.encode())
    return content.hexdigest()


def _without_commentary(document: Any) -> Any:
    """The spec and the specs inside it without commentary; elsewhere these keys may be names that a user chose."""
    if not isinstance(document, dict):
        return document
    return {
        key: _without_commentary(item) if key in ("dataset", "model") else item
        for key, item in document.items()
        if key not in COMMENTARY
    }


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value

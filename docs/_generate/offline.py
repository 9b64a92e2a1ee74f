"""The built site works without a network: no page loads anything from another host."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sphinx.util import logging

log = logging.getLogger(__name__)

LOADED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"'](?:https?:)?//[^\"']*"
    r"|<link\b(?=[^>]*\brel=[\"'](?:stylesheet|preload|preconnect|icon)\b)[^>]*\bhref=[\"'](?:https?:)?//[^\"']*"
    r"|@import\s+(?:url\()?[\"']?https?:[^;]*|url\([\"']?https?:[^)]*"
)


def check(app: Any, exception: Exception | None) -> None:
    """Warn, which fails the build, about everything that a browser would fetch from elsewhere."""
    if exception is None:
        for page in sorted(Path(app.outdir).rglob("*")):
            if page.suffix in (".html", ".css"):
                for tag in LOADED.findall(page.read_text(encoding="utf-8")):
                    log.warning("%s loads from another host: %s", page.relative_to(app.outdir), tag)

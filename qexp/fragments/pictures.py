"""Pictures inside of a page."""

from __future__ import annotations

import base64
from pathlib import Path

from qexp.fragments.svg import Drawn, element


def picture(title: str, file: Path) -> Drawn:
    """A PNG file."""
    return embedded(title, file.read_bytes())


def embedded(title: str, content: bytes) -> Drawn:
    """The bytes of a PNG."""
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return Drawn(title, element("img", src=source, alt=title))

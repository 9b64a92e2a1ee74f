"""Pictures inside of a page or a notebook."""

from __future__ import annotations

import base64
from pathlib import Path
from xml.etree import ElementTree

from qexp.fragments.svg import Drawn, element


def picture(title: str, file: Path) -> Drawn:
    """A PNG file."""
    return embedded(title, file.read_bytes())


def embedded(title: str, content: bytes) -> Drawn:
    """The bytes of a PNG."""
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return Drawn(title, element("img", src=source, alt=title))


def on_paper(drawn: Drawn) -> Drawn:
    """A drawing of lines as a picture on white, which is seen in light and dark notebooks alike."""
    if not drawn.drawing.startswith("<svg"):
        return drawn
    told = ElementTree.fromstring(drawn.drawing)
    coloured = str(drawn.drawing).replace("<svg ", '<svg style="background: #fff; color: #1c2024" ', 1)
    source = f"data:image/svg+xml;base64,{base64.b64encode(coloured.encode()).decode()}"
    return Drawn(drawn.title, element("img", src=source, alt=told.get("aria-label"), width=told.get("width")))

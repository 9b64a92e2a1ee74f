"""One HTML file that holds its own scripts and styles, and lets nothing else run."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files as resources
from typing import Any

from markupsafe import Markup

from qexp.fragments.render import environment

SCRIPTS = (
    "uplot/uPlot.iife.min.js",
    "colours.js",
    "frame.js",
    "matrix.js",
    "curves.js",
    "points.js",
    "differences.js",
    "ranges.js",
    "parallel.js",
    "sweep.js",
    "tables.js",
)
STYLES = ("uplot/uPlot.min.css", "page.css")


def document(template: str, context: Mapping[str, Any]) -> str:
    """A page of a template. All text in it is escaped; only the page's own scripts and styles may run."""
    scripts, styles = static(SCRIPTS), static(STYLES)
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {_hash(scripts)}",
            f"style-src {_hash(styles)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    page = environment("qexp.pages").get_template(template)
    return page.render(**context, policy=policy, scripts=Markup(scripts), styles=Markup(styles))


@cache
def static(names: tuple[str, ...], package: str = "qexp.pages") -> str:
    """Scripts or styles of a package, one after another."""
    folder = resources(package).joinpath("static")
    return "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)


def _hash(text: str) -> str:
    """The source of a script or style, for a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

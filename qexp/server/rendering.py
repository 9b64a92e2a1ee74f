"""Pages of the server: its own templates, between which those of reports stand."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse, Response

from qexp.fragments.render import environment
from qexp.pages.document import SCRIPTS, STYLES, static

if TYPE_CHECKING:
    from starlette.requests import Request

OWN_SCRIPTS = ("server.js", "completion.js", "runs.js", "live.js", "workspace.js", "changes.js")
OWN_STYLES = ("server.css",)

STATIC = {"/page.js": "text/javascript", "/page.css": "text/css"}
"""Path → type of what all pages load. It holds nothing of a workspace."""

PREFIX, NONCE = "qexp.prefix", "qexp.nonce"
"""Keys of a request's scope: the path before all links, and what a script needs to run."""

SECTIONS = {"": "Runs", "launches": "Launches", "studies": "Studies", "workspace": "Workspace"}
"""Path → words for it in the head of every page."""


@cache
def bundle(name: str) -> tuple[bytes, str]:
    """What all pages load, `page.js` or `page.css`, and its digest."""
    shared, own = (SCRIPTS, OWN_SCRIPTS) if name == "page.js" else (STYLES, OWN_STYLES)
    content = f"{static(shared)}\n{static(own, 'qexp.server')}".encode()
    return content, hashlib.sha256(content).hexdigest()[:16]


def rendered(template: str, prefix: str, nonce: str, **context: Any) -> str:
    """A template with what the head of every page needs."""
    found = environment("qexp.server", "qexp.pages").get_template(template)
    shared = {
        "prefix": prefix,
        "nonce": nonce,
        "sections": SECTIONS,
        "script": f"page.js?{bundle('page.js')[1]}",
        "style": f"page.css?{bundle('page.css')[1]}",
    }
    return found.render({"workspace": "", "secret": None, "section": None, **shared, **context})


def page(request: Request, template: str, status: int = 200, **context: Any) -> Response:
    site = request.app.state.site
    known = {"workspace": site.workspace.root.name, "secret": site.secret, **context}
    return HTMLResponse(rendered(template, request.scope[PREFIX], request.scope[NONCE], **known), status)

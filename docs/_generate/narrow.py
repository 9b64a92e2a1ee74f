"""Cells of tables know their headings, which narrow screens show beside each value; see docs/_style/pages.css."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.writers.html5 import HTML5Translator


class Translator(HTML5Translator):
    """Sphinx's own, with `data-heading` in each cell that holds something, `data-empty` in others."""

    def visit_entry(self, node: Any) -> None:
        at = len(self.body)
        super().visit_entry(node)
        if isinstance(node.parent.parent, nodes.tbody):
            head = next(iter(node.parent.parent.parent.findall(nodes.thead)), None)
            heading = head[0][node.parent.index(node)].astext() if head else ""
            about = f'data-heading="{self.attval(heading)}"' if node.astext().strip() else "data-empty"
            self.body[at] = self.body[at].replace("<td", f"<td {about}", 1)

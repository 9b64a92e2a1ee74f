"""What narrow screens need to know: the headings of a table's cells, and how far each line of code
is indented.

docs/_style/pages.css shows the headings beside each value, and goes on with a long line to the
right of its beginning.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.writers.html5 import HTML5Translator

OPTION = re.compile(r"--[a-z][\w-]*")


class Translator(HTML5Translator):
    """Sphinx's own, with `data-heading` or `data-empty` in each cell of a table; and lines of
    code.
    """

    def visit_entry(self, node: Any) -> None:
        at = len(self.body)
        super().visit_entry(node)
        if isinstance(node.parent.parent, nodes.tbody):
            head = next(iter(node.parent.parent.parent.findall(nodes.thead)), None)
            heading = head[0][node.parent.index(node)].astext() if head else ""
            about = (
                f'data-heading="{self.attval(heading)}"' if node.astext().strip() else "data-empty"
            )
            self.body[at] = self.body[at].replace("<td", f"<td {about}", 1)

    def visit_literal_block(self, node: Any) -> None:
        try:
            super().visit_literal_block(node)
        except nodes.SkipNode:
            if node.get("language") not in ("text", "output"):  # whose columns are kept
                self.body[-1] = _in_lines(self.body[-1], node.astext())
            raise


def _in_lines(block: str, code: str) -> str:
    """A highlighted block with an element around each line, which knows its spaces, and around each
    option.
    """
    before, start, rest = block.partition("<pre>")
    inside, end, after = rest.rpartition("</pre>")
    inside = OPTION.sub(r'<span class="option">\g<0></span>', inside)
    lines = [
        (
            f'<span class="line" style="--spaces: {len(line) - len(line.lstrip())}">{shown}</span>'
            if line
            else shown
        )
        for line, shown in zip([*code.split("\n"), ""], inside.split("\n"), strict=False)
    ]
    return (
        before + start + "\n".join(lines) + end + after
        if inside.count("\n") == len(lines) - 1
        else block
    )

"""The search finds `early_stopping` for "early stopping", and shows excerpts without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.search.en import SearchEnglish

TEXTS = "search_texts.js"


class SearchNames(SearchEnglish):
    """English, and names in code: also by the words between their underscores."""

    def split(self, input: str) -> list[str]:
        words: list[str] = super().split(input)
        return words + [part for word in words if "_" in word for part in word.split("_") if part]


def load(app: Any, page: str, template: str, context: Any, doctree: Any) -> None:
    """The scripts of the page of results, after those of Sphinx."""
    if page == "search":
        for script in (TEXTS, "excerpts.js"):
            app.add_js_file(script, loading_method="defer")


def write(app: Any, exception: Exception | None) -> None:
    """Write the text of every section of every page, for excerpts."""
    if exception is None and app.builder.format == "html":
        pages = {page: _sections(app.env.get_doctree(page)) for page in sorted(app.env.found_docs)}
        text = json.dumps(pages, ensure_ascii=False, separators=(",", ":"))
        (Path(app.outdir) / "_static" / TEXTS).write_text(
            f"Search.texts = {text};\n", encoding="utf-8"
        )


def _sections(document: nodes.document) -> dict[str, str]:
    """Id of each section, and "" for the first → its text, without that of the sections in it."""
    return {
        section["ids"][0] if isinstance(section.parent, nodes.section) else "": " ".join(
            " ".join(child.astext().split())
            for child in section.children
            if not isinstance(child, (nodes.section, nodes.title))
        )
        for section in document.findall(nodes.section)
    }

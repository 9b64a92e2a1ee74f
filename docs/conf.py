"""Settings of the documentation; `make docs` builds it. See docs/design/0026-documents.md."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from _generate import contents, narrow, offline, reference, search
from qexp import __version__

about = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
repository = about.get("urls", {}).get("Repository")

project = about["name"]
version = release = __version__
html_title = f"{project} {version}"
extensions = ["myst_parser", "sphinx_copybutton"]

myst_heading_anchors = 4  # links to headings are checked, too
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True

html_theme = "furo"
html_static_path = ["_style"]
html_css_files = ["pages.css", "outputs.css"]
html_favicon = "_style/icon.svg"
if repository:  # shown at the end of each page
    icon = {"name": "Repository", "url": repository, "html": "Repository", "class": ""}
    html_theme_options = {"footer_icons": [icon]}
html_show_sourcelink = False
html_show_search_summary = False  # _style/excerpts.js shows them, also without a server
html_show_copyright = False
pygments_style = "tango"
pygments_dark_style = "github-dark"


def setup(app: Any) -> None:
    app.add_search_language(search.SearchNames)
    app.set_translator("html", narrow.Translator)
    app.connect("builder-inited", lambda app: reference.write(Path(app.srcdir)))
    app.connect("source-read", contents.add)
    app.connect("env-get-outdated", contents.read_again)
    app.connect("html-page-context", search.load)
    app.connect("build-finished", search.write)
    app.connect("build-finished", offline.check)

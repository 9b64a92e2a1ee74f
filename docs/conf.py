"""Settings of the documentation; `make docs` builds it. See docs/design/0026-documents.md."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from _generate import contents, offline, reference

project = "qexp"
html_title = "qexp"
extensions = ["myst_parser", "sphinx_copybutton"]

myst_heading_anchors = 4  # links to headings are checked, too
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True

html_theme = "furo"
html_static_path = ["_style"]
html_css_files = ["tables.css"]
html_show_sourcelink = False
html_show_copyright = False
pygments_style = "tango"
pygments_dark_style = "github-dark"


def setup(app: Any) -> None:
    app.connect("builder-inited", lambda app: reference.write(Path(app.srcdir)))
    app.connect("source-read", contents.add)
    app.connect("env-get-outdated", contents.read_again)
    app.connect("build-finished", offline.check)

"""The pages that are made from the code, in docs/reference and docs/design; and tutorials as
notebooks.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from _generate import (
    commands,
    design,
    environment,
    errors,
    experiences,
    files,
    formats,
    house,
    notebooks,
    project,
    python,
    tables,
)

PAGES: dict[str, Callable[[], str]] = {
    "reference/commands": commands.index,
    "reference/datasets": tables.datasets,
    "reference/models": tables.models,
    "reference/experiences": tables.experiences,
    **{f"reference/{name}": tables.page_of(name) for name in tables.ENTRIES},
    "reference/metrics": tables.metrics,  # where it stands among the tables
    "reference/quantities": tables.quantities,
    "reference/formats": formats.page,
    "reference/python": python.index,
    "reference/files": files.page,
    "reference/environment": environment.page,
    "reference/exit-codes": errors.page,
    "reference/shipped": experiences.page,
    "design/index": design.page,
    **commands.pages(),
    **python.pages(),
}
"""Name of a page → what writes it. They are committed, so that all can be read in the repository,
too.
"""

BUILT: dict[str, Callable[[], str]] = {name: project.page_of(name) for name in project.PAGES}
"""The same of what the repository has elsewhere: written where the site is built, and not
committed.
"""

FILES: dict[str, Callable[[], str]] = {
    **{f"{name}.md": page for name, page in (PAGES | BUILT).items()},
    "design/house.svg": house.picture,
    **{f"tutorials/{name}.ipynb": notebooks.notebook_of(name) for name in notebooks.TUTORIALS},
}
"""Path below docs/ → what writes it."""


def write(folder: Path) -> None:
    """Write all of them below docs/; those that are the same stay untouched, so that a second build
    skips them.
    """
    for name, content in FILES.items():
        file, text = folder / name, content()
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    for left_over in [
        *(folder / "reference/commands").glob("*.md"),
        *(folder / "reference/python").glob("*.md"),
    ]:
        if left_over.relative_to(folder).as_posix() not in FILES:
            left_over.unlink()

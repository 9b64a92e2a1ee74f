"""Objects that show themselves: as HTML in a notebook, as tables in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from qexp.fragments.plain import cleaned, in_one_line
from qexp.fragments.svg import Drawn

if TYPE_CHECKING:
    from rich.console import Group, RenderableType


class Rows(Protocol):
    """A table."""

    @property
    def title(self) -> str: ...
    @property
    def columns(self) -> Sequence[str]: ...
    @property
    def rows(self) -> Sequence[Sequence[str]]: ...
    @property
    def right(self) -> frozenset[str]:
        """Columns of numbers."""
        ...


@dataclass(frozen=True)
class View:
    """What is shown of an object, the important first."""

    title: str
    state: str = ""
    cautions: Sequence[str] = ()
    error: str = ""
    parts: Sequence[Rows | Drawn | str] = ()
    more: Mapping[str, Sequence[Rows | Drawn | str]] = field(default_factory=dict)
    """Title → parts that a reader unfolds; a terminal does not show them."""


def html(view: View) -> str:
    """A view for a notebook, with its own style and without scripts. All text in it is escaped.

    Notebooks that are not trusted lose styles and SVG: what matters is seen without a style, and drawings are pictures.
    """
    from qexp.fragments.pictures import on_paper
    from qexp.fragments.render import environment

    def of_notebook(parts: Sequence[Rows | Drawn | str]) -> list[Rows | Drawn | str]:
        return [on_paper(part) if isinstance(part, Drawn) else part for part in parts]

    shown = replace(
        view, parts=of_notebook(view.parts), more={title: of_notebook(parts) for title, parts in view.more.items()}
    )
    return environment().get_template("notebook.html").render(view=shown)


class Shown:
    """An object with a view. Notebooks and terminals that know rich or IPython ask it to show itself."""

    def view(self) -> View:
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return html(self.view())

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        from rich.console import Console

        console = Console(width=200, no_color=True, force_terminal=False, force_jupyter=False)
        with console.capture() as printed:
            console.print(self.__rich__())
        printer.text(printed.get().rstrip())

    def __rich__(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        view = self.view()
        lines: list[RenderableType] = [Text(f"{in_one_line(view.title)}  {view.state}".rstrip(), style="bold")]
        lines += [Text(cleaned(text), style="yellow") for text in view.cautions]
        lines += [Text(cleaned(view.error), style="red")] if view.error else []
        for part in view.parts:
            if isinstance(part, str):
                lines.append(Text(cleaned(part)))
            elif not hasattr(part, "drawing"):
                lines.append(_table(part))
        return Group(*lines)


def _table(rows: Rows) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    made = Table(title=Text(in_one_line(rows.title)) if rows.title else None, title_justify="left", box=None)
    for column in rows.columns:
        side: Literal["left", "right"] = "right" if column in rows.right else "left"
        made.add_column(Text(in_one_line(column)), justify=side, overflow="fold")
    for row in rows.rows:
        made.add_row(*(Text(in_one_line(cell)) for cell in row))
    return made

"""Lists of runs, specs and epochs that show themselves, and become data frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

from qexp.base.text import Table, leaves
from qexp.errors import QexpError, some
from qexp.web.html import Titled, View

if TYPE_CHECKING:
    import pandas

    from qexp.runs.columns import Column

Summary = dict[str, Any]

MOST_SHOWN = 40


class Listing(Titled, list[Summary]):
    """A list of runs, specs or epochs, a dictionary each, that shows itself as a table."""

    def __init__(
        self,
        rows: Iterable[Summary],
        what: str,
        columns: Callable[[Sequence[Summary]], list[Column]],
    ):
        super().__init__(rows)
        self._what = what
        self._columns = columns

    def __repr__(self) -> str:
        names = [row["name"] for row in self if "name" in row]
        words = f"{len(self):,} {self._what}" if self else f"no {self._what}"
        return f"<{words}: {some(names)}>" if names else f"<{words}>"

    @overload
    def __getitem__(self, index: SupportsIndex) -> Summary: ...
    @overload
    def __getitem__(self, index: slice) -> Listing: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Summary | Listing:
        rows = super().__getitem__(index)
        return Listing(rows, self._what, self._columns) if isinstance(rows, list) else rows

    def to_pandas(self) -> pandas.DataFrame:
        """A data frame with a column for each value; dots lead into results:
        `frame["results.test.depth.mae"]`. Runs have one more for each key that they override
        differently: `frame["learning_rate"]`, and `frame["spec.epochs"]` as `epochs` is a field.

        Raises QexpError if pandas is not installed, which qexp itself does not need.
        """
        try:
            import pandas
        except ModuleNotFoundError:
            raise QexpError(
                "this needs pandas, which is not installed: pip install pandas"
            ) from None
        rows = list(self)
        if rows and "overrides" in rows[0]:
            from qexp.runs.columns import Columns, changed_columns

            values = {key: Columns(rows).one_by_one(key) for key in changed_columns(rows)}
            for index, row in enumerate(rows):
                rows[index] = row | {key: value_of(row) for key, value_of in values.items()}
        return pandas.json_normalize(rows)

    def view(self) -> View:
        """What a notebook or a terminal shows of it: the first rows."""
        title = f"{len(self):,} {self._what}"
        columns = self._columns(self)
        rows = []
        if not self:
            return View(title)
        for row in list(self)[:MOST_SHOWN]:
            rows.append([column.text(row) for column in columns])
        titles = [column.title for column in columns]
        right = frozenset(column.title for column in columns if column.numeric)
        more = [f"and {len(self) - len(rows):,} more"] if len(self) > len(rows) else []
        return View(title, parts=[Table("", titles, rows, right), *more])


def epochs_listed(lines: Sequence[Summary]) -> Listing:
    """The epochs of a run: rates, losses, and the main metric of each output."""
    return Listing(lines, "epochs", _columns_of_epochs)


def _columns_of_epochs(lines: Sequence[Summary]) -> list[Column]:
    from qexp.base.outputs import MAIN_METRICS
    from qexp.metrics.meaning import number
    from qexp.runs.columns import Column

    def text(key: str, line: Summary) -> str:
        value = dict(leaves(line)).get(key)
        return str(value) if isinstance(value, int) else number(value)

    keys = dict.fromkeys(key for line in lines for key, _ in leaves(line))
    last_steps = ("epoch", "learning_rate", "loss", *MAIN_METRICS)
    shown = [key for key in keys if key.rpartition(".")[2] in last_steps]
    return [Column(key, key, partial(text, key), numeric=True) for key in shown]

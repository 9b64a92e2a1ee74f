"""A preview of rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp.base.quantities import in_words
from qexp.figures.distributions import values_by_group
from qexp.kinds.evaluation import ALL
from qexp.kinds.preview import Pictures, Preview, Variable, together, value_in_words
from qexp.kinds.rows.dataset import TabularDataset
from qexp.kinds.rows.figures import sample_rows
from qexp.metrics.splits import Rows

if TYPE_CHECKING:
    import xarray

ROW = "row"
"""Coordinate with the number of a sample's row in the file."""

MOST_HISTOGRAMS = 24
"""Columns whose histograms are all drawn, at most; of more only variables of a single one."""

UNLIKE_WIDTHS = 10
"""Ratio of the widest to the narrowest column, by 90 % of rows, that one axis cannot show."""


class RowsPreview(Preview[TabularDataset, Rows]):
    counted = "rows"

    @property
    def classes(self) -> Mapping[str, Sequence[str]]:
        return {name: one.names for name, one in self.dataset.classes.items()}

    def samples(self, count: int) -> xarray.Dataset:
        import xarray

        rows = self.some(self.own, count)
        variables: dict[str, Any] = {}
        coordinates: dict[str, Any] = {ROW: ("sample", self.dataset.row_numbers(rows.tolist()))}
        for name, columns in self.dataset.columns.items():
            values = self.dataset.values[name][rows]
            attributes = {"units": self.dataset.units[name]}
            if len(columns) == 1:
                variables[name] = ("sample", values[:, 0], attributes)
            else:
                variables[name] = (("sample", f"{name}_column"), values, attributes)
                coordinates[f"{name}_column"] = list(columns)
        for name, texts in self.dataset.identifiers.items():
            if name not in variables:
                coordinates.setdefault(name, ("sample", texts[rows]))
        return xarray.Dataset(variables, coordinates)

    def variables(self, samples: xarray.Dataset) -> list[Variable]:
        data, variables = self.dataset, []
        for name, columns in data.columns.items():
            for index, column in enumerate(columns):
                called = name if len(columns) == 1 else f"{name} {column}"
                gaps = data.gaps[column] if self.part == ALL else 0
                values = data.values[name][self.own, index]
                classes = self.classes.get(name, ())
                unit = data.units[name]
                variables.append(Variable(called, unit, values, gaps, classes=classes))
        return variables

    def pictures(
        self, samples: xarray.Dataset, variables: Sequence[Variable], title: str
    ) -> Pictures:
        words = [self._words(samples, index) for index in range(samples.sizes["sample"])]
        wide = [name for name, columns in self.dataset.columns.items() if len(columns) > 1]
        alike = [name for name in wide if self._alike(name)]
        for name in alike:
            rows = list(zip(words, samples[name].values, strict=True))
            every = self.dataset.values[name]
            unit = self.dataset.units[name]
            drawn = sample_rows(rows, self.dataset.columns[name], name, unit, every, title)
            yield "samples" if len(wide) == 1 else f"samples_{name}", drawn
        shown = (*alike, *(self.dataset.outputs if wide else ()))
        shown = (*shown, *self.dataset.classes)
        further = [name for name in self.dataset.columns if name not in shown]
        if further:
            ranks = self._ranks(samples, further, words, title)
            yield "samples_ranks" if alike else "samples", ranks
        if len(self.own) > 1:
            numbers = [one for one in variables if one.name in self.dataset.columns]
            few = numbers and len(variables) > MOST_HISTOGRAMS
            yield self.histograms(numbers if few else variables, title)
        for group in self.dataset.groups:
            yield from self._by_group(group, title)

    def _words(self, samples: xarray.Dataset, index: int) -> str:
        """What a row is called, and its outputs."""
        identifiers = [name for name in self.dataset.identifiers if name in samples.coords]
        words = [str(samples[name].values[index]) for name in identifiers]
        words = words or [f"row {samples[ROW].values[index]}"]
        for name in self.dataset.outputs:
            if samples[name].ndim == 1:
                value = float(samples[name].values[index])
                unit = self.dataset.units[name]
                words.append(
                    value_in_words(in_words(name), value, unit, self.classes.get(name, ()))
                )
        return ", ".join(words)

    def _alike(self, name: str) -> bool:
        """Whether the columns of a variable can be seen on one axis: none varies much less."""
        low, high = np.nanpercentile(self.dataset.values[name], (5, 95), axis=0)
        widths = (high - low)[high > low]
        return not len(widths) or bool(widths.max() < UNLIKE_WIDTHS * widths.min())

    def _ranks(
        self, samples: xarray.Dataset, names: Sequence[str], words: Sequence[str], title: str
    ) -> Any:
        """Share of rows with a lower value, of every column: any units and sizes on one axis."""
        every = np.concatenate([self.dataset.values[name] for name in names], axis=1)
        columns: list[str] = []
        for name in names:
            own = self.dataset.columns[name]
            columns += [name] if len(own) == 1 else own
        ranks = 100 * (every.argsort(axis=0).argsort(axis=0) / max(len(every) - 1, 1))
        rows = []
        for text, index in zip(words, range(samples.sizes["sample"]), strict=True):
            sample = np.concatenate([np.atleast_1d(samples[name].values[index]) for name in names])
            rows.append((text, 100 * (every < sample).mean(axis=0)))
        return sample_rows(rows, columns, "rows below", "%", ranks, title)

    def _by_group(self, group: str, title: str) -> Pictures:
        """The outputs by group: of all rows, or of train and test if these are apart."""
        parts = {ALL: self.parts[ALL]} if ALL in self.parts else self.parts
        rows, part_of_row = together(parts)
        names = self.dataset.column(group)[rows].tolist()
        heading = self.over_all(title, "all rows")
        for output in self.dataset.outputs:
            if len(self.dataset.columns[output]) == 1 and len(set(names)) > 1:
                values = self.dataset.values[output][rows, 0]
                unit = self.dataset.units[output]
                figure = values_by_group(
                    names,
                    part_of_row,
                    list(parts),
                    values,
                    output,
                    unit,
                    heading,
                    self.classes.get(output, ()),
                )
                yield f"{output}_by_{group}", figure

"""Observations, inversions and posteriors that show themselves: their tables and maps."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from qexp.deformation.inversion import Inversion
from qexp.deformation.maps import draw_tracks
from qexp.deformation.observe import Observed
from qexp.deformation.output import corner_of, fitted_of, maps_of
from qexp.deformation.posterior import SourcePosterior
from qexp.deformation.semivariograms import draw_semivariograms
from qexp.deformation.tables import (
    sampling_words,
    sentences,
    table_of_posterior,
    tables,
    tables_of_tracks,
    values_in_words,
)
from qexp.web.html import Shown, Titled, View, drawn, fields_of

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


class ShownObserved(Shown, Observed):
    """An observation, with its tracks in numbers and its map."""

    __str__ = Shown.text

    def view(self) -> View:
        count = len(self.tracks)
        observation = self.observation
        title = f"Observation of {count} track{'s' * (count != 1)}"
        words = f"map of {', '.join(track.name for track in self.tracks)}"
        image = drawn("map", partial(draw_tracks, observation, title), words)
        written = [f"written: {path}" for path in self.files]
        more = {}
        if self.estimates:
            words = "Semivariograms without the signal"
            draw = partial(draw_semivariograms, self.estimates, words)
            more["estimated noise"] = [drawn("semivariograms", draw)]
        return View(
            title,
            cautions=self.warnings,
            parts=[*tables_of_tracks(self.tracks), *written, image],
            more=more,
        )


class ShownPosterior(Shown, SourcePosterior):
    """The posterior of an observation's sources, with intervals and draws, and the best fit."""

    fitted: Mapping[str, tuple[float, str]]
    __str__ = Shown.text

    def corner(self) -> Figure:
        """The draws of each parameter, and of each two of them, with the best fit."""
        return corner_of(self, "Posterior", self.fitted)

    def summary(self, level: float = 0.9) -> pandas.DataFrame:
        """As of `run.posterior`: mean, deviation, median and central interval of each parameter."""
        from qexp.web.notebook import Posterior

        columns = zip(self.parameters.items(), np.moveaxis(self.draws, -1, 0), strict=True)
        variables = {}
        for (name, about), draws in columns:
            variables[name] = (("chain", "draw"), draws, {"units": about.unit})
        return Posterior(variables).summary(level)

    def view(self) -> View:
        words = f"draws of {', '.join(self.parameters)}"
        image = drawn("draws", self.corner, words)
        title = f"Posterior: {len(self.all):,} draws"
        document = self.document()
        parts = table_of_posterior(document), sampling_words(document), image
        return View(title, cautions=self.remarks, parts=parts)


class ShownInversion(Titled, Inversion):
    """The estimated sources of an observation, with the tables of `qexp invert`, and maps."""

    posterior: ShownPosterior | None

    def __repr__(self) -> str:
        return f"<inversion by {self.source}: {', '.join(values_in_words(self.parameters))}>"

    def view(self) -> View:
        words = f"maps of data, model and residuals of {', '.join(self.tracks)}"
        maps = drawn("data, model and residuals", lambda: maps_of(self), words)
        record = self.document()
        more = {"draws of the posterior": self.posterior.view().parts[1:]} if self.posterior else {}
        return View(
            f"Inversion by {self.source}",
            cautions=self.remarks,
            parts=[*tables(record), *sentences(record), maps],
            more=more,
        )


def shown_inversion(inversion: Inversion) -> ShownInversion:
    content = fields_of(inversion)
    posterior = inversion.posterior
    if posterior is not None:
        content["posterior"] = shown = ShownPosterior(**fields_of(posterior))
        object.__setattr__(shown, "fitted", fitted_of(inversion))  # of a frozen dataclass
    return ShownInversion(**content)

"""Figures of an observation: its tracks as maps, and the semivariograms of their noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from qexp.figures.canvas import require_formats, save
from qexp.figures.semivariograms import draw_semivariograms
from qexp.figures.styles import styled
from qexp.figures.track_map import draw_tracks
from qexp.observations.noise import NoiseEstimate
from qexp.observations.observation import Observation


def pictures_of(figure: Path | None) -> Sequence[Path]:
    """The map, and the semivariograms beside it. Raises QexpError for a format that there is not."""
    if figure is None:
        return []
    require_formats([figure.suffix[1:]])
    return [figure, figure.with_name(f"{figure.stem}_noise{figure.suffix}")]


def draw(
    observation: Observation, estimates: Mapping[str, NoiseEstimate], figure: Path, title: str, style: Path | None
) -> list[Path]:
    """Draw the map, and the semivariograms if there are any; returns the paths of the figures."""
    whole, of_noise = pictures_of(figure)
    with styled(style):
        save(draw_tracks(observation, title), whole)
        if not estimates:
            return [whole]
        save(draw_semivariograms(estimates, f"{title}: semivariograms without the signal"), of_noise)
    return [whole, of_noise]

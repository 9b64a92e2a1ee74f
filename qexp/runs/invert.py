"""An observation inverted: with a network's estimate or without, by one model or several that are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qexp.base.quantities import Quantities, in_degrees
from qexp.base.tables import Tables
from qexp.deformation import output
from qexp.deformation.estimate import Candidate, Inversion, centre_of, compared, estimated
from qexp.deformation.sources import Asked, Units, shown, sources_named
from qexp.errors import QexpError
from qexp.kinds.images.observation import network_estimate
from qexp.observations.observation import Observation, read_observation
from qexp.store.directory import RunDirectory

STARTS_NEAR = 8
"""Of a refinement: the network's estimate and others near it, unless another number is asked for."""


@dataclass(frozen=True)
class Destination:
    """Where the files of an inversion are written.

    spacing  of the rasters of scattered points [m]
    history  how the result was made
    """

    folder: Path
    spacing: float | None = None
    overwrite: bool = False
    history: str = ""

    def __post_init__(self) -> None:
        if self.spacing is not None and not self.spacing > 0:
            raise QexpError(f"--spacing {self.spacing:g}: must be a positive number of metres")
        output.require_room(self.folder, self.overwrite)


def opened(observation: Observation | str | Path) -> Observation:
    """An observation, or that of a file."""
    return observation if isinstance(observation, Observation) else read_observation(Path(observation))


def by_least_squares(
    observation: Observation, sources: Sequence[str], asked: Asked, tables: Tables, degrees: bool = False
) -> list[Inversion]:
    """An observation inverted for each of several sources, the best by AICc first.

    sources  such as "mogi", "mogi+okada"
    degrees  angles are in degrees rather than radians
    """
    for name in sources:
        if list(sources).count(name) > 1:
            raise QexpError(f"--source {name} is given twice")
    quantities: Quantities = in_degrees(tables["quantities"]) if degrees else tables["quantities"]
    units = Units(quantities, centre_of(observation))
    candidates = [Candidate(text, sources_named(text, tables["generators"]), units) for text in sources]
    known = [shown(column) for one in candidates for column in one.columns]
    made = [estimated(observation, one, asked, known=known if len(sources) > 1 else ()) for one in candidates]
    if len(made) == 1:
        return made
    rivals = compared(made)
    order = {row["source"]: place for place, row in enumerate(rivals)}
    return [replace(one, rivals=rivals) for one in sorted(made, key=lambda one: order[one.source])]


def by_network(
    observation: Observation,
    directory: RunDirectory,
    asked: Asked,
    *,
    refine: bool,
    centre: tuple[float, float] | None = None,
    device: str = "auto",
) -> list[Inversion]:
    """An observation inverted by a trained network, and from its estimate by least squares if `refine`.

    A posterior needs least squares and implies them.
    centre  position of the origin of the network's images [m]; None: where the displacement is largest
    """
    refine = refine or asked.posterior is not None
    if not refine and (asked.fixed or asked.bounds):
        raise QexpError("--fix and --bounds are for least squares, and not for a network's estimate; add --refine")
    others = (asked.starts or STARTS_NEAR) - 1 if refine else 0
    said = network_estimate(directory, observation, centre, device, others, asked.seed)
    if refine:
        return [estimated(observation, said.candidate, asked, network=said.document, remarks=said.remarks)]
    candidate = replace(said.candidate, start=said.values)
    whose = "the estimate and its intervals are" if candidate.intervals else "the estimate is"
    remarks = [*said.remarks, f"{whose} the network's; --refine gives standard errors"]
    return [estimated(observation, candidate, asked, network=said.document, remarks=remarks, refine=False)]


def written(made: Sequence[Inversion], to: Destination) -> list[Path]:
    """Write the folder of an inversion; its first result is that of the folder. Returns the paths of the files."""
    return output.write(to.folder, made[0], made[1:], to.spacing, to.overwrite, to.history)

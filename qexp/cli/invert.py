"""qexp invert"""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qexp import api
from qexp.analysis.comparison.rounding import number
from qexp.cli import completion, texts
from qexp.cli.arguments import DeviceOption, TrustCodeOption
from qexp.cli.console import JsonOption, WorkspaceOption, message, print_json, print_table, result, warning
from qexp.errors import QexpError, shortened

if TYPE_CHECKING:
    from qexp.analysis.inversion.posterior import ParameterPosterior, SourcePosterior
    from qexp.analysis.inversion.result import Estimate, Inversion

ObservationArgument = Annotated[Path, typer.Argument(metavar="OBS.nc", help="An observation file of qexp observe.")]
RunOption = Annotated[
    str | None,
    typer.Option(
        "--run",
        help="A finished run, whose network estimates the source: name, unique prefix or path.",
        autocompletion=completion.runs,
    ),
]
RefineOption = Annotated[
    bool, typer.Option("--refine", help="Refine the network's estimate by least squares on the original points.")
]
CentreOption = Annotated[
    str | None,
    typer.Option(
        "--centre",
        metavar="EAST,NORTH",
        help="Centre of the network's images, in metres; the largest displacement if left out.",
    ),
]
SourceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        metavar="NAME[+NAME]",
        help="Source to estimate, several joined by '+'; mogi if left out. Repeat to compare several by AICc and BIC.",
        autocompletion=completion.sources,
    ),
]
OffsetsOption = Annotated[
    str,
    typer.Option(metavar="per-track|none", help="Estimate a constant offset for each radar track, too, or for none."),
]
RampsOption = Annotated[bool, typer.Option("--ramps", help="Estimate a plane for each radar track, too.")]
FixOption = Annotated[
    list[str] | None,
    typer.Option(
        "--fix",
        metavar="PARAMETER=VALUE",
        help="Value of a parameter that is not to be estimated, such as depth=2 (km) or east=426000 (m); repeat for "
        "more.",
    ),
]
BoundsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--bounds", metavar="PARAMETER=LOW:HIGH", help="Limits of an estimate, such as depth=0.5:5; repeat for more."
    ),
]
StartsOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Starts of the search: 32, distributed over all parameters; with --run 8, near the network's estimate.",
        show_default=False,
    ),
]
PosteriorOption = Annotated[
    bool, typer.Option("--posterior", help="Also draw from the posterior: intervals, correlations, and files of --to.")
]
DrawsOption = Annotated[
    int | None, typer.Option("--draws", metavar="N", help="Number of draws from the posterior; 2,000 if left out.")
]
MethodOption = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="auto|laplace|importance|sampler|grid",
        help="How the posterior is found; if left out importance sampling, and chains where that cannot be trusted.",
    ),
]
DeclaredNoiseOption = Annotated[
    bool,
    typer.Option(
        "--declared-noise", help="In the posterior, errors count as declared, rather than up to an unknown factor."
    ),
]
SeedOption = Annotated[int, typer.Option(help="Random seed of the starts.")]
DegreesOption = Annotated[bool, typer.Option("--degrees", help="Angles in degrees rather than radians.")]
ToOption = Annotated[
    Path | None,
    typer.Option("--to", metavar="DIR", help="A new folder for tables (JSON, CSV, NetCDF), maps (PNG) and GeoTIFF."),
]
SpacingOption = Annotated[
    float | None,
    typer.Option(
        "--spacing", metavar="METRES", help="Size of the cells of GeoTIFF files of scattered points, which get none "
        "without it.",
    ),
]  # fmt: skip
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace the folder of an earlier inversion.")]

UNDETERMINED = 1e9
"""Values and errors from here on are of what the data hardly determine; all of their digits would fill the table."""


def invert(
    observation: ObservationArgument,
    run: RunOption = None,
    refine: RefineOption = False,
    centre: CentreOption = None,
    source: SourceOption = None,
    offsets: OffsetsOption = "per-track",
    ramps: RampsOption = False,
    fix: FixOption = None,
    bounds: BoundsOption = None,
    starts: StartsOption = None,
    posterior: PosteriorOption = False,
    draws: DrawsOption = None,
    method: MethodOption = None,
    declared_noise: DeclaredNoiseOption = False,
    seed: SeedOption = 0,
    degrees: DegreesOption = False,
    to: ToOption = None,
    spacing: SpacingOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    trust_code: TrustCodeOption = False,
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = None,
) -> None:
    """Estimate the source of an observed deformation, with standard errors.

    With --run, a trained network estimates the source within a second, from the data resampled to its own pixels, and
    --refine follows the estimate to the minimum of least squares, also from starts around it, as far away as the
    network's errors on similar test samples. Without --run, the minimum is searched from many starts. Least squares are
    weighted by the full covariance of each track's noise; offsets and ramps are estimated along with the source.

    Positions are in metres of the observation's reference system, all else in the units of specs. Scaled errors are the
    standard errors times the root of the reduced χ² where that is above 1. The 95 % intervals are those of the profile
    likelihood, with the same factor; they also hold where parameters trade off. That one leaves out zero does not mean
    that there is a source: its position was searched for. Reduced χ² and BIC, on which a warning is given, say that.

    With --posterior, all sources that explain the data are drawn in proportion to how well they do: priors are those of
    the run's training data, or uniform between bounds; without bounds, amplitudes are uniform over plausible values.
    Offsets, ramps and the size of the noise are integrated over.
    """
    made = api.invert(
        observation, run=run, refine=refine, centre=position_of("--centre", centre), source=source, offsets=offsets,
        ramps=ramps, fixed=texts.fixed(fix or []), bounds=bounds_of(bounds or []), starts=starts,
        posterior=posterior, draws=draws, method=method, declared_noise=declared_noise, seed=seed, degrees=degrees,
        to=to, spacing=spacing, overwrite=overwrite, history=shlex.join(["qexp", *sys.argv[1:]]),
        trust_code=trust_code, device=device, workspace=workspace,
    )  # fmt: skip
    for text in made.remarks:
        warning(text)
    if as_json:
        print_json(made.document())
    else:
        _print(made)
    if to is not None:
        message("result, tables and maps:" if not as_json else f"result, tables and maps: {to}")
        if not as_json:
            result(str(to))


def bounds_of(texts: Sequence[str]) -> dict[str, tuple[float, float]]:
    """`["depth=0.5:5"]` → `{"depth": (0.5, 5.0)}`; an end that is left out is infinite."""
    read: dict[str, tuple[float, float]] = {}
    for text in texts:
        name, equals, ends = text.partition("=")
        low, colon, high = ends.partition(":")
        try:
            if not (equals and colon and name and (low or high)):
                raise ValueError
            pair = float(low or "-inf"), float(high or "inf")
            if not pair[0] < pair[1]:
                raise ValueError
        except ValueError:
            raise QexpError(
                f"--bounds {shortened(text)}: write parameter=low:high, the smaller first, for example depth=0.5:5"
            ) from None
        if name in read:
            raise QexpError(f"--bounds {name} is given twice; keep one")
        read[name] = pair
    return read


def position_of(option: str, text: str | None) -> tuple[float, float] | None:
    """`426000,4519000` → (426000.0, 4519000.0); None where there is no text."""
    if text is None:
        return None
    try:
        east, north = (float(part) for part in text.split(","))
        if not (math.isfinite(east) and math.isfinite(north)):
            raise ValueError
    except ValueError:
        raise QexpError(f"{option} {shortened(text)}: write EAST,NORTH in metres, such as 426000,4519000") from None
    return east, north


def _print(made: Inversion) -> None:
    columns = ["parameter", "value", "standard error", "scaled error", "95 % interval", "unit"]
    rows = []
    for name, of in made.parameters.items():
        errors = [digits(one, one) for one in (of.standard_error, of.scaled_error)]
        if of.fixed or (of.at_bound and of.standard_error is None):
            errors = ["fixed" if of.fixed else "at bound", ""]
        rows.append([name, digits(of.value, of.scaled_error), *errors, _interval(of), of.unit])
    print_table(columns, rows, right=columns[1:4])
    print()
    columns = ["track", "points", "RMS (m)", "offset (m)"]
    tracks = [
        [
            name,
            f"{of.n:,}",
            f"{of.rms:.4g}",
            "" if of.offset_error is None else f"{of.offset:.4f} ± {of.offset_error:.4f}",
        ]
        for name, of in made.tracks.items()
    ]
    print_table(columns, tracks, right=columns[1:])
    if made.posterior is not None:
        print()
        _print_posterior(made.posterior)
    if made.rivals:
        print()
        columns = ["source", "unknowns", "reduced χ²", "ΔAICc", "ΔBIC"]
        rows = [
            [
                one["source"], str(one["unknowns"]), number(one["chi2_reduced"]), f"{one['delta_aicc']:.1f}",
                f"{one['delta_bic']:.1f}",
            ]
            for one in made.rivals
        ]  # fmt: skip
        print_table(columns, rows, right=columns[1:])
    searched = f"{made.agreeing} of {made.starts} starts ended there, " if made.starts > 1 else ""
    message(
        f"{made.source}: reduced χ² {made.chi2_reduced:.3g}, {searched}{made.iterations} iterations, "
        f"{_in_seconds(made.seconds)}"
    )


def _interval(of: Estimate) -> str:
    """The 95 % interval; of one that the data do not limit on a side, the other end."""
    if of.interval95 is None:
        return ""
    low, high = of.interval95
    width = (high - low) / 4
    ends = [digits(end, min(width, abs(end) / 10 or width) if of.spans_magnitudes else width) for end in of.interval95]
    if all(of.open_ends):
        return "not determined"
    if any(of.open_ends):
        return f"at most {ends[1]}" if of.open_ends[0] else f"at least {ends[0]}"
    return f"{ends[0]} to {ends[1]}"


def _print_posterior(made: SourcePosterior) -> None:
    columns = ["posterior", "median", "90 % interval", "prior", "unit"]
    rows = []
    for name, of in made.parameters.items():
        width = (of.high - of.low) / 4
        ends = f"{digits(of.low, width)} to {digits(of.high, width)}"
        rows.append(
            [
                name,
                digits(of.median, width),
                ends,
                f"{of.prior}, {_end(of.least, of)} to {_end(of.largest, of)}"
                + (f", {of.at_edge:.0%} at its edge" if of.is_cut else ""),
                of.unit,
            ]
        )
    print_table(columns, rows, right=columns[1:2])
    found = made.found
    numbers = [
        *([] if found.pareto_k is None else [f"Pareto k̂ {found.pareto_k:.2f}"]),
        *([] if found.r_hat is None else [f"R̂ {found.r_hat:.3f}"]),
        f"{found.ess:,.0f} effective draws",
        *([] if made.typical_noise_factor is None else [f"noise {made.typical_noise_factor:.3g} times the declared"]),
    ]
    message(f"posterior by {found.method}: {', '.join(numbers)}, {_in_seconds(made.seconds)}")


def _in_seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 10 else f"{value:.2g} s"


def _end(value: float, of: ParameterPosterior) -> str:
    """An end of a prior, as roughly as its width allows."""
    return digits(value, (of.largest - of.least) / 10) if math.isfinite(value) else f"{value:g}".replace("inf", "∞")


def digits(value: float | None, error: float | None) -> str:
    """A number with as many decimal places as show two digits of its error."""
    if value is None:
        return ""
    if error is None or not math.isfinite(error) or error <= 0 or max(abs(value), error) >= UNDETERMINED:
        return f"{value:.6g}" if error is None or error <= 0 else f"{value:.3g}"
    places = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:,.{places}f}" if places < 12 else f"{value:.6g}"

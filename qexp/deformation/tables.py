"""An observation and its estimated sources in tables and sentences, for terminals and notebooks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qexp.base.quantities import in_words, quantity_in_words
from qexp.base.text import Table
from qexp.deformation.options import CROWDED
from qexp.errors import some
from qexp.metrics.meaning import measured, number
from qexp.physics.instruments import INSTRUMENTS, RADAR

if TYPE_CHECKING:
    from qexp.deformation.inversion import Estimate
    from qexp.deformation.observe import TrackSummary

SAID = 0.05
"""Difference of two headings [°] from which on both are printed."""


def track_words(track: TrackSummary) -> str:
    """A track in a line."""
    instrument = INSTRUMENTS[track.kind]
    counted = instrument.data
    if instrument.imaging and track.points == 1:
        counted = "point"
    if track.stations is not None:
        counted += f" {some(track.stations, 8)}"
    if track.averaged is not None:
        counted = f"means of {track.averaged:,} points"
    masked = f", {track.masked:,} masked" if track.masked else ""
    (west, east), (south, north) = track.east, track.north
    extent = f"{(east - west) / 1000:.4g} × {(north - south) / 1000:.4g} km"
    view = ""
    if track.incidence is not None and track.heading is not None and track.true_heading is not None:
        view = f", incidence {track.incidence:.1f}°, heading {track.heading:.1f}°"
        if abs(track.heading - track.true_heading) >= SAID:
            view += f" from grid north ({track.true_heading:.1f}° from true north)"
        view += {"left": ", looking left", None: " if it looks right"}.get(track.look, "")
    unit = instrument.unit
    errors = f"RMS {track.rms:.4g} {unit}, error {track.error:.3g} {unit}"
    return f"{track.points:,} {counted}{masked}, {extent}{view}, {errors}"


def tables_of_tracks(tracks: Sequence[TrackSummary]) -> Iterator[Table]:
    """The tracks of an observation, and the correlated noise of those that have some."""
    columns = [
        "track",
        "points",
        "east (km)",
        "north (km)",
        "incidence (°)",
        "heading (°)",
        "RMS (m)",
        "error (m)",
    ]
    # Of lines of sight alone the heading is known if the satellite looks right, as nearly all do.
    unknown = any(track.incidence is not None and track.look is None for track in tracks)
    title = (
        "Headings are from true"
        f" north{', where nothing tells the look of a satellite that looks right' * unknown}."
    )
    rows, noises = [], []
    for track in tracks:
        sides = [
            f"{low / 1000:,.1f} to {high / 1000:,.1f}" for low, high in (track.east, track.north)
        ]
        incidence = "" if track.incidence is None else f"{track.incidence:.1f}"
        heading = "" if track.true_heading is None else f"{track.true_heading:.1f}"
        heading += ", looks left" if track.look == "left" else ""
        unit = INSTRUMENTS[track.kind].unit
        errors = _in_metres(track.rms, unit), _in_metres(track.error, unit)
        rows.append([track.name, f"{track.points:,}", *sides, incidence, heading, *errors])
        if (noise := track.noise) is not None:
            numbers = [noise.sill, noise.range / 1000, noise.nugget]
            noises.append([track.name, noise.type, *(f"{part:.3g}" for part in numbers)])
    yield Table(title, columns, rows, frozenset(columns[1:]))
    if noises:
        columns = ["noise", "type", "sill (m²)", "range (km)", "nugget (m²)"]
        yield Table("", columns, noises, frozenset(columns[2:]))


def _in_metres(value: float, unit: str) -> str:
    """A number of a column in metres, with its unit if that is another."""
    return f"{value:.3g}" if unit == "m" else f"{value:.3g} {unit}"


LONG = 1e4
"""Values without an error from here on are written in full, as metres are."""
UNDETERMINED = 1e9
"""From here on the data hardly determine values and errors, whose digits would fill the table."""


def tables(record: Mapping[str, Any]) -> Iterator[Table]:
    """The parameters, the tracks, the posterior and the rivals of the record of an inversion, as
    far as there are any.
    """
    from qexp.deformation.inversion import Estimate  # loads numpy

    parameters = record["parameters"].items()
    yield table_of_parameters({name: Estimate.read(part) for name, part in parameters})
    columns = ["track", "points", "RMS (m)", "error (m)", "offset (m)"]
    rows = []
    posterior = record.get("posterior") or {}
    tested = posterior.get("p_values")
    several = any(track.get("factor") for track in record["tracks"].values())
    for name, track in record["tracks"].items():
        error = track["offset_error"]
        offset = "" if error is None else measured(track["offset"], error)
        factor = measured(*track["factor"]) if track.get("factor") else ""
        unit = INSTRUMENTS[track.get("kind", RADAR)].unit
        errors = _in_metres(track["rms"], unit), _in_metres(track["error"], unit)
        row = [name, f"{track['n']:,}", *errors, offset]
        row += [factor] * several
        rows.append([*row, f"{tested[name]['p_value']:.2g}"] if tested else row)
    columns += ["factor"] * several  # of the source's displacement, 1 for right data
    columns += ["predictive p"] * bool(tested)
    yield Table("", columns, rows, frozenset(columns[1:]))
    if posterior:
        yield table_of_posterior(posterior)
    if posterior.get("sensitivity"):
        yield table_of_sensitivity(posterior["sensitivity"])
    if record.get("comparison"):
        yield table_of_rivals(record["comparison"])
    yield from _tables_of_all(record)


def table_of_rivals(rivals: Sequence[Mapping[str, Any]]) -> Table:
    """Sources by their criteria, and by their evidence if their posteriors are known."""
    columns = ["source", "unknowns", "reduced χ²", "ΔAICc", "ΔBIC"]
    rows = []
    for rival in rivals:
        size = str(rival["unknowns"]), number(rival["chi2_reduced"])
        differences = [f"{rival[key]:.1f}" for key in ("delta_aicc", "delta_bic")]
        rows.append([rival["source"], *size, *differences])
    if "probability" in rivals[0]:
        columns += ["ln evidence", "probability"]
        shares = [rival["probability"] for rival in rivals]
        for row, rival, share in zip(rows, rivals, shares, strict=True):
            evidence = measured(rival["log_evidence"], rival["log_evidence_error"])
            row += [evidence, _share(share)]
        none = 1 - math.fsum(shares)
        rows.append(["no source", "0", "", "", "", "0", _share(none)])
    return Table("", columns, rows, frozenset(columns[1:]))


def _tables_of_all(record: Mapping[str, Any]) -> Iterator[Table]:
    """The priors of all sources, and the parameters that several have, if evidence is known."""
    sources: dict[tuple[str, ...], list[str]] = {}
    for rival in record.get("comparison", ()):
        for name, prior in rival.get("priors", {}).items():
            key = name, prior["unit"], _prior_words(prior)
            sources.setdefault(key, []).append(rival["source"])
    rows = [[*prior, ", ".join(names)] for prior, names in sources.items()]
    if rows:
        yield Table("", ["prior", "unit", "distribution", "sources"], rows)
    rows = []
    for row in record.get("averaged", ()):
        width = (row["high90"] - row["low90"]) / 3
        median, *ends = (digits(row[key], width) for key in ("median", "low90", "high90"))
        rows.append([row["parameter"], row["unit"], median, " to ".join(ends), row["sources"]])
    if rows:
        columns = ["averaged by probability", "unit", "median", "90 % interval", "sources"]
        yield Table("", columns, rows, frozenset(columns[2:3]))


def _prior_words(prior: Mapping[str, Any]) -> str:
    ends = [_end(end, prior["between"]) for end in prior["between"]]
    return f"{prior['distribution']}, {' to '.join(ends)}"


def _share(probability: float) -> str:
    """To the thousandth."""
    return f"{probability:.3f}" if probability >= 0.0005 else "< 0.001"


def table_of_parameters(parameters: Mapping[str, Estimate]) -> Table:
    columns = ["parameter", "unit", "value", "standard error", "scaled error", "95 % interval"]
    rows = []
    for name, estimate in parameters.items():
        errors = [
            digits(error, error) for error in (estimate.standard_error, estimate.scaled_error)
        ]
        if estimate.fixed or estimate.at_bound:
            errors = ["fixed" if estimate.fixed else "at bound", ""]
        elif estimate.scaled_error is not None and not estimate.has_error:
            errors = ["see interval", ""]
        rows.append([name, estimate.unit, _value(estimate), *errors, _interval(estimate)])
    return Table("", columns, rows, frozenset(columns[2:5]))


def values_in_words(parameters: Mapping[str, Estimate]) -> Iterator[str]:
    """Each parameter with its 95 % interval and unit."""
    for name, estimate in parameters.items():
        interval = _interval(estimate)
        value = _value(estimate) + (f" ({interval})" if interval else "")
        yield f"{name} {value} {estimate.unit}".rstrip()


def sentences(record: Mapping[str, Any]) -> Iterator[str]:
    """How well the sources explain the data, and how they, and draws from a posterior, were
    found.
    """
    if posterior := record.get("posterior"):
        yield sampling_words(posterior)
    searched = f"{record['starts_in_this_minimum']} of {record['starts']} starts ended there, "
    searched *= record["starts"] > 1
    rivals = record.get("comparison", ())
    if rivals and "probability" in rivals[0]:
        yield (
            "ln evidence: over that of no source, by the prior of each; before the data all sources"
            " and none count as equally likely"
        )
    if record.get("detection") and record["detection"]["seen"]:  # else it is a remark
        yield detection_words(record["detection"])
    if record.get("detectable"):
        yield detectable_words(record["detectable"])
    whole = sum(rival["seconds"] for rival in rivals)
    of_all = f" ({_in_seconds(whole)} for all sources)" if rivals else ""
    yield (
        f"{record['source']}: {chi2_words(record['chi2_reduced'])}, {searched}"
        f"{record['iterations']} iterations, {_in_seconds(record['seconds'])}{of_all}"
    )


def detection_words(found: Mapping[str, Any]) -> str:
    """Whether a source is seen, and how often noise alone shows one as strong."""
    least = "less than " * (found["p_value"] <= found["least_p_value"])
    return (
        f"{'a' if found['seen'] else 'no'} source is seen at {100 * found['false_alarms']:g} % false"
        f" alarms: noise alone shows one as strong with a probability of {least}"
        f"{100 * found['p_value']:.2g} %"
    )


def detectable_words(least: Mapping[str, Any]) -> str:
    """The least amplitude that would be seen, at each depth below the place."""
    east, north = least["place"]
    words = []
    for depth, value in zip(least["depth"], least["least_at_place"], strict=True):
        if value is not None and math.isfinite(value):
            words.append(f"{quantity_in_words(value, least['unit'])} at {depth:g} km")
    if not words:
        depths = ", ".join(f"{depth:g}" for depth in least["depth"])
        return f"there can be no such source at depths of {depths} km: fix another one"
    probability = 100 * least["probability"]
    rate = 100 * least["false_alarms"]
    return (
        f"below {east:,.0f} east, {north:,.0f} north a {in_words(least['amplitude'])} of"
        f" {', of '.join(words)} would be seen with a probability of {probability:g} %"
        f" at {rate:g} % false alarms, of {least['known_over_searched']:.2g} times as much if place"
        " and depth were known"
    )


def chi2_words(value: float) -> str:
    """A reduced χ², to the hundredth where one looks for the difference from 1."""
    return f"reduced χ² {value:.2f}" if 0.095 <= value < 9.995 else f"reduced χ² {value:.3g}"


def _value(estimate: Estimate) -> str:
    """With the digits that its error leaves, and never 0 unless it is."""
    if estimate.scaled_error is not None and not estimate.has_error:
        return f"{estimate.value:.3g}"
    text = digits(estimate.value, estimate.scaled_error)
    return f"{estimate.value:.2g}" if estimate.value and not text.strip("-0.,") else text


def _interval(estimate: Estimate) -> str:
    """The 95 % interval; of one that the data do not limit on a side, the other end."""
    if estimate.interval95 is None:
        return ""
    low, high = estimate.interval95
    widths = [(high - low) / 4] * 2
    smaller, larger = sorted((abs(low), abs(high)))
    if low * high > 0 and larger > 10 * smaller:  # several magnitudes
        widths = [min(width, abs(end) / 10) for width, end in zip(widths, (low, high), strict=True)]
    if all(estimate.open_ends):
        return "not determined"
    least = digits(low, widths[0])
    most = digits(high, widths[1])
    if any(estimate.open_ends):
        return f"at most {most}" if estimate.open_ends[0] else f"at least {least}"
    return f"{least} to {most}"


def table_of_posterior(posterior: Mapping[str, Any]) -> Table:
    """The parameters of a posterior, by its `document`."""
    columns = ["posterior", "unit", "median", "95 % interval", "prior"]
    rows = []
    for name, parameter in (posterior["parameters"] | posterior.get("noise", {})).items():
        low, high = parameter["interval95"]
        width = (high - low) / 4
        ends = f"{digits(low, width)} to {digits(high, width)}"
        prior = _prior_words(parameter["prior"])
        share = parameter["prior"]["at_edge"]
        prior += f", {share:.0%} at its edge" if (share or 0) > CROWDED else ""
        median = digits(parameter["median"], width)
        rows.append([name, str(parameter["unit"]), median, ends, prior])
    return Table("", columns, rows, frozenset(columns[2:3]))


def table_of_sensitivity(sensitivity: Mapping[str, Any]) -> Table:
    """How much the posterior of each parameter depends on the priors and on the data.

    From 0.05 on they matter, and 0.08 is that of a parameter that depends on one alone, see
    `deformation.posterior.sensitivity`. The numbers are those of the document of a posterior.
    """
    columns = ["sensitivity", "to priors", "to data", "diagnosis"]
    rows = []
    for name, one in sensitivity.items():
        prior = f"{one['prior']:.2f}"
        data = f"{one['data']:.2f}"
        rows.append([name, prior, data, one["diagnosis"]])
    return Table("", columns, rows, frozenset(columns[1:3]))


def sampling_words(posterior: Mapping[str, Any]) -> str:
    """How the draws were found, and whether they can be trusted."""
    forms = {"pareto_k": "Pareto k̂ {:.2f}", "r_hat": "R̂ {:.3f}"}
    forms |= {"ess": "{:,.0f} effective draws", "draws": "{:,} kept"}
    forms |= {"noise_factor": "noise {:.3g} times the declared"}
    known = {key: value for key, value in posterior.items() if value is not None}
    words = [form.format(known[key]) for key, form in forms.items() if key in known]
    words.append(_in_seconds(posterior["seconds"]))
    return f"posterior by {posterior['method']}: {', '.join(words)}"


def _in_seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 10 else f"{value:.2g} s"


def _end(value: float | None, ends: Sequence[float | None]) -> str:
    """An end of a prior, as roughly as its width allows; null in a file is infinite."""
    low, high = (math.inf if end is None else end for end in ends)
    if value is not None and math.isfinite(value):
        return digits(value, (high - low) / 10)
    return "∞" if value is None or value > 0 else "-∞"


def digits(value: float | None, error: float | None) -> str:
    """A number with as many decimal places as show two digits of its error."""
    if value is None:
        return ""
    if error is None and LONG <= abs(value) < UNDETERMINED:  # a position, by a network
        return f"{value:,.0f}"
    if error is None or error <= 0:
        return f"{value:.6g}"
    if not math.isfinite(error) or max(abs(value), error) >= UNDETERMINED:
        return f"{value:.3g}"
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:,.{decimals}f}" if decimals < 12 else f"{value:.6g}"

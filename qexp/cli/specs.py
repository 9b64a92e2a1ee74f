"""qexp init, specs, schema, tables, validate, data"""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from qexp import api
from qexp.base.machine import terminable
from qexp.base.options import argument, option, part_of
from qexp.cli.console import (
    JSON,
    NETWORK,
    TO,
    WORKSPACE,
    arranged,
    message,
    on_a_cluster,
    print_json,
    print_network,
    print_parts,
    print_sentence,
    print_submitted,
    print_table,
    result,
    warning,
)
from qexp.errors import NotFoundError, QexpError, some, suggestion
from qexp.examples.options import IceOptions, ObservationOptions, XrfOptions
from qexp.kinds.options import (
    NewOptions,
    ShowImagesOptions,
    ShowOptions,
    SimulateOptions,
    SubmitSimulationsOptions,
)
from qexp.spec.schema import HEADINGS, rows_of

if TYPE_CHECKING:
    from qexp.base.quantities import Quantities, Quantity
    from qexp.base.tables import Entry


def init(
    directory: Path = argument(..., "Directory of the new workspace."),
    kind: list[str] = option(
        (),
        "The examples of one tutorial alone, or empty folders. Repeat for more; all"
        " examples if left out.",
        "volcano|rows|fields|spectra|bare",
        complete="examples",
    ),
) -> None:
    api.init(directory, kind=kind)
    first = sorted(path.stem for path in (directory / "specs/experiences").glob("*.json"))
    if not first:
        places = f"{directory / 'specs'}/datasets, models and experiences"
        data = f"files of data into {directory / 'data'}"
        message(f"created a workspace; put your specs into {places}, and {data}")
        return
    there = f"  cd {shlex.quote(str(directory))}\n" if directory.resolve() != Path.cwd() else ""
    name = "mogi_quick" if "mogi_quick" in first else first[0]
    fewer = "" if kind else " of all kinds (--kind volcano and others make smaller ones)"
    message(f"created a workspace with examples{fewer}; next:\n{there}  qexp run {name} --seed 0")


def new(options: NewOptions) -> None:
    home = options.home
    written = api.new(**vars(options))
    result(*map(home.shown, written))
    if any(json.loads(path.read_text()).get("missing") == "drop" for path in written):
        how = '"missing": "median" in the dataset would fill in those of inputs'
        message(f"rows with gaps are left out; {how}")
    follows = "new experience" if options.kind == "dataset" else "run"
    message(f"next: look through the specs, then: qexp {follows} {shlex.quote(written[0].stem)}")


def specs(
    kind: str | None = argument(
        None, "A kind of spec; all if left out.", "dataset|model|experience", complete="kinds"
    ),
    as_json: bool = JSON,
    workspace: str | None = WORKSPACE,
) -> None:
    """List the workspace's datasets, models and experiences, with their descriptions and numbers of
    runs.
    """
    specs = api.specs(kind, workspace=workspace)
    if as_json:
        print_json(specs)
        return
    rows = [[spec["kind"], spec["name"], str(spec["runs"]), spec["description"]] for spec in specs]
    if rows:
        print_table(["kind", "name", "runs", "description"], rows, right=["runs"])
    else:
        message("no specs; qexp init makes a workspace with examples")
    warning(*(spec["problem"] for spec in specs if spec["problem"]))


def schema(
    kind: str = argument(..., "The kind of spec.", "dataset|model|experience", complete="kinds"),
    workspace: str | None = WORKSPACE,
) -> None:
    """Print the JSON Schema of a kind of spec, including the parameters of table entries, for use
    in editors.
    """
    print_json(api.schema(kind, workspace=workspace))


def tables(
    table: str | None = argument(
        None, "A table, such as modules or quantities; all tables if left out.", complete="tables"
    ),
    name: str | None = argument(
        None, "An entry of the table, to show its parameters and an example.", complete="entries"
    ),
    as_json: bool = JSON,
    workspace: str | None = WORKSPACE,
) -> None:
    """Show the names that specs may use: tables, their entries, parameters, defaults and an
    example.
    """
    tables = api.tables(workspace=workspace)
    if table == "quantities":
        _print_quantities(tables["quantities"], name, as_json)
        return
    if table is None:
        if as_json:
            print_json({key: list(entries) for key, entries in tables.items()})
        else:
            print_table(
                ["table", "entries"], [[key, ", ".join(entries)] for key, entries in tables.items()]
            )
        return
    if table not in tables:
        raise NotFoundError(f"no table '{table}'; {suggestion(table, tables)}")
    entries = tables[table]
    if name is not None and name not in entries:
        raise NotFoundError(f"no entry '{name}' in {table}; {suggestion(name, entries)}")
    chosen = entries if name is None else {name: entries[name]}
    if as_json:
        print_json({key: _document(entry) for key, entry in chosen.items()})
    elif name is None:
        print_table(["name", "what it is"], [[key, entry.help] for key, entry in entries.items()])
    else:
        print_sentence(f"{name}: {entries[name].help}")
        if rows := list(rows_of(entries[name].schema())):
            result("")
            print_table(list(HEADINGS), rows)
        result("")
        print_sentence(f"example: {json.dumps(dict(entries[name].example))}")


def _document(entry: Entry) -> dict[str, Any]:
    return {"help": entry.help, "parameters": entry.schema(), "example": dict(entry.example)}


def _quantity_document(quantity: Quantity) -> dict[str, Any]:
    keys = ("unit", "si_factor", "description", "plausible")
    return {key: getattr(quantity, key) for key in keys}


def _print_quantities(quantities: Quantities, name: str | None, as_json: bool) -> None:
    if name is not None and name not in quantities:
        raise NotFoundError(f"no quantity '{name}'; {suggestion(name, quantities)}")
    chosen = quantities if name is None else {name: quantities[name]}
    if as_json:
        print_json({key: _quantity_document(quantity) for key, quantity in chosen.items()})
        return
    rows = []
    for key, quantity in chosen.items():
        plausible = "" if quantity.plausible is None else "{:g} to {:g}".format(*quantity.plausible)
        factor = f"{quantity.si_factor:g}"
        rows.append([key, quantity.unit, factor, plausible, quantity.description])
    print_table(["variable", "unit", "in SI", "plausible", "meaning"], rows, right=["in SI"])


def validate(
    files: list[Path] = argument(
        (),
        "Spec files to check, or names of specs; all of specs/ if left out.",
        shell=list[Path],
        complete="spec_files",
    ),
    network: bool = NETWORK,
    to: Path | None = TO,
    workspace: str | None = WORKSPACE,
) -> None:
    """Check spec files for everything that can be checked without training; exit with 2 if there
    are problems.
    """
    if (network or to is not None) and len(files) != 1:
        raise QexpError("--network shows one network; name one model or experience")
    validation = api.validate(files, workspace=workspace)
    warning(*validation.remarks())
    message(*validation.problems, validation.in_words)
    if (network or to is not None) and not validation.problems:
        print_network(api.network(files[0], workspace=workspace), to)
    raise typer.Exit(2 if validation.problems else 0)


# qexp data


@arranged(described="show_data")
def data_show(samples: ShowOptions, images: ShowImagesOptions, as_json: bool = JSON) -> None:
    """--at and --over draw images of simulated sources at chosen values instead: one, or a grid of
    them.
    """
    home = samples.home
    if images.at or images.over or images.noise:
        usual = replace(samples, part=None, count=ShowOptions.count, experience=None)
        if samples.dataset is None or samples != usual or as_json:
            alone = "leave out --part, --experience, --count and --json"
            raise QexpError(f"--at, --over and --noise take a dataset alone; {alone}")
        result(*map(home.shown, api.show_images(**vars(images))))
        return
    look = api.show_data(**vars(samples))
    figures = [home.shown(path) for path in look.figures]
    message(*look.remarks)
    if as_json:
        about: dict[str, Any] = {"name": look.name, "part": look.part, "parts": list(look.parts)}
        about |= {"caution": look.caution, "variables": list(look.summary)}
        print_json({**about, "proposal": look.proposal, "figures": figures})
        return
    others = [part for part in look.parts if part != look.part]
    words = f"other parts: {some(others, 8)}" if others else "the only part"
    message(f"{look.name}, {look.part} ({words})")
    print_parts(look.tables())
    if look.proposal is not None:
        message("typical values, from the 99th percentile of the sizes:")
        result(json.dumps(look.proposal, ensure_ascii=False))
    result(*figures)


@arranged(described="simulate")
def data_simulate(options: SubmitSimulationsOptions) -> None:
    if on_a_cluster(options):
        print_submitted(api.submit_simulations(**vars(options)), options.home)
        return
    with terminable():
        made = api.simulate(**part_of(options, SimulateOptions))
    result(*map(options.home.shown, made))


@arranged(described="make_ice")
def data_ice(options: IceOptions) -> None:
    with terminable():
        glaciers = api.make_ice(**vars(options))
    result(*(glacier.folder for glacier in glaciers))
    steps = sum(glacier.steps for glacier in glaciers)
    seconds = sum(glacier.seconds for glacier in glaciers)
    each = f"{steps:,} time steps, {seconds / (len(glaciers) * options.frames):.2g} s a frame"
    message(f"{len(glaciers)} glaciers of {options.frames} frames in {seconds:.3g} s: {each}")


@arranged(described="make_xrf")
def data_xrf(options: XrfOptions) -> None:
    started = time.perf_counter()
    with terminable():
        spectra = api.make_xrf(**vars(options))
    result(*spectra.folders)
    seconds = time.perf_counter() - started
    labelled = f"{spectra.labelled:,} of them with CaCO3 and TOC, in {seconds:.3g} s"
    message(f"{spectra.spectra:,} spectra of {options.cores} cores, {labelled}")


@arranged(described="make_observation")
def data_observation(options: ObservationOptions) -> None:
    with terminable():
        made = api.make_observation(**vars(options))  # type: ignore[no-untyped-call]  # of options that extend others mypy loses the signature
    result(made.folder)
    message(f"read it with:\n  {made.command}")

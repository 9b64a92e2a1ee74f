"""What the shell completes: names of runs, specs, tables and their entries, states and columns.

It reads names of files and a list of the names of tables; it imports nothing that takes time and
writes nothing. Where it cannot read, it offers nothing: the line that is being typed is no place
for an error.
"""

from __future__ import annotations

import ast
import functools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import typer

from qexp.base.text import leaves
from qexp.base.workspace import Workspace, find
from qexp.errors import QexpError

PLAIN = re.compile(r"[A-Za-z0-9_.,+=/-]+")
"""Words that no shell takes for anything else; others need quotes, and are left to be typed."""

NAMES = Path(__file__).with_name("names.json")

Names = Callable[[typer.Context, str], Iterable[str]]
Completion = Callable[[typer.Context, str], list[str]]


def _offer(names: Names) -> Completion:
    """The names that begin as typed, in order."""

    @functools.wraps(names)
    def offer(ctx: typer.Context, incomplete: str) -> list[str]:
        try:
            typed = {name for name in names(ctx, incomplete) if name.startswith(incomplete)}
            return sorted(filter(PLAIN.fullmatch, typed))
        except (QexpError, OSError, SyntaxError, ValueError):
            return []

    return offer


@_offer
def runs(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    # The names of ten thousand directories are there in a twentieth of the time that their catalog
    # takes to read.
    with os.scandir(_workspace(ctx).runs) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith(incomplete) and not name.startswith(".") and entry.is_dir():
                yield name


@_offer
def run_and_files(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """A run as the first word, then files and folders, which a shell that is given words lacks."""
    if not (ctx.params.get("run_and_files") or ctx.params.get("run")):
        return runs(ctx, incomplete)
    folder, name = os.path.split(incomplete)
    with os.scandir(folder or ".") as entries:
        shown = [entry for entry in entries if name[:1] == "." or entry.name[:1] != "."]
        return [f"{Path(folder, entry.name)}{os.sep * entry.is_dir()}" for entry in shown]


def _specs(folder: str) -> Completion:
    def names(ctx: typer.Context, incomplete: str) -> list[str]:
        return [path.stem for path in (_workspace(ctx).specs / folder).glob("*.json")]

    return _offer(names)


experiences, datasets, models = map(_specs, ("experiences", "datasets", "models"))


@_offer
def runs_and_datasets(ctx: typer.Context, incomplete: str) -> list[str]:
    return [*runs(ctx, incomplete), *datasets(ctx, incomplete)]


@_offer
def spec_files(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    for kind in ("datasets", "models", "experiences"):
        yield from map(os.path.relpath, (_workspace(ctx).specs / kind).glob("*.json"))


def _choices(what: str) -> Completion:
    """One of the lists of words that are known beforehand."""
    return _offer(lambda ctx, incomplete: written_names()["choices"][what])


kinds = _choices("kinds of specs")
examples = _choices("kinds of examples")
states = _choices("states")
formats = _choices("export formats")
figure_formats = _choices("figure formats")
weight_rules = _choices("rules of weights")
parts = _choices("parts")
figures = _choices("figures")
"""Of all kinds of dataset: the spec of a run is not read while a line is being typed."""


@_offer
def evaluations(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    """Evaluations of the runs that the line names so far, or of all runs."""
    names = ctx.params.get("runs") or []
    folder = _workspace(ctx).runs
    for run in [folder / name for name in names] if names else folder.iterdir():
        if (run / "evaluations").is_dir():
            yield from _folders(run / "evaluations")


devices = _offer(lambda ctx, incomplete: ("auto", "cpu", "cuda"))
tables = _offer(lambda ctx, incomplete: written_names()["tables"])
entries = _offer(lambda ctx, incomplete: _entries_of(ctx.params.get("table"), ctx))
sources = _offer(lambda ctx, incomplete: _entries_of("generators", ctx))
metrics = _offer(lambda ctx, incomplete: _entries_of("metrics", ctx))


def _entries_of(table: str | None, ctx: typer.Context) -> Iterator[str]:
    from qexp.spec.extensions import dictionaries_in

    built_in: dict[str, list[str]] = written_names()["tables"]
    if table is None or table not in built_in:
        return
    yield from built_in[table]
    with suppress(QexpError, FileNotFoundError):  # without a workspace, or without extensions
        own = dictionaries_in(ast.parse(_workspace(ctx).extensions.read_bytes()))
        yield from filter(lambda key: isinstance(key, str), own.get(table.upper(), ()))


@_offer
def keys(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    """Keys of the specs, or of the run's spec, that the line names so far, behind , or +."""
    specs = [_resolved(ctx, name) for name in ctx.params.get("experiences") or ctx.args]
    return _keys_of([*specs, *_specs_of_runs(ctx)], incomplete)


@_offer
def keys_of_pretraining(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    name = ctx.params.get("pretrain_experience")
    return _keys_of([_resolved(ctx, name)] if name else [], incomplete)


def _keys_of(experiences: Iterable[dict[str, Any]], incomplete: str) -> Iterator[str]:
    typed = incomplete[: max(map(incomplete.rfind, ",+")) + 1]
    for experience in filter(None, experiences):
        keys = written_names()["choices"]["keys of experiences"]
        for path in (*keys, *(path for path, _ in leaves(experience))):
            yield f"{typed}{path}="


@_offer
def variables(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    """Variables of the dataset that the line names so far, or of that of its run."""
    if name := ctx.params.get("dataset"):
        from qexp.spec.resolution import locate, spec_in

        documents = [
            spec_in("dataset", locate("dataset", name, _workspace(ctx)), _workspace(ctx)).document
        ]
    else:
        documents = [spec.get("dataset", {}) for spec in _specs_of_runs(ctx)]
    for document in documents:
        for key in ("varyings", "fixed", "distributions"):
            yield from (f"{variable}=" for variable in document.get(key, ()))


def _specs_of_runs(ctx: typer.Context) -> list[dict[str, Any]]:
    """The spec of the run that the line names; words before an incomplete option are in `args`."""
    from qexp.base.formats import object_in

    runs: list[str] = []
    for name in ("run", "runs"):
        named = ctx.params.get(name) or ()
        runs += [named] if isinstance(named, str) else named
    first = [*runs, *ctx.args][:1]
    return [object_in(_workspace(ctx).runs / run / "spec.json") for run in first]


def _resolved(ctx: typer.Context, name: str) -> dict[str, Any]:
    """An experience with what it extends, its dataset and its model; empty if it cannot be read."""
    from qexp.spec.resolution import experience

    with suppress(QexpError):
        return experience(name, [], _workspace(ctx)).document
    return {}


@_offer
def columns(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    """The last of names with commas between them: fields of records, results, keys of specs."""
    typed, comma, _ = incomplete.rpartition(",")
    return (f"{typed}{comma}{name}" for name in _fields(_workspace(ctx).runs))


launches = _offer(lambda ctx, incomplete: ["last", *_folders(_workspace(ctx).runs / ".launches")])
actions = _offer(lambda ctx, incomplete: list(_workspace(ctx).settings().get("actions", {})))


@_offer
def launchers(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    from qexp.jobs.launchers import LAUNCHERS

    return LAUNCHERS.names()


@_offer
def profiles(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Of all schedulers: the tables in their tables of qexp.toml."""
    from qexp.jobs.launchers import all_profiles

    return {
        name for profiles in all_profiles(_workspace(ctx).settings()).values() for name in profiles
    }


@_offer
def trashed(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Removed runs: by their name, which means the newest, and by their name in the trash."""
    folders = _folders(_workspace(ctx).runs / ".trash")
    return {*folders, *(name.rpartition("--")[0] for name in folders)} - {""}


def _folders(path: Path) -> list[str]:
    return [entry.name for entry in os.scandir(path)]


def _fields(folder: Path) -> Iterator[str]:
    """Fields that all runs have, and those of the first run with results: others are much alike."""
    from qexp.runs.catalog import KEPT
    from qexp.store.directory import RunDirectory

    yield from (*KEPT, "size")
    for path in folder.iterdir():
        run = RunDirectory(path)
        if path.name.startswith(".") or not run.record_file.is_file():
            continue
        try:
            results = run.record().results
            spec = run.spec()
        except QexpError:
            continue
        if results:
            others = {key: value for key, value in spec.items() if key != "model"}
            yield from (path for path, _ in [*leaves(results), *leaves(others)])
            return


def _workspace(ctx: typer.Context) -> Workspace:
    """The workspace that the line names, before or after the command, else the one found."""
    contexts = [ctx, ctx.parent] if ctx.parent else [ctx]
    return find(
        next((each.params["workspace"] for each in contexts if each.params.get("workspace")), None)
    )


def written_names() -> dict[str, Any]:
    """What commands are for, and names of tables and choices, as `qexp.cli.names` wrote them."""
    names: dict[str, Any] = json.loads(NAMES.read_bytes())
    return names

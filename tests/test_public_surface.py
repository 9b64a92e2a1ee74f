"""What others build on, compared with a kept list: what is not in it any more breaks somebody's
script, spec or run.

`docs/explanation/stability.md` says for how long each part stays.
"""

import inspect
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from difflib import unified_diff
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import qexp
from qexp import api, errors, extend, testing
from qexp.base.quantities import QUANTITIES
from qexp.cli import app
from qexp.jobs.launchers import LAUNCHERS
from qexp.kinds.tables import BUILT_IN
from qexp.observations.readers import READERS
from qexp.spec.resolution import FOLDERS
from qexp.spec.schema import whole_schema
from qexp.store.record import Record

KEPT = Path(__file__).with_suffix(".txt")

WHAT_TO_DO = """the public surface is not the kept one. Lines with + are new: write them down with

    python -m tests.test_public_surface

and add a line to CHANGELOG.md. Lines with - are gone or changed, which breaks what somebody wrote for an earlier
version: keep them, or deprecate them as docs/explanation/stability.md says."""


def test_the_public_surface_is_the_kept_one():
    difference = list(
        unified_diff(KEPT.read_text(encoding="utf-8").splitlines(), [*lines()], "kept", "now", n=0)
    )
    assert difference == [], "\n".join([WHAT_TO_DO, *difference])


@pytest.mark.parametrize("file", ["CITATION.cff", "packaging/conda/meta.yaml"])
def test_the_version_is_the_same_wherever_it_is_said(file):
    said = re.findall(
        r'^ *version: "?([^"\n]+)',
        (KEPT.parents[1] / file).read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert said == [qexp.__version__]
    released = (KEPT.parents[1] / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(
        rf"^## {re.escape(qexp.__version__)} \(\d{{4}}-\d\d-\d\d\)$", released, re.MULTILINE
    )


def test_conda_has_the_requirements_of_pip():
    root = KEPT.parents[1]
    said = (
        (root / "packaging/conda/meta.yaml")
        .read_text(encoding="utf-8")
        .partition("  run:\n")[2]
        .partition("\n\n")[0]
    )
    other_names = {
        "pytorch": "torch",
        "matplotlib-base": "matplotlib",
        "lazy_loader": "lazy-loader",
    }
    needed = {
        other_names.get(name, name) + version
        for name, version in re.findall(r"- (\S+) (>=\S+)", said)
    }
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert needed == {*project["dependencies"], f"python{project['requires-python']}"}


def lines() -> Iterator[str]:
    for title, part in {
        "Python: import qexp": of_python(),
        "Python: qexp.extend, for specs/extensions.py and packages": of_module(extend),
        "Python: qexp.testing": of_module(testing),
        "commands and options": of_command("qexp", get_command(app)),
        "exit codes": (f"{code} {name}" for code, name in sorted(exit_codes())),
        "keys of specs": of_specs(),
        "tables: entries and their parameters": of_tables(),
        "keys of run.json": sorted(field.name for field in fields(Record)),
    }.items():
        yield from (f"# {title}", *part, "")


def signature(thing: Any) -> str:
    """Names and defaults; annotations may become wider."""
    parameters = [
        each for each in inspect.signature(thing).parameters.values() if each.name != "self"
    ]
    plain = str(
        inspect.Signature([each.replace(annotation=inspect.Parameter.empty) for each in parameters])
    )
    return re.sub(r"<function (\w+) at \w+>", r"\1", plain)


def of_python() -> Iterator[str]:
    offered = {name: getattr(qexp, name) for name in sorted(qexp.__all__)}
    classes = {
        name: thing for name, thing in {**vars_of(api), **offered}.items() if inspect.isclass(thing)
    }
    for name, thing in offered.items():
        yield f"{name}{signature(thing)}" if callable(thing) else name
    for name, kind in sorted(classes.items()):
        yield from (f"{name}.{member}" for member in of_class(kind))


def of_class(kind: type) -> Iterator[str]:
    """Its public fields, properties and methods, those of classes of ours above it included."""
    own = {name: member for each in reversed(kind.__mro__) if each.__module__.startswith("qexp") for name, member in
           vars(each).items()}  # fmt: skip
    names = {*own, *((field.name for field in fields(kind)) if is_dataclass(kind) else ())}
    for name in sorted(name for name in names if name[0] != "_"):
        yield f"{name}{signature(own[name])}" if inspect.isfunction(own.get(name)) else name


def vars_of(module: Any) -> dict[str, Any]:
    return {name: getattr(module, name) for name in dir(module) if name[0] != "_"}


def of_module(module: Any) -> Iterator[str]:
    for name, thing in sorted(vars_of(module).items()):
        if not inspect.ismodule(thing) and getattr(thing, "__module__", "qexp").startswith("qexp"):
            yield f"{name}{signature(thing)}" if inspect.isfunction(thing) else name


def of_command(path: str, command: Any) -> Iterator[str]:
    context = command.context_class(command)
    if hasattr(command, "list_commands"):
        for name in sorted(command.list_commands(context)):
            found = command.get_command(context, name)
            if found is not None and not found.hidden:
                yield from of_command(f"{path} {name}", found)
        return
    words = [
        param.make_metavar(context)
        for param in command.params
        if param.param_type_name == "argument"
    ]
    yield " ".join([path, *words])
    for option in sorted(
        option for param in command.params for option in (*param.opts, *param.secondary_opts)
    ):
        if option.startswith("-"):
            yield f"{path} {option}"


def exit_codes() -> Iterator[tuple[int, str]]:
    for name, thing in vars(errors).items():
        if inspect.isclass(thing) and issubclass(thing, errors.QexpError):
            yield thing.exit_code, name


def of_specs() -> Iterator[str]:
    for kind in FOLDERS:
        schema = whole_schema(kind, BUILT_IN)
        yield from sorted({f"{kind}: {key}" for key in keys_in(schema, "")})


def keys_in(schema: Any, path: str) -> Iterator[str]:
    """Every key that a schema describes, with those around it; the parameters of table entries are
    in the tables.
    """
    for key, value in schema.get("properties", {}).items():
        if key not in ("parameters", "$schema"):
            yield f"{path}{key}"
            yield from keys_in(value, f"{path}{key}.")
    for name, definition in schema.get("$defs", {}).items():
        yield from keys_in(definition, f"{name}.")
    for part in ("allOf", "anyOf", "oneOf"):
        for each in schema.get(part, ()):
            yield from keys_in(each, path)
    for part in ("then", "else", "items", "additionalProperties"):
        if isinstance(schema.get(part), dict):
            yield from keys_in(schema[part], path)


def of_tables() -> Iterator[str]:
    for table, entries in BUILT_IN.items():
        for name, entry in sorted(entries.items()):
            unit = f" [{entry.unit}]" if entries is QUANTITIES else ""
            yield (
                f"{table}: {name}{unit}"
                if entries is QUANTITIES
                else f"{table}: {name}({parameters_of(entry)})"
            )
    for table in (LAUNCHERS, READERS):
        yield from (f"{table.name}: {name}" for name in sorted(table.built_in))


def parameters_of(entry: Any) -> str:
    """Required ones, and the others with their defaults."""
    given = entry.parameters.get("properties", {})
    return ", ".join(
        f"{name}={entry.defaults[name]!r}" if name in entry.defaults else name
        for name in sorted(given)
    )


if __name__ == "__main__":
    KEPT.write_text("\n".join(lines()) + "\n", encoding="utf-8")

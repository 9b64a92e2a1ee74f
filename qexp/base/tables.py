"""Tables: literal dictionaries from a name in a spec to an `Entry`, which knows how to build an
object.

The positional-only arguments of a builder come from the program, such as the shape of an input; all
others are the parameters of the spec, so that they and their defaults can be read from the
builder's signature.
"""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Self, TypeVar

from qexp.errors import QexpError, suggestion

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


Schema = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """An entry of a table: what a name in a spec stands for."""

    build: Callable[..., Any]
    """Builds the object. Positional-only arguments are the program's, all others the spec's."""
    parameters: Mapping[str, Any]
    """JSON Schema of the parameters; see `properties`."""
    help: str
    """A sentence for readers."""
    example: Mapping[str, Any]
    """A description as in a spec; a test validates and builds it."""

    @classmethod
    def documented(
        cls,
        build: Callable[..., Any],
        example: Mapping[str, Any],
        /,
        **parameters: Mapping[str, Any],
    ) -> Self:
        """An entry with the first paragraph of its builder's docstring as its help, and with the
        schemas of these parameters.
        """
        words = " ".join((inspect.getdoc(build) or "").partition("\n\n")[0].split())
        return cls(build, properties(**parameters), words, example)

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Optional parameter → its default, from the builder's signature."""
        defaults = {}
        for name, parameter in inspect.signature(self.build).parameters.items():
            has_default = parameter.default is not inspect.Parameter.empty
            if has_default and name in self.parameters.get("properties", {}):
                defaults[name] = parameter.default
        return defaults

    @cached_property
    def required(self) -> list[str]:
        """Parameters without a default in the builder's signature, which a spec must give."""
        if "required" in self.parameters:
            return list(self.parameters["required"])
        declared = self.parameters.get("properties", {})
        names = [name for name in inspect.signature(self.build).parameters if name in declared]
        return [name for name in names if name not in self.defaults]

    def schema(self) -> Schema:
        """The whole JSON Schema of the parameters; unknown ones are errors."""
        properties = {}
        for name, schema in self.parameters.get("properties", {}).items():
            properties[name] = dict(schema)
            if name in self.defaults:
                properties[name]["default"] = self.defaults[name]
        return {
            "type": "object",
            "x-noun": "parameter",
            **self.parameters,
            **({"required": self.required} if self.required else {}),
            "properties": properties,
            "additionalProperties": False,
        }


def properties(**schemas: Mapping[str, Any]) -> Schema:
    """The `parameters` of an entry: parameter of the spec → its JSON Schema."""
    return {"properties": schemas}


def integer(
    description: str = "", least: int | None = None, most: int | None = None, **more: Any
) -> Schema:
    """The JSON Schema of a whole number between two bounds."""
    return _schema("integer", description, minimum=least, maximum=most, **more)


def number(
    description: str = "",
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    **more: Any,
) -> Schema:
    """The JSON Schema of a number: at least or above one bound, at most or below another."""
    bounds: Schema = {
        "minimum": least,
        "maximum": most,
        "exclusiveMinimum": above,
        "exclusiveMaximum": below,
    }
    return _schema("number", description, **bounds, **more)


def array(
    items: Mapping[str, Any],
    description: str = "",
    least: int = 1,
    most: int | None = None,
    **more: Any,
) -> Schema:
    """The JSON Schema of a list with a number of items between two bounds."""
    return _schema(
        "array",
        description,
        items=dict(items),
        minItems=least,
        maxItems=most,
        **more,
    )


def choice(values: Iterable[Any], description: str = "", **more: Any) -> Schema:
    """The JSON Schema of one of several values."""
    return _schema(None, description, enum=list(values), **more)


def _schema(
    kind: str | None,
    description: str,
    left_out: str | None = None,
    message: str | None = None,
    **rest: Any,
) -> Schema:
    """A JSON Schema without what is None.

    left_out  where the parameter is not written into a resolved spec; see `long_form`
    message   what is wrong with a value that does not fit, in place of words for its limits
    """
    words = {"x-left-out": left_out, "x-message": message, "description": description or None}
    schema = {"type": kind, **rest, **words}
    return {key: value for key, value in schema.items() if value is not None}


Table = Mapping[str, Entry]

Tables = Mapping[str, Mapping[str, Any]]
"""Name → table. The table `quantities` maps a variable to its `quantities.Quantity`; all others
hold entries.
"""


def built(table: Table, description: Mapping[str, Any], *context: Any) -> Any:
    """Build what `{"type": …, "parameters": …}` describes; `context`: the positional arguments."""
    return table[description["type"]].build(*context, **description.get("parameters", {}))


def built_within(table: Table, noun: str, entry: str | Mapping[str, Any]) -> Any:
    """Build what a parameter of another entry describes, which no schema has checked.

    noun   what the table holds, such as `transform`
    entry  a name, or `{"type": …, "parameters": …}`
    Raises ValueError for an unknown name or parameter.
    """
    description = {"type": entry} if isinstance(entry, str) else entry
    name = str(description.get("type", ""))
    if name not in table:
        raise ValueError(f"no {noun} '{name}'; {suggestion(name, table)}")
    try:
        return built(table, description)
    except TypeError as error:
        raise ValueError(f"the {noun} '{name}' does not take these parameters: {error}") from None


def long_form(value: Any, table: Table, key: str = "type") -> dict[str, Any]:
    """`"adam"` or `["adam", {…}]` → `{"type": "adam", "parameters": {…}}`, every parameter written
    out.

    A parameter whose schema has `"x-left-out": "default"` is written only where it is not its
    default, so that specs without it stay as they were before it came; with `"always"`, it changes
    nothing and is never written.
    """
    if isinstance(value, str):
        value = {key: value}
    elif isinstance(value, list):
        value = {key: value[0], "parameters": value[1] if len(value) > 1 else {}}
    entry = table[value[key]]
    defaults = json.loads(json.dumps(entry.defaults))
    written = {**defaults, **value.get("parameters", {})}
    for name, schema in entry.parameters.get("properties", {}).items():
        left_out = schema.get("x-left-out")
        if left_out == "always" or (left_out == "default" and written[name] == defaults[name]):
            del written[name]
    return {key: value[key], "parameters": written}


# Tables to which installed packages add: a package names its entries in its metadata, by table.
#
# An entry point of the group `qexp.losses` is an entry of the table of losses, its name the
# entry's. The metadata are read, and the code of a package is executed, only where a name is looked
# up that is not built in, or where all are listed: never for `qexp ls`, `show` and `--help`. A
# package is code that a user installed, as qexp is: its version is in the `environment.json` of a
# run, among all packages, and not in the digest, which has none of qexp and torch.


T = TypeVar("T")


@cache
def entry_points() -> Mapping[str, list[EntryPoint]]:
    """Group → the entry points of installed packages, of all groups that begin with `qexp.`."""
    # takes a hundredth of a second, and the reading of all packages more
    from importlib import metadata

    found = metadata.entry_points()
    groups = [group for group in found.groups if group.startswith("qexp.")]
    return {group: [*found.select(group=group)] for group in groups}


class OpenTable(Mapping[str, T]):
    """A literal table, and the entries that installed packages add to it; a workspace's own entry
    precedes theirs.

    name      of the table; the group of its entry points is `qexp.NAME`
    built_in  name → entry
    trouble   what is wrong with an entry of a package, in words; None if nothing is
    added     name → entry of a workspace
    """

    def __init__(
        self,
        name: str,
        built_in: Mapping[str, T],
        trouble: Callable[[Any], str | None],
        added: Mapping[str, T] = {},
    ) -> None:
        self.name, self.built_in, self.trouble = name, built_in, trouble
        self.own = {**built_in, **added}
        """All entries but those of packages."""

    def names(self) -> list[str]:
        """All names, also of packages that may turn out to be broken: no code is executed."""
        return [*self.own, *self._points()]

    def _points(self) -> dict[str, EntryPoint]:
        """The entry points of packages by their names; no code is executed.

        Raises QexpError for a name that is built in, or that two packages have.
        """
        points: dict[str, EntryPoint] = {}
        for point in entry_points().get(f"qexp.{self.name}", ()):
            other = points.get(point.name)
            # one may lie on the path twice
            if point.name in self.built_in or (other is not None and other != point):
                raise QexpError(
                    f"the package {_origin(point)} has '{point.name}' in its entry points of"
                    f" qexp.{self.name}, which {_origin(other) if other else 'qexp itself'} has"
                    " already; rename or uninstall one of them"
                )
            points[point.name] = point
        return {name: point for name, point in points.items() if name not in self.own}

    def __getitem__(self, name: str) -> T:
        if name in self.own:
            return self.own[name]
        entry: T | None = loaded(self._points()[name], self.trouble)
        if entry is None:
            raise KeyError(name)
        return entry

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        for name, point in self._points().items():
            if loaded(point, self.trouble) is not None:
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)


@cache
def loaded(point: EntryPoint, trouble_with: Callable[[Any], str | None]) -> Any:
    """What an entry point is; None, after a warning, if it cannot be used."""
    try:
        entry = point.load()
        trouble = trouble_with(entry)
    except (Exception, SystemExit) as error:  # the code of a package may raise any error
        trouble = f"cannot be loaded: {type(error).__name__}: {error}"
    if trouble is None:
        return entry
    what = f"'{point.name}' of {point.group} ({point.value})"
    warnings.warn(f"the package {_origin(point)}: {what} {trouble}; it is left out", stacklevel=2)
    return None


def _origin(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value

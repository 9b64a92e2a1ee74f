"""HTML made from templates: all text in it is escaped, and a name that a template does not know is an error."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


@cache
def environment(*packages: str) -> Environment:
    """Templates of this package, and of others that have a folder `templates`."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in (*packages, "qexp.fragments")]),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters["data"] = data
    made.filters["breakable"] = breakable
    return made


def breakable(text: str) -> Markup:
    """A long name with places where a line may end: after its underscores, before its points, and not in a unit."""
    from markupsafe import Markup, escape

    whole = re.sub(r"\([^()]*\)", lambda unit: unit[0].replace(" ", "\u00a0"), text)
    return Markup(str(escape(whole)).replace("_", "_<wbr>").replace(".", "<wbr>."))


def data(value: Any) -> Markup:
    """A value as JSON inside a `<script type="application/json">`, where no text of it can end the script."""
    from markupsafe import Markup

    text = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)

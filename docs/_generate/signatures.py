"""Signatures of functions as Markdown, as they are written in the source."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

WIDTH = 100
"""Characters of a signature that stands in one line."""


def signature(name: str, function: Callable[..., Any], method: bool = False) -> str:
    """A block of code with the signature; without `self` for a method."""
    described = inspect.signature(function)
    parameters = list(described.parameters.values())[int(method) :]
    words = [_written(parameter) for parameter in parameters]
    keyword_only = [parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters]
    if True in keyword_only:
        words.insert(keyword_only.index(True), "*")
    end = (
        ""
        if described.return_annotation is inspect.Signature.empty
        else f" -> {described.return_annotation}"
    )
    line = f"{name}({', '.join(words)}){end}"
    if len(line) > WIDTH:
        line = "\n".join([f"{name}(", *(f"    {word}," for word in words), f"){end}"])
    return f"```python\n{line}\n```"


def _written(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    kind = "" if parameter.annotation is parameter.empty else f": {parameter.annotation}"
    if parameter.default is parameter.empty:
        return f"{stars}{parameter.name}{kind}"
    default = getattr(parameter.default, "__name__", repr(parameter.default))
    return f"{parameter.name}{kind} = {default}" if kind else f"{parameter.name}={default}"

"""Names of a model's tensors by variable: torch divides them at dots, which variables may have, too."""

from __future__ import annotations

TRANSFORMS = "transforms"


def module_name(variable: str) -> str:
    """A variable as part of the name of a tensor: `chamber:depth`."""
    return variable.replace(".", ":")


def of_transform(variable: str) -> str:
    """The transform of a variable, as the names of its tensors begin: `transforms.chamber:depth`."""
    return f"{TRANSFORMS}.{module_name(variable)}"


def transformed_by(tensor: str) -> str | None:
    """The variable whose transform has a tensor, by the tensor's name; None for a weight of the network."""
    part, _, rest = tensor.partition(".")
    return rest.partition(".")[0].replace(":", ".") if part == TRANSFORMS else None

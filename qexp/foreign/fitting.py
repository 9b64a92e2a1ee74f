"""The tensors of another program's file as the weights of a network, by rules.

`rules/` has those of known programs; `rules.schema.json` says what a document may hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from jsonschema import Draft202012Validator
from torch import Tensor, nn

from qexp.base.quantities import of_transform, transformed_by
from qexp.errors import NotFoundError, Problem, SpecError, suggestion
from qexp.foreign.weight_files import Settings, StoredTensor
from qexp.networks.estimator import Estimator
from qexp.networks.shapes import Shape

LARGEST_FILE = 1_000_000
"""Largest document of rules [bytes]."""

PLACEHOLDER = re.compile(r"\{(?:(\d+)\*)?([a-z_]+)(?:\+(\d+))?\}")
"""In the name of a weight: `{layer}`, `{2*layer}` or `{2*layer+1}`, of a named group of the
pattern.

`{last}` is the number of the operation's last layer. With a group `number`, `{rank}` is its place
among the numbers of all names that match, counted from 0, since Keras counts layers through a
session, and `{weighted}` the layer of that rank among those of the operation that have weights.
"""

RANKED = ("rank", "weighted")


@dataclass(frozen=True)
class Rule:
    """Where tensors whose names match a pattern go."""

    pattern: re.Pattern[str]
    """Of the whole name. A group `operation`, if there is one, names the operation of the model."""
    module: str | None = None
    """The module of the operation with the weight; of the only such one if no pattern names it."""
    variable: str | None = None
    """The variable whose transform has the number; `$output` for the only output."""
    weight: str | None = None
    """The weight, by its name in the operation or the transform."""
    equals: str | float | None = None
    """Instead of a weight: what the tensor must equal; a constant of the operation, or a number."""
    steps: tuple[Mapping[str, Any], ...] = ()
    """How the tensor is rearranged, in order; see `rearranged`."""


@dataclass(frozen=True)
class Rules:
    """The rules for the files of one program."""

    name: str
    description: str
    document: Mapping[str, Any]
    outer_keys: tuple[str, ...]
    """Keys under which the tensors may stand, such as `state_dict`."""
    tensors: tuple[Rule, ...]
    left_out: tuple[tuple[re.Pattern[str], str], ...]
    """Names of tensors that a network does not need, and why."""
    population: bool
    """Whether its scalers' deviations are divided by n, as scikit-learn's are."""
    azimuth: float
    """The images that its networks were trained on are those of an azimuth larger by this [rad]."""
    azimuth_holds_at: Mapping[str, float]
    """Variable → the only value at which they are."""


def read_rules(file: Path) -> Rules:
    """The rules in a user's file. Raises NotFoundError, and SpecError with all problems."""
    try:
        if file.stat().st_size <= LARGEST_FILE:
            return parse_rules(json.loads(file.read_text(encoding="utf-8")), file.stem, str(file))
        problem = f"is too large for rules; at most {LARGEST_FILE:,} bytes"
    except FileNotFoundError:
        raise NotFoundError(f"{file}: there is no such file") from None
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except (ValueError, RecursionError) as error:
        problem = f"is not valid JSON: {error}"
    raise SpecError([Problem(str(file), (), problem)])


@cache
def shipped() -> Mapping[str, Rules]:
    """The rules that come with qexp, by name."""
    folder = files("qexp.foreign") / "rules"
    rules = {}
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        name = file.name.removesuffix(".json")
        if name != file.name:
            rules[name] = parse_rules(json.loads(file.read_text(encoding="utf-8")), name, file.name)
    return rules


def find_rules(reference: str) -> Rules:
    """Rules by name, or those of a file. Raises NotFoundError, SpecError."""
    if reference in shipped():
        return shipped()[reference]
    if reference.endswith(".json") or "/" in reference:
        return read_rules(Path(reference))
    names = suggestion(reference, shipped())
    raise NotFoundError(f"no rules '{reference}'; {names}; or name a file of rules, FILE.json")


@cache
def schema() -> Any:
    return json.loads((files("qexp.foreign") / "rules.schema.json").read_text(encoding="utf-8"))


def parse_rules(document: Any, name: str, file: str) -> Rules:
    """The rules of a document; `file` is its name in errors. Raises SpecError with all problems."""
    errors = Draft202012Validator(schema()).iter_errors(document)
    problems = [Problem(file, tuple(error.absolute_path), error.message[:200]) for error in errors]
    problems = problems or _in_patterns(document, file)
    if problems:
        raise SpecError(problems)
    left_out = [
        (re.compile(rule["from"]), rule["because"]) for rule in document.get("left_out", ())
    ]
    return Rules(
        name=name,
        description=document["description"],
        document=document,
        outer_keys=tuple(document.get("within", ())),
        tensors=tuple(map(_rule, document["tensors"])),
        left_out=tuple(left_out),
        population=document.get("deviation") == "population",
        azimuth=float(document.get("azimuth", 0.0)),
        azimuth_holds_at=document.get("azimuth_holds_at", {}),
    )


def _rule(document: Mapping[str, Any]) -> Rule:
    return Rule(
        pattern=re.compile(document["from"]),
        module=document.get("module"),
        variable=document.get("variable"),
        weight=document.get("to"),
        equals=document.get("equals"),
        steps=tuple(document.get("steps", ())),
    )


def _in_patterns(document: Mapping[str, Any], file: str) -> list[Problem]:
    problems = []
    for key in ("tensors", "left_out"):
        for index, rule in enumerate(document.get(key, ())):
            try:
                groups = set(re.compile(rule["from"]).groupindex)
            except (re.error, RecursionError, OverflowError) as error:
                message = f"is not a regular expression: {error}"
                problems.append(Problem(file, (key, index, "from"), message))
                continue
            groups |= {"last", *(RANKED if "number" in groups else ())}
            needed = {placeholder[2] for placeholder in PLACEHOLDER.finditer(rule.get("to", ""))}
            for name in sorted(needed - groups):
                message = f"'{{{name}}}' is not a group of 'from'; write (?P<{name}>…) there"
                problems.append(Problem(file, (key, index, "to"), message))
    return problems


LARGEST_DIFFERENCE = 1e-3
"""Largest difference of a tensor from the constant that it must equal, computed otherwise."""

COUNTERS = "num_batches_tracked"
"""Ending of numbers that torch counts in training, which other programs do not have."""

Steps = Sequence[Mapping[str, Any]]

StoredTensors = Mapping[str, StoredTensor]


@dataclass(frozen=True)
class Target:
    """A network that weights are given to."""

    model: Estimator
    """Laid out; its tensors need no values."""
    modules: Mapping[str, str]
    """Operation → the name of its module in the spec."""
    inputs: Mapping[str, Shape]
    """Operation → the shape of its input, for those that have one."""


@dataclass
class Account:
    """What becomes of every tensor of a file."""

    rules: Rules
    sources: dict[str, tuple[str, Steps]] = field(default_factory=dict)
    """Tensor of the model → tensor of the file, and how that is rearranged."""
    equal: list[tuple[str, str, Rule]] = field(default_factory=list)
    """Tensors of the file that must be equal to a constant: name, operation, rule."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Tensor of the file → why it is not needed."""
    problems: list[str] = field(default_factory=list)
    matched: int = 0
    """Number of tensors of the file that a rule names."""


def account_by(rules: Rules, tensors: StoredTensors, target: Target) -> Account:
    """What the rules make of the tensors; decided by names and shapes alone."""
    account = Account(rules)
    for name in tensors:
        _match(name, account, tensors, target)
    weights = target.model.network.state_dict(prefix="network.")
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name, (source, steps) in account.sources.items():
        misfit = _misfit(name, source, steps, tensors[source].shape, target, shapes)
        account.problems += [misfit] if misfit else []
    for name, shape in shapes.items():
        if name not in account.sources and not name.endswith(COUNTERS):
            account.problems.append(
                f"missing: {name} {list(shape)}, for which the file has no tensor"
            )
    return account


def _match(name: str, account: Account, tensors: StoredTensors, target: Target) -> None:
    """Note what the rules say of one tensor."""
    rules = account.rules
    inner_name = _inner_name(name, rules)
    has_rule = False
    lacking = list[str]()
    for rule in rules.tensors:
        match = rule.pattern.fullmatch(inner_name)
        if match is None:
            continue
        prefix = _prefix(rule, match, target)
        if prefix is None:
            lacking.append(_lacking(rule, match))
            continue
        has_rule = True
        if rule.equals is not None:
            account.equal.append((name, prefix, rule))
            continue
        names = [_inner_name(other, rules) for other in tensors]
        weight = f"{prefix}.{_fill(rule, match, names, target, prefix)}"
        if weight in account.sources:
            account.problems.append(
                f"twice: {weight} would be {account.sources[weight][0]} and {name}"
            )
        account.sources[weight] = (name, rule.steps)
    account.matched += has_rule or bool(lacking)
    if has_rule:
        return
    for pattern, because in rules.left_out:
        if pattern.fullmatch(inner_name):
            account.left_out[name] = because
            return
    why = f"; the model has no {lacking[0]}" if lacking else ", which no weight of the model takes"
    account.problems.append(f"left over: {name} {list(tensors[name].shape)}{why}")


def _lacking(rule: Rule, match: re.Match[str]) -> str:
    """What the model would need for a tensor, in words."""
    if rule.variable is not None:
        return f"transform of '{rule.variable.removeprefix('$')}' with fitted numbers"
    name = match.groupdict().get("operation")
    operation = f"operation '{name}'" if name is not None else "single operation"
    return f"{operation} with the module '{rule.module}'" if rule.module is not None else operation


def _inner_name(name: str, rules: Rules) -> str:
    for key in rules.outer_keys:
        name = name.removeprefix(f"{key}.")
    return name


def _prefix(rule: Rule, match: re.Match[str], target: Target) -> str | None:
    """The operation or transform of a rule, as the names of its tensors begin; None if none."""
    if rule.variable is not None:
        outputs = target.model.network.outputs
        variable = outputs[0] if rule.variable == "$output" and len(outputs) == 1 else rule.variable
        return of_transform(variable) if variable in target.model.transforms else None
    operation = match.groupdict().get("operation")
    operations = [
        name
        for name, module in target.modules.items()
        if name in target.model.network.operations
        and (rule.module is None or module == rule.module)
        and (operation is None or name == operation)
    ]
    return f"network.operations.{operations[0]}" if len(operations) == 1 else None


def _fill(
    rule: Rule, match: re.Match[str], names: Iterable[str], target: Target, prefix: str
) -> str:
    """The name of a weight with the groups of the pattern inserted."""
    weight = rule.weight or ""
    groups = dict(match.groupdict())
    operation = target.model.get_submodule(prefix)
    groups.setdefault("last", str(sum(1 for _ in operation.children()) - 1))
    if any(placeholder[2] in RANKED for placeholder in PLACEHOLDER.finditer(weight)):
        matches = filter(None, map(rule.pattern.fullmatch, names))
        rank = sorted(set(map(_number, matches))).index(_number(match))
        weighted = [
            name
            for name, layer in operation.named_modules()
            if next(layer.parameters(False), None) is not None
        ]
        groups |= {
            "rank": str(rank),
            "weighted": weighted[rank] if rank < len(weighted) else f"layer {rank}",
        }

    def insert(placeholder: re.Match[str]) -> str:
        factor, name, addend = placeholder.groups()
        value = groups.get(name) or ""
        if not (value.isdecimal() and (factor or addend)):
            return value
        return str(int(factor or 1) * int(value) + int(addend or 0))

    return PLACEHOLDER.sub(insert, weight)


def _number(match: re.Match[str]) -> int:
    """The number in the name of a layer; the first one of Keras has none."""
    return int(match.groupdict().get("number") or 0)


def _misfit(
    name: str, source: str, steps: Steps, shape: Shape, target: Target, shapes: Mapping[str, Shape]
) -> str | None:
    """Why a tensor of the file cannot be that of the model, in words; None if it can."""
    if transformed_by(name) is not None:
        known = name in dict(target.model.named_buffers())
        return None if known else f"left over: {source}, since the experience has no {name}"
    if name not in shapes:
        return f"left over: {source} {list(shape)}, since the model has no {name}"
    wanted = list(shapes[name])
    try:
        empty = torch.empty(shape, device="meta")
        result = rearranged(empty, steps, _input_of(name, target)).shape
    except (RuntimeError, IndexError, ValueError) as error:
        first = str(error).splitlines()[0]
        return f"{source} {list(shape)} cannot be rearranged for {name} {wanted}: {first}"
    if tuple(result) == shapes[name]:
        return None
    rearranged_as = f", as {list(result)}" if tuple(result) != shape else ""
    return f"{source} is {list(shape)}{rearranged_as}, but {name} is {wanted}"


def _input_of(name: str, target: Target) -> Shape | None:
    """The shape of the input of the operation that a tensor belongs to."""
    for operation, shape in target.inputs.items():
        if name.startswith(f"network.operations.{operation}."):
            return shape
    return None


def rearranged(tensor: Tensor, steps: Steps, of_input: Shape | None = None) -> Tensor:
    """A tensor after the steps of a rule.

    permute    axes in their new order: [3, 2, 0, 1] for a kernel of Keras
    squeeze    drop an axis of length 1
    reshape    another shape, -1 for what remains
    slice      [axis, first, end]; null for the end of the axis
    flattened  "channels_last": the last axis counts pixels with their channels last, and is ordered
               anew

    of_input  the shape of the operation's input, (channel, height, width), for `flattened`
    Raises RuntimeError, IndexError or ValueError for a tensor of another shape.
    """
    for step in steps:
        match step:
            case {"permute": axes}:
                tensor = tensor.permute(axes)
            case {"squeeze": axis}:
                if tensor.shape[axis] != 1:
                    raise ValueError(f"axis {axis} has length {tensor.shape[axis]}, not 1")
                tensor = tensor.squeeze(axis)
            case {"reshape": shape}:
                tensor = tensor.reshape(shape)
            case {"slice": [axis, first, end]}:
                end = tensor.shape[axis] if end is None else end
                tensor = tensor.narrow(axis, first, end - first)
            case {"flattened": _} if of_input is not None and len(of_input) == 3:
                channels, *sides = of_input
                tensor = tensor.unflatten(-1, (*sides, channels)).movedim(-1, -3).flatten(-3)
    return tensor


def values(account: Account, tensors: StoredTensors, target: Target) -> dict[str, Tensor]:
    """The tensors of a model that an account takes from the file."""
    taken = {}
    for name, (source, steps) in account.sources.items():
        tensor = tensors[source].read()
        if transformed_by(name) is not None:
            taken[name] = tensor.flatten().float()
        else:
            taken[name] = rearranged(tensor, steps, _input_of(name, target)).contiguous()
    return taken


def unequal(account: Account, tensors: StoredTensors, model: Estimator) -> Iterator[str]:
    """Problems of tensors that must equal constants of the model, which has its values by now."""
    for name, prefix, rule in account.equal:
        tensor = rearranged(tensors[name].read(), rule.steps)
        constant: Any = rule.equals
        if isinstance(rule.equals, str):
            constant = getattr(model.get_submodule(prefix), rule.equals)
            what = f"'{rule.equals}' of {prefix}"
        else:
            what = f"{rule.equals:g}"
        expected = torch.as_tensor(constant, dtype=tensor.dtype)
        if expected.dim() and expected.shape != tensor.shape:
            yield f"{name} is {list(tensor.shape)}, but {what} is {list(expected.shape)}"
        elif not bool(((tensor - expected).abs() <= LARGEST_DIFFERENCE).all()):
            yield f"{name} differs from {what}, which is fixed here"


def other_settings(
    account: Account, settings: Mapping[str, Settings], model: nn.Module
) -> Iterator[str]:
    """Problems of normalisations that add another number to variances than the file's network."""
    for name, (source, _) in account.sources.items():
        there = settings.get(source.rpartition("/")[0], {}).get("epsilon")
        owner = model.get_submodule(name.rpartition(".")[0])
        here = getattr(owner, "eps", None)
        if not isinstance(there, float) or not isinstance(here, float):
            continue
        if abs(there - here) > 1e-3 * max(there, here):
            yield (
                f"{source}: adds epsilon {there:g} to variances, but {name} adds {here:g}; set it"
                " in the model"
            )

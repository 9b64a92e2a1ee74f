"""Plans of runs: an experience with one seed, or the product of experiences, seeds and a grid of changes."""

from __future__ import annotations

import itertools
import json
import math
import operator
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from qexp import assemble
from qexp.assemble import Experience, Parts
from qexp.errors import DamagedError, QexpError
from qexp.networks import checkpoint
from qexp.runs.catalog.catalog import Catalog
from qexp.runs.catalog.references import find
from qexp.runs.leakage.check import Exposures
from qexp.runs.planning.existing import require_done
from qexp.runs.planning.grid import Grid, axes_of, points_of
from qexp.runs.planning.prepare import Plan
from qexp.runs.record import lineage
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.names import require_name
from qexp.seeds import LARGEST_SEED
from qexp.spec.digest import digest
from qexp.spec.experiences import type_of
from qexp.spec.resolve import Overrides
from qexp.workspace import Workspace

LARGEST_SWEEP = 1_000_000
"""Largest number of runs in a sweep; more are assumed to be a typing error."""

SEED, PRETRAINED = "{seed}", ("pretrain", "pretrain.run")
"""Placeholder for a run's own seed, and the keys in whose values it stands."""

SHORT_DIGEST = 6
"""Length of the digest in the name of a run with a changed spec; enough to distinguish the points of a grid."""


def plan(experience: Experience, seed: int, name: str, workspace: Workspace) -> Plan:
    """The plan of an experience's run with one seed.

    Raises QexpError if the pretraining run does not fit, or if test data were used for training.
    """
    return _plans(experience, {whole(seed): name}, workspace)[0]


def _plans(experience: Experience, names: Mapping[int, str], workspace: Workspace) -> list[Plan]:
    """The plans of an experience's runs; everything that does not depend on the seed is checked once.

    names  seed → name of its run
    """
    for seed in names:
        require_seed(seed)
    pretrain = experience.document.get("pretrain")
    of_type = type_of(experience.document)
    outputs = of_type.outputs(experience.document)
    found = _parent(pretrain["run"], experience, workspace) if pretrain else None
    before = found.spec() if found else {}
    texts = [experience.extensions, found.record().digest] if found else [experience.extensions]
    units = assemble.units_of(experience.document, experience.tables["quantities"])
    of_any_seed = Plan(
        name="",
        experience=experience.name,
        dataset=experience.dataset_name,
        model=experience.model_name,
        seed=0,
        spec=experience.document,
        digest=digest(experience.document, *[text for text in texts if text]),
        overrides=experience.overrides,
        units=units if outputs is None else {name: units[name] for name in outputs},
        metrics=assemble.objects_of(experience.document).meanings(experience.document, experience.tables),
        epochs=of_type.epochs(experience.document),
        files=of_type.program_files(experience.document),
        extensions=experience.extensions,
        parent=found,
        transforms_taken=(
            lineage.transforms_taken(experience.document, before, checkpoint.shapes(found.best_weights))
            if found
            else ()
        ),
    )
    caution = assemble.caution(experience.document)
    differences = _differences(found.name, before, experience.document) if found else []
    exposures = Exposures(experience, found)
    plans = []
    for seed, name in names.items():
        exposure = exposures.of_seed(seed)
        plans.append(
            replace(
                of_any_seed,
                name=require_name(name),
                seed=seed,
                caution="; ".join(words for words in (caution, exposure.caution) if words),
                seen=exposure.own,
                warnings=(*experience.warnings, *differences, *exposure.warnings),
            )
        )
    return plans


def sweep(
    references: Sequence[str],
    seeds: Sequence[int],
    grid: Grid,
    overrides: Overrides,
    workspace: Workspace,
    memory: int | None = None,
) -> list[Plan]:
    """The plans of all combinations; seeds vary fastest.

    A run is named `<experience>_<seed>`, with a short digest between them if overrides change the spec.

    memory  memory of the machine that will train [bytes]; default: of this machine
    """
    axes = axes_of(grid)
    total = len(references) * math.prod(len(axis.values) for axis in axes) * len(seeds)
    require_few(total)
    seeds = checked_seeds(seeds)
    plans: list[Plan] = []
    parts = assemble.parts_of(workspace, memory)
    for reference, point in itertools.product(references, points_of(axes)):
        for alike, changes in _by_pretraining({**overrides, **point}, seeds):
            experience = assemble.experience(reference, changes, workspace, parts)
            stem = named_after(experience, reference, changes, parts)
            plans += _plans(experience, {seed: f"{stem}_{seed}" for seed in alike}, workspace)
    _require_different(plans)
    return plans


def _by_pretraining(overrides: Overrides, seeds: Sequence[int]) -> Iterator[tuple[Sequence[int], Overrides]]:
    """The seeds with their overrides: together, unless each starts from the run with its own seed, `x_{seed}`."""
    if all(of_seed(overrides, seed) == overrides for seed in seeds):
        yield seeds, overrides
        return
    for seed in seeds:
        yield [seed], of_seed(overrides, seed)


def of_seed(overrides: Overrides, seed: int) -> Overrides:
    """Overrides with the seed of a run for `{seed}` in the name of its pretraining run."""
    return {
        key: value.replace(SEED, str(seed)) if key in PRETRAINED and isinstance(value, str) else value
        for key, value in overrides.items()
    }


def _require_different(plans: Sequence[Plan]) -> None:
    """Raise QexpError if two runs would have the same spec and seed."""
    names: dict[tuple[str, int], list[str]] = {}
    for one in plans:
        names.setdefault((one.digest, one.seed), []).append(one.name)
    if double := next((alike for alike in names.values() if len(alike) > 1), None):
        both = " and ".join(dict.fromkeys(double))
        raise QexpError(f"two runs of the sweep are the same, {both}; name every experience and value once")


def require_few(runs: int) -> None:
    """Raise QexpError for more than `LARGEST_SWEEP` runs; checked before listing them, which could take hours."""
    if runs > LARGEST_SWEEP:
        raise QexpError(f"{runs:,} runs are too many; the limit is {LARGEST_SWEEP:,}")


def named_after(experience: Experience, reference: str, overrides: Overrides, parts: Parts) -> str:
    """What runs of an experience are called, before their seed: with a digest if overrides have changed it."""
    changed = "" if assemble.is_unchanged(experience, reference, overrides, parts) else experience.digest[:SHORT_DIGEST]
    return "_".join(word for word in (experience.name, changed) if word)


def checked_seeds(seeds: Sequence[int]) -> list[int]:
    """The seeds of a sweep. Raises QexpError if there are too many or none, or if one is given twice."""
    require_few(len(seeds))
    if not len(seeds):
        raise QexpError("seeds: no seed; give at least one")
    listed = [whole(seed) for seed in seeds]
    seed, times = Counter(listed).most_common(1)[0]
    if times > 1:
        raise QexpError(f"seeds: {seed} is given twice")
    for seed in listed:
        require_seed(seed)
    return listed


def whole(seed: Any) -> int:
    """A seed as an integer, also one of numpy. Raises QexpError for a number with a fraction, and for other values."""
    try:
        return operator.index(seed)
    except TypeError:
        raise QexpError(f"seed {seed}: a seed is a whole number from 0 on, less than 2^63") from None


def require_seed(seed: int) -> None:
    """Raise QexpError unless a number can be a seed."""
    if not 0 <= seed <= LARGEST_SEED:
        raise QexpError(f"seed {seed}: a seed is a whole number from 0 on, less than 2^63")


def with_pretrain(overrides: Overrides, pretrain: str | None, allow_leak: bool) -> Overrides:
    """Overrides with those that `--pretrain RUN` and `--allow-leak` stand for."""
    return {
        **overrides,
        # The run alone: which operations take its weights is stated in the experience.
        **({"pretrain.run": pretrain} if pretrain else {}),
        **({"allow_leak": True} if allow_leak else {}),
    }


def _parent(reference: str, experience: Experience, workspace: Workspace) -> RunDirectory:
    """The pretraining run, whose weights must exist and fit."""
    parent = find(reference, Catalog(workspace))
    require_done(parent)
    parent.training_spec()
    if parent.all_folds():
        raise QexpError(
            f"{parent.name} has the networks of {len(parent.all_folds())} folds; --pretrain takes a run with one"
        )
    if not assemble.kind_of(experience.document["dataset"]).pretrainable:
        raise QexpError(f"the networks of {experience.name}'s folds are initialised at random; leave --pretrain out")
    _require_own_weights(parent)
    model = assemble.model_of(experience.document, experience.tables)
    operations = lineage.operations_taken(experience.document)
    ours = lineage.of_operations({name: list(value.shape) for name, value in model.state_dict().items()}, operations)
    theirs = lineage.of_operations(checkpoint.shapes(parent.best_weights), operations)
    lines = [
        f"{name}: {ours.get(name, 'missing')} here, {theirs.get(name, 'missing')} in {parent.name}"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name) and not name.startswith("transforms.")
    ]
    if lines:
        raise QexpError(f"the weights of {parent.name} do not fit this model:\n  " + "\n  ".join(lines))
    for name in operations or []:
        if not lineage.of_operations(ours, [name]):
            raise QexpError(
                f"the operation '{name}' has no weights to take from {parent.name}; leave it out of 'pretrain'"
            )
    return parent


def _require_own_weights(parent: RunDirectory) -> None:
    """Raise DamagedError unless a run's best weights are numbers with the shapes of its own model.

    A model with modules from the run's extensions is not checked, because that would execute them.
    """
    file = parent.best_weights
    checkpoint.require_numbers(checkpoint.read(file)[0], file)
    if parent.extensions.exists():
        return
    model = assemble.model_of(parent.spec(), assemble.BUILT_IN)
    wanted = {name: list(value.shape) for name, value in model.network.state_dict(prefix="network.").items()}
    found = {name: shape for name, shape in checkpoint.shapes(file).items() if name.startswith("network.")}
    for name in sorted({*wanted, *found}):
        if wanted.get(name) != found.get(name):
            here, there = (shapes.get(name, "nothing") for shapes in (found, wanted))
            raise DamagedError(f"{file} is damaged: '{name}' is {here}, but the run's model has {there}")


def _differences(parent: str, spec: dict[str, Any], document: dict[str, Any]) -> list[str]:
    """Warnings about operations (such as heads) and inputs that differ from the pretraining run despite equal shapes.

    spec  the resolved experience of the pretraining run
    """
    ours, theirs = document["model"]["operations"], spec["model"]["operations"]
    without_effect = assemble.kind_of(document["dataset"]).without_effect(document)
    differing = []
    for name in lineage.operations_taken(document) or ours:
        here, there = ours[name]["parameters"], theirs.get(name, {}).get("parameters", {})
        differing += [
            f"{name}.{key} {json.dumps(here[key])} (there {json.dumps(there[key])})"
            for key in here
            if key in there and here[key] != there[key] and key not in without_effect
        ]
    for name in document["inputs"]:
        scaled = [one["transforms"].get(name) for one in (document, spec)]
        if name in spec["inputs"] and scaled[0] != scaled[1]:
            differing.append(f"transforms.{name} {json.dumps(scaled[0])} (there {json.dumps(scaled[1])})")
    return (
        [f"the weights of {parent} fit, but were trained with different parameters: {', '.join(differing)}"]
        if differing
        else []
    )

"""Plans of runs: of an experience with one seed, or of all combinations with seeds and a grid."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qexp.base.seeds import require_seed
from qexp.base.workspace import Workspace
from qexp.errors import NotFoundError, Problem, QexpError, SpecError, UntrustedCodeError, some
from qexp.jobs.states import Watch, require_done
from qexp.kinds import experiments, leaks
from qexp.kinds.experiments import Experience, SpecCache, data_of, objects_of, spec_cache
from qexp.kinds.leaks import Exposed
from qexp.kinds.networks import model_of, trained_model
from qexp.kinds.objects import data_kind
from qexp.kinds.tables import OPEN
from qexp.networks import checkpoint
from qexp.runs.catalog import Catalog, find_run
from qexp.runs.order import Order
from qexp.runs.prepare import Plan
from qexp.spec import experiences, reading
from qexp.spec.experiences import differences, type_of, units_of
from qexp.spec.kinds import is_known
from qexp.spec.reading import canonical, digest
from qexp.spec.resolution import Overrides, is_pattern, value_text
from qexp.store import provenance
from qexp.store.directory import RunDirectory, is_complete
from qexp.store.provenance import Seen
from qexp.store.record import Epochs, State, require_name

Grid = Mapping[str, Sequence[Any]]
"""Dotted key → values: `{"learning_rate": [1e-3, 3e-3]}`.

Keys with + between them, `a.b+c.d`, get the same value. Keys with commas between them get a value
each, step by step: `{"learning_rate,batch_size": [(1e-3, 16), (3e-3, 32)]}`.
"""


@dataclass(frozen=True)
class GridAxis:
    """Keys that change together, and their values."""

    name: str
    """The keys as they were given, with + and commas between them."""
    values: tuple[Any, ...]
    """With commas in the name, lists with a value for each part of it."""

    @property
    def parts(self) -> list[tuple[str, ...]]:
        """Keys with the same value, for each part of the name between commas."""
        return [tuple(part.split("+")) for part in self.name.split(",")]

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(itertools.chain(*self.parts))

    @property
    def changes(self) -> list[dict[str, Any]]:
        """What is set, per value."""
        changes = list[dict[str, Any]]()
        for value in self.values:
            change = dict[str, Any]()
            items = value if len(self.parts) > 1 else [value]
            for part, item in zip(self.parts, items, strict=True):
                change |= dict.fromkeys(part, item)
            changes.append(change)
        return changes

    @property
    def texts(self) -> list[str]:
        """The values as a command takes them: `0.001`, or `0.001:16` for several keys."""
        if len(self.parts) == 1:
            return [value_text(value) for value in self.values]
        return [":".join(map(value_text, value)) for value in self.values]


def axes_of(grid: Grid, argument: str = "grid") -> list[GridAxis]:
    """The checked axes of a grid. Raises QexpError for one that is empty or given twice."""
    axes = [_axis(f"`{argument}[{name}]`", name, values) for name, values in grid.items()]
    for key, times in Counter(itertools.chain(*(axis.keys for axis in axes))).items():
        if times > 1:
            raise QexpError(
                f"`{argument}[{key}]` is given twice; list all its values in one:"
                f" `{argument}={ {key: ['A', 'B']} }`"
            )
    return axes


def _axis(where: str, name: str, values: Sequence[Any]) -> GridAxis:
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__iter__"):
        raise QexpError(f"{where}: give a list of values, not {values!r}")
    axis = GridAxis(name, tuple(reading.plain(value, where) for value in values))
    if not all(axis.keys):
        raise QexpError(
            f"{where}: a key is empty; write, for example, learning_rate, a.b+c.d or a.b,c.d"
        )
    if any(map(is_pattern, axis.keys)):
        raise QexpError(f"{where}: a pattern is for `overrides` alone; name keys, such as a.b+c.b")
    if not axis.values:
        raise QexpError(f"{where}: there is no value; give at least one")
    wanted = len(axis.parts)
    if wanted > 1:
        for value in axis.values:
            if not isinstance(value, list) or len(value) != wanted:
                raise QexpError(
                    f"{where}: {value_text(value)} is not {wanted} values, one for each key"
                )
    twice, times = Counter(axis.texts).most_common(1)[0]
    if times > 1:
        raise QexpError(f"{where}: the value {twice} is given twice; two runs would be the same")
    return axis


def points_of(axes: Sequence[GridAxis]) -> Iterator[dict[str, Any]]:
    """What is set at each combination of values, the last axis fastest."""
    for changes in itertools.product(*(axis.changes for axis in axes)):
        yield dict(itertools.chain(*(change.items() for change in changes)))


def at_point(
    reference: str,
    overrides: Overrides,
    axes: Sequence[GridAxis],
    point: Overrides,
    cache: SpecCache,
    grid: str = "grid",
) -> Experience:
    """An experience at a point of a grid. Raises SpecError, which names the axis that set what is
    wrong.

    overrides  all, with those of the point
    grid       name of the argument
    """
    try:
        return experiments.experience(reference, overrides, cache.workspace, cache)
    except SpecError as error:
        problems = [_of_axis(problem, axes, point, grid) for problem in error.problems]
        raise SpecError(problems) from None


def _of_axis(problem: Problem, axes: Sequence[GridAxis], point: Overrides, grid: str) -> Problem:
    """A problem of a value that an axis has set, as one of the axis; another as it is."""
    key = experiments.setting_of(problem, point)
    if key is None:
        return problem
    axis = next(axis for axis in axes if key in axis.keys)
    message = problem.message
    if axis.name == key:
        several = f"`{grid}={ {f'{key}.0': list(axis.values)} }`"
        message = re.sub(r"`overrides=[^`]*`", several, message)
    return Problem(f"`{grid}[{axis.name}]`", problem.path, message)


OF_UNKNOWN_TRAINING = "starts from weights that another program trained, on unknown spectra"
"""Caution of runs whose test spectra may have been used for training."""

ITSELF = "itself, in its training or validation part"


@dataclass(frozen=True)
class Exposure:
    """The spectra that one run is trained on, with the messages about leakage."""

    own: Seen | None = None
    """None for a run that is not trained on spectra."""
    caution: str = ""
    warnings: tuple[str, ...] = ()


class Exposures:
    """The spectra that an experience's runs are trained on, for each seed.

    A split can depend on the seed, so it is made for every seed; equal ones are compared once.

    parent  the pretraining run; what it or its ancestors were trained on may not be tested on
    """

    def __init__(self, experience: Experience, parent: RunDirectory | None) -> None:
        self._experience = experience
        self._earlier = provenance.read_seen(parent) if parent else {}
        origin = parent.record() if parent else None
        self._unknown = origin is not None and (
            origin.foreign_weights is not None or OF_UNKNOWN_TRAINING in origin.caution
        )
        self._known: dict[bytes, Exposure] = {}

    def of_seed(self, seed: int) -> Exposure:
        """The spectra of a seed. Raises QexpError for test spectra that were used for training."""
        experience = self._experience
        data = data_of(experience.document)
        if data is None:
            return Exposure()
        subject = experience.document, experience.dataset, experience.tables, seed
        exposed = data.exposed(*subject)
        if exposed is None:
            doubts = data.doubts(*subject)
            return Exposure(caution=doubts.caution, warnings=doubts.warnings)
        content = exposed.trained.tobytes() + b"|" + exposed.test.tobytes()
        key = hashlib.sha256(content).digest()
        if key not in self._known:
            self._known[key] = self._compared(exposed, seed)
        return self._known[key]

    def _compared(self, exposed: Exposed, seed: int) -> Exposure:
        spectra = leaks.seen_of(exposed.spectra, exposed.trained)
        leaked: dict[str, list[leaks.Overlap]] = {}
        same_names: dict[str, list[leaks.Overlap]] = {}
        for run, used in {ITSELF: spectra, **self._earlier}.items():
            for overlap in leaks.overlaps_with(exposed.spectra, exposed.test, used):
                found = leaked if overlap.leaked or run == ITSELF else same_names
                found.setdefault(run, []).append(overlap)
        if leaked and not self._experience.document.get("allow_leak"):
            parts = ""
            for run, overlaps in leaked.items():
                parts += f"  {run}: {leaks.overlap_in_words(overlaps)}\n"
            raise QexpError(
                f"{self._experience.name} with seed {seed} would be tested on spectra that were"
                f" used for training by\n{parts}hold other cores out, start from another run, or"
                " continue with `allow_leak=True`, which marks every output"
            )
        warnings = [
            f"{run} was trained on other spectra of cores that have the name of a test core: "
            f"{leaks.overlap_in_words(overlaps)}"
            for run, overlaps in same_names.items()
        ]
        caution = leaks.overlap_caution(list(itertools.chain(*leaked.values())))
        if self._unknown:
            caution = f"{caution}; {OF_UNKNOWN_TRAINING}" if caution else OF_UNKNOWN_TRAINING
        return Exposure(spectra, caution, tuple(warnings))


def standing(plan: Plan, workspace: Workspace, state: State) -> State | None:
    """The state of the planned run, None without one. Raises QexpError if another has its name.

    state  its current state, see `Watch`
    """
    directory = RunDirectory(workspace.runs / plan.name)
    try:
        record = directory.record()
    except NotFoundError:
        if directory.path.exists() or directory.path.is_symlink():
            raise QexpError(
                f"{directory.path} exists and is not a run; choose another `name`"
            ) from None
        return None
    if record.foreign_weights is not None:
        raise QexpError(
            f"a run {plan.name} with weights from elsewhere exists already; choose another `name`"
        )
    if (record.digest, record.seed) != (plan.digest, plan.seed):
        if record.digest == plan.digest:
            what = "seed"
            differs = f"its seed is {record.seed}, not {plan.seed}"
        elif _extensions_alone_differ(plan, directory):
            what = "specs/extensions.py (the spec is the same)"
            theirs, ours = map(workspace.shown, (directory.extensions, workspace.extensions))
            differs = f"see what differs: diff {theirs} {ours}"
        else:
            what = "spec"
            differs = _how_differs(plan, directory)
        go_on = ""
        if state.resumable:
            go_on = f", or continue it with its own: qexp rerun {plan.name} --resume"
        raise QexpError(
            f"a run {plan.name} with another {what} exists already; choose another name with"
            f" `name`{go_on}; {differs}"
        )
    if state is State.DONE and not is_complete(directory):
        raise QexpError(
            f"{plan.name} is recorded as done, but some of its results are missing; choose another"
            " `name`"
        )
    return state


def _how_differs(plan: Plan, directory: RunDirectory) -> str:
    """The keys of the spec in which an existing run and a planned one differ, with both values."""
    keys = differences([directory.spec(), plan.spec])
    words = [f"{key} is {theirs}, not {ours}" for key, (theirs, ours) in keys.items()]
    return f"its {some(words)}" if words else "its pretraining is another"


def _extensions_alone_differ(plan: Plan, directory: RunDirectory) -> bool:
    """Whether an existing run has the spec of a planned one, but other code of the workspace."""
    code, file = "", directory.extensions
    if file.is_file():
        code = file.read_text(encoding="utf-8")
    return code != plan.extensions and canonical(directory.spec()) == canonical(plan.spec)


def same_before(plans: Sequence[Plan], workspace: Workspace, resume: bool) -> dict[str, str]:
    """Planned name → the name of an existing run with the same spec and seed, for plans whose own
    name is free.

    Only runs that are done stand for a plan, and, to be resumed, those that can be; one with a name
    that a user gave, as for a repetition, only if there is no other.
    """
    free = [plan for plan in plans if not os.path.lexists(workspace.runs / plan.name)]
    if not free or not workspace.runs.is_dir():
        return {}
    wanted = {(plan.digest, plan.seed): plan.name for plan in free}
    stand_ins = dict[RunDirectory, str]()
    for run in sorted(Catalog(workspace).recorded(), key=_is_given):
        # by a spec and a seed; imported weights have another origin
        made_here = run["kind"] in ("trained", "program")
        name = wanted.get((run["digest"], run["seed"]))
        if made_here and name is not None:
            stand_ins[RunDirectory(workspace.runs / run["name"])] = name
    same: dict[str, str] = {}
    for directory, state in Watch().states(stand_ins).items():
        done = state is State.DONE and is_complete(directory)
        if done or (resume and state.resumable):
            same.setdefault(stand_ins[directory], directory.name)
    return same


def _is_given(run: Mapping[str, Any]) -> bool:
    """Whether a run has another name than that by experience, change and seed."""
    usual = rf"{re.escape(run['experience'])}(_[0-9a-f]+)?_{run['seed']}"
    return not re.fullmatch(usual, run["name"])


LARGEST_SWEEP = 1_000_000
"""Largest number of runs in a sweep; more are assumed to be a typing error."""

SEED, PRETRAINED = "{seed}", ("pretrain", "pretrain.run")
"""Placeholder for a run's own seed, and the keys in whose values it stands."""


def plan_run(experience: Experience, seed: int, name: str, workspace: Workspace) -> Plan:
    """The plan of an experience's run with one seed.

    Raises QexpError if the pretraining run does not fit, or if test data were used for training.
    """
    return _plans(experience, {require_seed(seed): name}, workspace)[0]


def plan_of(experience: Experience) -> Plan:
    """What is known of an experience's run whatever its name, its seed and its weights."""
    spec = experience.document
    of_type = type_of(spec)
    outputs = of_type.outputs(spec)
    units = units_of(spec, experience.tables["quantities"])
    return Plan(
        name="",
        experience=experience.name,
        dataset=experience.dataset_name,
        model=experience.model_name,
        seed=0,
        spec=spec,
        digest="",
        overrides=experience.overrides,
        units=units if outputs is None else {name: units[name] for name in outputs},
        metrics=objects_of(spec).meanings(spec, experience.tables),
        epochs=Epochs(of=of_type.epochs(spec)),
        files=of_type.program_files(spec),
        extensions=experience.extensions,
        checked=experience,
    )


def _plans(experience: Experience, names: Mapping[int, str], workspace: Workspace) -> list[Plan]:
    """The plans of an experience's runs; what does not depend on the seed is checked once.

    names  seed → name of its run
    """
    pretrain = experience.document.get("pretrain")
    parent: RunDirectory | None = None
    texts = [experience.extensions]
    differences = list[str]()
    transforms = list[str]()
    if pretrain:
        parent = _parent(pretrain["run"], experience, workspace)
        spec = parent.spec()
        shapes = checkpoint.shapes(parent.best_weights)
        texts.append(parent.record().digest)
        transforms = provenance.transforms_taken(experience.document, spec, shapes)
        differences = _differences(parent.name, spec, experience.document)
    plan = replace(
        plan_of(experience),
        digest=digest(experience.document, *filter(None, texts)),
        parent=parent,
        transforms_taken=transforms,
    )
    caution = experiences.caution(experience.document)
    exposures = Exposures(experience, parent)
    said = [text for text in (experience.matched, *experience.warnings) if text]
    plans = []
    for seed, name in names.items():
        exposure = exposures.of_seed(seed)
        plans.append(
            replace(
                plan,
                name=require_name(name),
                seed=seed,
                caution="; ".join(filter(None, (caution, exposure.caution))),
                spectra=exposure.own,
                warnings=(*said, *differences, *exposure.warnings),
            )
        )
    return plans


def sweep(order: Order, workspace: Workspace, memory: int | None = None) -> list[Plan]:
    """The plans of all combinations; seeds vary fastest.

    A run is named `<experience>_<seed>`, with a digest between them if overrides change the spec.

    memory  memory of the machine that will train [bytes]; default: of this machine
    """
    axes = axes_of(order.grid)
    references = order.references
    require_few(len(references) * math.prod(len(axis.values) for axis in axes) * len(order.seeds))
    seeds = check_seeds(order.seeds)
    overrides = dict(order.overrides)
    if order.pretrain:  # the run alone: the experience states which operations take its weights
        overrides["pretrain.run"] = order.pretrain
    if order.allow_leak:
        overrides["allow_leak"] = True
    plans: list[Plan] = []
    cache = spec_cache(workspace, memory)
    for reference, point in itertools.product(references, points_of(axes)):
        changed = {**overrides, **point}
        # Together, unless each seed starts from the run with its own seed, `x_{seed}`.
        together = all(of_seed(changed, seed) == changed for seed in seeds)
        for alike in [seeds] if together else [[seed] for seed in seeds]:
            changes = of_seed(changed, alike[0])
            experience = at_point(reference, changes, axes, point, cache)
            stem = named_after(experience, reference, changes, cache)
            plans += _plans(experience, {seed: f"{stem}_{seed}" for seed in alike}, workspace)
    names: dict[tuple[str, int], list[str]] = {}
    for plan in plans:
        names.setdefault((plan.digest, plan.seed), []).append(plan.name)
    for alike_names in names.values():
        if len(alike_names) > 1:
            both = " and ".join(dict.fromkeys(alike_names))
            raise QexpError(
                f"two runs of the sweep are the same, {both}; name every experience and value once"
            )
    return plans


def of_seed(overrides: Overrides, seed: int) -> Overrides:
    """Overrides with the seed of a run for `{seed}` in the name of its pretraining run."""
    overrides = dict(overrides)
    for key in PRETRAINED:
        value = overrides.get(key)
        if isinstance(value, str):
            overrides[key] = value.replace(SEED, str(seed))
    return overrides


def require_few(runs: int) -> None:
    """Raise QexpError for more than `LARGEST_SWEEP` runs, before a listing takes hours."""
    if runs > LARGEST_SWEEP:
        raise QexpError(f"{runs:,} runs are too many; the limit is {LARGEST_SWEEP:,}")


def named(plan: Plan, name: str) -> Plan:
    """The plan under a name, whose `{digest}` stands for the first digits of its digest."""
    return replace(plan, name=require_name(name.replace("{digest}", plan.digest[:6])))


def named_after(
    experience: Experience, reference: str, overrides: Overrides, cache: SpecCache
) -> str:
    """The name of an experience's runs, before the seed: with a digest if overrides matter."""
    if experiments.is_unchanged(experience, reference, overrides, cache):
        return experience.name
    return f"{experience.name}_{experience.digest[:6]}"


def check_seeds(seeds: Sequence[int]) -> list[int]:
    """The seeds of a sweep. Raises QexpError for none, for too many and for repeated ones."""
    require_few(len(seeds))
    if not len(seeds):
        raise QexpError("seeds: no seed; give at least one")
    numbers = [require_seed(seed) for seed in seeds]
    seed, times = Counter(numbers).most_common(1)[0]
    if times > 1:
        raise QexpError(f"seeds: {seed} is given twice")
    return numbers


def _parent(reference: str, experience: Experience, workspace: Workspace) -> RunDirectory:
    """The pretraining run, whose weights must exist and fit."""
    parent = find_run(reference, Catalog(workspace))
    own_kind = not is_known(parent.spec_as_written().get("dataset"))  # which its code would define
    elsewhere = parent.workspace.runs.resolve() != workspace.runs.resolve()
    if own_kind and elsewhere and parent.extensions.is_file():
        raise UntrustedCodeError(
            f"{parent.path} has code of its own, which is not executed; export and import the run"
        )
    require_done(parent)
    parent.training_spec()
    if parent.all_folds():
        raise QexpError(
            f"{parent.name} has the networks of {len(parent.all_folds())} folds; `pretrain` takes a"
            " run with one"
        )
    if not data_kind(experience.document["dataset"]).pretrainable:
        raise QexpError(
            f"the networks of {experience.name}'s folds are initialised at random; leave"
            " `pretrain` out"
        )
    _require_own_weights(parent)
    model = model_of(experience.document, experience.tables)
    operations = provenance.operations_taken(experience.document)
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    ours = provenance.tensors_of_operations(shapes, operations)
    theirs = provenance.tensors_of_operations(checkpoint.shapes(parent.best_weights), operations)
    lines = ""
    for name in sorted({*ours, *theirs}):
        here = ours.get(name, "missing")
        there = theirs.get(name, "missing")
        if here != there and not name.startswith("transforms."):
            lines += f"\n  {name}: {here} here, {there} in {parent.name}"
    if lines:
        raise QexpError(f"the weights of {parent.name} do not fit this model:{lines}")
    for name in operations or []:
        if not provenance.tensors_of_operations(ours, [name]):
            raise QexpError(
                f"the operation '{name}' has no weights to take from {parent.name}; leave it out of"
                " 'pretrain'"
            )
    return parent


def _require_own_weights(parent: RunDirectory) -> None:
    """Raise DamagedError unless a run's best weights are numbers with the shapes of its own model.

    A model with modules from the run's extensions is not checked, because that would execute them.
    """
    parent.require_own_weights()
    weights, _ = checkpoint.read(parent.best_weights)
    if parent.extensions.exists():
        checkpoint.require_numbers(weights, parent.best_weights)
    else:
        trained_model(parent.spec(), OPEN, weights, parent.best_weights)


def _differences(parent: str, spec: dict[str, Any], document: dict[str, Any]) -> list[str]:
    """Warnings about operations and inputs that differ from pretraining despite equal shapes.

    spec  the resolved experience of the pretraining run
    """
    ours = document["model"]["operations"]
    theirs = spec["model"]["operations"]
    without_effect = data_kind(document["dataset"]).without_effect(document)
    pairs = dict[str, tuple[Any, Any]]()
    for name in provenance.operations_taken(document) or ours:
        here = ours[name]["parameters"]
        there = theirs.get(name, {}).get("parameters", {})
        for key in here:
            if key in there and key not in without_effect:
                pairs[f"{name}.{key}"] = here[key], there[key]
    for name in document["inputs"]:
        if name in spec["inputs"]:
            pairs[f"transforms.{name}"] = (
                document["transforms"].get(name),
                spec["transforms"].get(name),
            )
    differing = [
        f"{name} {json.dumps(here)} (there {json.dumps(there)})"
        for name, (here, there) in pairs.items()
        if here != there
    ]
    if not differing:
        return []
    return [
        f"the weights of {parent} fit, but were trained with different parameters:"
        f" {', '.join(differing)}"
    ]

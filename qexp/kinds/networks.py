"""Networks of checked documents and of finished runs, their transforms and metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qexp.base.arrays import Array
from qexp.base.outputs import NO_LIMITS, Number, Output, TrainedRange, limits_of, output_in
from qexp.base.quantities import Quantity
from qexp.base.seeds import Seeds
from qexp.base.tables import Table, Tables, built
from qexp.errors import DamagedError, QexpError, some, suggestion
from qexp.jobs.states import require_done
from qexp.kinds.tables import tables_of
from qexp.metrics.built_in import asked_for
from qexp.metrics.conformal import Scale
from qexp.metrics.metric import Metric, Metrics, with_period
from qexp.networks import checkpoint
from qexp.networks.estimator import Estimator
from qexp.networks.heads import HeadEntry
from qexp.networks.imputation import Imputation
from qexp.networks.losses import OF_POSTERIORS
from qexp.networks.modules import JoiningEntry
from qexp.networks.network import Branch, Network, Operation, initialise
from qexp.networks.shapes import Shape, from_spec, written
from qexp.networks.transforms import Transform
from qexp.simulation.distributions import Distribution
from qexp.spec.kinds import documents_of, load_stage
from qexp.spec.reading import Document, Finding, listed
from qexp.store.directory import RunDirectory
from qexp.store.record import Feature

ANOTHER_TRANSFORM = "use another transform, or leave the column out"


def transforms_of(spec: Document, tables: Tables) -> dict[str, Transform]:
    """Variable → its transform, by a resolved experience; not fitted yet."""
    return {name: built(tables["transforms"], value) for name, value in spec["transforms"].items()}


def periods_of(transforms: Mapping[str, Transform]) -> dict[str, float]:
    """Variable → the period after which its values repeat, where its transform has one."""
    return {
        name: transform.period
        for name, transform in transforms.items()
        if transform.period is not None
    }


def periods_of_outputs(spec: Document, tables: Tables) -> dict[str, float]:
    """Output → the period after which its values repeat: of its transform, or of its quantity."""
    outputs = spec["outputs"]
    dataset = spec["dataset"]
    periods = documents_of(dataset).periods(outputs, dataset, tables["quantities"])
    return periods | periods_of(transforms_of(spec, tables))


def outputs_of(
    spec: Document, tables: Tables, units: Mapping[str, str], targets: Iterable[Feature] = ()
) -> dict[str, Output]:
    """Output → what it is, by a resolved experience and what its run recorded.

    targets  outputs with the ranges of their training data
    """
    limits = limits_of(spec)
    periods = periods_of_outputs(spec, tables)
    trained = {}
    for target in targets:
        if target.least is not None and target.greatest is not None:
            ends = target.least, target.greatest
            trained[target.column] = TrainedRange(*ends, periods.get(target.column))
    made = {}
    for name in spec["outputs"]:
        output = replace(output_in(spec, name), unit=units.get(name, ""))
        if isinstance(output, Number):
            output = replace(
                output,
                limits=limits.get(name, NO_LIMITS),
                period=periods.get(name),
                trained=trained.get(name),
            )
        made[name] = output
    return made


def build_transforms(
    document: Document, tables: Tables
) -> tuple[dict[str, Transform], list[Finding]]:
    """The transforms of an experience that can be built, and the problems of the others."""
    transforms: dict[str, Transform] = {}
    findings: list[Finding] = []
    for name, value in document["transforms"].items():
        try:
            transforms[name] = built(tables["transforms"], value)
        except ValueError as error:
            findings.append((("transforms", name, "parameters"), str(error)))
    return transforms, findings


def of_several_numbers(
    document: Document, transforms: Mapping[str, Transform], allowed: bool
) -> Iterator[Finding]:
    """Problems of transforms that make several numbers of each value, as that of an angle does.

    allowed  whether the kind of dataset takes them at all
    """
    for name, transform in transforms.items():
        if (numbers := transform.shape((1,))[0]) == 1:
            continue
        if name in document["inputs"]:
            yield (
                ("transforms", name),
                f"makes {numbers} numbers of each value, which only outputs can have",
            )
        elif not allowed:
            which = "which only networks on generated and tabular datasets can learn"
            yield ("transforms", name), f"makes {numbers} numbers of each value, {which}"


def try_transform(
    name: str, transform: Transform, to_fit: torch.Tensor, values: torch.Tensor, element: str = ""
) -> Iterator[Finding]:
    """Problems of transformed values, with a transform that is fitted to others.

    element  what the elements of a sample are, if those that are the same in all samples are to be
             named
    """
    try:
        transform.fit(to_fit)
        finite = torch.isfinite(transform(values))
    except ValueError as error:
        same = (
            (to_fit.amax(dim=0) == to_fit.amin(dim=0)).nonzero()[:, 0].tolist() if element else []
        )
        examples = f", as in {element} {some([str(index) for index in same])}" if same else ""
        yield ("transforms", name), f"{error}{examples}"
        return
    if not finite.all():
        message = (
            f"{values[~finite][0]:g} becomes infinite or undefined; use another transform for"
            f" '{name}'"
        )
        yield ("transforms", name), message


def in_periods(
    name: str, transform: Transform, quantity: Quantity, support: tuple[float, float]
) -> Iterator[Finding]:
    """Whether the period of an output's transform is that of its quantity, or half of it.

    support  least and greatest possible value, for a quantity without a period
    """
    if transform.period is None:
        return
    where = ("transforms", name, "parameters")
    unit = f" {quantity.unit}".rstrip()
    own = transform.period
    period = quantity.period
    if period is not None:
        if not any(math.isclose(own, possible, rel_tol=1e-6) for possible in (period, period / 2)):
            remedy = (
                f'set "period" to {period!r}, or to {period / 2!r} for lines without a direction'
            )
            yield (
                where,
                (
                    f"has the period {own:.10g}, but '{name}' repeats after {period:.10g}{unit};"
                    f" {remedy}"
                ),
            )
    elif support[1] - support[0] > own * (1 + 1e-6):
        span = (
            f"values from {support[0]:g} to {support[1]:g}{unit} span more than one period of"
            f" {own:.10g}"
        )
        remedy = 'set a longer "period", or use another transform'
        yield where, f"{span}, and '{name}' is not known to repeat; {remedy}"


# Networks of checked documents: laid out, with transforms, and with the weights of a finished run,
# ready to estimate.


def network_of(
    document: Document, inputs: Iterable[str], outputs: Iterable[str], tables: Tables
) -> Network:
    """The network of a checked model, without allocating its weights. Raises BranchError."""
    sizes: dict[str, Shape] = {name: from_spec(document["inputs"][name]["size"]) for name in inputs}
    operations = {
        name: _operation(value, tables["modules"]) for name, value in document["operations"].items()
    }
    branches = [
        Branch(
            tuple(listed(branch["x_name"])),
            tuple(listed(branch["y_name"])),
            tuple(branch["operations"]),
        )
        for branch in document["branches"]
    ]
    return Network(sizes, list(outputs), operations, branches)


def in_batches(document: Document, network: Network, sizes: Collection[int]) -> Iterator[Finding]:
    """Whether an epoch ends with a batch of one sample, on which a layer of the network cannot be
    trained.

    sizes  numbers of training samples of the networks that are trained
    """
    alone = sorted(size for size in sizes if size % document["batch_size"] == 1)
    if alone and _normalises_over_samples(network):
        single = f"the last of the batches of {alone[0]:,} samples has a single sample"
        yield (
            ("batch_size",),
            f"{single}, which a 'batch_norm' cannot normalise; choose another size",
        )


def _normalises_over_samples(network: Network) -> bool:
    """Whether some layer cannot be trained on a single sample."""
    samples = {
        name: torch.empty(1, *shape, device="meta") for name, shape in network.inputs.items()
    }
    network.train()
    try:
        with torch.no_grad():
            network(samples)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        return True
    finally:
        network.eval()
    return False


def heads_in(model: Document, modules: Table) -> dict[str, tuple[str, ...]]:
    """The posterior heads of a checked model document: operation → its outputs."""
    return {
        name: tuple(listed(branch["y_name"]))
        for branch in model["branches"]
        for name in branch["operations"]
        if isinstance(modules[model["operations"][name]["module"]], HeadEntry)
    }


def _operation(description: Document, modules: Table) -> Operation:
    entry = modules[description["module"]]
    parameters = description.get("parameters", {})

    def build(*context: Any) -> torch.nn.Module:
        module = entry.build(*context, **parameters)
        assert isinstance(module, torch.nn.Module)
        return module

    l2 = float(parameters.get("l2", 0.0))
    return Operation(build, isinstance(entry, JoiningEntry), l2, isinstance(entry, HeadEntry))


def model_of(spec: Document, tables: Tables) -> Estimator:
    """The network of a resolved experience and its transforms; weights have no values yet."""
    network = network_of(spec["model"], spec["inputs"], spec["outputs"], tables)
    return Estimator(network, transforms_of(spec, tables), limits_of(spec), imputation_of(spec))


def imputation_of(spec: Document) -> Imputation | None:
    """What fills gaps in the inputs of an experience, not fitted; None if there are none."""
    rule = spec.get("dataset", {}).get("missing")
    if not isinstance(rule, dict):  # of other rules the name alone is written
        return None
    columns = spec["dataset"]["inputs"]
    indicator = rule["parameters"]["indicator"]
    measured = {name: columns[name] for name in spec["inputs"] if name in columns}
    return Imputation(rule["type"], measured, indicator if indicator in spec["inputs"] else None)


def trained_model(
    spec: Document, tables: Tables, weights: Mapping[str, torch.Tensor], file: Path
) -> Estimator:
    """A model with weights from a file. Raises DamagedError if they do not belong to it."""
    model = model_of(spec, tables)
    initialise(model.network, Seeds(0))  # allocates memory; the values come from `weights`
    checkpoint.load(model, weights, file)
    for name, transform in model.transforms.items():
        shape = model.network.inputs.get(name) or model.network.shapes[name]
        try:  # fitted values may have any number of channels
            values = torch.ones(1, *shape)
            values = values if transform.needs_own else transform.inverse(values)
            transformed = transform(values).shape[1:]
        except RuntimeError:
            transformed = None
        if transformed != shape:
            raise DamagedError(
                f"{file} is damaged: the transform of '{name}' was not fitted to {written(shape)}"
            )
    return model.eval()


def load_model(directory: RunDirectory, device: torch.device) -> Estimator:
    """The model of a finished run with its best weights, ready to predict. Raises QexpError for
    several networks.
    """
    models = load_models(directory, device)
    if directory.all_folds() or len(models) > 1:
        raise QexpError(
            f"{directory.name} has {len(models)} networks, of folds or seeds; this needs a run"
            " with one"
        )
    return models[0]


def load_models(directory: RunDirectory, device: torch.device) -> list[Estimator]:
    """The model of a finished run, or all models of its folds or of an ensemble, ready to predict.
    Raises QexpError.
    """
    return [model for of_fold in load_folds(directory, device).values() for model in of_fold]


def load_folds(directory: RunDirectory, device: torch.device) -> dict[str, list[Estimator]]:
    """Fold → its models, ready to predict; of a run without folds its model, under an empty name.
    Raises QexpError.
    """
    joined: dict[str, list[Estimator]] = {}
    if len(directory.members) > 1:
        for member in directory.members:
            for fold, models in load_folds(member, device).items():
                joined.setdefault(fold, []).extend(models)
        return joined
    spec = directory.training_spec()
    directory.require_own_weights()
    if directory.all_folds():
        folds = load_stage(spec["dataset"], "folds").load(directory)
    else:
        require_done(directory)
        file = directory.best_weights
        tables = tables_of(directory)
        folds = {"": [trained_model(directory.spec(), tables, checkpoint.read(file)[0], file)]}
    for fold, models in folds.items():
        joined[fold] = [model.to(device) for model in models]
    return joined


# Posterior heads of experiences: transforms that follow from the prior, and what does not fit them.


FAR_VALUE = 6.0
"""Transformed value that few draws of a posterior exceed, whose inverse must be possible."""


def outputs_of_heads(document: Document, modules: Table) -> dict[str, str]:
    """Output → the posterior head that makes it, in a checked model."""
    return {
        output: head
        for head, outputs in heads_in(document["model"], modules).items()
        for output in outputs
    }


def in_heads(
    document: Document,
    tables: Tables,
    shapes: Mapping[str, tuple[int, ...]],
    transforms: Mapping[str, Transform],
) -> Iterator[Finding]:
    """Whether losses, transforms and shapes are those that posterior heads need."""
    of_head = outputs_of_heads(document, tables["modules"])
    outputs = document["outputs"]
    losses = document["losses"]
    for name, head in of_head.items():
        if name not in outputs:
            yield (
                ("outputs",),
                f"the posterior head '{head}' makes '{name}', too, which is not listed; add it",
            )
    for index, name in enumerate(outputs):
        loss = losses[name]["type"]
        if name in of_head and loss != OF_POSTERIORS:
            yield (
                ("losses", name),
                f"'{name}' is made by a posterior head, whose loss is '{OF_POSTERIORS}'",
            )
        if name not in of_head and loss == OF_POSTERIORS:
            remedy = (
                f"end the branch of '{name}' with one, such as 'gaussian_posterior', or choose"
                " another loss"
            )
            yield (
                ("losses", name),
                f"'{OF_POSTERIORS}' is for outputs of a posterior head; {remedy}",
            )
        if name in of_head and name in shapes and shapes[name] != (1,):
            yield (
                ("outputs", index),
                f"a posterior head makes single numbers, but '{name}' has several",
            )
        if name in of_head and name in transforms and transforms[name].shape((1,)) != (1,):
            remedy = "leave the transform out, which takes the prior's"
            yield ("transforms", name), f"a posterior head makes one number of each value; {remedy}"


def beyond_prior(
    document: Document,
    tables: Tables,
    distributions: Mapping[str, Distribution],
    transforms: Mapping[str, Transform],
) -> Iterator[Finding]:
    """Transforms whose inverse reaches values that the prior excludes."""
    for name in outputs_of_heads(document, tables["modules"]):
        if (
            name not in distributions
            or name not in transforms
            or transforms[name].shape((1,)) != (1,)
        ):
            continue
        low, high = distributions[name].support()
        ends = torch.tensor([[-FAR_VALUE], [FAR_VALUE]], dtype=torch.float64)
        reached = transforms[name].inverse(ends).flatten().tolist()
        slack = 1e-6 * (high - low) if math.isfinite(high - low) else 1e-6
        if min(reached) < low - slack or max(reached) > high + slack:
            reach = f"lets posteriors reach from {min(reached):.3g} to {max(reached):.3g}"
            prior = f"the prior of '{name}' is between {low:g} and {high:g}"
            remedy = "leave the transform out, which takes the prior's normal scores"
            yield ("transforms", name), f"{reach}, but {prior}; {remedy}"


# The scale of an output's intervals: that on which its loss is taken.


CLOSE_RESTORED = 1e-6
"""Largest relative difference between a value and what comes back from the scale."""


def scale_of(spec: dict[str, Any], tables: Tables, output: str, truth: Array) -> Scale:
    """The scale of an output's transform, or its own unit if that does not go one way and back.

    What a transform fits is a linear function, on which intervals do not depend; so it is fitted to
    the true values.

    truth  (row,), true values of the output
    """
    limits = limits_of(spec).get(output, NO_LIMITS)
    transform = transforms_of(spec, tables).get(output)
    period = transform.period if transform is not None else None
    own_unit = Scale(low=limits.low, high=limits.high, period=period)
    if (
        transform is None
        or transform.shape((1,)) != (1,)
        or transform.needs_own
        or np.ptp(truth) == 0
    ):
        return own_unit
    transform.fit(column_of(truth))
    scale = Scale(on_arrays(transform), on_arrays(transform.inverse), limits.low, limits.high)
    values = np.unique(truth)
    scaled = scale.forward(values)
    steps = np.diff(scaled)
    restored = scale.inverse(scaled)
    close = np.abs(restored - values) <= CLOSE_RESTORED * np.abs(values).max()
    one_way = np.isfinite(scaled).all() and ((steps > 0).all() or (steps < 0).all())
    return scale if one_way and close.all() else own_unit


def column_of(values: Array) -> torch.Tensor:
    """(value, 1), a copy in double precision."""
    return torch.from_numpy(np.array(values, dtype=np.float64)).reshape(-1, 1)


def on_arrays(function: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A function of columns as one of arrays of any shape."""

    @torch.no_grad()
    def of_array(values: Array) -> Array:
        return function(column_of(values)).numpy().reshape(np.shape(values))

    return of_array


# Metrics of experiences: those that are reported, and whether they can be computed.


def metrics_of(spec: Document, tables: Tables) -> dict[str, Metrics]:
    """Output → the metrics that are reported of it; errors of angles by the shorter way round."""
    periods = periods_of_outputs(spec, tables)
    metrics = {}
    for output in spec["outputs"]:
        built_ones = {name: tables["metrics"][name].build() for name in asked_for(spec, output)}
        metrics[output] = with_period(built_ones, periods.get(output))
    return metrics


def of_training_mean(
    document: Document, outputs: Sequence[str], why: str, tables: Tables
) -> Iterator[Finding]:
    """Problems of metrics of outputs whose training targets have no mean: the metrics must not
    depend on it.

    why  why there is none, for the message
    """
    for output, names in document["metrics"].items():
        for name in names:
            metric = tables["metrics"][name].build()
            if output in outputs and isinstance(metric, Metric) and metric.against is not None:
                message = (
                    f"'{name}' compares with the mean of the training targets, but {why}; use 'r2'"
                )
                yield ("metrics", output), message


def of_sums_only(
    document: Document, outputs: Sequence[str], pieces: str, tables: Tables
) -> Iterator[Finding]:
    """Problems of metrics of outputs that are evaluated piece by piece: the metrics must be
    additive.

    pieces  what errors call the pieces, in the plural
    """
    metrics = {name: entry.build() for name, entry in tables["metrics"].items()}
    of_sums = [
        name
        for name, metric in metrics.items()
        if isinstance(metric, Metric) and metric.additive is not None
    ]
    for output, names in document["metrics"].items():
        for name in names:
            if output in outputs and name not in of_sums:
                why = f"needs all values at once, but {pieces} are evaluated one by one"
                yield ("metrics", output), f"'{name}' {why}; {suggestion(name, of_sums)}"

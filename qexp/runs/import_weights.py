"""Runs with weights that another program trained."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qexp.base import formats
from qexp.base.quantities import transformed_by
from qexp.base.seeds import Seeds, require_seed
from qexp.base.workspace import Workspace
from qexp.errors import QexpError, some
from qexp.foreign import fitting, weight_files
from qexp.foreign.fitting import Account, Rules, Target, find_rules, shipped
from qexp.foreign.weight_files import Contents, StoredTensor
from qexp.kinds import azimuths
from qexp.kinds.azimuths import Turned
from qexp.kinds.experiments import Experience, experience
from qexp.kinds.networks import model_of
from qexp.kinds.objects import data_kind, fit_transforms, initial_model
from qexp.networks import checkpoint
from qexp.networks.estimator import Estimator
from qexp.runs.followed import Merged, Row
from qexp.runs.order import WeightsOrder
from qexp.runs.plan import plan_of
from qexp.runs.prepare import keep_code, new_run
from qexp.spec import reading, resolution
from qexp.spec.experiences import type_of
from qexp.spec.kinds import KINDS, caution_of_data, documents_named
from qexp.spec.reading import digest
from qexp.spec.resolution import Unwritten
from qexp.store import provenance
from qexp.store.directory import RunDirectory, require_valid_annotations
from qexp.store.record import Epochs, ForeignFile, ForeignWeights, State, now, require_name


def experience_of(order: WeightsOrder, workspace: Workspace) -> Experience:
    """The experience with model, dataset and transforms. Raises QexpError with what to name."""
    overrides = dict(order.overrides)
    if order.experience is not None:
        names = {"model": order.model, "dataset": order.dataset}
        overrides = {key: name for key, name in names.items() if name is not None} | overrides
        reference: str | Unwritten = str(order.experience)
    elif order.model is None:
        raise QexpError(
            "give `experience`, whose model, dataset and transforms the run gets, or `model` for"
            " the experience that has this model"
        )
    elif order.dataset is not None:
        reference = _untrained(order.model, str(order.dataset), workspace)
    else:
        reference = _with_model(order.model, workspace) or _on_fitting_dataset(
            order.model, workspace
        )
    chosen = experience(reference, overrides, workspace)
    if not type_of(chosen.document).trains:
        raise QexpError(
            f"{chosen.name} runs a program and has no network; name an experience that trains one"
        )
    # It starts from this file, whatever it was to start from.
    return replace(chosen, document={**chosen.document, "pretrain": None})


SHARED = ("dataset", "inputs", "outputs", "transforms")
"""What a network needs of an experience besides its model."""


def _with_model(model: str, workspace: Workspace) -> str | None:
    """The workspace's first experience with the model, if all use it in the same way, or None."""
    name = _name(model)
    uses = dict[str, str]()
    for path, document in _specs("experience", workspace):
        if document.get("model") in (model, name, f"{name}.json"):
            uses[path.stem] = json.dumps(list(map(document.get, SHARED)), sort_keys=True)
    if len(set(uses.values())) > 1:
        raise QexpError(
            f"several experiences have the model '{name}', with different datasets or transforms: "
            f"{', '.join(uses)}; choose with `experience`"
        )
    return next(iter(uses), None)


def _on_fitting_dataset(model: str, workspace: Workspace) -> Unwritten:
    """A model with the only dataset of the workspace that has its inputs and outputs."""
    resolution.locate("model", model, workspace)
    fitting = []
    for path, _ in _specs("dataset", workspace):
        try:
            candidate = _untrained(model, path.stem, workspace)
            experience(candidate, {}, workspace)
        except QexpError:
            continue  # its files are missing, or its variables are others
        fitting.append(candidate)
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(candidate.document["dataset"] for candidate in fitting)
    which = ", and no dataset fits it"
    if fitting:
        which = f"; these datasets have its inputs and outputs: {names}"
    raise QexpError(
        f"no experience has the model '{_name(model)}'{which}; name a dataset with `dataset`, or"
        " with `experience` an experience, which has transforms as well"
    )


def _untrained(model: str, dataset: str, workspace: Workspace) -> Unwritten:
    """An experience of a model and a dataset, without transforms: the network takes and makes
    values in their units.

    Raises SpecError if there is no such model or dataset, QexpError if they cannot be read.
    """

    def spec(kind: str, name: str) -> dict[str, Any]:
        file = resolution.locate(kind, name, workspace)
        return resolution.spec_in(kind, file, workspace).document

    model_spec = spec("model", model)
    kind = spec("dataset", dataset).get("type")
    inputs = model_spec.get("inputs")
    outputs = model_spec.get("outputs")
    document = {
        "model": model,
        "dataset": dataset,
        "inputs": list(inputs) if isinstance(inputs, dict) else inputs,
        "outputs": outputs,
        "epochs": 1,
        "batch_size": 1,
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "keep": "last",
        "losses": dict.fromkeys(outputs, "mse") if isinstance(outputs, list) else {},
    }
    if isinstance(kind, str) and kind in KINDS:
        document |= documents_named(kind).untrained
    words = f"the model '{_name(model)}' with the dataset '{_name(dataset)}'"
    return Unwritten(_name(model), words, document)


def _name(reference: str) -> str:
    return Path(reference).stem if reference.endswith(".json") else reference


def _specs(kind: str, workspace: Workspace) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The specs of a kind that can be read; `qexp validate` reports the others."""
    for path in sorted((workspace.specs / resolution.FOLDERS[kind]).glob("*.json")):
        with suppress(QexpError):
            yield path, resolution.spec_in(kind, path, workspace).document


MOST_LISTED = 1000
"""Number of problems that an error lists."""

MOST_NAMES = 20
"""Number of tensors that an error names if nothing is known about any."""


def target_of(model: Estimator, spec: Mapping[str, Any]) -> Target:
    """What weights of elsewhere are fitted into."""
    inputs = model.network.input_shapes.items()
    shapes = {name: shape for name, shape in inputs if isinstance(shape, tuple)}
    modules = {name: operation["module"] for name, operation in spec["model"]["operations"].items()}
    return Target(model, modules, shapes)


def contents_of(order: WeightsOrder, stack: ExitStack) -> Contents:
    """The tensors of the file and of the further files, which stay open until the stack ends."""
    if weight_files.format_of(order.path) == "numpy":
        raise QexpError(
            f"{order.path}: holds a single array without a name; a network needs a file of several"
        )
    main = stack.enter_context(weight_files.open_weights(order.path))
    tensors: dict[str, StoredTensor] = dict(main.tensors)
    for name, file in order.others.items():
        for inner_name, tensor in stack.enter_context(
            weight_files.open_weights(file)
        ).tensors.items():
            key = f"{name}.{inner_name}" if inner_name else name
            if key in tensors:
                raise QexpError(
                    f"`also={name}={file}`: {order.path} has a tensor '{key}', too; choose another"
                    " name"
                )
            tensors[key] = tensor
    return Contents(tensors, main.settings)


def account_of(order: WeightsOrder, tensors: Mapping[str, StoredTensor], target: Target) -> Account:
    """The account by rules, or the only ones that fit. Raises QexpError with all faults."""
    candidates = [find_rules(order.rules)] if order.rules else list(shipped().values())
    accounts = [fitting.account_by(rules, tensors, target) for rules in candidates]
    fitting_accounts = [account for account in accounts if not account.problems]
    if len(fitting_accounts) == 1:
        return fitting_accounts[0]
    if fitting_accounts:
        names = ", ".join(account.rules.name for account in fitting_accounts)
        raise QexpError(f"{order.path}: fits by several rules, {names}; choose with `rules`")
    nearest = max(accounts, key=lambda account: (account.matched, -len(account.problems)))
    if not nearest.matched:
        names = some(list(tensors), MOST_NAMES)
        raise QexpError(
            f"{order.path}: no rules are known for its tensors, {names}; rules that qexp has:"
            f" {', '.join(shipped())}; write your own and name them with `rules` RULES.json"
        )
    raise QexpError(not_fitting(order.path, nearest.rules, nearest.problems))


def not_fitting(file: Path, rules: Rules, problems: Sequence[str]) -> str:
    lines = list(problems[:MOST_LISTED])
    if len(problems) > MOST_LISTED:
        lines.append(f"and {len(problems) - MOST_LISTED} more")
    return f"{file}: does not fit this model by the rules '{rules.name}':\n  " + "\n  ".join(lines)


def with_values(
    order: WeightsOrder,
    account: Account,
    contents: Contents,
    target: Target,
    experience: Experience,
) -> tuple[Estimator, dict[str, str]]:
    """The model with the file's weights and transforms, and the origin of each one's numbers."""
    model = initial_model(experience.document, experience.tables, Seeds(order.seed))
    values = fitting.values(account, contents.tensors, target)
    problems = [
        *fitting.unequal(account, contents.tensors, model),
        *fitting.other_settings(account, contents.settings, model),
    ]
    for name, tensor in values.items():
        if not tensor.isfinite().all():
            problems.append(f"{name} holds values that are not finite")
    problems += _incomplete_transforms(values, model)
    if problems:
        raise QexpError(not_fitting(order.path, account.rules, problems))
    origins = _fit_transforms(order, account.rules, values, model, experience)
    state = model.state_dict()
    for name, tensor in values.items():
        variable = transformed_by(name)
        state[name] = tensor if variable is None else _per_channel(variable, tensor, model)
    checkpoint.load(model, state, order.path)
    return model, origins


def _incomplete_transforms(values: Mapping[str, Tensor], model: Estimator) -> Iterator[str]:
    """Problems of transforms some of whose numbers are in the files, but not all."""
    for variable in _transforms_in(values):
        needed = {name for name, _ in model.named_buffers() if transformed_by(name) == variable}
        for name in sorted(needed - values.keys()):
            yield f"missing: {name}, although other numbers of this transform are given"
        shape = model.network.inputs.get(variable) or model.network.shapes[variable]
        for name in sorted(needed & values.keys()):
            if len(values[name]) not in (1, shape[0]):
                yield (
                    f"{name} has {len(values[name])} values, but '{variable}' has {shape[0]}"
                    " channels or columns"
                )


def _transforms_in(values: Mapping[str, Tensor]) -> list[str]:
    """Variables whose fitted transforms are in the files."""
    variables = map(transformed_by, values)
    return list(dict.fromkeys(variable for variable in variables if variable is not None))


def _per_channel(variable: str, values: Tensor, model: Estimator) -> Tensor:
    """Fitted numbers in the shape in which transforms keep them, (1, channel, 1, ...)."""
    shape = model.network.inputs.get(variable) or model.network.shapes[variable]
    return values.reshape(1, -1, *[1] * (len(shape) - 1))


def _fit_transforms(
    order: WeightsOrder,
    rules: Rules,
    values: Mapping[str, Tensor],
    model: Estimator,
    experience: Experience,
) -> dict[str, str]:
    spec = experience.document
    kind = data_kind(spec["dataset"])
    in_files = _transforms_in(values)
    samples: dict[str, Tensor] = {}

    def to_fit() -> Mapping[str, Tensor]:
        samples.update(kind.to_fit(spec, experience.dataset, experience.tables, Seeds(order.seed)))
        return samples

    fitted = fit_transforms(model, to_fit, in_files)
    if rules.population:
        for name in fitted:
            _divide_by_n(model.transforms[name], len(samples[name]))
    return {
        **dict.fromkeys(in_files, "from the files"),
        **dict.fromkeys(
            fitted, f"fitted to the training data of {experience.dataset_name}, seed {order.seed}"
        ),
    }


@torch.no_grad()
def _divide_by_n(transform: torch.nn.Module, count: int) -> None:
    """Make deviations of a sample, divided by n - 1, those of the population, as elsewhere."""
    for name, buffer in transform.named_buffers():
        if name.endswith("deviation"):
            buffer.mul_(((count - 1) / count) ** 0.5)


class Training(NamedTuple):
    """What is known of a training besides its weights; `record`: fields of the run's record."""

    experience: Experience
    lines: Sequence[Mapping[str, Any]]
    record: Mapping[str, Any]


def import_training(
    order: WeightsOrder, project: Path, rows: Sequence[Row], record: Any, workspace: Workspace
) -> RunDirectory:
    """Make a run of a training of VDI, with the experience as its project has it now.

    order  names an experience of the project; rows: of epochs; record: fields of the run's record
    Results are the numbers of the epoch of its best weights, as VDI found them.
    Raises QexpError if files of the project are wrong, and as `import_weights` does.
    """
    file = project / f"experiences/defined_experiences/{order.experience}.json"
    document = reading.read(file)
    for kind in ("dataset", "model"):
        if isinstance(document.get(kind), str):
            document[kind] = str(project / f"data/{kind}s/{document[kind]}.json")
    # VDI's code adds this penalty to every kernel, and no file says so.
    penalty = {"model.operations.*.parameters.l2": 0.01}
    own = experience(Unwritten(file.stem, str(file), document), penalty, workspace)
    lines = Merged(rows=rows).lines()
    results = defaultdict[str, dict[str, Any]](dict)
    counts = Epochs(done=len(lines))
    for line in lines:
        if not line["best"]:
            continue
        counts = replace(counts, best=line["epoch"])
        for part in ("validation", "test"):
            for output, loss in own.document["losses"].items():
                numbers = line.get(part, {})
                of_loss = {loss["type"]: numbers.get("losses", {}).get(output)}
                results[part][output] = of_loss | numbers.get(output, {})
    training = Training(own, lines, {**record, "epochs": counts, "results": results})
    return import_weights(order, workspace, training)


def import_weights(
    order: WeightsOrder, workspace: Workspace, training: Training | None = None
) -> RunDirectory:
    """Make a finished run of weights from a file. Nothing is written if anything does not fit.

    Raises QexpError: for a file that cannot be read, tensors that are left over, missing, or of
    another shape.
    """
    require_name(order.to)
    require_seed(order.seed)
    require_valid_annotations(order.tags, order.note)
    name_in_use = QexpError(f"a run {order.to} exists already; choose another name with `to`")
    if (workspace.runs / order.to).exists():
        raise name_in_use
    experience = training.experience if training else experience_of(order, workspace)
    with ExitStack() as stack:
        contents = contents_of(order, stack)
        model = model_of(experience.document, experience.tables)
        target = target_of(model, experience.document)
        account = account_of(order, contents.tensors, target)
        turned = azimuths.turned(experience, account.rules, workspace)
        model, transforms = with_values(order, account, contents, target, turned.experience)
    try:
        return new_run(
            order.to,
            workspace,
            order.storage,
            lambda draft: _fill(
                draft, order, account, model, transforms, turned, training, workspace
            ),
        )
    except FileExistsError:
        raise name_in_use from None


def _fill(
    draft: Path,
    order: WeightsOrder,
    account: Account,
    model: Estimator,
    transforms: Mapping[str, str],
    turned: Turned,
    training: Training | None,
    workspace: Workspace,
) -> None:
    experience = turned.experience
    spec = turned.experience.document
    code = keep_code(draft, experience.extensions, workspace)
    directory = RunDirectory(draft)
    checkpoint.write(directory.best_weights, model.state_dict(), {"imported": order.path.name})
    origin = ForeignWeights(
        file=_file(order.path),
        also={name: _file(file) for name, file in order.others.items()},
        format=weight_files.format_of(order.path),
        rules=account.rules.name,
        time=now(),
        taken=len(account.sources),
        left_out=Counter(
            [
                *account.left_out.values(),
                *["equal to constants of the network"] * len(_equal(account)),
            ]
        ),
        transforms=transforms,
        azimuth=turned.azimuth,
        remarks=turned.remarks,
        weights=provenance.fingerprint(directory.best_weights),
    )
    formats.write_json(draft / "weights.json", _account_document(account, transforms))
    formats.write_json(draft / "spec.json", spec)
    formats.write_json(
        draft / "environment.json",
        provenance.environment("cpu", torch.get_num_threads(), provenance.of_torch("cpu")),
    )
    record = replace(
        plan_of(experience).record,
        name=order.to,
        seed=order.seed,
        state=State.DONE,
        kind="imported",
        foreign_weights=origin,
        weights=sum(weight.numel() for weight in model.parameters()),
        created=origin.time,
        ended=origin.time,
        tags=tuple(dict.fromkeys(order.tags)),
        note=order.note,
        caution=caution_of_data(spec),
        features=data_kind(spec["dataset"]).ranges(spec, experience.dataset),
        code=code,
        epochs=Epochs(),
    )
    if training is not None:
        formats.write_lines(directory.metrics_file, training.lines)
        record = replace(record, **training.record)
    texts = [text for text in (experience.extensions, record.mark_of_weights) if text]
    directory.write(replace(record, digest=digest(spec, *texts)))


def _file(path: Path) -> ForeignFile:
    fingerprint = provenance.fingerprint(path)
    return ForeignFile(name=path.name, path=str(path.absolute()), **vars(fingerprint))


def _equal(account: Account) -> list[str]:
    """Tensors that are equal to constants of the network, and are not kept."""
    return list(dict.fromkeys(name for name, _, _ in account.equal))


def _account_document(account: Account, transforms: Mapping[str, str]) -> dict[str, Any]:
    """What became of every tensor, and by which rules."""
    return {
        "rules": account.rules.name,
        "taken": {name: source for name, (source, _) in sorted(account.sources.items())},
        "equal": _equal(account),
        "left_out": account.left_out,
        "transforms": dict(transforms),
        "rules_document": account.rules.document,
    }

"""Import of weights that another program trained: a finished run, without training and without results."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from qexp import assemble, files
from qexp.errors import QexpError
from qexp.foreign import weight_files
from qexp.foreign.fitting import Account
from qexp.networks import checkpoint
from qexp.networks.estimator import Inversion
from qexp.runs.foreign_weights import azimuths
from qexp.runs.foreign_weights.accounting import account_of, contents_of, target_of
from qexp.runs.foreign_weights.azimuths import Turned
from qexp.runs.foreign_weights.order import WeightsOrder, experience_of
from qexp.runs.foreign_weights.values import with_values
from qexp.runs.planning.plans import require_seed
from qexp.runs.planning.prepare import keep_code, made
from qexp.runs.record import provenance, tagging
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.names import now, require_name
from qexp.runs.record.origins import ForeignFile, ForeignWeights
from qexp.runs.record.record import Epochs, Feature, Record
from qexp.runs.record.state import State
from qexp.spec.digest import digest
from qexp.spec.experiences import type_of
from qexp.spec.kinds import caution_of_data
from qexp.workspace import Workspace

IMPORTED = "imported"
"""The kind of such runs."""

ACCOUNT = "weights.json"
"""File of such a run that says what became of every tensor, and by which rules."""


def import_weights(order: WeightsOrder, workspace: Workspace) -> RunDirectory:
    """Make a finished run of weights from a file. Nothing is written if anything does not fit.

    Raises QexpError: for a file that cannot be read, tensors that are left over, missing, or of another shape.
    """
    require_name(order.to)
    require_seed(order.seed)
    tagging.require_valid(order.tags, order.note)
    if (workspace.runs / order.to).exists():
        raise _taken(order.to)
    experience = experience_of(order, workspace)
    if not type_of(experience.document).trains:
        raise QexpError(f"the experience {experience.name} runs a program and has no network that weights could fit")
    with ExitStack() as stack:
        contents = contents_of(order, stack)
        model = assemble.model_of(experience.document, experience.tables)
        target = target_of(model, experience.document)
        account = account_of(order, contents.tensors, target)
        turned = azimuths.turned(experience, account.rules, workspace)
        experience = turned.experience
        spec = {**experience.document, "pretrain": None}  # it starts from this file, whatever it was to start from
        model, transforms = with_values(order, account, contents, target, experience, spec)
    try:
        return made(
            order.to,
            workspace,
            order.storage,
            lambda draft: _fill(draft, order, account, model, transforms, turned, spec, workspace),
        )
    except FileExistsError:
        raise _taken(order.to) from None


def _taken(name: str) -> QexpError:
    return QexpError(f"a run {name} exists already; choose another name with --to")


def _fill(
    draft: Path,
    order: WeightsOrder,
    account: Account,
    model: Inversion,
    transforms: Mapping[str, str],
    turned: Turned,
    spec: dict[str, Any],
    workspace: Workspace,
) -> None:
    experience = turned.experience
    code = keep_code(draft, experience.extensions, workspace)
    directory = RunDirectory(draft)
    checkpoint.write(directory.best_weights, model.state_dict(), {"imported": order.file.name})
    origin = ForeignWeights(
        file=_file(order.file),
        also={name: _file(file) for name, file in order.also.items()},
        format=weight_files.format_of(order.file).name,
        rules=account.rules.name,
        time=now(),
        taken=len(account.taken),
        left_out=_counted(account),
        transforms=transforms,
        azimuth=turned.azimuth,
        remarks=turned.remarks,
        weights=provenance.fingerprint(directory.best_weights),
    )
    files.write_json(draft / ACCOUNT, _account_document(account, transforms))
    files.write_json(draft / "spec.json", spec)
    files.write_json(
        draft / "environment.json", provenance.environment("cpu", torch.get_num_threads(), provenance.of_torch("cpu"))
    )
    texts = [text for text in (experience.extensions, origin.weights.sha256) if text]
    units = assemble.units_of(spec, experience.tables["quantities"])
    ranges = assemble.kind_of(spec["dataset"]).ranges(spec, experience.dataset)
    directory.write(
        Record(
            name=order.to,
            experience=experience.name,
            dataset=experience.dataset_name,
            model=experience.model_name,
            seed=order.seed,
            state=State.DONE,
            kind=IMPORTED,
            foreign_weights=origin,
            created=origin.time,
            ended=origin.time,
            digest=digest(spec, *texts),
            overrides=experience.overrides,
            tags=tuple(dict.fromkeys(order.tags)),
            note=order.note,
            caution=caution_of_data(spec),
            features=tuple(Feature(column=name, least=least, greatest=most) for name, least, most in ranges),
            units={name: units[name] for name in spec["outputs"]},
            metrics=assemble.objects_of(spec).meanings(spec, experience.tables),
            code=code,
            epochs=Epochs(),
        )
    )


def _file(path: Path) -> ForeignFile:
    hashed = provenance.fingerprint(path)
    return ForeignFile(name=path.name, path=str(path.absolute()), sha256=hashed.sha256, bytes=hashed.bytes)


def _counted(account: Account) -> dict[str, int]:
    reasons = [*account.left_out.values(), *("equal to constants of the network" for _ in _equal(account))]
    return {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)}


def _equal(account: Account) -> list[str]:
    """Tensors that are equal to constants of the network, and are not kept."""
    return list(dict.fromkeys(name for name, _, _ in account.equal))


def _account_document(account: Account, transforms: Mapping[str, str]) -> dict[str, Any]:
    return {
        "rules": account.rules.name,
        "taken": {name: source for name, (source, _) in sorted(account.taken.items())},
        "equal": _equal(account),
        "left_out": account.left_out,
        "transforms": dict(transforms),
        "rules_document": account.rules.document,
    }

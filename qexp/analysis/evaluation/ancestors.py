"""Independence of the data of all runs whose weights a run started from, and of the run itself."""

from __future__ import annotations

from dataclasses import replace

from qexp.analysis.evaluation.asked import Asked, Independence, Judged
from qexp.errors import DamagedError, NotFoundError, UntrustedCodeError
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.origins import Ancestor
from qexp.runs.record.trust import tables_of
from qexp.spec.kinds import kind_of


def independence_of(asked: Asked, judged: Judged) -> Independence:
    """Whether data are independent of those that a run, and those that it started from, were trained on."""
    record = asked.directory.record()
    if record.foreign_weights is not None:
        return _unknown(f"{asked.directory.name} has weights of another program")
    found = [judged.independence(asked)]
    if not kind_of(asked.spec["dataset"]).keeps_hashes:  # where the run keeps those of its ancestors, too
        found += [_of_ancestor(one, asked, judged) for one in record.lineage]
    shared, unknown = (
        tuple(dict.fromkeys(reason for one in found if one.known is known for reason in one.reasons))
        for known in (False, None)
    )
    if shared:
        return Independence(False, shared)
    return Independence(None, unknown) if unknown else found[0]


def _of_ancestor(ancestor: Ancestor, asked: Asked, judged: Judged) -> Independence:
    directory = RunDirectory(asked.workspace.runs / ancestor.name, asked.directory.code_trusted)
    try:
        record, spec = directory.record(), directory.spec()
        same = (record.digest, record.seed) == (ancestor.digest, ancestor.seed)
        if record.foreign_weights is not None:
            return _unknown(f"{ancestor.name}, from which it started, has weights of another program")
        if not same or kind_of(spec["dataset"]) is not kind_of(asked.spec["dataset"]):
            return _unknown(f"it started from {ancestor.name}, which no longer exists or has data of another kind")
        tables = tables_of(directory)
    except (NotFoundError, DamagedError, UntrustedCodeError) as error:
        return _unknown(f"it started from {ancestor.name}, which cannot be read: {error}")
    found = judged.independence(replace(asked, directory=directory, spec=spec, tables=tables))
    return Independence(found.known, tuple(f"{ancestor.name}, from which it started: {text}" for text in found.reasons))


def _unknown(why: str) -> Independence:
    return Independence(None, (f"{why}: its training data are unknown",))

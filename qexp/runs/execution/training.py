"""Training and evaluating a run's networks."""

from __future__ import annotations

import logging

import torch

from qexp import assemble, files
from qexp.memory import freed_memory_kept
from qexp.runs.attempt import Attempt, Work
from qexp.runs.evaluation.results import Results
from qexp.runs.execution.kinds import KINDS
from qexp.runs.record import provenance
from qexp.runs.record.trust import tables_of

log = logging.getLogger("qexp.run")


def train(work: Work) -> Results | None:
    """Train and evaluate; None if interrupted."""
    with assemble.threads(torch.get_num_threads()), freed_memory_kept():  # training sets its own number of threads
        return KINDS[work.spec["dataset"]["type"]](_attempt(work))


def _attempt(work: Work) -> Attempt:
    directory, spec = work.own.directory, work.spec
    device = assemble.device_of(work.device)
    tables = tables_of(directory)
    cores = torch.get_num_threads()
    if device.type == "cpu":
        wanted = assemble.threads_for(spec, tables)
        torch.set_num_threads(min(wanted, work.threads or wanted))
    called = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    environment = provenance.environment(called, torch.get_num_threads(), provenance.of_torch(called))
    files.write_json(directory.path / "environment.json", environment)
    log.info("device %s, %d threads", called, torch.get_num_threads())
    processes = min(cores, work.threads or cores)
    dataset = work.dataset or assemble.dataset_of(spec["dataset"], tables)
    for text in dataset.warnings:
        log.warning("%s", text)
    return Attempt(directory, work.own, spec, dataset, tables, device, work.display, work.interrupted, processes)

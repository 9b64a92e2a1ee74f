"""Training and evaluating a run's networks, by the kind of its dataset."""

from __future__ import annotations

import logging
from dataclasses import replace

import torch

from qexp.base import formats
from qexp.base.machine import freed_memory_kept
from qexp.kinds.attempt import Attempt, Results, Work
from qexp.kinds.objects import dataset_of, device_of, threads, threads_for
from qexp.kinds.tables import tables_of
from qexp.networks.processes import together
from qexp.spec.kinds import load_stage
from qexp.store import provenance

log = logging.getLogger("qexp.run")


def results_of(work: Work) -> Results | None:
    """Train and evaluate; None if interrupted, or if this is not the first of several processes."""
    directory, spec, processes = work.own.directory, work.spec, together()
    if processes.first:
        processes.of_first((directory.path.absolute(), work.device, work.threads))
    cores = torch.get_num_threads()
    with threads(cores), freed_memory_kept():  # training sets its own number of threads
        device = device_of(work.device)
        tables = tables_of(directory)
        if device.type == "cpu":
            wanted = threads_for(spec, tables)
            torch.set_num_threads(min(wanted, work.threads or wanted))
        if processes.count > 1 and processes.first:
            backend = "nccl" if device.type == "cuda" else "gloo"
            *earlier, this = work.own.record.attempts
            work.own.keep(attempts=(*earlier, replace(this, processes=processes.count, backend=backend)))
            log.info("%d processes, %s", processes.count, backend)
        called = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
        environment = provenance.environment(called, torch.get_num_threads(), provenance.of_torch(called))
        if processes.first:
            formats.write_json(directory.path / "environment.json", environment)
        log.info("device %s, %d threads", called, torch.get_num_threads())
        dataset = work.dataset or dataset_of(spec["dataset"], tables)
        for text in dataset.warnings:
            log.warning("%s", text)
        attempt = Attempt(
            directory=directory,
            own=work.own,
            spec=spec,
            dataset=dataset,
            tables=tables,
            device=device,
            display=work.display,
            interrupted=work.interrupted,
            processes=min(cores, work.threads or cores),
        )
        results: Results | None = load_stage(spec["dataset"], "train")(attempt)
        return results

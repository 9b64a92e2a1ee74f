"""TensorBoard events of a run, without torch's heavy writer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class EventWriter:
    """Writes an epoch's numbers as scalars: `validation/depth/mae` and so on.

    epochs_kept  epochs of earlier attempts that stay; TensorBoard discards its later ones
    """

    def __init__(self, folder: Path, epochs_kept: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary = Event, Summary
        self._writer = EventFileWriter(str(folder))
        if epochs_kept:
            restart = SessionLog(status=SessionLog.START)
            self._writer.add_event(Event(wall_time=time.time(), step=epochs_kept + 1, session_log=restart))

    def epoch(self, line: Mapping[str, Any]) -> None:
        """Write the numbers of an epoch's line."""
        values = [self._summary.Value(tag=tag, simple_value=value) for tag, value in _scalars(line)]
        self._writer.add_event(
            self._event(wall_time=time.time(), step=line["epoch"], summary=self._summary(value=values))
        )

    def flush(self) -> None:
        """Write all events to the file."""
        self._writer.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()


def _scalars(line: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in line.items():
        if isinstance(value, Mapping):
            yield from _scalars(value, f"{prefix}{key}/")
        elif isinstance(value, float):
            yield prefix + key, value

"""A job's result on disk, in every format in which it can be asked for.

Written while the video is being labelled, so that memory does not grow with its length. The names
of the formats are those of :data:`captioner.tasks.frame_formats.FORMATS`.
"""

from __future__ import annotations

from types import TracebackType
from typing import IO, TYPE_CHECKING

from serving.jobs.files import StateFiles
from serving.responses import json_bytes

if TYPE_CHECKING:
    from captioner.tasks.frame_options import FrameLabels, FramesSummary

WHILE_LABELLING = ("json", "ndjson")
"""Formats that hold every frame; the others are made of the summary."""


class ResultFiles:
    """``write`` each event, ``finish`` after the last; what is left unfinished is removed."""

    def __init__(self, files: StateFiles, job_id: str) -> None:
        self._files = files
        self._job_id = job_id
        self._summary: FramesSummary | None = None
        self._frames = 0
        self._open: dict[str, IO[bytes]] = {}

    def __enter__(self) -> ResultFiles:
        for name in WHILE_LABELLING:
            self._open[name] = self._part(name)
        self._open["json"].write(b'{"frames":[')
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for file in self._open.values():
            file.close()
        if self._open:
            self._files.remove_results(self._job_id)

    def write(self, event: FrameLabels | FramesSummary) -> None:
        """The next event of the stream."""
        from captioner.tasks.frame_formats import event_line
        from captioner.tasks.frame_options import FrameLabels

        self._open["ndjson"].write(event_line(event).encode())
        if isinstance(event, FrameLabels):
            self._open["json"].write(b"," if self._frames else b"")
            self._open["json"].write(json_bytes(event.to_dict()))
            self._frames += 1
        else:
            self._summary = event

    def show(self) -> None:
        """Let those who ask meanwhile see all lines of NDJSON that were written."""
        self._open["ndjson"].flush()

    def finish(self) -> int:
        """Put all formats in their places; gives the bytes of all together."""
        from captioner.tasks.frame_formats import FORMATS

        if self._summary is None:
            raise ValueError("the stream ended without its summary")
        body = self._summary.to_dict()
        self._open["json"].write(b"]," + json_bytes(body)[1:])
        for name in FORMATS.keys() - self._open.keys():
            self._open[name] = self._part(name)
            self._open[name].write(FORMATS[name].write(body).encode())
        size = 0
        for file in self._open.values():
            size += file.tell()
            file.close()
        for name in self._open:
            self._files.part(self._job_id, name).rename(self._files.result(self._job_id, name))
        self._open = {}
        return size

    def _part(self, name: str) -> IO[bytes]:
        return self._files.create(self._files.part(self._job_id, name))

"""Environment -> :class:`Settings`, read once at the start and checked by name.

Every variable is ``CAPTIONER_`` and the field's name in capitals: ``CAPTIONER_MAX_QUEUE=128``.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from captioner.errors import UserError

PREFIX = "CAPTIONER_"
OF_THE_LIBRARY = ("CAPTIONER_BUNDLES", "CAPTIONER_DATA")
OF_SEVERAL = ("translate", "generate")  # captioner.tasks.OF_SEVERAL, which brings torch
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


class InvalidSetting(UserError):
    """An environment variable of ours has a value, or a name, that cannot be used."""

    code = "invalid_setting"


@dataclass(frozen=True)
class Settings:
    """What one instance of the service is allowed to do. Sizes in bytes, times in seconds."""

    host: str = "127.0.0.1"
    port: int = 3000
    workers: int = 1
    """Processes. Each loads every bundle; one is right for a CPU."""

    models: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    """Task -> bundle name or directory, where it is not the task's own: ``caption=my-captioner``.
    ``translate`` and ``generate`` take several, named one by one; by default all that there are.
    Names are looked up in the directories of ``CAPTIONER_BUNDLES``, which the library reads."""

    allowed_hosts: tuple[str, ...] = ()
    """Host names answered to besides loopback ones; ``*.example.org`` and ``*`` are patterns."""

    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may read our answers; ``*`` is every one. None by default."""

    threads: int = 0
    """Threads of torch's operators; 0 shares the available cores among the workers."""

    decode_threads: int = 2
    max_file_bytes: int = 20 * 2**20
    max_field_bytes: int = 64 * 2**10
    max_parts: int = 32
    """Parts of one multipart body, or options of one query string."""

    max_buffered_bytes: int = 512 * 2**20
    """Bodies held in memory by all requests of one process together."""

    read_timeout_s: float = 60.0
    """For a whole body to arrive."""

    stall_timeout_s: float = 10.0
    """For the next bytes of a body to arrive."""

    deadline_s: float = 20.0
    """For an answer once the body is here, waiting included; ``X-Timeout-Ms`` overrides it."""

    max_batch: int = 8
    max_queue: int = 64

    state_dir: str = ""
    """Where uploads of videos, jobs and their results lie, for this user's eyes only. Without it
    ``captioner`` in ``XDG_STATE_HOME`` (``~/.local/state``). Instances may share one."""

    video_read_timeout_s: float = 600.0
    """For a whole video to arrive."""

    max_uploads: int = 16
    """Videos that arrive at a time, in one process."""

    frames_max_bytes: int = 100 * 2**20
    """Of a video sent to ``/frames``; likewise the next two. What is more is a job."""

    frames_max_s: float = 60.0
    frames_max_frames: int = 600
    frames_streams: int = 2
    """Videos of ``/frames`` that are labelled at a time, in one process."""

    frames_queue: int = 8
    """Videos that are here and wait for that."""

    frames_deadline_s: float = 60.0
    """As ``deadline_s``, for ``/frames``."""

    jobs_max_bytes: int = 2**30
    """Of a video sent to ``/frames/jobs``; likewise the next two."""

    jobs_max_s: float = 7200.0
    jobs_max_frames: int = 50_000
    jobs_queue: int = 32
    """Jobs that wait. One runs at a time."""

    jobs_time_s: float = 7200.0
    """For one job to run."""

    jobs_memory_bytes: int = 4 * 2**30
    """For the process that runs jobs; more ends it, and the job fails."""

    jobs_disk_bytes: int = 8 * 2**30
    """For the videos and results of all jobs together."""

    jobs_keep_s: float = 24 * 3600.0
    """How long a finished job's result is kept."""

    max_json_bytes: int = 2**20
    """Of a body with texts."""

    max_texts: int = 32
    """In one request for translations."""

    max_text_characters: int = 5000
    """Of one text, or of a prompt."""

    generate_streams: int = 2
    """Texts of ``/generate`` that are written at a time, in one process."""

    generate_queue: int = 16
    """Requests that wait for that."""

    generate_deadline_s: float = 60.0
    """As ``deadline_s``, for ``/generate``."""

    stuck_s: float = 60.0
    """A model that computes for longer is stuck: ``/livez`` says so, and a restart is due."""

    log_level: str = "INFO"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Settings from ``CAPTIONER_*`` variables; what is not set keeps its default.

        Raises:
            InvalidSetting: a value that cannot be used, or a name that is nearly one of ours.
        """
        environment = os.environ if environment is None else environment
        names = {PREFIX + item.name.upper(): item.name for item in fields(cls)}
        values: dict[str, Any] = {}
        for variable, text in environment.items():
            if variable in names:
                values[names[variable]] = _READERS[names[variable]](variable, text.strip())
            elif variable.startswith(PREFIX):
                _refuse_misspelling(variable, list(names))
        return cls(**values)

    @property
    def own_hosts(self) -> tuple[str, ...]:
        """Every Host name that is answered to: loopback, the bound address, the allowed ones."""
        address = ipaddress.ip_address(self.host)
        bound = () if address.is_unspecified else (bracketed(self.host),)
        return tuple(dict.fromkeys((*LOOPBACK, *bound, *self.allowed_hosts)))

    @property
    def max_deadline_s(self) -> float:
        """The longest deadline that a request may ask for."""
        return max(60.0, self.deadline_s, self.frames_deadline_s, self.generate_deadline_s)

    @property
    def longest_request_s(self) -> float:
        """No request takes longer than this: reading, deadline, and refusing at the end."""
        reading = max(self.read_timeout_s, self.video_read_timeout_s)
        return reading + self.max_deadline_s + 15.0

    def as_environment(self) -> dict[str, str]:
        """The variables that :meth:`from_environment` reads these settings from."""
        environment = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Mapping):
                value = ",".join(
                    f"{task}={bundle}"
                    for task, bundles in value.items()
                    for bundle in ((bundles,) if isinstance(bundles, str) else bundles)
                )
            elif isinstance(value, tuple):
                value = ",".join(value)
            environment[PREFIX + item.name.upper()] = str(value)
        return environment


def bracketed(address: str) -> str:
    """An address as it stands in a URL: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address


def _refuse_misspelling(variable: str, names: list[str]) -> None:
    if variable in OF_THE_LIBRARY:
        return
    close = difflib.get_close_matches(variable, names, n=1, cutoff=0.87)
    if close:
        raise InvalidSetting(
            f"there is no setting {variable}.", hint=f"Did you mean {close[0]}? It was not applied."
        )


def _number(kind: Callable[[str], float], low: float, high: float) -> Callable[[str, str], Any]:
    def read(variable: str, text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            wanted = "a whole number" if kind is int else "a number"
            raise InvalidSetting(f"{variable} must be {wanted} from {low} to {high}, got {text!r}.")
        return value

    return read


def _words(variable: str, text: str) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[,\s]+", text) if word)


def _address(variable: str, text: str) -> str:
    if text == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        raise InvalidSetting(
            f"{variable} must be an IP address, got {text!r}.",
            hint="127.0.0.1 for this machine only, 0.0.0.0 for every network interface.",
        ) from None


def _hosts(variable: str, text: str) -> tuple[str, ...]:
    hosts = tuple(word.lower() for word in _words(variable, text))
    for host in hosts:
        if not re.fullmatch(r"\*|(\*\.)?[a-z0-9_.-]+|\[[0-9a-f:.]+\]", host):
            raise InvalidSetting(
                f"{variable} lists host names without scheme and port, got {host!r}.",
                hint="Such as: captions.example.org, *.example.org, 192.168.1.5, [fd00::5] or *.",
            )
    return hosts


def _origins(variable: str, text: str) -> tuple[str, ...]:
    origins = _words(variable, text)
    for origin in origins:
        if not re.fullmatch(r"\*|https?://[^/\s?#]+", origin):
            raise InvalidSetting(
                f"{variable} lists origins, got {origin!r}.", hint="Such as: https://example.org"
            )
    return origins


def _models(variable: str, text: str) -> dict[str, str | tuple[str, ...]]:
    chosen: dict[str, str | tuple[str, ...]] = {}
    for word in (word.strip() for word in text.split(",") if word.strip()):
        task, equals, bundle = word.partition("=")
        several = task in OF_SEVERAL
        if not (equals and task and bundle) or (task in chosen and not several):
            raise InvalidSetting(
                f"{variable} lists task=bundle, each task once but for "
                f"{' and '.join(OF_SEVERAL)}, got {word!r}.",
                hint="Such as: caption=my-captioner",
            )
        chosen[task] = (*chosen.get(task, ()), bundle) if several else bundle
    return chosen


def _directory(variable: str, text: str) -> str:
    if text and not os.path.isabs(os.path.expanduser(text)):
        raise InvalidSetting(
            f"{variable} must be a directory's whole path, got {text!r}.",
            hint="Such as: /var/lib/captioner",
        )
    return os.path.expanduser(text)


def _level(variable: str, text: str) -> str:
    levels = ("DEBUG", "INFO", "WARNING", "ERROR")
    if text.upper() not in levels:
        raise InvalidSetting(f"{variable} must be one of {', '.join(levels)}, got {text!r}.")
    return text.upper()


_READERS: dict[str, Callable[[str, str], Any]] = {
    "host": _address,
    "port": _number(int, 1, 65535),
    "workers": _number(int, 1, 64),
    "models": _models,
    "allowed_hosts": _hosts,
    "cors_origins": _origins,
    "threads": _number(int, 0, 1024),
    "decode_threads": _number(int, 1, 64),
    "max_file_bytes": _number(int, 1024, 2**31),
    "max_field_bytes": _number(int, 64, 2**24),
    "max_parts": _number(int, 1, 1000),
    "max_buffered_bytes": _number(int, 2**20, 2**40),
    "read_timeout_s": _number(float, 0.1, 3600),
    "stall_timeout_s": _number(float, 0.1, 3600),
    "deadline_s": _number(float, 0.1, 600),
    "max_batch": _number(int, 1, 256),
    "max_queue": _number(int, 1, 10_000),
    "max_json_bytes": _number(int, 1024, 2**26),
    "max_texts": _number(int, 1, 10_000),
    "max_text_characters": _number(int, 1, 10**6),
    "generate_streams": _number(int, 1, 64),
    "generate_queue": _number(int, 0, 1000),
    "generate_deadline_s": _number(float, 0.1, 600),
    "stuck_s": _number(float, 1, 3600),
    "state_dir": _directory,
    "video_read_timeout_s": _number(float, 0.1, 7200),
    "max_uploads": _number(int, 1, 10_000),
    "frames_max_bytes": _number(int, 1024, 2**31),
    "frames_max_s": _number(float, 0.1, 3600),
    "frames_max_frames": _number(int, 1, 100_000),
    "frames_streams": _number(int, 1, 64),
    "frames_queue": _number(int, 0, 1000),
    "frames_deadline_s": _number(float, 0.1, 600),
    "jobs_max_bytes": _number(int, 1024, 2**40),
    "jobs_max_s": _number(float, 0.1, 1e6),
    "jobs_max_frames": _number(int, 1, 10**7),
    "jobs_queue": _number(int, 1, 100_000),
    "jobs_time_s": _number(float, 0.1, 1e6),
    "jobs_memory_bytes": _number(int, 2**29, 2**44),
    "jobs_disk_bytes": _number(int, 2**20, 2**50),
    "jobs_keep_s": _number(float, 0.1, 1e7),
    "log_level": _level,
}

"""A process does not outlive the one that started it.

A supervisor that is killed cannot end its workers, which would keep the port and answer on; nor a
worker the process that runs its jobs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent(number: signal.Signals = signal.SIGTERM, *, parent: int | None = None) -> None:
    """Have the kernel send a signal to this process when its parent ends. Linux only.

    ``parent``: its process id, where this process was told; else whoever is the parent now.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid() if parent is None else parent
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:  # it ended just before
        os.kill(os.getpid(), number)

"""``python -m serving.jobs PARENT``: the process that runs jobs; the service starts and ends it."""

from __future__ import annotations

import sys

from serving.jobs.work import main

if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))

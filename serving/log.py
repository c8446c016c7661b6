"""One JSON object a line: each request, and what an operator has to know.

A line holds no query, no file name and no body; a path is escaped and cut. Control characters
never reach the log: JSON escapes them.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from typing import Any

ROOT = "serving"
MAX_PATH = 200


class JsonLines(logging.Formatter):
    """A record as one line of ASCII JSON, with the dictionary in ``extra={"fields": …}``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of ``record``, its traceback inside."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1]:
            line["traceback"] = "".join(traceback.format_exception(record.exc_info[1]))
        return json.dumps(line, ensure_ascii=True, default=str)


def configure(level: str) -> None:
    """Send our records to standard output; the form parser need not warn of every bad body."""
    logger = logging.getLogger(ROOT)
    if not any(isinstance(handler.formatter, JsonLines) for handler in logger.handlers):
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(JsonLines())
        logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    logging.getLogger("python_multipart").setLevel(logging.ERROR)

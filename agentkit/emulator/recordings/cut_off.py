"""`CutOff`: what an application raises to break the connection in the middle of a reply."""

from __future__ import annotations

import logging

__all__ = ["CutOff"]


class CutOff(Exception):
    """The connection is to break here. uvicorn then closes it, and the client sees that the reply is not complete."""


def _is_no_fault(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], CutOff))


# uvicorn logs whatever an application raises, with its traceback.
logging.getLogger("uvicorn.error").addFilter(_is_no_fault)

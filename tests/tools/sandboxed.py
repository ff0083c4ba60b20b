"""For tests that run something in the sandbox: they skip, saying why, where there is none."""

from __future__ import annotations

import pytest

from agentkit import ConfigurationError
from agentkit_tools.sandbox import Sandbox

__all__ = ["needs_sandbox"]

try:
    Sandbox().check()
    _why = ""
except ConfigurationError as error:
    _why = str(error)

needs_sandbox = pytest.mark.skipif(bool(_why), reason=_why)

"""What joins agentkit to the software of others; each module needs an extra, and says which."""

from __future__ import annotations

__all__: list[str] = []

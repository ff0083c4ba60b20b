"""A local Messages API for trying agents without a key: over real HTTP, on loopback only.

What answers is a small reader that follows fixed rules, not a language model. Its `web_search` and `web_fetch` look
at a local corpus, not at the web. Serving needs the extra `agentkit-loop[emulator]`.
"""

from __future__ import annotations

from agentkit.emulator.corpus import Corpus
from agentkit.emulator.server import Emulator, serve

__all__ = ["Corpus", "Emulator", "serve"]

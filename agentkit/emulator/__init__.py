"""A local Messages API for trying and testing agents without a key: over real HTTP, on loopback only.

What answers is a small reader that follows fixed rules, not a language model, or a script of yours, or a recording. The
reader's `web_search` and `web_fetch` look at a local corpus, not at the web. Serving needs the extra
`agentkit-loop[emulator]`.

The code: `app` is the API, from a request to its reply. `checks` says what is refused; `reader`, which searches the
`corpus`, or `scripts` what is answered; `messages` adds what only the API knows. `resources` are the endpoints beside
messages. `recordings` answers in the place of all that, and `dialects` says how other endpoints differ. `service` puts
`faults` and `traffic` around it, and `server` serves it.
"""

from __future__ import annotations

from agentkit.emulator.corpus.corpus import Corpus
from agentkit.emulator.faults import FAULTS, fault, faults_of, random_faults
from agentkit.emulator.recordings.fork import forked_request
from agentkit.emulator.replies import (
    compaction,
    error,
    fallback,
    from_code,
    redacted_thinking,
    reply,
    server_result,
    server_tool_use,
    text,
    thinking,
    tool_use,
)
from agentkit.emulator.scripts.script import ScriptError
from agentkit.emulator.server import Emulator, serve

__all__ = [
    "FAULTS",
    "Corpus",
    "Emulator",
    "ScriptError",
    "compaction",
    "error",
    "fallback",
    "fault",
    "faults_of",
    "forked_request",
    "from_code",
    "random_faults",
    "redacted_thinking",
    "reply",
    "serve",
    "server_result",
    "server_tool_use",
    "text",
    "thinking",
    "tool_use",
]

"""The invariants of faults.md section 4, and where each is looked at."""

from __future__ import annotations

__all__ = ["INVARIANTS"]

INVARIANTS = {
    "I1": "each call has one result, in the next message: every result (`World._look_at_pairs`)",
    "I2": "the API takes the history: every request and every result (`SimulatedTransport`, `World.look_at_result`)",
    "I3": "no tool before its turn is whole, none of a turn that was cut off or refused: every entry (`World.enter`)",
    "I4": "a tool gets what the model, or the human in its place, has said: every entry (`World.enter`)",
    "I5": "what may not repeat is entered once, under one key; a question begins one run: every entry, the disk",
    "I6": "a durable intent before each effect, no result lost, and what was rescued is taken in: every entry, every "
    "result, every claim",
    "I7": "events in order, none lost or twice, text as in the turn, nothing shown before it is stored, no turn shown "
    "that was void: every event of those who watch (`Watch`); events have no numbers, and nobody reconnects",
    "I8": "turns, calls, tokens, dollars and time: every end of a living process (`look_at_spending`, `Process._once`)",
    "I9": "every run ends: each schedule has a last process that nothing happens to",
    "I10": "and ends as without faults, but for what is unknown; nothing but a declared error stops a process",
    "I11": "one holder, and no stale epoch: every claim and every write (`_ProcessStore`)",
    "I12": "a rival asks in the same conversation: each run has its own question and those before it, and nobody goes "
    "on from a run that goes on (`World._look_at_conversation`, `Process.look_at_claim`)",
    "I13": "at most four requests for a turn: every request (`Process.count_request`)",
    "I14": "what is stored is what was written, and what came: every write, and the disk",
    "I15": "no task and no open reply is left: the end of each schedule; files and threads: tests/chaos",
    "I16": "no byte to another origin than the process's own, and to that no other secret: every request, through a "
    "real HTTP client, with redirects (`look_at_request`); addresses that tools open: tests of the tools",
    "I17": "keys and a token in no event, entry, row, history, exception; keys in no log: raw, in URLs, JSON, base64 "
    "(`shown_in`). What tools raise is logged with its text, so their token may be there",
    "I18": "an approval is for the call, input, tool and time that the human had; no tool that was changed goes on "
    "with what another began: every entry (`World._look_at_intent`)",
    "I19": "not here: it is the policy's, and the model of the simulation has none. Tests of the policy look at it",
    "I20": "the turn is what was sent, wherever its bytes are cut, with each kind of line end: every turn (`Watch`)",
}

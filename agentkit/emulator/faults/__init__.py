"""Faults on request: statuses, broken connections, spoiled streams; at a chosen turn, event or byte, or at random."""

from __future__ import annotations

from agentkit.emulator.faults.asgi import WithFaults
from agentkit.emulator.faults.plan import Fault, Faults, RandomFaults, fault, faults_of, random_faults
from agentkit.emulator.faults.rows import FAULTS

__all__ = ["FAULTS", "Fault", "Faults", "RandomFaults", "WithFaults", "fault", "faults_of", "random_faults"]

"""May this call run: rules over tool, effect, origin, path and command, and what untrusted text must not reach."""

from __future__ import annotations

from agentkit.policy.policy import Policy, Verdict, policy_of, stricter

__all__ = ["Policy", "Verdict", "policy_of", "stricter"]

"""What the API refuses, in its own words: rules about the history, and rules about the other fields of a request."""

from agentkit.rules.fields import check_request
from agentkit.rules.history import Check, check_history
from agentkit.rules.texts import Problem

__all__ = ["Check", "Problem", "check_history", "check_request"]

"""Ready-made tools for agents, built only on agentkit's public names."""

# Not lazily: a submodule that is imported first would hide the tool of the same name. What a tool needs itself is
# imported when it is called.
from agentkit_tools.calculator import calculator
from agentkit_tools.notes import notes

__all__ = ["calculator", "notes"]

"""Ready-made tools for agents, built only on agentkit's public names."""

# Not lazily: a submodule that is imported first would hide the tool of the same name. What a tool needs itself is
# imported when it is called.
from agentkit_tools.ask_user import ask_user
from agentkit_tools.bash import bash
from agentkit_tools.calculator import calculator
from agentkit_tools.data import data
from agentkit_tools.files import files
from agentkit_tools.memory import memory
from agentkit_tools.notes import notes
from agentkit_tools.python import cpython, python
from agentkit_tools.sandbox import Sandbox
from agentkit_tools.search import search
from agentkit_tools.shell import shell
from agentkit_tools.text_editor import text_editor
from agentkit_tools.todo import todo
from agentkit_tools.web import searxng, web

__all__ = [
    "Sandbox",
    "ask_user",
    "bash",
    "calculator",
    "cpython",
    "data",
    "files",
    "memory",
    "notes",
    "python",
    "search",
    "searxng",
    "shell",
    "text_editor",
    "todo",
    "web",
]

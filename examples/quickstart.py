"""Ten lines: a tool, an agent, an answer."""

from agentkit import Agent, tool


@tool
def multiply(a: int, b: int) -> int:
    """Multiply two integers."""
    return a * b


agent = Agent("claude-sonnet-4-6", tools=[multiply])
result = agent.run_sync("What is 17 times 25?")
print(result.text)
agent.close()

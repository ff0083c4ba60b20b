"""The log of what came and what was answered, and the page that shows it."""

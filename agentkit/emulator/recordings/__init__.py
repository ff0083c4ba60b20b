"""Exchanges with a real endpoint: recorded without its keys, replayed without it, and forked."""

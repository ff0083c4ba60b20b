"""Endpoints that the emulator stands in for, and how each differs."""

"""Planted bugs: the simulation must find each, or "no violation" says nothing."""

from __future__ import annotations

import planted_limits
import planted_recovery
import planted_runs
import planted_shown
from planting import BUGS

__all__ = ["BUGS", "planted_limits", "planted_recovery", "planted_runs", "planted_shown"]

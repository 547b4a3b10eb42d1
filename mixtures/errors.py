"""What can be wrong with a plan."""

from __future__ import annotations


class PlanError(Exception):
    """A folder is not a whole and sound plan, or not one for what it is used with."""


class PlanRefused(PlanError):
    """The corpus cannot give what a plan's specification asks for."""

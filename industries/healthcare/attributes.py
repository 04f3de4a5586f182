"""Attributes of patients: those that medicine itself looks at, and those that no task uses."""

from __future__ import annotations

from spt_core.protected import ATTRIBUTES

CLINICAL = ("age", "sex", "pregnancy")
PROTECTED = tuple(name for name in ATTRIBUTES if name not in CLINICAL)

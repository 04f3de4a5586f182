"""Industries and their tasks. Adding one: a folder with TASKS, and one line here."""

from types import ModuleType

from industries import financial_services, healthcare, technology

INDUSTRIES: tuple[ModuleType, ...] = (financial_services, healthcare, technology)

"""Industries, their tasks and feeds. Adding one: a folder with TASKS and FEEDS, one line here."""

from types import ModuleType

from industries import financial_services, healthcare, manufacturing, technology

INDUSTRIES: tuple[ModuleType, ...] = (financial_services, healthcare, manufacturing, technology)

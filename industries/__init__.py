"""Industries. Adding one: a folder with TASKS, FEEDS and KEYWORDS, and one line here."""

from types import ModuleType

from industries import financial_services, healthcare, insurance, manufacturing, technology

INDUSTRIES: tuple[ModuleType, ...] = (
    financial_services,
    healthcare,
    insurance,
    manufacturing,
    technology,
)

"""Model families. Adding one: a module with a Family, and one line here."""

from spt_core.models.base import Family
from spt_core.models.tabular import TABULAR
from spt_core.models.text import TEXT

FAMILIES: dict[str, Family] = {"tabular": TABULAR, "text": TEXT}

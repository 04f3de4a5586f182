"""Who runs a command, and whether he may: SPT_API_KEY -> a name for the histories.

Until somebody has been given a key (`python -m jobs.keys bootstrap`), whoever can write the
database may do everything, under his user's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cluster.settings import Settings, actor, api_key
from spt_core.access import MEANING, Role
from spt_core.continuous.ledger import Ledger
from spt_core.errors import ForbiddenError


def entitled(settings: Settings, role: Role, deed: str, *, path: str | None = None) -> str:
    """The principal's name; ForbiddenError, with an audit entry, for whoever may not do this.

    `path` is INDUSTRY/TASK[/MODEL_NAME] where the deed is to one model. What was allowed is noted
    by `noted`, once it is done.
    """
    ledger, shown = Ledger(settings.database_url), api_key()
    if shown is None and not ledger.api_keys():
        return actor()
    key = None if shown is None else ledger.holder(shown)
    if key is not None and role in key.roles and (path is None or key.covers(path)):
        return key.principal
    if shown is None:
        why = "SPT_API_KEY is not set"
    elif key is None:
        why = "the key in SPT_API_KEY is no valid one"
    elif role not in key.roles:
        why = (
            f"the key {key.key_id} of {key.principal!r} is for {', '.join(key.roles) or 'nothing'}"
        )
    else:
        why = f"the key {key.key_id} of {key.principal!r} is for {', '.join(key.tasks)}"
    who = key.principal if key is not None else "nobody"
    body = {"by": "command line", "deed": deed, "path": path, "who": who, "why": why}
    ledger.note("access.refused", body, actor=actor())
    raise ForbiddenError(
        f"{deed} needs a key with the role {role} ({MEANING[role]}), however: {why}"
    )


def noted(settings: Settings, name: str, event: str, body: Mapping[str, Any]) -> None:
    """Write the audit entry of something that the registry has changed for somebody."""
    Ledger(settings.database_url).note(event, body, actor=name)

"""What the ledger holds, and the states that a retraining goes through.

SourceResult -> Items -> Trigger -> Retrain -> RunClaim -> Review; moments are seconds since 1970.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeVar, get_args

from spt_core.access import EVERY_TASK, Role
from spt_core.errors import CorruptArtifactError, InputError

SourceState = Literal["NEW", "OK", "DEGRADED", "PAUSED"]
RetrainState = Literal[
    "DETECTED",
    "QUEUED",
    "SUBMITTED",
    "TRAINED",
    "FAILED",
    "EVALUATED",
    "NEEDS_REVIEW",
    "PROMOTED",
    "REJECTED",
    "DEPLOYED",
    "ROLLED_BACK",
]
Verdict = Literal["NEEDS_REVIEW", "PROMOTED", "REJECTED"]
Decision = Literal["approve", "reject"]
SOURCE_STATES: tuple[SourceState, ...] = get_args(SourceState)
RETRAIN_STATES: tuple[RetrainState, ...] = get_args(RetrainState)

# A bucket has one retraining under way at a time; FAILED waits for a person and blocks nobody.
UNDER_WAY: tuple[RetrainState, ...] = (
    "DETECTED",
    "QUEUED",
    "SUBMITTED",
    "TRAINED",
    "EVALUATED",
    "NEEDS_REVIEW",
    "PROMOTED",
)
TRANSITIONS: Mapping[RetrainState, tuple[RetrainState, ...]] = {
    "DETECTED": ("QUEUED", "REJECTED"),
    "QUEUED": ("SUBMITTED",),
    "SUBMITTED": ("TRAINED", "FAILED"),
    "TRAINED": ("EVALUATED", "QUEUED", "REJECTED"),
    "FAILED": ("QUEUED", "REJECTED"),
    "EVALUATED": ("NEEDS_REVIEW", "PROMOTED", "REJECTED", "EVALUATED", "QUEUED"),
    "NEEDS_REVIEW": ("PROMOTED", "REJECTED", "EVALUATED", "QUEUED"),
    "PROMOTED": ("DEPLOYED", "ROLLED_BACK"),
    "REJECTED": (),
    "DEPLOYED": ("ROLLED_BACK",),
    "ROLLED_BACK": (),
}
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # it becomes part of a Ray submission id
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Something that is polled: how (kind, url, selector, threshold), and where polling stands.

    Validators and texts are "" when there are none; `selector` is the kind's own JSON. `next_check`
    0 is at once; `redirect_seen` is when `redirect_target` was first answered, `redirect_count` how
    often since. `cursor` is how far the source was read, `hints` (JSON) what it says about polling,
    `checked_at` when it was last asked, and `trouble` what was wrong then.
    """

    source_id: str
    kind: str
    url: str
    selector: str = ""
    threshold: float | None = None
    etag: str = ""
    last_modified: str = ""
    body_sha: str = ""
    next_check: float = 0.0
    next_reason: str = "new"
    errors: int = 0
    state: SourceState = "NEW"
    redirect_target: str = ""
    redirect_seen: float = 0.0
    cursor: str = ""
    hints: str = ""
    checked_at: float = 0.0
    redirect_count: int = 0
    trouble: str = ""

    def __post_init__(self) -> None:
        """Refuse what no database could hold or nobody could poll."""
        _require_clean(self)
        if not self.source_id or not self.kind or not self.url:
            raise InputError(
                "a source needs an id, a kind and a url, however: "
                f"{self.source_id!r}, {self.kind!r}, {self.url!r}"
            )
        if self.state not in SOURCE_STATES:
            raise InputError(f"a source's state is one of {SOURCE_STATES}, however: {self.state!r}")

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json(Source, ...)` reads back."""
        return dataclasses.asdict(self)


class ItemRef(NamedTuple):
    """Which revision of which item of which source."""

    source_id: str
    item_key: str
    rev: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One revision of one publication; `rev` counts from 1 and is given by the ledger.

    `bucket` "" is relevant to nothing; `trigger_id` is the retraining that it belongs to, "" while
    it waits for one. `published_raw` is what the feed said, untrusted; order is by `detected_at`.
    `categories` is what the source files it under (agency, docket), as a JSON list; "" for none.
    `explanation` (JSON) says how the score came about.
    """

    source_id: str
    item_key: str
    content_sha: str
    rev: int = 0
    url: str = ""
    title: str = ""
    published_raw: str = ""
    detected_at: float = 0.0
    score: float = 0.0
    bucket: str = ""
    label: str = ""
    label_source: str = ""
    trigger_id: str = ""
    text: str = ""
    text_uri: str = ""
    categories: str = ""
    explanation: str = ""

    def __post_init__(self) -> None:
        """Refuse what no database could hold and what could not be told from another item."""
        _require_clean(self)
        if not self.source_id or not self.item_key or not self.content_sha:
            raise InputError(
                "an item needs a source, a key and the sha of its content, however: "
                f"{self.source_id!r}, {self.item_key!r}, {self.content_sha!r}"
            )
        if self.bucket:
            checked_bucket(self.bucket)

    @property
    def ref(self) -> ItemRef:
        """The revision's primary key."""
        return ItemRef(self.source_id, self.item_key, self.rev)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json(Item, ...)` reads back."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SourceResult:
    """What one poll found: the source as it is to be from now on, and the items of its answer.

    A source that is DEGRADED keeps its old validators: that is the poller's to say.
    """

    source: Source
    items: tuple[Item, ...] = ()

    def __post_init__(self) -> None:
        """Refuse items of another source, and two contents under one key."""
        if any(item.source_id != self.source.source_id for item in self.items):
            raise InputError(
                f"items must be of the source {self.source.source_id!r} that was polled"
            )
        keys = [item.item_key for item in self.items]
        if len(set(keys)) != len(keys):
            twice = sorted({key for key in keys if keys.count(key) > 1})
            raise InputError(
                "an answer must hold each item key once, so that the feed's parser tells entries "
                f"apart, however: {self.source.source_id!r} has {twice[:3]} more than once"
            )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Trigger:
    """A decision to retrain one bucket on these pending items, for a stated reason.

    `hold` says why a person must look first ("" = none must): the retraining then stays DETECTED.
    """

    bucket: str
    items: tuple[ItemRef, ...]
    reason: str
    risk_tier: str = "standard"
    hold: str = ""

    def __post_init__(self) -> None:
        """Refuse a trigger that nothing could come of."""
        checked_bucket(self.bucket)
        if not self.items or len(set(self.items)) != len(self.items):
            raise InputError(
                f"a trigger needs items, each once, however: {self.bucket!r} has {len(self.items)}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Retrain:
    """One retraining of one bucket, `seq` counted from 1, and what is known of it so far.

    Versions are `industry/task/model_name@N`; `champion_before` "" means that there was none.
    `reason` is the trigger's and `deadline` the end of the time to review. `audit_seq` is its first
    audit entry.
    """

    retrain_id: str
    bucket: str
    seq: int
    state: RetrainState
    attempt: int
    submission_id: str | None
    manifest_sha: str
    result_uri: str
    candidate_sha: str
    candidate_version: str
    champion_before: str
    evaluation: Mapping[str, Any]
    risk_tier: str
    deadline: float | None
    deployment_id: str
    triggered_by: str
    reason: str
    audit_seq: int

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json(Retrain, ...)` reads back."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Transition:
    """One move of one retraining; the same key to the same state happens once."""

    retrain_id: str
    from_state: str
    to_state: str
    key: str
    actor: str
    audit_seq: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RunClaim:
    """Who works on a submission. `epoch` grows with each holder; live until `expires`, or done."""

    submission_id: str
    host: str
    epoch: int
    heartbeat: float
    expires: float
    result_uri: str
    artifact_sha: str

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json(RunClaim, ...)` reads back."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Review:
    """A decision on one candidate of one retraining."""

    retrain_id: str
    candidate_sha: str
    decision: Decision
    reviewer: str
    reason: str
    at: str

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json(Review, ...)` reads back."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class OutboxEntry:
    """An effect on the outside that is still to be made, or was; (kind, key) is made once."""

    oid: int
    kind: str
    key: str
    payload: Mapping[str, Any]
    tries: int
    epoch: int
    not_before: float
    done_at: float | None
    error: str

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json(OutboxEntry, ...)` reads back."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AuditEntry:
    """One event; `hash` covers everything else in it, and `prev` is the hash of the one before."""

    seq: int
    at: str
    actor: str
    event: str
    body: Mapping[str, Any]
    prev: str
    hash: str

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json(AuditEntry, ...)` reads back."""
        return dataclasses.asdict(self)


class AuditHead(NamedTuple):
    """The last entry: export it daily, as whoever owns the database could rewrite the chain."""

    seq: int
    hash: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """Somebody who has proven to hold the key of a name; the roles and tasks are the key's."""

    name: str
    roles: tuple[Role, ...]
    tasks: tuple[str, ...] = (EVERY_TASK,)


def from_json(kind: type[T], content: Mapping[str, Any]) -> T:
    """The value that `to_json` wrote; CorruptArtifactError when it is not one."""
    try:
        return kind(**content)
    except (TypeError, ValueError) as error:
        raise CorruptArtifactError(
            f"a stored {kind.__name__} must be whole, however: {error}"
        ) from error


def checked_bucket(bucket: str) -> str:
    """The bucket; InputError when it could not be part of a submission id."""
    if not _BUCKET.fullmatch(bucket):
        raise InputError(
            "a bucket is named by letters, digits, '_', '.' and '-' and begins with a letter or "
            f"digit, however: {bucket!r}"
        )
    return bucket


def submission_id(bucket: str, seq: int, attempt: int, manifest_sha: str) -> str:
    """The id under which a job is submitted: the same work always has the same one."""
    return f"retrain-{bucket}-{seq}-a{attempt}-{manifest_sha[:12]}"


def canonical(content: object) -> str:
    """The one JSON text of a value: sorted keys, no spaces, ASCII, no NaN."""
    try:
        return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"what the ledger keeps must be plain JSON without NaN or infinity, however: {error}"
        ) from error


def _require_clean(value: Source | Item) -> None:
    for name in value.__slots__:
        content = getattr(value, name)
        if isinstance(content, str):
            bad = "\0" in content or not content.isascii() and not _is_utf8(content)
            if bad:
                raise InputError(
                    "a text must be Unicode without NUL bytes and lone surrogates, however: "
                    f"{name} is {content[:60]!r}"
                )
        elif isinstance(content, float) and not math.isfinite(content):
            raise InputError(f"a number must be finite, however: {name} is {content}")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

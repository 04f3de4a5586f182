"""Results of retrainings -> EVALUATED -> the gate's verdict, one pass at a time.

`drive_verdicts` is called by the leader in each of his passes, after `drive`; it trains and
measures nothing itself: the job has done that, and the ledger refuses what is out of date.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from spt_core.artifacts import read_bytes
from spt_core.continuous.effective_dates import Effective, effective_dates, to_come
from spt_core.continuous.gate import GateVerdict, gate_config, judge
from spt_core.continuous.ledger import Fence, Item, Ledger, Retrain
from spt_core.continuous.ledger.drive import MAX_ATTEMPTS
from spt_core.continuous.retraining import task_of, text_of
from spt_core.errors import ConflictError, CorruptArtifactError, FencedError, SptError
from spt_core.registry import CHAMPION, Registry

_KEYS = (
    "candidate_version",
    "candidate_sha",
    "champion_before",
    "evaluation_set_sha",
    "evaluation",
)
DAY_S = 86_400.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What one pass came to: verdicts by retraining, reviews that ran out, and what went wrong."""

    verdicts: Mapping[str, GateVerdict] = dataclasses.field(default_factory=dict[str, GateVerdict])
    expired: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


def drive_verdicts(ledger: Ledger, fence: Fence, registry: Registry, *, now_s: float) -> Judged:
    """One pass over what is TRAINED, EVALUATED or waits for a person; FencedError: lead no more.

    A candidate whose champion was replaced meanwhile is trained again against the new one.
    """
    verdicts: dict[str, GateVerdict] = {}
    again: list[str] = []
    errors: list[str] = []

    def step(retrain: Retrain) -> None:
        if retrain.state == "TRAINED":
            reason = _evaluate(ledger, fence, registry, retrain)
        else:
            reason = _stale(registry, retrain.candidate_version, retrain.champion_before)
        if reason:
            _train_again(ledger, fence, retrain, reason)
            again.append(retrain.retrain_id)
        elif ledger.retrain(retrain.retrain_id).state == "EVALUATED":
            verdicts[retrain.retrain_id] = _judge(ledger, fence, retrain.retrain_id, now_s)

    for state in ("TRAINED", "EVALUATED", "NEEDS_REVIEW"):
        for retrain in ledger.retrains(state=state):
            try:
                step(retrain)
            except FencedError:
                raise
            except SptError as error:  # a person was quicker, or has to look: status shows it
                errors.append(f"{retrain.retrain_id}: {error}")
    return Judged(
        verdicts=verdicts,
        expired=tuple(ledger.expire_reviews(fence)),
        again=tuple(again),
        errors=tuple(errors),
    )


def read_result(uri: str) -> dict[str, Any]:
    """What a run stored; CorruptArtifactError when it is not whole."""
    try:
        content = json.loads(read_bytes(uri))
        missing = [key for key in _KEYS if key not in content]
    except (ValueError, TypeError) as error:
        raise CorruptArtifactError(
            f"a run's result must be JSON, however: {uri}: {error}"
        ) from error
    if missing:
        raise CorruptArtifactError(f"a run's result must be whole, however: {uri} lacks {missing}")
    return content


def verdict_of(
    retrain: Retrain, items: Sequence[Item], configuration: Mapping[str, Any], now_s: float
) -> GateVerdict:
    """The gate's verdict on an evaluated retraining under its bucket's configuration."""
    return judge(
        retrain.evaluation,
        gate_config(configuration.get("gate", {})),
        risk_tier=retrain.risk_tier,
        high_risk_task=task_of(retrain.bucket).high_risk,
        effective=to_come(effective_of(items), now_s),
    )


def effective_of(items: Sequence[Item]) -> list[Effective]:
    """The dates on which the publications say that something takes effect."""
    return sorted({one for item in items for one in effective_dates(text_of(item))})


def _evaluate(ledger: Ledger, fence: Fence, registry: Registry, retrain: Retrain) -> str:
    """Record the run's evaluation; why it is to be trained again, or ""."""
    try:
        result = read_result(retrain.result_uri)
    except (CorruptArtifactError, SptError, OSError) as error:
        return f"its result cannot be read: {error}"
    if result["candidate_sha"] != retrain.candidate_sha:
        return "its result is not the one that the run had claimed"
    stale = _stale(registry, result["candidate_version"], result["champion_before"])
    if stale:
        return stale
    ledger.evaluated(
        fence,
        retrain.retrain_id,
        candidate_version=result["candidate_version"],
        champion_before=result["champion_before"],
        evaluation_set_sha=result["evaluation_set_sha"],
        evaluation=result["evaluation"],
    )
    return ""


def _stale(registry: Registry, candidate_version: str, champion_before: str) -> str:
    name = candidate_version.rpartition("@")[0]
    champion = registry.aliases(name).get(CHAMPION)
    now = "" if champion is None else f"{name}@{champion}"
    if now == champion_before:
        return ""
    return f"the champion is {now or 'none'}, not {champion_before or 'none'} any more"


def _judge(ledger: Ledger, fence: Fence, retrain_id: str, now_s: float) -> GateVerdict:
    retrain = ledger.retrain(retrain_id)
    items = ledger.items(trigger_id=retrain_id)
    verdict = verdict_of(retrain, items, ledger.configuration(retrain.bucket), now_s)
    needs_review = verdict.state == "NEEDS_REVIEW"
    ledger.judge(
        fence,
        retrain_id,
        verdict.state,
        verdict=verdict.to_json(),
        deadline=now_s + verdict.config.review_days * DAY_S if needs_review else None,
    )
    return verdict


def _train_again(ledger: Ledger, fence: Fence, retrain: Retrain, reason: str) -> None:
    if retrain.attempt >= MAX_ATTEMPTS:
        end = "reject" if retrain.state == "NEEDS_REVIEW" else "discard"
        raise ConflictError(
            f"a retraining has {MAX_ATTEMPTS} attempts, however: {retrain.retrain_id!r} has used "
            f"them and {reason}; `python -m jobs.review retry {retrain.retrain_id} --reason ...` "
            f"gives it another, `{end}` ends it"
        )
    ledger.queue_again(fence, retrain.retrain_id, reason)

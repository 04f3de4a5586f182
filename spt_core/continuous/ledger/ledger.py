"""The ledger's one public class: every method is one short transaction, safe to repeat.

Leader (needs a Fence):  ingest, evaluate, claim_effects, effect_*, and every move of a retraining
Training job:            claim_run -> beat -> finish_run
People (by name):        upsert_sources, trigger, label, try_again, discard, decide, thaw
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from typing import Any, final

import sqlalchemy as sa

from spt_core.access import EVERY_TASK, Key, Role
from spt_core.continuous.ledger import (
    audit,
    bucket,
    claim,
    ingest,
    involvement,
    keys,
    labels,
    outbox,
    principals,
    retrain,
    review,
    sources,
)
from spt_core.continuous.ledger.ingest import Decide, Ingested
from spt_core.continuous.ledger.transaction import (
    LEADER,
    Fence,
    Leader,
    Transaction,
    leader,
    require_leader,
)
from spt_core.continuous.ledger.values import (
    AuditEntry,
    AuditHead,
    Decision,
    Item,
    ItemRef,
    OutboxEntry,
    Principal,
    Retrain,
    RetrainState,
    Review,
    RunClaim,
    Source,
    SourceResult,
    Transition,
    Trigger,
    Verdict,
)
from spt_core.errors import ConflictError, InputError
from spt_core.registry.database import Database
from spt_core.registry.lease import Lease, process_owner
from spt_core.registry.tables import ITEM


@final
class Ledger:
    """What continuous training has seen, decided and done, in one database.

    Opening it creates or upgrades the schema. Safe to share between threads; processes open their
    own. `clock` gives seconds since 1970; on Postgres the server's is taken. Raises FencedError
    when the leader was replaced, ConflictError for what is not allowed now, InputError for a
    mistake, and UnavailableError when the database cannot be used: nothing was changed, or the same
    call finds that it was.
    """

    def __init__(self, database_url: str, *, clock: Callable[[], float] = time.time) -> None:
        self._database = Database(database_url)
        self._clock = clock

    # Leading

    def lead(self, owner: str = "", *, ttl_s: float = 30.0) -> Lease:
        """A context manager that holds the leader's lease; `fence_of` makes the Fence of it."""
        owner = owner or process_owner()
        return Lease(self._database, LEADER, owner=owner, ttl_s=ttl_s, clock=self._clock)

    def ingest(self, fence: Fence, results: Sequence[SourceResult], decide: Decide) -> Ingested:
        """Store what polls found, all or none: items, validators, and the retrainings they begin.

        `decide` is a pure function of a bucket's pending items (no text, in order of detection); it
        runs inside the transaction. Known items with unchanged content change nothing.
        """
        with self._leading(fence) as tx:
            return ingest.ingest(tx, results, decide)

    def evaluate(self, fence: Fence, decide: Decide) -> list[Retrain]:
        """The retrainings that begin in any bucket with pending items: for triggers by time.

        Call it now and then: items that came while a retraining was under way wait for it.
        """
        with self._leading(fence) as tx:
            return ingest.evaluate(tx, ingest.waiting_buckets(tx.connection), decide)

    def claim_effects(
        self, fence: Fence, kinds: Sequence[str], *, limit: int = 10
    ) -> list[OutboxEntry]:
        """Effects to make now; each comes up again after a backoff until it is done."""
        with self._leading(fence) as tx:
            return outbox.claim(tx, kinds, limit)

    def effect_done(self, fence: Fence, entry: OutboxEntry) -> bool:
        """Whether the effect was still to be made; for effects that no transition confirms."""
        with self._leading(fence) as tx:
            return outbox.done(tx, entry.kind, entry.key)

    def effect_failed(self, fence: Fence, entry: OutboxEntry, error: str) -> bool:
        """Keep the error of an effect that is to be tried again after its backoff."""
        with self._leading(fence) as tx:
            return outbox.retry(tx, entry.oid, error)

    def check(self, fence: Fence) -> None:
        """Return if the fence is still the leader's: call it before an effect on the outside."""
        with self._leading(fence):
            pass

    # Moves of a retraining: True when it moved, False when it had made this very move before

    def queue(self, fence: Fence, retrain_id: str) -> bool:
        """DETECTED -> QUEUED."""
        with self._leading(fence) as tx:
            return retrain.queue(tx, retrain_id)

    def submitted(self, fence: Fence, submission_id: str) -> bool:
        """QUEUED -> SUBMITTED: the job system has accepted it. Its outbox entry is done."""
        with self._leading(fence) as tx:
            return retrain.submitted(tx, submission_id)

    def trained(self, fence: Fence, submission_id: str) -> bool:
        """SUBMITTED -> TRAINED with the result that the run's claim holds."""
        with self._leading(fence) as tx:
            return retrain.trained(tx, submission_id)

    def failed(self, fence: Fence, submission_id: str, reason: str) -> bool:
        """SUBMITTED -> FAILED; refused while somebody may still be at work."""
        with self._leading(fence) as tx:
            return retrain.failed(tx, submission_id, reason)

    def queue_again(self, fence: Fence, retrain_id: str, why: str) -> bool:
        """FAILED -> QUEUED with the next attempt."""
        with self._leading(fence) as tx:
            return retrain.queue_again(tx, retrain_id, why)

    def resubmit(self, fence: Fence, submission_id: str) -> None:
        """Have a job submitted again, under the same id, that the job system has forgotten."""
        with self._leading(fence) as tx:
            retrain.resubmit(tx, submission_id)

    def evaluated(
        self,
        fence: Fence,
        retrain_id: str,
        *,
        candidate_version: str,
        champion_before: str,
        evaluation_set_sha: str,
        evaluation: Mapping[str, Any],
    ) -> bool:
        """TRAINED -> EVALUATED; versions are `industry/task/model_name@N`, "" for no champion."""
        with self._leading(fence) as tx:
            return retrain.evaluated(
                tx,
                retrain_id,
                candidate_version=candidate_version,
                champion_before=champion_before,
                evaluation_set_sha=evaluation_set_sha,
                evaluation=evaluation,
            )

    def judge(
        self,
        fence: Fence,
        retrain_id: str,
        to: Verdict,
        *,
        verdict: Mapping[str, Any],
        deadline: float | None = None,
        not_before: float = 0.0,
    ) -> bool:
        """EVALUATED -> NEEDS_REVIEW (until `deadline`), PROMOTED or REJECTED, as the gate says."""
        with self._leading(fence) as tx:
            return retrain.judge(
                tx, retrain_id, to, verdict=verdict, deadline=deadline, not_before=not_before
            )

    def expire_reviews(self, fence: Fence) -> list[str]:
        """The retrainings that are rejected now because nobody decided in time."""
        with self._leading(fence) as tx:
            return review.expire(tx)

    def deployed(self, fence: Fence, retrain_id: str, deployment_id: str) -> bool:
        """PROMOTED -> DEPLOYED: the candidate is the champion, and Serve was read back."""
        with self._leading(fence) as tx:
            return retrain.deployed(tx, retrain_id, deployment_id)

    def rolled_back(self, fence: Fence, retrain_id: str, deployment_id: str, reason: str) -> bool:
        """DEPLOYED or PROMOTED -> ROLLED_BACK: asks for `champion_before`, freezes the bucket."""
        with self._leading(fence) as tx:
            return retrain.rolled_back(tx, retrain_id, deployment_id, reason)

    # The training job

    def claim_run(self, submission_id: str, *, host: str = "", ttl_s: float = 60.0) -> RunClaim:
        """The right to work on a submission; ConflictError says why there is none: do not work."""
        host = host or process_owner()
        with self._writing(host) as tx:
            return claim.take(tx, submission_id, host, ttl_s)

    def beat(self, held: RunClaim) -> None:
        """Renew the claim, at least every third of its time; ConflictError: stop working."""
        with self._writing(held.host) as tx:
            claim.beat(tx, held)

    def finish_run(self, held: RunClaim, result_uri: str, artifact_sha: str) -> None:
        """Store the run's result, if the claim is still held."""
        with self._writing(held.host) as tx:
            claim.finish(tx, held, result_uri, artifact_sha)

    def give_up_run(self, held: RunClaim, reason: str) -> None:
        """End the claim without a result."""
        with self._writing(held.host) as tx:
            claim.give_up(tx, held, reason)

    # People

    def upsert_sources(self, new: Sequence[Source], *, actor: str) -> list[str]:
        """The ids of those that were new or whose configuration changed."""
        with self._writing(actor) as tx:
            return sources.upsert(tx, new)

    def pause_source(self, source_id: str, *, paused: bool, reason: str, actor: str) -> bool:
        """Whether polling of the source was stopped or taken up again."""
        with self._writing(actor) as tx:
            return sources.pause(tx, source_id, paused=paused, reason=reason)

    def trigger(self, trigger: Trigger, *, actor: str) -> Retrain:
        """A retraining that a person asks for; ConflictError when the bucket is not free."""
        with self._writing(actor) as tx:
            obstacle = bucket.obstacle(tx.connection, trigger.bucket)
            if obstacle:
                raise ConflictError(f"a bucket must be free to be triggered, however: {obstacle}")
            return ingest.begin(tx, trigger, ingest.pending(tx.connection, trigger.bucket))

    def release(self, retrain_id: str, *, actor: str) -> bool:
        """DETECTED -> QUEUED of one that was held for a person to look at."""
        with self._writing(actor) as tx:
            return retrain.queue(tx, retrain_id)

    def label(self, ref: ItemRef, label: str, *, actor: str) -> None:
        """Give an item a person's label."""
        with self._writing(actor) as tx:
            labels.label(tx, ref, label)

    def configured(self, bucket: str, body: Mapping[str, Any], *, actor: str) -> None:
        """Record that somebody changed how the bucket is triggered, trained or judged."""
        with self._writing(actor) as tx:
            seq = audit.append(tx, "bucket.configured", {"bucket": bucket, "body": dict(body)})
            involvement.note(tx, seq, "edited its configuration", f"bucket:{bucket}")

    def configuration(self, bucket: str) -> Mapping[str, Any]:
        """What `configured` was last told of the bucket; empty when it never was."""
        with self._database.read() as connection:
            return audit.last_body(connection, "bucket.configured", "bucket", bucket).get(
                "body", {}
            )

    def configurations(self) -> dict[str, Mapping[str, Any]]:
        """What `configured` was last told of each bucket."""
        with self._database.read() as connection:
            bodies = audit.bodies(connection, "bucket.configured")
            return {str(body["bucket"]): body["body"] for body in bodies}

    def hold(self, retrain_id: str) -> str:
        """Why a person must look at a retraining before it is queued; "" where none must."""
        with self._database.read() as connection:
            begun = audit.last_body(connection, "retrain.DETECTED", "retrain_id", retrain_id)
            return str(begun.get("hold", ""))

    def try_again(self, retrain_id: str, why: str, *, actor: str, manifest_sha: str = "") -> bool:
        """Queue the next attempt of a run that has ended; its candidate and approval are void.

        `manifest_sha` is that of the edited data, "" where they are as they were.
        """
        with self._writing(actor) as tx:
            return retrain.queue_again(tx, retrain_id, why, manifest_sha=manifest_sha)

    def discard(self, retrain_id: str, reason: str, *, actor: str) -> bool:
        """DETECTED, FAILED, TRAINED or EVALUATED -> REJECTED; refused while a run is at work."""
        with self._writing(actor) as tx:
            return retrain.discard(tx, retrain_id, reason)

    def decide(
        self,
        retrain_id: str,
        candidate_sha: str,
        decision: Decision,
        *,
        reviewer: Principal,
        reason: str,
        not_before: float = 0.0,
    ) -> bool:
        """NEEDS_REVIEW -> PROMOTED or REJECTED, for this candidate only, by an independent person.

        The roll-out of what is approved waits until `not_before`.
        """
        with self._writing(reviewer.name) as tx:
            return review.decide(
                tx, retrain_id, candidate_sha, decision, reason=reason, not_before=not_before
            )

    def thaw(self, bucket_name: str, reason: str, *, admin: Principal) -> bool:
        """Whether a bucket that a rollback froze may be retrained again."""
        with self._writing(admin.name) as tx:
            principals.require(tx.connection, admin.name, "admin")
            return bucket.thaw(tx, bucket_name, reason)

    def add_principal(self, name: str, roles: Sequence[Role], *, actor: str) -> str:
        """The key of a new principal, which nobody can read again."""
        with self._writing(actor) as tx:
            return principals.add(tx, name, roles)

    def bootstrap(self, name: str, *, actor: str) -> str:
        """The key of the first admin; ConflictError where anybody has had a key already."""
        with self._writing(actor) as tx:
            return principals.bootstrap(tx, name)

    def name_principal(self, name: str, roles: Sequence[Role], *, actor: str) -> None:
        """Add a principal who has no key yet."""
        with self._writing(actor) as tx:
            principals.put(tx, name, roles)

    def remove_principal(self, name: str, *, actor: str) -> bool:
        """Whether there was such a principal; his keys end with him."""
        with self._writing(actor) as tx:
            return principals.remove(tx, name)

    def authenticate(self, name: str, key: str) -> Principal:
        """The principal who holds the key; ForbiddenError for anybody else."""
        now_s = self.now_s()
        with self._database.read() as connection:
            return principals.authenticate(connection, name, key, now_s)

    def issue_key(
        self,
        principal: str,
        *,
        roles: Sequence[Role],
        actor: str,
        tasks: Sequence[str] = (EVERY_TASK,),
        expires_s: float | None = None,
        requests_per_s: float | None = None,
    ) -> str:
        """The text of a new key of a principal, which nobody can read again."""
        with self._writing(actor) as tx:
            return keys.issue(
                tx,
                principal,
                roles=roles,
                tasks=tasks,
                expires_s=expires_s,
                requests_per_s=requests_per_s,
            )

    def revoke_key(self, key_id: str, *, actor: str) -> bool:
        """Whether the key was not revoked yet; replicas hear of it within seconds."""
        with self._writing(actor) as tx:
            return keys.revoke(tx, key_id)

    def rotate_key(
        self, key_id: str, *, actor: str, overlap_s: float, expires_s: float | None = None
    ) -> str:
        """The text of a new key for the same; the old one ends after the overlap."""
        with self._writing(actor) as tx:
            return keys.rotate(tx, key_id, overlap_s=overlap_s, expires_s=expires_s)

    def holder(self, shown: str) -> Key | None:
        """The valid key that somebody shows; None for anything else."""
        now_s = self.now_s()
        with self._database.read() as connection:
            return keys.held(connection, shown, now_s)

    def api_keys(self) -> list[Key]:
        """Every key that was ever given, oldest first, with the roles that it has still."""
        with self._database.read() as connection:
            return keys.in_force(connection)

    def note_all(self, event: str, bodies: Sequence[Mapping[str, Any]], *, actor: str) -> None:
        """Write several audit entries of one event in one transaction."""
        with self._writing(actor) as tx:
            for body in bodies:
                audit.append(tx, event, body)

    def note(self, event: str, body: Mapping[str, Any], *, actor: str) -> int:
        """The number of a new audit entry about something that the ledger itself does not do."""
        with self._writing(actor) as tx:
            return audit.append(tx, event, body)

    # Reading

    def noted(self, event: str, key: str, value: str) -> Mapping[str, Any]:
        """The body of the latest `note` of an event that has this value under `key`, or nothing."""
        with self._database.read() as connection:
            return audit.last_body(connection, event, key, value)

    def sources(self) -> list[Source]:
        """Every source, with its next check and why."""
        with self._database.read() as connection:
            return sources.every(connection)

    def now_s(self) -> float:
        """Seconds since 1970 by the clock that all hosts share."""
        if not self._database.has_clock:
            return self._clock()
        with self._database.read() as connection:
            return self._database.now_s(connection, self._clock)

    def leader(self) -> Leader | None:
        """Who leads, or led last."""
        with self._database.read() as connection:
            return leader(connection, self._database.now_s(connection, self._clock))

    def fresh(
        self, results: Sequence[SourceResult], *, before_s: float = math.inf
    ) -> list[SourceResult]:
        """The answers without items that were known before: what is left is to be scored."""
        with self._database.read() as connection:
            return ingest.fresh(connection, results, before_s)

    def weekly(self) -> dict[str, float]:
        """New items a week by source, of those that have been watched for a day or longer."""
        with self._database.read() as connection:
            return ingest.weekly(connection, self._database.now_s(connection, self._clock))

    def due(self, *, limit: int = 100, besides: Collection[str] = ()) -> list[Source]:
        """At most `limit` sources to check now `besides` those, the longest overdue first."""
        with self._database.read() as connection:
            now_s = self._database.now_s(connection, self._clock)
            return sources.due(connection, now_s, limit, besides)

    def pending(self, bucket: str) -> list[Item]:
        """Items that wait for a retraining, in order of detection, without their text."""
        with self._database.read() as connection:
            return ingest.pending(connection, bucket)

    def waiting(self, bucket: str) -> tuple[dict[str, int], float | None]:
        """How many items wait by source, and the oldest one's moment: `pending` for a display."""
        with self._database.read() as connection:
            return ingest.waiting(connection, bucket)

    def items(self, **values: str) -> list[Item]:
        """Items whose columns have these values (`trigger_id=`, `source_id=`, `bucket=`, ...)."""
        where = [ITEM.c[name] == value for name, value in values.items()]
        with self._database.read() as connection:
            rows = connection.execute(sa.select(ITEM).where(*where)).mappings()
            items = [Item(**row) for row in rows]
        return sorted(items, key=lambda item: (item.detected_at, item.ref))

    def retrain(self, retrain_id: str) -> Retrain:
        """One retraining."""
        with self._database.read() as connection:
            return retrain.get(connection, retrain_id)

    def retrains(
        self, *, state: RetrainState | None = None, bucket: str | None = None
    ) -> list[Retrain]:
        """Retrainings in a state and of a bucket (None: any), oldest first."""
        with self._database.read() as connection:
            return retrain.select(connection, state=state, bucket=bucket)

    def num_retrains(self) -> dict[RetrainState, int]:
        """How many retrainings are in each state."""
        with self._database.read() as connection:
            return retrain.num_by_state(connection)

    def transitions(self, retrain_id: str) -> list[Transition]:
        """Every move of a retraining, oldest first."""
        with self._database.read() as connection:
            return retrain.transitions(connection, retrain_id)

    def run_claim(self, submission_id: str) -> RunClaim | None:
        """Who works or worked on a submission; None for nobody yet."""
        with self._database.read() as connection:
            return claim.get(connection, submission_id)

    def reviews(self, retrain_id: str) -> list[Review]:
        """The decisions on a retraining's candidates."""
        with self._database.read() as connection:
            return review.of(connection, retrain_id)

    def involved(self, retrain_id: str, actor: str) -> list[str]:
        """What somebody did for a retraining; whoever did anything cannot approve it."""
        with self._database.read() as connection:
            return involvement.parts(connection, retrain.get(connection, retrain_id), actor)

    def outbox(self) -> list[OutboxEntry]:
        """Effects that are still to be made, with tries and last error."""
        with self._database.read() as connection:
            return outbox.waiting(connection)

    def obstacle(self, bucket_name: str) -> str:
        """Why no retraining of a bucket can begin now; "" when one can."""
        with self._database.read() as connection:
            return bucket.obstacle(connection, bucket_name)

    def frozen(self) -> dict[str, str]:
        """Frozen buckets, each with the reason."""
        with self._database.read() as connection:
            return bucket.frozen(connection)

    def principals(self) -> list[Principal]:
        """Every principal with his roles."""
        with self._database.read() as connection:
            return principals.every(connection)

    def audit(self, *, after: int = 0) -> Iterator[AuditEntry]:
        """Audit entries that follow number `after`, oldest first, read page by page."""
        with self._database.read() as connection:
            yield from audit.entries(connection, after)

    def audit_head(self) -> AuditHead:
        """The last entry's number and hash, to be kept elsewhere."""
        with self._database.read() as connection:
            return audit.head(connection)

    def verify_audit(self, earlier: AuditHead | None = None) -> AuditHead:
        """The head of a sound chain; CorruptArtifactError names the first entry that is not."""
        with self._database.read() as connection:
            return audit.verify(connection, earlier)

    @contextlib.contextmanager
    def _leading(self, fence: Fence) -> Generator[Transaction]:
        with self._database.write() as connection:
            now_s = self._database.now_s(connection, self._clock)
            require_leader(connection, fence, now_s)
            yield Transaction(
                connection=connection, now_s=now_s, actor=fence.name, epoch=fence.epoch
            )

    @contextlib.contextmanager
    def _writing(self, actor: str) -> Generator[Transaction]:
        if not actor:
            raise InputError("who writes must be named, however: the actor is empty")
        with self._database.write() as connection:
            now_s = self._database.now_s(connection, self._clock)
            yield Transaction(connection=connection, now_s=now_s, actor=actor)

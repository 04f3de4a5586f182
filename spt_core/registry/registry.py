"""The registry's one public class; every change is one short transaction with a compare-and-set.

add -> ModelVersion, set_alias -> AliasChange, deploy -> Deployment, lease -> Lease
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, final

import sqlalchemy as sa

from spt_core.artifacts import ExportedModel, lineage, merge_licences
from spt_core.errors import (
    ConflictError,
    CorruptArtifactError,
    InputError,
    NotFoundError,
    nearest,
)
from spt_core.policy import Policy
from spt_core.registry.backup import dump, load
from spt_core.registry.database import Database
from spt_core.registry.lease import Lease, process_owner
from spt_core.registry.tables import ALIAS, ALIAS_CHANGE, DEPLOYMENT, MODEL_VERSION, VARIANT
from spt_core.registry.values import (
    CHAMPION,
    AliasChange,
    Deployment,
    DeploymentState,
    ModelVersion,
    alias_change_from_json,
    checked_alias,
    checked_variant,
    deployment_from_json,
    failed_compliance,
    full_name,
    name_of,
    parse_ref,
    ref_of,
    version_from_json,
)
from spt_core.signature import Signature

_NEXT_STATES: Mapping[DeploymentState, tuple[DeploymentState, ...]] = {
    "pending": ("live", "failed", "retired"),
    "live": ("failed", "retired"),
    "failed": (),
    "retired": (),
}
_SUPERSEDED = "superseded before it went live"


@final
class Registry:
    """Model versions, aliases, deployments and leases in one database.

    Opening it creates or upgrades the schema. Safe to share between threads; processes open their
    own. `clock` gives seconds since 1970; leases on Postgres take the server's instead. A name may
    leave out its model name where that is "default".
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        self._database = Database(url)
        self._clock = clock

    def add(
        self,
        exported: ExportedModel,
        policy: Policy,
        report: Mapping[str, Any],
        *,
        created_by: str,
        report_uri: str = "",
    ) -> ModelVersion:
        """The new version, or the one that already has this export and this policy, as it is."""
        name = full_name(name_of(exported))
        content = self._content(exported, policy, report, created_by, report_uri)
        identity = content["identity"]
        table = MODEL_VERSION.c
        with self._database.write() as connection:
            same = sa.and_(table.name == name, table.identity == identity)
            number = connection.scalar(sa.select(table.version).where(same))
            if number is None:
                last = sa.select(sa.func.max(table.version)).where(table.name == name)
                number = (connection.scalar(last) or 0) + 1
                row = {"name": name, "version": number, **content}
                connection.execute(sa.insert(MODEL_VERSION).values(row))
            return _version(connection, name, number)

    def add_variant(
        self,
        version: ModelVersion,
        variant: str,
        exported: ExportedModel,
        policy: Policy,
        report: Mapping[str, Any],
        *,
        created_by: str,
        report_uri: str = "",
    ) -> ModelVersion:
        """The version for a deployment target; one of that name is replaced unless it is deployed.

        Clients of the version must be able to call it, and it must descend from the same teacher's
        rows: InputError. ConflictError where what it would replace is deployed.
        """
        checked_variant(variant)
        name, artifact = version.name, exported.artifact
        if full_name(name_of(exported)) != name:
            raise InputError(
                f"a variant is of its version's name, however: {name_of(exported)} is not {name}"
            )
        if artifact.data_fingerprint != version.exported.artifact.data_fingerprint:
            raise InputError(
                f"a variant is trained on its version's rows, however: {variant!r} of "
                f"{version.ref} is of others"
            )
        require_compatible(artifact.signature, version, f"the variant {variant!r}")
        content = self._content(exported, policy, report, created_by, report_uri)
        table = VARIANT.c
        ours = sa.and_(
            table.name == name, table.version == version.version, table.variant == variant
        )
        with self._database.write() as connection:
            before = connection.execute(sa.select(VARIANT).where(ours)).mappings().first()
            if before is None:
                row = {"name": name, "version": version.version, "variant": variant, **content}
                connection.execute(sa.insert(VARIANT).values(row))
            elif before["identity"] != content["identity"]:
                latest = _latest(connection, name)
                if latest is not None and latest.ref == ref_of(name, version.version, variant):
                    raise ConflictError(
                        f"a variant that is deployed stays as it is, however: {latest.ref} would "
                        "become another; deploy something else before, or name it otherwise"
                    )
                connection.execute(sa.update(VARIANT).where(ours).values(content))
            return _version(connection, name, version.version, variant)

    def variants(self, version: ModelVersion) -> list[ModelVersion]:
        """The version's variants by name."""
        with self._database.read() as connection:
            names = _variants(connection, version.name, version.version)
            return [_version(connection, version.name, version.version, name) for name in names]

    def _content(
        self,
        exported: ExportedModel,
        policy: Policy,
        report: Mapping[str, Any],
        created_by: str,
        report_uri: str,
    ) -> dict[str, str]:
        """What a version and a variant hold alike."""
        failed_compliance(report)
        artifacts = lineage(exported.artifact)
        model, decision = _text(exported.to_json()), _text(policy.to_json())
        return {
            "identity": _identity(model, decision),
            "exported": model,
            "policy": decision,
            "report": _text(report),
            "report_uri": report_uri,
            "licences": _text(merge_licences(a.licences for a in artifacts)),
            "lineage": _text(tuple(dict.fromkeys(a.uri for a in artifacts))),
            "created_at": self._now(),
            "created_by": created_by,
        }

    def get(self, ref: str) -> ModelVersion:
        """The version meant by INDUSTRY/TASK[/MODEL_NAME][@VERSION_OR_ALIAS][:VARIANT].

        The champion if only a name is given.
        """
        name, selector, variant = parse_ref(ref)
        with self._database.read() as connection:
            if isinstance(selector, str):
                aliases = _aliases(connection, name)
                if selector not in aliases:
                    numbers = ", ".join(map(str, _numbers(connection, name)))
                    raise NotFoundError(
                        f"{name!r} has no alias {selector!r}, {nearest(selector, aliases)}; "
                        f"its versions are {numbers}, to be named as {name}@N"
                    )
                selector = aliases[selector]
            return _version(connection, name, selector, variant)

    def names(self) -> list[str]:
        """Every name that has a version, sorted."""
        with self._database.read() as connection:
            return _names(connection)

    def versions(self, name: str) -> list[ModelVersion]:
        """All versions of a name, oldest first."""
        name = full_name(name)
        with self._database.read() as connection:
            return [_version(connection, name, number) for number in _numbers(connection, name)]

    def aliases(self, name: str) -> dict[str, int]:
        """Each alias of a name with the version that it means."""
        with self._database.read() as connection:
            return _aliases(connection, full_name(name))

    def history(self, name: str) -> list[AliasChange]:
        """Every move of the name's aliases, oldest first."""
        name = full_name(name)
        table = ALIAS_CHANGE.c
        columns = [c for c in table if c is not table.seq]
        query = sa.select(*columns).where(table.name == name).order_by(table.seq)
        with self._database.read() as connection:
            _numbers(connection, name)
            return [alias_change_from_json(dict(r)) for r in connection.execute(query).mappings()]

    def set_alias(
        self,
        name: str,
        alias: str,
        version: int,
        *,
        expected: int | None,
        actor: str,
        reason: str = "",
    ) -> AliasChange:
        """The recorded move; ConflictError unless the alias still means `expected` (None: nothing).

        `champion` moves only to a version that no compliance check has failed and that every
        client of the present champion can call. Moving back to a former champion needs neither: its
        clients were served before, and a rollback must not be refused.
        """
        name, alias = full_name(name), checked_alias(alias)
        with self._database.write() as connection:
            candidate = _version(connection, name, version)
            current = _aliases(connection, name).get(alias)
            if current != expected:
                raise ConflictError(
                    f"the alias {alias!r} of {name!r} must still be {_at(expected)} to be moved to "
                    f"{_at(version)}, however: it is now {_at(current)}"
                )
            if alias == CHAMPION and not _was_champion(connection, name, version):
                incumbent = None if current is None else _version(connection, name, current)
                _check_champion(candidate, incumbent)
            change = AliasChange(
                name=name,
                alias=alias,
                from_version=current,
                to_version=version,
                actor=actor,
                reason=reason,
                at=self._now(),
            )
            _record(connection, change)
            return change

    def deploy(
        self,
        name: str,
        version: int,
        *,
        expected_epoch: int,
        actor: str,
        traffic_share: float = 1.0,
        variant: str = "",
    ) -> Deployment:
        """The new, pending Deployment; ConflictError unless the latest epoch is `expected_epoch`.

        `expected_epoch` is 0 for a first one. One that was still pending is retired: the new one
        takes its place.
        """
        name = full_name(name)
        with self._database.write() as connection:
            _version(connection, name, version, variant)
            latest = _latest(connection, name)
            epoch = 0 if latest is None else latest.epoch
            if epoch != expected_epoch:
                raise ConflictError(
                    f"the latest deployment of {name!r} must still be epoch {expected_epoch}, "
                    f"however: it is epoch {epoch}"
                )
            live = _latest(connection, name, state="live")
            deployment = Deployment(
                name=name,
                version=version,
                traffic_share=traffic_share,
                state="pending",
                epoch=epoch + 1,
                previous_version=None if live is None else _stable_version(live),
                error="",
                actor=actor,
                at=self._now(),
                variant=variant,
            )
            if latest is not None and latest.state == "pending":
                _change_state(connection, latest, "retired", error=_SUPERSEDED, at=self._now())
            connection.execute(sa.insert(DEPLOYMENT).values(deployment.to_json()))
            return deployment

    def mark(self, deployment: Deployment, state: DeploymentState, error: str = "") -> Deployment:
        """The deployment in its new state; the one that was live before is retired by a live one.

        Marking again what is already so changes nothing. ConflictError when the deployment has
        moved on, or when a newer one exists and this one was to go live.
        """
        dataclasses.replace(deployment, state=state)  # refuses a state that does not exist
        with self._database.write() as connection:
            latest = _latest(connection, deployment.name)
            now = _latest(connection, deployment.name, epoch=deployment.epoch)
            if now is None or latest is None:
                raise NotFoundError(
                    f"a deployment must exist to be marked, however: {deployment.name!r} has none "
                    f"with epoch {deployment.epoch}"
                )
            if now.state == state:
                return now
            where = f"epoch {now.epoch} of {now.name!r}"
            if state not in _NEXT_STATES[now.state]:
                raise ConflictError(
                    f"{where} cannot become {state!r}, however: it is {now.state!r}"
                )
            if state == "live":
                if latest.epoch != now.epoch:
                    raise ConflictError(
                        f"only the latest deployment can go live, however: {where} was followed by "
                        f"epoch {latest.epoch}"
                    )
                before = _latest(connection, now.name, state="live")
                if before is not None:
                    _change_state(connection, before, "retired", error="", at=self._now())
            return _change_state(connection, now, state, error=error, at=self._now())

    def serving(self) -> list[Deployment]:
        """Per name the newest Deployment that serves or is about to: what Serve should hold."""
        table = DEPLOYMENT.c
        last = (
            sa.select(table.name, sa.func.max(table.epoch))
            .where(table.state.in_(("pending", "live")))
            .group_by(table.name)
        )
        query = sa.select(DEPLOYMENT).where(sa.tuple_(table.name, table.epoch).in_(last))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(table.name)).mappings()
            return [deployment_from_json(dict(row)) for row in rows]

    def deployments(self) -> list[Deployment]:
        """The latest Deployment of each name, by name."""
        table = DEPLOYMENT.c
        last = sa.select(table.name, sa.func.max(table.epoch)).group_by(table.name)
        query = sa.select(DEPLOYMENT).where(sa.tuple_(table.name, table.epoch).in_(last))
        with self._database.read() as connection:
            deployments = [
                deployment_from_json(dict(r)) for r in connection.execute(query).mappings()
            ]
        return sorted(deployments, key=lambda deployment: deployment.name)

    def lease(self, name: str, owner: str = "", *, ttl_s: float = 30.0) -> Lease:
        """A context manager that holds the named lease for this process, or for a given owner."""
        owner = owner or process_owner()
        return Lease(self._database, name, owner=owner, ttl_s=ttl_s, clock=self._clock)

    def backup(self, uri: str) -> str:
        """Write one consistent dump of all tables to a new file; returns its sha256."""
        return dump(self._database, uri, at=self._now())

    def restore(self, uri: str) -> dict[str, int]:
        """Fill this empty database from a dump of the same schema; returns the rows per table."""
        return load(self._database, uri)

    def _now(self) -> str:
        moment = datetime.datetime.fromtimestamp(self._clock(), datetime.UTC)
        return moment.isoformat(timespec="milliseconds")


def _check_champion(candidate: ModelVersion, incumbent: ModelVersion | None) -> None:
    failed = failed_compliance(candidate.report)
    if failed:
        raise InputError(
            "a champion must pass every required compliance check, however: "
            f"{candidate.ref} failed {', '.join(failed)}"
        )
    if incumbent is None:
        return
    require_compatible(candidate.exported.artifact.signature, incumbent, candidate.ref)


def require_compatible(signature: Signature, champion: ModelVersion, candidate: str) -> None:
    """InputError where clients of the champion could not call a model with this Signature."""
    problems = signature.problems_for(champion.exported.artifact.signature)
    if problems:
        raise InputError(
            f"a new champion must take every request that {champion.ref} takes, however: in "
            f"{candidate} {'; '.join(problems)}; give it another model name (--name), which has a "
            "route of its own"
        )


def _was_champion(connection: sa.Connection, name: str, version: int) -> bool:
    table = ALIAS_CHANGE.c
    query = sa.select(sa.func.count()).where(
        table.name == name, table.alias == CHAMPION, table.to_version == version
    )
    return bool(connection.scalar(query))


def _record(connection: sa.Connection, change: AliasChange) -> None:
    ours = sa.and_(ALIAS.c.name == change.name, ALIAS.c.alias == change.alias)
    if change.from_version is None:
        row = {"name": change.name, "alias": change.alias, "version": change.to_version}
        connection.execute(sa.insert(ALIAS).values(row))
    else:
        connection.execute(sa.update(ALIAS).where(ours).values(version=change.to_version))
    table = ALIAS_CHANGE.c
    last = connection.scalar(sa.select(sa.func.max(table.seq)).where(table.name == change.name))
    connection.execute(sa.insert(ALIAS_CHANGE).values(seq=(last or 0) + 1, **change.to_json()))


def _change_state(
    connection: sa.Connection,
    deployment: Deployment,
    state: DeploymentState,
    *,
    error: str,
    at: str,
) -> Deployment:
    table = DEPLOYMENT.c
    ours = sa.and_(table.name == deployment.name, table.epoch == deployment.epoch)
    values = {"state": state, "error": error, "at": at}
    connection.execute(sa.update(DEPLOYMENT).where(ours).values(values))
    return dataclasses.replace(deployment, state=state, error=error, at=at)


def _latest(connection: sa.Connection, name: str, **where: str | int) -> Deployment | None:
    conditions = [DEPLOYMENT.c[column] == value for column, value in where.items()]
    query = sa.select(DEPLOYMENT).where(DEPLOYMENT.c.name == name, *conditions)
    row = connection.execute(query.order_by(DEPLOYMENT.c.epoch.desc()).limit(1)).mappings().first()
    return None if row is None else deployment_from_json(dict(row))


def _stable_version(live: Deployment) -> int | None:
    """What to fall back to: a canary's place is taken by the version that it was tried beside."""
    return live.version if live.traffic_share == 1.0 else live.previous_version


def _names(connection: sa.Connection) -> list[str]:
    return sorted(connection.scalars(sa.select(MODEL_VERSION.c.name).distinct()))


def _numbers(connection: sa.Connection, name: str) -> list[int]:
    table = MODEL_VERSION.c
    query = sa.select(table.version).where(table.name == name).order_by(table.version)
    numbers = list(connection.scalars(query))
    if not numbers:
        raise NotFoundError(
            f"the registry has no model {name!r}; {nearest(name, _names(connection))}"
        )
    return numbers


def _aliases(connection: sa.Connection, name: str) -> dict[str, int]:
    _numbers(connection, name)
    query = sa.select(ALIAS.c.alias, ALIAS.c.version).where(ALIAS.c.name == name)
    return dict(sorted((row.alias, row.version) for row in connection.execute(query)))


def _variants(connection: sa.Connection, name: str, number: int) -> list[str]:
    table = VARIANT.c
    query = sa.select(table.variant).where(table.name == name, table.version == number)
    return list(connection.scalars(query.order_by(table.variant)))


def _version(connection: sa.Connection, name: str, number: int, variant: str = "") -> ModelVersion:
    source = VARIANT if variant else MODEL_VERSION
    query = sa.select(source).where(source.c.name == name, source.c.version == number)
    if variant:
        query = query.where(source.c.variant == variant)
    row = connection.execute(query).mappings().first()
    if row is None:
        numbers = _numbers(connection, name)
        if number not in numbers:
            shown = ", ".join(map(str, numbers))
            raise NotFoundError(f"{name!r} has no version {number}; it has {shown}")
        there = ", ".join(_variants(connection, name, number)) or "none"
        raise NotFoundError(f"{name}@{number} has no variant {variant!r}; it has {there}")
    content: dict[str, Any] = dict(row)  # Any: JSON, which version_from_json checks
    if content.pop("identity") != _identity(content["exported"], content["policy"]):
        raise CorruptArtifactError(
            "a stored model version must match its digest, however: "
            f"{ref_of(name, number, variant)} does not"
        )
    for column in ("exported", "policy", "report", "licences", "lineage"):
        try:
            content[column] = json.loads(content[column])
        except ValueError as error:
            raise CorruptArtifactError(
                f"a stored model version must be JSON, however: {column} of {name}@{number} is not "
                f"({error})"
            ) from error
    return version_from_json(content)


def _identity(exported: str, policy: str) -> str:
    return hashlib.sha256(f"{exported}\n{policy}".encode()).hexdigest()


def _text(content: object) -> str:
    try:
        return json.dumps(content, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"what is registered must be plain JSON without NaN or infinity, however: {error}"
        ) from error


def _at(version: int | None) -> str:
    return "unset" if version is None else f"@{version}"

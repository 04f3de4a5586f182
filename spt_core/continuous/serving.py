"""The Live of the Ray Serve that this process is connected to."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, final

from spt_core.continuous.live_rules import ProbeAnswer
from spt_core.errors import SptError, UnavailableError
from spt_core.registry import CHAMPION, Deployment, ModelVersion, Registry
from spt_core.rollout import (
    NumReplicas,
    RayServe,
    Replica,
    RolloutError,
    Service,
    application_name,
    promote,
    resume,
)
from spt_core.traffic import Window, joined, window_from_json

LOOK_EVERY_S = 5.0


@final
class ServeLive:
    """Rolls out to Serve and asks its replicas; `actor` stands in the registry's history."""

    def __init__(self, registry: Registry, *, actor: str) -> None:
        self._registry, self._actor = registry, actor
        self._service = RayServe()

    def check(self, version: ModelVersion) -> None:
        """Return if Serve's controller answers."""
        with _asked():
            self._service.num_replicas(application_name(version))

    def promote(
        self,
        version: ModelVersion,
        *,
        champion_before: str,
        reason: str,
        meanwhile: Callable[[], None],
    ) -> Deployment:
        """Champion by compare-and-set, then every replica, read back.

        One that was begun before and has not ended goes on as it is.
        """
        self.check(version)  # before anything is promoted that nothing could serve
        service = _Watched(self._service, meanwhile)
        before = self._latest(version)
        try:
            if before is not None and self._is_begun(version, before):
                return self._resumed(version, service)
            return promote(
                self._registry,
                version,
                actor=self._actor,
                reason=reason,
                service=service,
                champion_before=champion_before,
            )
        except RolloutError:
            raise
        except SptError as error:
            now = self._latest(version)
            if now is not None and now != before and now.state == "failed":
                # It was refused, and only the wait for the way back was broken off.
                raise RolloutError(now.error) from error
            raise

    def windows(self, version: ModelVersion) -> Mapping[str, Sequence[Window]]:
        """What all replicas counted, by version."""
        windows_by_ref: dict[str, list[Window]] = {}
        for reply in self._ask(version, "windows"):
            for ref, windows in reply.items():
                windows_by_ref.setdefault(ref, []).extend(window_from_json(one) for one in windows)
        return {ref: joined(windows) for ref, windows in windows_by_ref.items()}

    def probe(
        self, version: ModelVersion, golden: Sequence[Mapping[str, Any]]
    ) -> list[ProbeAnswer]:
        """The answers of every replica; RolloutError when one serves something else."""
        if not golden:
            return []
        records = [dict(one["record"]) for one in golden]
        answers: list[ProbeAnswer] = []
        for reply in self._ask(version, "probe", records):
            if reply["ref"] != version.ref:
                raise RolloutError(
                    f"every replica must serve {version.ref}, however: one serves "
                    f"{reply['ref'] or 'nothing'}"
                )
            answers += [
                ProbeAnswer(
                    tuple(one["labels"]),
                    tuple(answer.get("labels", ())),
                    float(answer.get("probability", 0.0)),
                    str(answer.get("error", "")),
                )
                for one, answer in zip(golden, reply["answers"], strict=True)
            ]
        return answers

    def _ask(self, version: ModelVersion, method: str, *arguments: Any) -> list[Any]:
        with _asked():
            return self._service.ask(application_name(version), method, *arguments)

    def _latest(self, version: ModelVersion) -> Deployment | None:
        return next((d for d in self._registry.deployments() if d.name == version.name), None)

    def _is_begun(self, version: ModelVersion, latest: Deployment) -> bool:
        """Whether the version is on its way: by an earlier try, or by a leader who is gone."""
        champion = self._registry.aliases(version.name).get(CHAMPION)
        is_pending = (latest.state, latest.version) == ("pending", version.version)
        return is_pending and champion == version.version

    def _resumed(self, version: ModelVersion, service: Service) -> Deployment:
        """The deployment that was begun, once it is live; RolloutError when it was refused."""
        deployments = resume(self._registry, service=service)
        (deployment,) = (one for one in deployments if one.name == version.name)
        if deployment.state != "live":
            raise RolloutError(deployment.error)
        return deployment


@final
class _Watched:
    """A Service that is not only waited for: `meanwhile` is called between two looks at it."""

    def __init__(self, service: Service, meanwhile: Callable[[], None]) -> None:
        self._service, self._meanwhile = service, meanwhile
        self._looked_s = time.monotonic()

    def apply(self, configuration: Mapping[str, Any]) -> None:
        """Hand the configuration on."""
        with _asked():
            self._service.apply(configuration)

    def replicas(self, application: str, num_replicas: NumReplicas) -> list[Replica] | None:
        """What every replica says, after a look at the others where it is time."""
        if time.monotonic() - self._looked_s >= LOOK_EVERY_S:
            self._meanwhile()
            self._looked_s = time.monotonic()
        with _asked():
            return self._service.replicas(application, num_replicas)

    def num_replicas(self, application: str) -> NumReplicas | None:
        """What is meant to be there."""
        with _asked():
            return self._service.num_replicas(application)


@contextlib.contextmanager
def _asked() -> Generator[None]:
    """UnavailableError for whatever Ray raises when Serve is not there or ends meanwhile."""
    try:
        yield
    except SptError:
        raise
    except Exception as error:
        fact = " ".join(str(error).split())[:300] or "it says nothing"
        raise UnavailableError(
            f"Serve must run and answer, however: {type(error).__name__}: {fact}"
        ) from error

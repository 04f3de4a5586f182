"""The Live of the Ray Serve that this process is connected to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

from spt_core.continuous.live_rules import ProbeAnswer
from spt_core.registry import Deployment, ModelVersion, Registry
from spt_core.rollout import RayServe, RolloutError, application_name, promote
from spt_core.traffic import Window, joined, window_from_json


@final
class ServeLive:
    """Rolls out to Serve and asks its replicas; `actor` stands in the registry's history."""

    def __init__(self, registry: Registry, *, actor: str) -> None:
        self._registry, self._actor = registry, actor
        self._service = RayServe()

    def promote(self, version: ModelVersion, *, champion_before: str, reason: str) -> Deployment:
        """Champion by compare-and-set, then every replica, read back."""
        return promote(
            self._registry,
            version,
            actor=self._actor,
            reason=reason,
            service=self._service,
            champion_before=champion_before,
        )

    def windows(self, version: ModelVersion) -> Mapping[str, Sequence[Window]]:
        """What all replicas counted, by version."""
        found: dict[str, list[Window]] = {}
        for told in self._service.ask(application_name(version), "windows"):
            for ref, windows in told.items():
                found.setdefault(ref, []).extend(window_from_json(one) for one in windows)
        return {ref: joined(windows) for ref, windows in found.items()}

    def probe(
        self, version: ModelVersion, golden: Sequence[Mapping[str, Any]]
    ) -> list[ProbeAnswer]:
        """The answers of every replica; RolloutError when one serves something else."""
        if not golden:
            return []
        records = [dict(one["record"]) for one in golden]
        found: list[ProbeAnswer] = []
        for told in self._service.ask(application_name(version), "probe", records):
            if told["ref"] != version.ref:
                raise RolloutError(
                    f"every replica must serve {version.ref}, however: one serves "
                    f"{told['ref'] or 'nothing'}"
                )
            found += [
                ProbeAnswer(
                    tuple(one["labels"]),
                    tuple(answer.get("labels", ())),
                    float(answer.get("probability", 0.0)),
                    str(answer.get("error", "")),
                )
                for one, answer in zip(golden, told["answers"], strict=True)
            ]
        return found

"""What the demo's watcher submits: jobs.retrain, and after a first success a planted bad model.

The planted one names the classes of the champion in another order, so that it is surely wrong, and
shows the gate the figures of the one before it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence

from cluster.settings import load_settings
from jobs.exits import run as call
from jobs.retrain import claimed, stored
from jobs.retrain import main as retrain
from spt_core.artifacts import FACTS, ExportedModel, write_bytes, write_manifest
from spt_core.continuous.ledger import Ledger, Retrain
from spt_core.continuous.retraining import candidate_sha
from spt_core.registry import CHAMPION, Registry


def main(arguments: Sequence[str] | None = None) -> int:
    """A submission -> a retrained candidate, or the planted one."""
    parser = argparse.ArgumentParser(prog="python -m jobs.demo.job", description=__doc__)
    parser.add_argument("--submission-id", required=True)
    parser.add_argument("--storage", required=True)
    args = parser.parse_args(arguments)
    settings = load_settings(storage=args.storage)
    ledger = Ledger(settings.database_url)
    good = ledger.retrains(state="DEPLOYED")
    if not good:
        return retrain(["--submission-id", args.submission_id, "--storage", args.storage])
    with claimed(ledger, args.submission_id) as claim:
        result = planted(Registry(settings.database_url), good[-1], args.submission_id)
        stored(settings, ledger, claim, result)
    return 0


def planted(registry: Registry, good: Retrain, submission_id: str) -> dict[str, object]:
    """The result of a retraining that never was."""
    name = good.candidate_version.rpartition("@")[0]
    champion = registry.get(f"{name}@{CHAMPION}")
    exported = mislabelled(champion.exported)
    version = registry.add(exported, champion.policy, champion.report, created_by="jobs.demo.job")
    return {
        "submission_id": submission_id,
        "candidate_version": version.ref,
        "candidate_sha": candidate_sha(version.exported, version.policy),
        "champion_before": champion.ref,
        "evaluation_set_sha": "planted",
        "evaluation": dict(good.evaluation),
    }


def mislabelled(model: ExportedModel) -> ExportedModel:
    """The export in a folder of its own, with its classes named in another order."""
    uri, files = f"{model.uri}-planted", dict[str, str]()
    for file in model.files:
        content = model.read(file)
        if file == FACTS:
            facts = json.loads(content)
            facts["classes"] = [*facts["classes"][1:], facts["classes"][0]]
            content = json.dumps(facts).encode()
        files[file] = write_bytes(f"{uri}/{file}", content)
    copy = dataclasses.replace(model, uri=uri, files=files)
    write_manifest(uri, copy.to_json())
    return copy


if __name__ == "__main__":
    call(main)

"""The stages from an exported model to the champion, as a person watches them.

ExportedModel -> Policy -> Report -> ModelVersion -> Deployment
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cluster.settings import actor
from jobs.command import Run
from jobs.service import rolled_out
from jobs.stages.fitting import privacy_sentence, reused, rows_sentence
from spt_core.artifacts import (
    ExportedModel,
    ModelArtifact,
    digest,
    exists,
    lineage,
    read_bytes,
    write_bytes,
)
from spt_core.data.splits import Splits
from spt_core.heads import HEADS
from spt_core.model import SpecializedModel
from spt_core.policy import Policy
from spt_core.registry import Deployment, ModelVersion
from spt_core.task import Task, find

if TYPE_CHECKING:
    from spt_core.benchmark import Report
    from spt_core.compression.measured import FrontPoint

NUM_SHOWN_METRICS = 4
_TITLES = {"roc_auc": "ROC AUC", "recall_at_fpr_1pct": "recall at 1 % FPR"}


def decided(model: ExportedModel, splits: Splits) -> Policy:
    """What the model says of rows that trained nothing -> its policy."""
    from spt_core.scoring import fitted_policy

    return fitted_policy(model, splits)


def benchmarked(
    run: Run,
    model: ExportedModel,
    policy: Policy,
    splits: Splits,
    front: Sequence[FrontPoint] = (),
    *,
    transfer: Mapping[str, Any] | None = None,
) -> tuple[Report, str]:
    """Exported model -> Report and the address of its page; `front` is what it was chosen among.

    `transfer` says what the model began with, where that was another task's.
    """
    from spt_core.benchmark import BenchmarkSuite, report_from_json

    config, evaluation_set = run.config.benchmark, splits.evaluation_set()
    decisive = [policy.version, dataclasses.asdict(config), evaluation_set.fingerprint]
    name = digest([*decisive, *([] if transfer is None else [dict(transfer)])])
    uri = f"{model.uri}/report-{name}"
    with run.screen.stage("benchmark") as stage:
        if exists(f"{uri}.json") and not run.fresh:  # the JSON is written last
            stage.say(f"{uri}.html{reused(True)}")
            return report_from_json(json.loads(read_bytes(f"{uri}.json"))), f"{uri}.html"
        stage.say("scoring held-out rows")

        def on_trial(name: str, trial: int, num_trials: int) -> None:
            stage.advance(trial, num_trials, f"tuning {name}, trial {trial} of {num_trials}")

        report = BenchmarkSuite(config).run(
            model, evaluation_set, policy=policy, splits=splits, on_trial=on_trial
        )
        report = dataclasses.replace(
            report, front=[point.to_json() for point in front], transfer=dict(transfer or {})
        )
        page = report.html(
            facts={**_facts(model, policy, splits), **_transfer_facts(transfer)},
            findings=[dataclasses.asdict(finding) for finding in splits.findings],
            use=_use(run.task, model),
            rows=rows_sentence(splits),
        )
        write_bytes(f"{uri}.html", page.encode())
        write_bytes(f"{uri}.json", json.dumps(report.to_json()).encode())
        stage.say(f"{uri}.html")
    return report, f"{uri}.html"


def all_benchmarks(
    run: Run, version: ModelVersion, report: Report | None = None
) -> tuple[dict[str, Any], str]:
    """A version -> the results of all benchmarks, and the address of their page."""
    from spt_core.benchmark import BenchmarkSuite
    from spt_core.benchmark.comprehensive import PROTOCOL, page, settings_of

    config = run.config.benchmark
    name = digest([PROTOCOL, version.exported.uri, version.policy.version, settings_of(config)])
    uri = f"{run.settings.storage}/benchmarks/{version.name}/{version.version}-{name}"
    with run.screen.stage("measure") as stage:
        if exists(f"{uri}.json") and not run.fresh:  # the JSON is written last
            stage.say(f"{uri}.html{reused(True)}")
            return json.loads(read_bytes(f"{uri}.json")), f"{uri}.html"
        stage.say("reasons, groups, gaps, typos, months, time and size")
        content = BenchmarkSuite(config).run_comprehensive_benchmark(
            model=SpecializedModel(version.exported, policy=version.policy),
            model_name=version.ref,
            report=report,
        )
        write_bytes(f"{uri}.html", page([content]).encode())
        write_bytes(f"{uri}.json", json.dumps(content).encode())
        stage.say(f"{uri}.html")
    return content, f"{uri}.html"


def versions_beside(run: Run) -> tuple[list[dict[str, Any]], dict[str, str], str]:
    """Every version of the run's model, benchmarked on the newest one's rows, and their page.

    What cannot be put beside the newest one is left out with why: other rows, other cases.
    """
    from spt_core.benchmark.comprehensive import page, unlike

    versions = run.registry().versions(f"{run.task.path}/{run.arguments.name}")
    newest, _ = all_benchmarks(run, versions[-1])
    contents, left_out = [newest], dict[str, str]()
    for version in reversed(versions[:-1]):
        content, _ = all_benchmarks(run, version)
        if why := unlike(newest, content):
            left_out[version.ref] = why
        else:
            contents.append(content)
    name = digest([[content["protocol"], content["model_name"]] for content in contents])
    uri = f"{run.settings.storage}/benchmarks/{name}.html"
    write_bytes(uri, page(contents, left_out).encode())
    return contents, left_out, uri


def registered(
    run: Run,
    model: ExportedModel,
    policy: Policy,
    report: Report,
    report_uri: str,
    *,
    created_by: str = "jobs.pipeline",
) -> ModelVersion:
    """Exported model + policy + report -> a version in the registry."""
    with run.screen.stage("register") as stage:
        version = run.registry().add(
            model, policy, report.to_json(), created_by=created_by, report_uri=report_uri
        )
        stage.say(version.ref)
    return version


def deployed(run: Run, version: ModelVersion) -> Deployment:
    """Version -> champion, served by every replica."""
    return rolled_out(run.screen, run.settings, run.registry(), version)


def show_report(run: Run, report: Report) -> None:
    """The figures beside the baselines', for a person."""
    quality = report.quality[report.model_name]
    task = find(report.task)
    others = [name for name in HEADS[task.head].metrics if name != task.metric]
    names = [name for name in (task.metric, *others) if name in quality][:NUM_SHOWN_METRICS]
    if report.too_few:
        run.screen.warn("  few", f": {report.too_few}")
    rows = [
        [
            model,
            *("-" if report.too_few else _with_interval(q[n]) for n in names),
            f"{report.latency_ms[model]['p50']:.3f}",
        ]
        for model, q in report.quality.items()
    ]
    synthetic = ", SYNTHETIC data" if report.synthetic else ""
    what = HEADS[task.head].noun
    groups = f" of {report.num_groups:,} groups" if report.num_groups else ""
    run.screen.table(
        f"{report.task}: {report.num_rows:,} held-out rows{groups}, "
        f"{report.num_positives:,} {what}{synthetic}",
        ["model", *(_TITLES.get(name, name.replace("_", " ")) for name in names), "p50 ms"],
        rows,
    )
    for name, check in report.compliance.items():
        if not check["passed"]:
            run.screen.warn("  compliance", f" {name}: {check['fact']}")


def show_benchmarks(run: Run, contents: Sequence[Mapping[str, Any]]) -> None:
    """One result of all benchmarks, or several side by side, for a person."""
    from spt_core.benchmark.comprehensive import grid_of, side_by_side

    grid = grid_of(contents[0]) if len(contents) == 1 else side_by_side(contents)
    run.screen.table(grid.title, grid.header, grid.rows)


def _with_interval(figure: Mapping[str, float]) -> str:
    return f"{figure['value']:.4f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def _use(task: Task, model: ExportedModel) -> dict[str, str]:
    """What the model is for, what it was made from, who made it and who approves it."""
    metric = f"validation_{task.metric}"
    use = {"intended use": task.description}
    for artifact in lineage(model.artifact):
        figures = artifact.metrics
        if metric not in figures:
            continue
        shares = [
            f"{name.removesuffix('_weight')} {share:.2f}"
            for name, share in figures.items()
            if name.endswith("_weight")
        ]
        made_of = f", a blend of {', '.join(shares)}" if shares else ""
        what = "served" if artifact.uri == model.artifact.uri else artifact.role
        if what in use:  # the nearest of its role is the one
            continue
        use[what] = f"{metric.replace('_', ' ')} {figures[metric]:.4f}{made_of}"
    approver = "a person, before it may serve: the task is of high risk"
    return {
        **use,
        "author": actor(),
        "approver": approver if task.high_risk else "none is asked for by the task",
    }


def _deidentified(artifact: ModelArtifact) -> str:
    facts = dict(artifact.deidentified)
    counts = ", ".join(f"{count:,} {name}" for name, count in facts.pop("replaced").items())
    return f"{', '.join(f'{n} {fact}' for n, fact in facts.items())}; replaced: {counts or 'none'}"


def _privacy_facts(artifact: ModelArtifact) -> dict[str, str]:
    """What the page says of what the model tells of its training rows."""
    facts = artifact.privacy
    if not facts:
        return {}
    return {
        "differential privacy": privacy_sentence(facts),
        **({"caution": facts["caution"]} if "caution" in facts else {}),
        "encodings": json.dumps(facts["encodings"]),
        "all private trainings": json.dumps(facts["all_trainings"]),
        "protected": facts["protected"],
        "not protected": "; ".join(facts["not_protected"]),
        "randomness": facts["randomness"],
        "student": facts.get("student", "none"),
    }


def _transfer_facts(transfer: Mapping[str, Any] | None) -> dict[str, str]:
    """What the page says of a model's beginning."""
    if transfer is None:
        return {}
    verdict, columns = transfer["verdict"], [m for m in transfer["columns"] if m["source"]]
    matches = {"columns begun": ", ".join(f"{m['target']} <- {m['source']}" for m in columns)}
    return {
        "transfer": f"{transfer['config']['strategy']} from {transfer['source_version']}; kept: "
        f"{verdict['kept']}, gain {verdict['gain']:+.4f} [{verdict['low']:+.4f}, "
        f"{verdict['high']:+.4f}] in {verdict['loss'].replace('_', ' ')} on validation rows",
        "licences of the source's data": ", ".join(transfer["source_licences"]) or "unknown",
        "begun afresh": "; ".join(transfer["fresh"]),
        **(matches if columns else {}),
    }


def _facts(model: ExportedModel, policy: Policy, splits: Splits) -> dict[str, Any]:
    artifact, decision = model.artifact, policy.described()
    decision |= {name: model.parity[name] for name in ("quality",) if name in model.parity}
    return {
        "model": model.uri,
        "made from": " <- ".join(a.uri for a in lineage(artifact)),
        "data": splits.uri,
        "data fingerprint": artifact.data_fingerprint,
        "code fingerprint": artifact.code_fingerprint,
        "licences of the data": ", ".join(artifact.licences) or "unknown",
        "seed": artifact.seed,
        **({"texts de-identified by": _deidentified(artifact)} if artifact.deidentified else {}),
        **_privacy_facts(artifact),
        **decision,
        "farthest from the checkpoint": ", ".join(
            f"{name} {gap:.1e}" for name, gap in model.parity["max_abs_difference"].items()
        ),
    }

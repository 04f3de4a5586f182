"""The verbs of jobs.watch on a ledger: run, start, stop, status, trigger, release, audit verify."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import re
import signal
from collections.abc import Mapping
from typing import Any

import uvloop

from cluster.settings import (
    Settings,
    actor,
    api_key,
    load_settings,
    source_secrets,
)
from jobs.console import Screen
from spt_core.continuous import ContinuousTrainingPipeline, WatchOptions
from spt_core.continuous.fetch.fetcher import FetchPolicy
from spt_core.continuous.fetch.guard import Guard
from spt_core.continuous.jobs import ChampionJobs, require_champion
from spt_core.continuous.ledger import AuditHead, JobApi, Ledger, Principal
from spt_core.continuous.monitoring import Monitoring, bucket_of
from spt_core.continuous.pipeline import calm_collector
from spt_core.continuous.report import report, unreadable
from spt_core.continuous.review import authenticated, require_role
from spt_core.continuous.sources import SourcesFile, load_sources
from spt_core.continuous.steps import after_training, on_cluster
from spt_core.continuous.triggers import manual_trigger
from spt_core.errors import (
    CorruptArtifactError,
    ForbiddenError,
    InputError,
    NotFoundError,
    UnavailableError,
    nearest,
)
from spt_core.plain import from_plain
from spt_core.registry import DEFAULT_MODEL_NAME, Registry
from spt_core.task import find

TELL_EVERY_S = 2.0
_HEAD = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")


def run(args: argparse.Namespace) -> int:
    """Watch in this process, until Ctrl-C."""
    settings, file = load_settings(storage=args.storage), load_sources(args.sources)
    options = _options(args, settings, file)
    jobs = _jobs(settings, options)
    secrets = source_secrets([source.id for source in file.sources])
    pipeline = ContinuousTrainingPipeline(
        file,
        options=dataclasses.replace(options, secrets=secrets, actor=_configurer(settings)),
        jobs=jobs,
        steps=after_training(Registry(settings.database_url), None),
    )
    screen = Screen(as_json=False)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    watched = ", ".join(one.model for one in pipeline.monitoring) or "no model"
    screen.say(f"{len(file.sources)} sources are watched for {watched}; Ctrl-C ends")
    screen.say("candidates are judged here; approved ones wait for a cluster's watcher to roll out")
    calm_collector()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as in the actor
        runner.run(_until_interrupted(pipeline, screen))
    return 0


def start(args: argparse.Namespace) -> int:
    """Have the cluster's watcher watch, from now on and without this process."""
    settings, file = _on_cluster(args, "start"), load_sources(args.sources)
    from cluster.lifecycle import ray_session  # Ray takes seconds, and the other verbs have no use
    from cluster.watcher import WatchPlan
    from cluster.watcher import start as start_watcher

    plan = WatchPlan(file=file, options=_options(args, settings, file), make_steps=on_cluster)
    # What Ray must not show has been refused before the database is asked who this is.
    options = dataclasses.replace(plan.options, actor=_configurer(settings))
    with ray_session(settings):
        state = start_watcher(dataclasses.replace(plan, options=options))
    message = f"the watcher is process {state['pid']}: {state['phase']}"
    Screen(as_json=args.json).result(state, message)
    return 0


def stop(args: argparse.Namespace) -> int:
    """End the cluster's watcher."""
    settings = _on_cluster(args, "stop")
    from cluster.lifecycle import ray_session
    from cluster.watcher import stop as stop_watcher

    with ray_session(settings):
        was_there = stop_watcher()
    message = "the watcher has ended" if was_there else "there was no watcher"
    Screen(as_json=args.json).result({"stopped": was_there}, message)
    return 0


def status(args: argparse.Namespace) -> int:
    """Where everything stands; 1 where somebody should look."""
    settings, screen = load_settings(storage=args.storage), Screen(as_json=args.json)
    try:
        ledger = Ledger(settings.database_url)
        content = report(ledger, database_url=settings.database_url)
    except UnavailableError as error:
        content = dict(unreadable(error))
    watcher = content["watcher"] = _watcher(settings)
    if watcher is not None:
        troubles = [one["what"] for one in watcher["troubles"].values()]
        content["troubles"] += [f"the cluster's watcher: {what}" for what in troubles]
    _show(screen, content)
    return int(bool(content["troubles"]))


def trigger(args: argparse.Namespace) -> int:
    """A retraining that a person asks for."""
    ledger, principal = _signed(args)
    model = _model(args.model)
    content = ledger.configurations().get(bucket_of(model), {}).get("monitoring")
    if content is None:
        models = [
            body["monitoring"]["model"]
            for body in ledger.configurations().values()
            if body.get("monitoring")
        ]
        raise NotFoundError(
            f"a model must be watched for to be triggered, however: {model} is not; "
            f"{nearest(model, models)}"
        )
    monitoring = from_plain(Monitoring, content)
    require_role(principal, "operator", monitoring.bucket)
    require_champion(load_settings(storage=args.storage).database_url, model)
    asked = manual_trigger(monitoring, ledger.pending(monitoring.bucket), args.reason)
    begun = ledger.trigger(asked, actor=principal.name)
    Screen(as_json=args.json).result(
        begun.to_json(),
        f"{begun.retrain_id} begins on {len(asked.items)} publications; the watcher submits it",
    )
    return 0


def release(args: argparse.Namespace) -> int:
    """Let a retraining go on that was held for a person to look at."""
    ledger, principal = _signed(args)
    hold = ledger.hold(args.retrain_id)
    require_role(principal, "operator", ledger.retrain(args.retrain_id).bucket)
    ledger.release(args.retrain_id, actor=principal.name)
    begun = ledger.retrain(args.retrain_id)
    Screen(as_json=args.json).result(
        begun.to_json(), f"{begun.retrain_id} is {begun.state}; it was held: {hold}"
    )
    return 0


def audit_verify(args: argparse.Namespace) -> int:
    """The head of a sound audit chain; 1 where it is broken or lacks the earlier head."""
    ledger = Ledger(load_settings(storage=args.storage).database_url)
    screen = Screen(as_json=args.json)
    try:
        head = ledger.verify_audit(_head(args.earlier))
    except CorruptArtifactError as error:
        screen.result({"is_sound": False, "trouble": str(error)}, str(error))
        return 1
    shown = f"{head.seq}:{head.hash}"
    content = {"is_sound": True, "num_entries": head.seq, "seq": head.seq, "hash": head.hash}
    screen.result(
        {**content, "head": shown},
        f"the audit chain is sound: {head.seq:,} entries; keep its head elsewhere: {shown}",
    )
    return 0


def _head(text: str | None) -> AuditHead | None:
    if text is None:
        return None
    match = _HEAD.fullmatch(text.strip())
    if match is None:
        raise InputError(
            f"--earlier must be SEQ:HASH as `audit verify` printed it, however: {text!r}"
        )
    return AuditHead(int(match[1]), match[2])


def _options(args: argparse.Namespace, settings: Settings, file: SourcesFile) -> WatchOptions:
    if not file.sources:
        raise InputError("there must be a source to watch, however: the file names none")
    guard = Guard(allow_networks=tuple(args.allow_network))
    return WatchOptions(
        storage=settings.storage,
        database_url=settings.database_url,
        policy=FetchPolicy(guard=guard, user_agent=file.user_agent),
    )


def _configurer(settings: Settings) -> str:
    """Who changes what is watched: a principal; the user as long as there are none."""
    ledger, shown = Ledger(settings.database_url), api_key()
    if shown is not None:
        return authenticated(ledger, shown).name
    if ledger.principals():
        raise ForbiddenError(
            "what is watched must be configured under a principal's name, however: there are "
            "principals, and SPT_API_KEY is not set; whoever changes it cannot approve what "
            "comes of it"
        )
    return actor()


def _jobs(settings: Settings, options: WatchOptions) -> JobApi | None:
    """Jobs of the cluster that is named; None for processes of this machine."""
    if settings.ray_address is None or not settings.takes_jobs:
        return None
    from cluster.submit import RayJobs
    from cluster.watcher import job_environment

    jobs = RayJobs(
        settings.ray_address,
        storage=settings.storage,
        runtime_env=job_environment(options, ""),
    )
    return ChampionJobs(jobs, settings.database_url)


async def _until_interrupted(pipeline: ContinuousTrainingPipeline, screen: Screen) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None, "it is one"
    watching = asyncio.create_task(pipeline.start_monitoring())
    for sent in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sent, pipeline.stop)
    messages: dict[str, Any] = {}
    while not watching.done():
        await asyncio.wait([watching], timeout=TELL_EVERY_S)
        now = pipeline.status()
        troubles = {what: trouble["what"] for what, trouble in now["troubles"].items()}
        if {"phase": now["phase"], **troubles} != messages:
            messages = {"phase": now["phase"], **troubles}
            screen.say("; ".join(messages.values()))
    await watching


def _on_cluster(args: argparse.Namespace, verb: str) -> Settings:
    settings = load_settings(storage=args.storage)
    if not settings.takes_jobs:
        raise InputError(
            f"{verb} needs a Ray cluster that goes on without this process, however: RAY_ADDRESS "
            "is not set, and `python -m cluster up` was not called; `python -m jobs.watch run` "
            "watches in this process"
        )
    return settings


def _watcher(settings: Settings) -> Mapping[str, Any] | None:
    """What the cluster's watcher says of itself; None without a cluster or watcher."""
    if not settings.takes_jobs:
        return None
    from cluster.lifecycle import ray_session
    from cluster.watcher import status as watcher_status

    try:
        with ray_session(settings):
            return watcher_status()
    except (ConnectionError, UnavailableError) as error:
        trouble = {"what": f"it cannot be asked: {error}"}
        return {"phase": "cannot be asked", "troubles": {"cluster": trouble}}


def _signed(args: argparse.Namespace) -> tuple[Ledger, Principal]:
    """The ledger, and who holds the credential in the environment."""
    ledger = Ledger(load_settings(storage=args.storage).database_url)
    shown = api_key()
    if shown is None:
        raise ForbiddenError(
            "this needs a principal's credential in SPT_API_KEY, however: it is not set; see "
            "`python -m jobs.keys`"
        )
    principal = authenticated(ledger, shown)
    require_role(principal, "operator")
    return ledger, principal


def _model(name: str) -> str:
    return name if name.count("/") == 2 else f"{find(name).path}/{DEFAULT_MODEL_NAME}"


def _show(screen: Screen, content: Mapping[str, Any]) -> None:
    for trouble in content["troubles"]:
        screen.warn("!", f" {trouble}")
    watcher = content["watcher"]
    if watcher is not None:
        screen.say(f"the cluster's watcher {watcher['phase']}")
    if "sources" not in content:
        screen.result(content, "nothing else can be told")
        return
    screen.table(
        "sources",
        ["source", "state", "next check and why", "what is wrong"],
        [[s["id"], s["state"], s["words"], _explanation(s)] for s in content["sources"]],
    )
    screen.table(
        "models",
        ["bucket", "what waits", "retraining"],
        [[b["bucket"], b["words"], _retraining(b)] for b in content["buckets"]],
    )
    screen.result(content, content["leader"]["words"])


def _explanation(source: Mapping[str, Any]) -> str:
    parts = [source["trouble"], source["advice"]]
    explanation = "; ".join(part for part in parts if part)
    return f"{explanation} ({source['errors']} times)" if source["errors"] > 1 else explanation


def _retraining(bucket: Mapping[str, Any]) -> str:
    latest = bucket["retraining"]
    text = f"{latest['retrain_id']} {latest['state']}: {latest['words']}" if latest else "none yet"
    return f"FROZEN ({bucket['frozen']}); {text}" if bucket["frozen"] else text

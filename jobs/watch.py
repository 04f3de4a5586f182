"""Watch regulators' publications: python -m jobs.watch COMMAND ...

`run` watches in this process until Ctrl-C; `start` and `stop` have a Ray cluster's watcher do it.
`status` says where everything stands; `trigger` begins a retraining, `release` lets one go on that
was held; `audit verify` looks for changes in the audit log. `sources check` and `parse` try sources
and documents, and keep nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cluster.settings import source_secrets
from jobs import watching
from jobs.console import Screen
from jobs.exits import run as call
from spt_core.continuous.feeds.documents import documents, parse_unknown
from spt_core.continuous.feeds.pool import ParserPool
from spt_core.continuous.feeds.values import Parsed
from spt_core.continuous.fetch.check import Finding, check_sources
from spt_core.continuous.fetch.fetcher import FetchPolicy
from spt_core.continuous.fetch.guard import Guard
from spt_core.continuous.sources import load_sources
from spt_core.errors import InputError, NotFoundError, nearest

_EPILOG = """\
examples:
  python -m jobs.watch run --sources my_sources.toml
  python -m jobs.watch demo                                   all of it in minutes, on this machine
  python -m jobs.watch status
  python -m jobs.watch trigger financial_services/regulatory_compliance --reason "new rule"
  python -m jobs.watch audit verify --earlier 812:5f1c...     what an earlier call printed
  python -m jobs.watch sources check                          what the industries ship
  python -m jobs.watch sources check --only sec_press_releases
  python -m jobs.watch sources check --sources my_sources.toml --json
  python -m jobs.watch parse page.xml answers/ feeds.tar.gz --json"""
_CHECK = """\
Asks every source once and says what is wrong with it: missing, moved, a web page instead of a feed,
rate limited, no answer, a private address. Nothing is kept. Ends with 1 if any source needs care.

A sources file (TOML) names whom to ask:

  [fetch]
  user_agent = "Example Bank compliance desk@bank.example"    # SEC asks for a contact

  [sources]
  defaults = ["sec_press_releases"]                # true: everything that the industries ship

  [[source]]
  id = "my_regulator"
  name = "My regulator's news"
  industry = "financial_services"
  kind = "rss"                                     # RSS, Atom or JSON Feed
  url = "https://regulator.example/news.xml"

  [[source]]
  id = "my_rules"
  name = "A page that lists rules and has no feed"
  industry = "financial_services"
  kind = "html_list"
  url = "https://regulator.example/rules"
  links = { css = "main a", url_pattern = "/rules/[0-9]+", min_links = 5, max_churn = 0.5 }

  [monitoring.financial_services]                  # or "INDUSTRY/TASK[/MODEL_NAME]"
  keywords = ["regulation", "compliance", "capital", "risk"]   # one in a text makes it relevant
  terms = ["Basel III", "credit default swap"]     # two do
  trigger_threshold = 10                           # relevant publications that begin a retraining
  max_wait_days = 30                               # what one waits at most
  max_source_share = 0.5                           # of the threshold, what one source can give
  validation_required = true                       # a person must approve
  classifier = "INDUSTRY/TASK/MODEL_NAME@VERSION"  # a registered text model adds to the score,
  classifier_label = "LABEL"                       # by how probable it finds this label

What a source lists when it is asked first counts too.

kind json_api takes json = { items = "results", id = "number", title = "title", ... }. Other keys:
interval_s (seconds between checks), identity (auto, guid, link, guid+link, title+date, content:
what makes two entries the same publication), and secret_header: the header in which an API wants a
key. The key is in the environment, SPT_SECRET_{ID} with the id in capitals, and goes to the url's
own host only."""
_RUN = """\
Asks each source when it is due, stores what is new with its score, and begins a retraining when
enough relevant publications wait: a process of this machine, or a job of the RAY_ADDRESS cluster.
Killed at any moment, the next one goes on; a second one stands by until the first is gone. Once
there are principals (jobs.keys) it needs the credential of one in SPT_API_KEY:
who changes what is watched cannot approve what comes of it."""
_START = """\
Starts a detached actor on the cluster in RAY_ADDRESS, which Ray restarts without limit. It does
what `run` does and needs nobody; its log is in Ray's dashboard. Once there are principals it needs
the credential of one in SPT_API_KEY, as `run` does. An address that holds a password or a key
is refused: Ray shows it."""
_STATUS = """\
Who watches; each source with its state, its next check and why; what waits for each model and the
retraining under way. Ends with 1 if somebody should look: a full disk, a clock that went back, a
database that is away, sources that nobody asks, a retraining that failed for good or does not move
on, an effect that fails again and again, a frozen bucket, what the cluster's watcher complains of.
What the steps of a `run` in another process complain of is in its own log only."""
_TRIGGER = """\
Begins a retraining on the publications that wait, few or many. It needs the credential of a
principal with the role operator in SPT_API_KEY, who cannot approve what comes of it."""
_RELEASE = """\
A retraining is held when one source gave more than its share of what waited too long. Look at its
publications (`status --json` names it), then let it go on as an operator (SPT_API_KEY)."""
_AUDIT = """\
Reads the whole audit log: each entry's hash covers the one before it. Prints the head of a sound
chain as SEQ:HASH and ends with 0. Ends with 1 and one sentence where an entry is broken (the first
is named) or the earlier head is not in it, and with 2 where the log could not be read.

Keep the head, daily, where the owner of the database cannot write: a mail, a ticket, a file of
another machine. Whoever owns the database can rewrite the whole chain or cut off its end, which is
sound in itself; with --earlier and a head from before that, it is found."""
_DEMO = """\
Starts a Ray of one node, a service and a web site with three feeds on this machine, trains a small
model, and shows what becomes of publications: trigger, Ray job, gate, review, roll-out, another
answer over HTTP; then a planted bad model and its rollback. All data is SYNTHETIC. It ends with 0
if every part came true and no request was lost; what it made is kept."""
_PARSE = """\
Shows what would be made of documents on disk: feeds, JSON answers, web pages; folders, .gz files
and tar archives give one document per file in them. One line for each document:

  file     path, and !member for what is in an archive
  kind     rss, rdf, atom, cdf, json_feed, json_api, html, xml, empty, unknown
  items    how many publications were read
  markers  how many item-like elements the raw bytes hold: fewer items than these are explained
  state    OK, or DEGRADED with a reason: something is or may be missing, never silently"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the commands."""
    args = _parser().parse_args(arguments)
    verb: Callable[[argparse.Namespace], int] = args.verb
    return verb(args)


def sources_check(args: argparse.Namespace) -> int:
    """Sources -> what is wrong with each; 1 if anything is."""
    file = load_sources(args.sources)
    chosen = [source for source in file.sources if args.only in (None, source.id)]
    if not chosen:
        ids = [source.id for source in file.sources]
        if args.only is None:
            raise InputError("there must be a source to check, however: the file names none")
        raise NotFoundError(
            f"--only must name a source, however: {args.only!r}; {nearest(args.only, ids)}"
        )
    policy = FetchPolicy(
        guard=Guard(allow_networks=tuple(args.allow_network)), user_agent=file.user_agent
    )
    now = datetime.datetime.now(datetime.UTC)
    secrets = source_secrets([source.id for source in chosen])
    findings = asyncio.run(check_sources(chosen, policy, now=now, secrets=secrets))
    _show(Screen(as_json=args.json), findings)
    return int(any(finding.verdict != "ok" for finding in findings))


def parse(args: argparse.Namespace) -> int:
    """Documents on disk -> one line for each."""
    screen = Screen(as_json=args.json)
    rows: list[list[str]] = []
    with ParserPool(size=1) as pool:
        for name, parsed in _parsed(args.paths, pool):
            line = {
                "file": name,
                "kind": parsed.kind,
                "items": len(parsed.items),
                "markers": parsed.markers,
                "state": parsed.state,
                "reason": parsed.reason,
            }
            if args.json:
                screen.result(line, "")
            else:
                rows.append([str(value) for value in line.values()])
    if not args.json:
        screen.table(f"{len(rows)} documents", ["file", "kind", *_PARSED[2:]], rows)
    return 0


_PARSED = ("file", "kind", "items", "markers", "state", "reason")


def _parsed(paths: Sequence[str], pool: ParserPool) -> Iterator[tuple[str, Parsed]]:
    for path in paths:
        for name, content in documents(Path(path)):
            yield name, content if isinstance(content, Parsed) else parse_unknown(content, pool)


def _demo(args: argparse.Namespace) -> int:
    from jobs.demo.story import demo  # Ray and torch take seconds, and the other verbs need neither

    return demo(args)


def _show(screen: Screen, findings: Sequence[Finding]) -> None:
    num_bad = sum(finding.verdict != "ok" for finding in findings)
    content: dict[str, Any] = {
        "sources": [finding.to_json() for finding in findings],
        "num_ok": len(findings) - num_bad,
        "num_wrong": num_bad,
    }
    screen.table(
        "sources",
        ["id", "verdict", "HTTP", "items", "what is wrong", "next check"],
        [
            [
                f.id,
                f.verdict,
                str(f.status or "-"),
                str(f.num_items),
                _explanation(f),
                f.next_reason,
            ]
            for f in findings
        ],
    )
    screen.result(content, f"{len(findings) - num_bad} of {len(findings)} sources are fine")


def _explanation(finding: Finding) -> str:
    return "; ".join(part for part in (finding.reason, finding.advice) if part)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.watch",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    sources = commands.add_parser("sources", help="the sources that are watched")
    of_sources = sources.add_subparsers(metavar="COMMAND", required=True)
    check = _command(of_sources, "check", "ask each source once, say what is wrong", _CHECK)
    check.add_argument(
        "--sources", metavar="FILE", help="a TOML file (default: what the industries ship)"
    )
    check.add_argument("--only", metavar="ID", help="one source")
    _allow_network(check)
    check.set_defaults(verb=sources_check)
    documents_ = _command(commands, "parse", "what would be made of documents on disk", _PARSE)
    documents_.add_argument("paths", metavar="PATH", nargs="+", help="file, folder or archive")
    documents_.set_defaults(verb=parse)
    _add_watching(commands)
    return parser


def _add_watching(commands: Any) -> None:
    run = _command(commands, "run", "watch in this process, until Ctrl-C", _RUN)
    start = _command(commands, "start", "have a Ray cluster's watcher watch", _START)
    for command, verb in ((run, watching.run), (start, watching.start)):
        command.add_argument(
            "--sources", metavar="FILE", help="a TOML file (see sources check --help)"
        )
        _allow_network(command)
        command.set_defaults(verb=verb)
    demo = _command(commands, "demo", "the whole story on this machine, in minutes", _DEMO)
    demo.set_defaults(verb=_demo)
    stop = _command(commands, "stop", "end a Ray cluster's watcher", "Ends it; nothing is lost.")
    stop.set_defaults(verb=watching.stop)
    status = _command(commands, "status", "where everything stands, in words", _STATUS)
    status.set_defaults(verb=watching.status)
    trigger = _command(commands, "trigger", "begin a retraining now", _TRIGGER)
    trigger.add_argument("model", metavar="INDUSTRY/TASK", help="or INDUSTRY/TASK/MODEL_NAME")
    trigger.add_argument("--reason", required=True, help="why, for the audit log")
    trigger.set_defaults(verb=watching.trigger)
    release = _command(commands, "release", "let a retraining go on that was held", _RELEASE)
    release.add_argument("retrain_id", metavar="ID")
    release.set_defaults(verb=watching.release)
    audit = commands.add_parser("audit", help="the audit log")
    of_audit = audit.add_subparsers(metavar="COMMAND", required=True)
    verify = _command(of_audit, "verify", "whether the audit log is as it was written", _AUDIT)
    verify.add_argument("--earlier", metavar="SEQ:HASH", help="a head that must still be in it")
    verify.set_defaults(verb=watching.audit_verify)
    for command in (run, start, stop, status, trigger, release, verify):
        command.add_argument(
            "--storage", metavar="URI", help="default: SPT_STORAGE or ./spt_storage"
        )
    demo.add_argument("--storage", metavar="URI", help="default: a new folder for temporary files")


def _allow_network(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--allow-network",
        metavar="NETWORK",
        action="append",
        default=[],
        help="ask addresses of this private network too (10.1.0.0/16), on any port; repeatable",
    )


def _command(commands: Any, name: str, summary: str, description: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--json", action="store_true", help="JSON on standard output")
    return command


if __name__ == "__main__":
    call(main)

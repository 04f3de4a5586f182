"""Look at the registry and move its aliases: python -m jobs.registry list | show | compare | ...

A reference is INDUSTRY/TASK[/MODEL_NAME][@VERSION_OR_ALIAS]: the model name is "default" and the
alias is "champion" where they are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cluster.settings import actor, load_settings
from jobs.access import entitled, noted
from jobs.exits import run
from spt_core.artifacts import as_uri, load_artifact
from spt_core.errors import InputError, NotFoundError
from spt_core.registry import ModelVersion, Registry, compliance

_REF = "INDUSTRY/TASK[/MODEL_NAME][@VERSION_OR_ALIAS], the champion if nothing follows the name"
_NAME = "INDUSTRY/TASK[/MODEL_NAME]"
_DESCRIPTION = """\
The registry holds every model version ever exported, with its decision policy and its benchmark
report. Aliases name versions: the champion is the one that is served. Moving an alias is safe to
try: it is refused when somebody else has moved it meanwhile, when the version failed a compliance
check, or when clients of the champion could not call it."""
_EPILOG = """\
examples:
  python -m jobs.registry list
  python -m jobs.registry show financial_services/fraud_detection
  python -m jobs.registry compare financial_services/fraud_detection{,@7}
  python -m jobs.registry alias financial_services/fraud_detection@7 champion --reason "ticket 12"
  python -m jobs.registry backup s3://bucket/registry-monday.jsonl"""


_PIPED_WIDTH = 200  # without a terminal, long names stay whole for grep
_NOT_FIGURES = ("intervals", "compliance", "curves", "baseline_parameters", "left_out", "refit")


class Figure(NamedTuple):
    """A number of a report, with its interval where the report gives one."""

    value: float
    interval: tuple[float, float] | None = None

    def __str__(self) -> str:
        """The number as a table shows it."""
        if self.interval is None:
            return f"{self.value:.4g}"
        return f"{self.value:.4g} [{self.interval[0]:.4g}, {self.interval[1]:.4g}]"


class Shown(NamedTuple):
    """What a command found: as JSON, and as a table for people."""

    content: Mapping[str, Any]
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and print what it found; 0 when it worked."""
    args = _parser().parse_args(argv)
    settings = load_settings(storage=args.storage, database_url=args.database)
    args.storage, args.settings = settings.storage, settings
    registry = Registry(settings.database_url)
    shown = _COMMANDS[args.command](registry, args)
    if args.json:
        sys.stdout.write(json.dumps(shown.content, sort_keys=True) + "\n")
        return 0
    table = Table(*shown.columns, title=shown.title, title_justify="left")
    for column in table.columns:
        column.overflow = "fold"
    for row in shown.rows:
        table.add_row(*map(Text, row))
    width = None if sys.stdout.isatty() else _PIPED_WIDTH
    Console(width=width).print(table)
    return 0


def _list(registry: Registry, _args: argparse.Namespace) -> Shown:
    versions = [v for name in registry.names() for v in registry.versions(name)]
    aliases = {name: registry.aliases(name) for name in registry.names()}
    rows = [
        (v.name, str(v.version), _aliases_of(v, aliases[v.name]), v.created_at, v.created_by)
        for v in versions
    ]
    content = [
        {"ref": v.ref, "aliases": _aliases_of(v, aliases[v.name]).split(), **_facts(v)}
        for v in versions
    ]
    columns = ("name", "version", "aliases", "created", "by")
    return Shown({"versions": content}, "Model versions", columns, rows)


def _show(registry: Registry, args: argparse.Namespace) -> Shown:
    version = registry.get(args.ref)
    aliases = _aliases_of(version, registry.aliases(version.name))
    variants = [] if version.variant else registry.variants(version)
    rows = [
        ("created", f"{version.created_at} by {version.created_by}"),
        ("aliases", aliases or "none"),
        *((name, text) for name, text in _properties(version).items()),
        *((name, str(figure)) for name, figure in figures(version).items()),
        *_checks(version).items(),
        *_refit(version),
        *(("variant", _variant_line(variant)) for variant in variants),
        *(("lineage", uri) for uri in version.lineage),
        *(("run", address) for address in runs_of(version)),
        ("licences", ", ".join(version.licences) or "none recorded"),
        ("report", version.report_uri or "in the registry only"),
    ]
    content = {
        **version.to_json(),
        "ref": version.ref,
        "aliases": aliases.split(),
        "variants": [variant.ref for variant in variants],
        "runs": runs_of(version),
    }
    return Shown(content, version.ref, ("what", "value"), rows)


def runs_of(version: ModelVersion) -> list[str]:
    """Where trackers show how the model and those that it came from were trained."""
    runs = list(version.exported.artifact.runs)
    for uri in version.lineage:
        with contextlib.suppress(NotFoundError):  # a version outlives files that were moved
            runs += load_artifact(uri).runs
    return list(dict.fromkeys(runs))


def _refit(version: ModelVersion) -> list[tuple[str, str]]:
    """That a model has seen more rows than its report's twin."""
    refit = version.report.get("refit")
    if not refit:
        return []
    num_rows, num_before = refit["num_rows"], refit["num_rows_of_twin"]
    return [("refit", f"on {num_rows:,} rows; figures are of its twin, on {num_before:,}")]


def _variant_line(variant: ModelVersion) -> str:
    return f"{variant.variant}: {variant.exported.size_bytes / 1e6:.2f} MB, {variant.exported.uri}"


def _compare(registry: Registry, args: argparse.Namespace) -> Shown:
    left, right = registry.get(args.left), registry.get(args.right)
    columns: list[dict[str, str]] = [
        {
            "created": version.created_at,
            **_properties(version),
            **{name: str(figure) for name, figure in figures(version).items()},
            **_checks(version),
        }
        for version in (left, right)
    ]
    labels = list(dict.fromkeys([*columns[0], *columns[1]]))
    rows = [(label, columns[0].get(label, "-"), columns[1].get(label, "-")) for label in labels]
    forward, back = _problems(left, right), _problems(right, left)
    refused = ("; ".join(back) or "none", "; ".join(forward) or "none")
    rows.append(("refuses requests of the other", *refused))
    content = {
        "left": {"ref": left.ref, **_facts(left), "problems_for_right": back},
        "right": {"ref": right.ref, **_facts(right), "problems_for_left": forward},
    }
    title = f"{left.ref} and {right.ref}"
    return Shown(content, title, ("what", left.ref, right.ref), rows)


def _history(registry: Registry, args: argparse.Namespace) -> Shown:
    changes = registry.history(args.name)
    rows = [
        (c.at, c.alias, _at(c.from_version), _at(c.to_version), c.actor, c.reason) for c in changes
    ]
    content = {"changes": [change.to_json() for change in changes]}
    columns = ("at", "alias", "from", "to", "actor", "reason")
    return Shown(content, f"Alias moves of {args.name}, oldest first", columns, rows)


def _alias(registry: Registry, args: argparse.Namespace) -> Shown:
    version = registry.get(args.ref)
    by = entitled(args.settings, "operator", "moving an alias", path=version.name)
    if args.actor and by != actor():
        raise InputError(f"who moves an alias is whose key it is, however: {by}, not {args.actor}")
    by = args.actor or by
    expected = registry.aliases(version.name).get(args.alias)
    if args.expected is not None:
        expected = None if args.expected == "none" else _number(args.expected)
    change = registry.set_alias(
        version.name,
        args.alias,
        version.version,
        expected=expected,
        actor=by,
        reason=args.reason,
    )
    noted(args.settings, by, "alias.moved", change.to_json())
    rows = [(change.alias, _at(change.from_version), _at(change.to_version), change.actor)]
    return Shown(change.to_json(), version.name, ("alias", "from", "to", "actor"), rows)


def _backup(registry: Registry, args: argparse.Namespace) -> Shown:
    moment = datetime.datetime.now(datetime.UTC)
    default = f"{as_uri(args.storage)}/backups/registry-{moment:%Y%m%dT%H%M%S}.jsonl"
    uri = as_uri(args.uri or default)
    sha256 = registry.backup(uri)
    return Shown({"uri": uri, "sha256": sha256}, "Backup", ("uri", "sha256"), [(uri, sha256)])


def _restore(registry: Registry, args: argparse.Namespace) -> Shown:
    counts = registry.restore(args.uri)
    rows = [(table, str(count)) for table, count in counts.items()]
    return Shown({"uri": args.uri, "rows": counts}, "Restored", ("table", "rows"), rows)


_COMMANDS: Mapping[str, Callable[[Registry, argparse.Namespace], Shown]] = {
    "list": _list,
    "show": _show,
    "compare": _compare,
    "history": _history,
    "alias": _alias,
    "backup": _backup,
    "restore": _restore,
}


def figures(version: ModelVersion) -> dict[str, Figure]:
    """Every number of the report by its dotted name, or training's metrics without a report."""
    numbers = dict(_figures(version.report, ""))
    return numbers or {k: Figure(v) for k, v in version.exported.artifact.metrics.items()}


def _figures(content: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Figure]]:
    intervals = content.get("intervals")
    for key, value in content.items():
        if isinstance(value, Mapping) and _is_number(value.get("value")):
            yield f"{prefix}{key}", Figure(float(value["value"]), _interval(value))
        elif isinstance(value, Mapping) and key not in _NOT_FIGURES:
            nested = {**value, "intervals": value.get("intervals", intervals)}
            yield from _figures(nested, f"{prefix}{key}.")
        elif _is_number(value):
            pair = intervals.get(key) if isinstance(intervals, Mapping) else None
            yield f"{prefix}{key}", Figure(float(value), _interval({"interval": pair}))


def _interval(value: Mapping[str, Any]) -> tuple[float, float] | None:
    match value.get("interval") or [value.get("low"), value.get("high")]:
        case [int() | float() as low, int() | float() as high]:
            return float(low), float(high)
        case _:
            return None


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _properties(version: ModelVersion) -> dict[str, str]:
    artifact, policy = version.exported.artifact, version.policy
    return {
        "family": f"{artifact.family} ({artifact.role})",
        "size": f"{version.exported.size_bytes / 1e6:.3f} MB",
        "policy": policy.version,
        **{
            name.replace("_threshold", " from"): f"{value:.4g}"
            for name, value in policy.figures().items()
        },
    }


def _facts(version: ModelVersion) -> dict[str, Any]:
    return {
        "created_at": version.created_at,
        "created_by": version.created_by,
        "size_bytes": version.exported.size_bytes,
        **version.policy.figures(),
        "figures": {name: figure._asdict() for name, figure in figures(version).items()},
        "compliance": {k: c._asdict() for k, c in compliance(version.report).items()},
    }


def _checks(version: ModelVersion) -> dict[str, str]:
    states: dict[str, str] = {}
    for name, check in compliance(version.report).items():
        state = "passed" if check.passed else f"FAILED {check.fact}".rstrip()
        states[f"compliance.{name}"] = state if check.required else f"{state} (not required)"
    return states


def _problems(old: ModelVersion, new: ModelVersion) -> list[str]:
    return new.exported.artifact.signature.problems_for(old.exported.artifact.signature)


def _aliases_of(version: ModelVersion, aliases: Mapping[str, int]) -> str:
    return " ".join(alias for alias, number in aliases.items() if number == version.version)


def _at(version: int | None) -> str:
    return "-" if version is None else f"@{version}"


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise InputError(f"--expected must be a version or none, however: {text!r}") from error


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--storage", metavar="URI", help="where models and backups are kept")
    shared.add_argument(
        "--database", metavar="URL", help="sqlite:////folder/file or postgresql://..."
    )
    shared.add_argument("--json", action="store_true", help="print one JSON object, no table")
    parser = argparse.ArgumentParser(
        prog="python -m jobs.registry",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, parents=[shared])

    command("list", "all versions with their aliases")
    show = command("show", "one version: figures with intervals, thresholds, lineage, licences")
    show.add_argument("ref", metavar="REF", help=_REF)
    compare = command("compare", "two versions beside each other, and what clients would notice")
    compare.add_argument("left", metavar="REF", help=_REF)
    compare.add_argument("right", metavar="REF", help=_REF)
    history = command("history", "who moved which alias, when and why")
    history.add_argument("name", metavar="NAME", help=_NAME)
    alias = command("alias", "let an alias mean a version; `champion` is the one that is served")
    alias.add_argument("ref", metavar="REF", help=f"the version to move to: {_REF}")
    alias.add_argument("alias", metavar="ALIAS", help="such as champion or candidate")
    alias.add_argument(
        "--expected",
        metavar="VERSION",
        help="refuse unless the alias means this now (or none); default: whatever it means",
    )
    alias.add_argument("--reason", default="", help="why, for the history")
    alias.add_argument(
        "--actor", default="", help="who, while there are no keys; default: user@host"
    )
    backup = command("backup", "write all tables to one new JSON-lines file with its sha256")
    backup.add_argument(
        "uri", metavar="URI", nargs="?", help="the file; default: a dated one under the storage"
    )
    restore = command("restore", "fill an empty database from a backup")
    restore.add_argument("uri", metavar="URI", help="the file that backup has written")
    return parser


if __name__ == "__main__":
    run(main)

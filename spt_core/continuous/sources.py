"""The sources to watch: what the industries ship, or one TOML file, read strictly.

[fetch]
user_agent = "Example Bank compliance watch.desk@bank.example"   # SEC asks for a contact

[sources]
defaults = ["sec_press_releases", "finra_rules"]   # true: all that the industries ship

[[source]]
id = "my_regulator"
name = "My regulator"
industry = "financial_services"
kind = "rss"                                       # or html_list, json_api
url = "https://regulator.example/news.xml"

[[source]]
...
kind = "html_list"
links = { css = "main a", url_pattern = "/rules/", min_links = 5, max_churn = 0.5 }

[monitoring.financial_services]                    # see monitoring.py; has defaults
keywords = ["regulation", "compliance", "capital", "risk"]
trigger_threshold = 10

The specification's dictionaries say the same: `source_from_mapping`, `from_monitoring_config`.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

from spt_core.continuous.feeds.source import JsonLayout, LinkList, Source, TimeWindow
from spt_core.continuous.fetch.fetcher import DEFAULT_USER_AGENT
from spt_core.continuous.monitoring import (
    Monitoring,
    default_monitoring,
    known_industry,
    monitoring_for,
)
from spt_core.errors import InputError, NotFoundError, nearest

_TABLES = {"links": LinkList, "json": JsonLayout, "window": TimeWindow}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SourcesFile:
    """What a TOML file says: whom to ask, as whom, and what is watched for ((): by default)."""

    sources: tuple[Source, ...]
    user_agent: str = DEFAULT_USER_AGENT
    monitoring: tuple[Monitoring, ...] = ()

    def __post_init__(self) -> None:
        """Refuse two sources with one id, and two monitorings of one model."""
        models = [monitoring.model for monitoring in self.monitoring]
        for model in models:
            if models.count(model) > 1:
                raise InputError(
                    f"a model must be monitored by one section, however: {model} by "
                    f"{models.count(model)}"
                )
        seen: set[str] = set()
        for source in self.sources:
            if source.id in seen:
                raise InputError(
                    f"a source's id must be its own, however: two sources have the id {source.id!r}"
                )
            seen.add(source.id)

    @property
    def watched(self) -> tuple[Monitoring, ...]:
        """What is watched for: as the file says, else by the keywords of the sources' industries.

        A model whose industry has no source here is watched for nothing, and left out.
        """
        industries = {source.industry for source in self.sources}
        stated = {monitoring.industry for monitoring in self.monitoring}
        return (
            *(monitoring for monitoring in self.monitoring if monitoring.industry in industries),
            *default_monitoring(industries - stated),
        )


def default_sources() -> tuple[Source, ...]:
    """Every industry's FEEDS. A dynamic import: the library does not depend on industries."""
    industries = importlib.import_module("industries").INDUSTRIES
    return tuple(source for industry in industries for source in industry.FEEDS)


def load_sources(path: str | None = None) -> SourcesFile:
    """The sources of a TOML file, or what the industries ship."""
    if path is None:
        return SourcesFile(sources=default_sources())
    try:
        content = tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"--sources must name a TOML file, however: {path}: {error}") from error
    return sources_from(content, path)


def sources_from(content: Mapping[str, Any], where: str) -> SourcesFile:
    """The sources that a parsed TOML file holds; `where` is its name, for messages."""
    _known_keys(content, ("fetch", "sources", "source", "monitoring"), where)
    fetch = _table(content.get("fetch", {}), f"{where}: fetch")
    _known_keys(fetch, ("user_agent",), f"{where}: fetch")
    chosen = _table(content.get("sources", {}), f"{where}: sources")
    _known_keys(chosen, ("defaults",), f"{where}: sources")
    own = content.get("source", [])
    if not isinstance(own, list):
        raise InputError(f"{where}: source must be written [[source]], however: it is one table")
    user_agent = fetch.get("user_agent", DEFAULT_USER_AGENT)
    if not isinstance(user_agent, str):
        raise InputError(f"{where}: fetch.user_agent must be a text, however: {user_agent!r}")
    monitoring = _table(content.get("monitoring", {}), f"{where}: monitoring")
    try:
        return SourcesFile(
            sources=(
                *_defaults(chosen.get("defaults", False), where),
                *(source_from(entry, f"{where}: source {n}") for n, entry in enumerate(own, 1)),
            ),
            user_agent=user_agent,
            monitoring=tuple(
                monitoring_for(key, _table(table, at), at)
                for key, table in monitoring.items()
                for at in [f"{where}: monitoring.{key}"]
            ),
        )
    except InputError as error:
        raise InputError(_placed(str(error), where)) from error


def source_from(content: object, where: str) -> Source:
    """The source that a table names; InputError names the key that is wrong."""
    table = _table(content, where)
    if isinstance(table.get("id"), str):
        where = f"{where} ({table['id']!r})"
    fields = {**table}
    if isinstance(fields.get("industry"), str):
        fields["industry"] = known_industry(fields["industry"], where)
    return _built(Source, fields, where)


def from_monitoring_config(config: Mapping[str, Any]) -> SourcesFile:
    """What the specification's monitoring configuration says, by industry."""
    sources: list[Source] = []
    monitoring: list[Monitoring] = []
    for key, content in config.items():
        where = f"monitoring_config[{key!r}]"
        table = _table(content, where)
        industry = known_industry(key.partition("/")[0], where)
        sources += [
            source_from_mapping({"industry": industry, **_table(source, where)}, where)
            for source in table.get("sources", [])
        ]
        rest = {name: value for name, value in table.items() if name != "sources"}
        if rest:
            monitoring.append(monitoring_for(key, rest, where))
    return SourcesFile(sources=tuple(sources), monitoring=tuple(monitoring))


def source_from_mapping(content: Mapping[str, Any], where: str = "source") -> Source:
    """The source that a dictionary of name, url, industry and type (the kind) describes.

    Without a type, a URL that an industry ships is read as that source is, any other as a feed. The
    id, unless it is given, is the name in lower case.
    """
    fields = {**_table(dict(content), where)}
    if "type" in fields:
        fields["kind"] = fields.pop("type")
    shipped = next((s for s in default_sources() if s.url == fields.get("url")), None)
    if "kind" not in fields:
        read_as = shipped.to_json() if shipped is not None else {"kind": "rss"}
        fields = {k: read_as[k] for k in ("kind", "identity") if k in read_as} | fields
        if shipped is not None:
            fields |= {"links": shipped.links, "json": shipped.json}
    if "id" not in fields and isinstance(fields.get("name"), str):
        fields["id"] = re.sub(r"[^a-z0-9]+", "_", fields["name"].lower()).strip("_")
    return source_from(fields, where)


def _built(kind: type[Any], content: Mapping[str, Any], where: str) -> Any:
    """A dataclass from a table, with its keys and their types checked."""
    declared = {field.name: field for field in dataclasses.fields(kind)}
    _known_keys(content, declared, where)
    types = get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, value in content.items():
        at = f"{where}: {name}"
        if name in _TABLES and isinstance(value, _TABLES[name] | None):
            values[name] = value
        elif name in _TABLES:
            values[name] = _built(_TABLES[name], _table(value, at), at)
        else:
            values[name] = _typed(value, types[name], at)
    for name, field in declared.items():
        if field.default is dataclasses.MISSING and name not in values:
            raise InputError(f"{where}: {name} must be given, however: it is missing")
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(_placed(str(error), where)) from error


def _typed(value: Any, declared: Any, at: str) -> Any:
    wanted = get_args(declared) if isinstance(declared, UnionType) else (declared,)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if tuple[str, ...] in wanted:
        name, fits = "a list of texts", _is_texts(value)
    elif float in wanted:
        name, fits = "a number", is_number
    elif int in wanted:
        name, fits = "a whole number", is_number and isinstance(value, int)
    else:
        name, fits = "a text", isinstance(value, str)
    if not fits:
        raise InputError(f"{at} must be {name}, however: {value!r}")
    return tuple(value) if isinstance(value, list) else value


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(element, str) for element in value)


def _defaults(wanted: object, where: str) -> tuple[Source, ...]:
    shipped = {source.id: source for source in default_sources()}
    if isinstance(wanted, bool):
        return tuple(shipped.values()) if wanted else ()
    if not isinstance(wanted, list) or not all(isinstance(name, str) for name in wanted):
        raise InputError(
            f"{where}: sources.defaults must be true, false or a list of ids, however: {wanted!r}"
        )
    for name in wanted:
        if name not in shipped:
            raise NotFoundError(
                f"{where}: sources.defaults must name sources that are shipped, however: {name!r}; "
                f"{nearest(name, shipped)}"
            )
    return tuple(shipped[name] for name in wanted)


def _known_keys(content: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    names = list(known)
    for key in content:
        if key not in names:
            raise InputError(f"{where}: there is no key {key!r}, however: {nearest(key, names)}")


def _table(content: object, where: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise InputError(f"{where} must be a table, however: {content!r}")
    return content


def _placed(sentence: str, where: str) -> str:
    return sentence if where.split(": ")[0] in sentence else f"{where}: {sentence}"

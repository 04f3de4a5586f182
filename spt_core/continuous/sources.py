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

[cicd]                                             # see delivery.py; without it, as buckets say
performance_regression_threshold = 0.05

The specification's dictionaries say the same: `source_from_mapping`, `from_monitoring_config`.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spt_core.continuous.delivery import Delivery, from_cicd_config
from spt_core.continuous.feeds.source import Source
from spt_core.continuous.fetch.fetcher import DEFAULT_USER_AGENT
from spt_core.continuous.monitoring import (
    Monitoring,
    default_monitoring,
    monitoring_for,
)
from spt_core.errors import InputError, NotFoundError, nearest
from spt_core.task import industry_named
from spt_core.validation import validated

_Tables = tuple[dict[str, Any], ...]
_FEED = re.compile(r"rss|atom|feed|\.xml\b|\.rdf\b")  # in an address: it is one, or leads to one


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Fetch:
    user_agent: str = DEFAULT_USER_AGENT


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Choice:
    defaults: Any = False  # true, false or a list of ids


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    """The TOML file's tables."""

    fetch: _Fetch = _Fetch()
    sources: _Choice = _Choice()
    source: _Tables = ()
    monitoring: Mapping[str, dict[str, Any]] = dataclasses.field(
        default_factory=dict[str, dict[str, Any]]
    )
    cicd: dict[str, Any] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SourcesFile:
    """What a TOML file says: whom to ask, as whom, and what is watched for ((): by default).

    `delivery` is how candidates come into service; None leaves it to each bucket's configuration.
    """

    sources: tuple[Source, ...]
    user_agent: str = DEFAULT_USER_AGENT
    monitoring: tuple[Monitoring, ...] = ()
    delivery: Delivery | None = None

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
    if isinstance(content.get("source"), Mapping):
        raise InputError(f"{where}: source must be written [[source]], however: it is one table")
    file = validated(_File, content, where)
    shipped = _shipped(file.sources.defaults, where)
    own = [source_from(entry, f"{where}: source {n}") for n, entry in enumerate(file.source, 1)]
    monitoring = [
        monitoring_for(key, table, f"{where}: monitoring.{key}")
        for key, table in file.monitoring.items()
    ]
    try:
        return SourcesFile(
            sources=(*shipped, *own),
            user_agent=file.fetch.user_agent,
            monitoring=tuple(monitoring),
            delivery=None if file.cicd is None else from_cicd_config(file.cicd, f"{where}: cicd"),
        )
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def source_from(content: Mapping[str, Any], where: str) -> Source:
    """The source that a table names; InputError names the key that is wrong."""
    name = content.get("id")
    return validated(Source, content, f"{where} ({name!r})" if isinstance(name, str) else where)


def from_monitoring_config(config: Mapping[str, Any]) -> SourcesFile:
    """What the specification's monitoring configuration says, by industry."""
    sources: list[Source] = []
    monitoring: list[Monitoring] = []
    for key, content in config.items():
        where = f"monitoring_config[{key!r}]"
        table = validated(dict[str, Any], content, where)
        industry = industry_named(key.partition("/")[0], f"{where}: industry")
        own = validated(_Tables, table.pop("sources", ()), f"{where}: sources")
        sources += [source_from_mapping({"industry": industry, **one}, where) for one in own]
        if table:
            monitoring.append(monitoring_for(key, table, where))
    return SourcesFile(sources=tuple(sources), monitoring=tuple(monitoring))


def source_from_mapping(content: Mapping[str, Any], where: str = "source") -> Source:
    """The source that a dictionary of name, url, industry and type (the kind) describes.

    Without a type, a URL that an industry ships is read as that source is; another one as a feed if
    its address says that it is one, else as a page with a list of links, which "html" means too.
    The id, unless it is given, is the name in lower case.
    """
    fields = dict(content)
    if "type" in fields:
        kind = fields.pop("type")
        fields["kind"] = "html_list" if kind == "html" else kind
    shipped = next((s for s in default_sources() if s.url == fields.get("url")), None)
    if "kind" not in fields:
        read_as = shipped.to_json() if shipped is not None else {"kind": _kind_of(fields)}
        names = ("kind", "identity", "links", "json")
        fields = {name: read_as[name] for name in names if name in read_as} | fields
    if fields["kind"] == "html_list":
        fields.setdefault("links", {})  # any link: the page's own list is not known yet
    if "id" not in fields and isinstance(fields.get("name"), str):
        fields["id"] = re.sub(r"[^a-z0-9]+", "_", fields["name"].lower()).strip("_")
    return source_from(fields, where)


def _kind_of(fields: Mapping[str, Any]) -> str:
    """How an address is read that nobody has said it of."""
    address = str(fields.get("url", "")).lower()
    return "rss" if _FEED.search(address) else "html_list"


def _shipped(defaults: object, where: str) -> tuple[Source, ...]:
    shipped = {source.id: source for source in default_sources()}
    if isinstance(defaults, bool):
        return tuple(shipped.values()) if defaults else ()
    if not isinstance(defaults, list) or not all(isinstance(name, str) for name in defaults):
        raise InputError(
            f"{where}: sources.defaults must be true, false or a list of ids, however: {defaults!r}"
        )
    for name in defaults:
        if name not in shipped:
            raise NotFoundError(
                f"{where}: sources.defaults must name sources that are shipped, however: {name!r}; "
                f"{nearest(name, shipped)}"
            )
    return tuple(shipped[name] for name in defaults)

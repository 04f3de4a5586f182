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
"""

from __future__ import annotations

import dataclasses
import importlib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

from spt_core.continuous.feeds.source import JsonLayout, LinkList, Source, TimeWindow
from spt_core.continuous.fetch import DEFAULT_USER_AGENT
from spt_core.errors import InputError, NotFoundError, nearest
from spt_core.task import IndustryType

_TABLES = {"links": LinkList, "json": JsonLayout, "window": TimeWindow}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SourcesFile:
    """What a TOML file says: whom to ask, and as whom."""

    sources: tuple[Source, ...]
    user_agent: str = DEFAULT_USER_AGENT

    def __post_init__(self) -> None:
        """Refuse two sources with one id."""
        seen: set[str] = set()
        for source in self.sources:
            if source.id in seen:
                raise InputError(
                    f"a source's id must be its own, however: two sources have the id {source.id!r}"
                )
            seen.add(source.id)


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
    _known_keys(content, ("fetch", "sources", "source"), where)
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
    try:
        return SourcesFile(
            sources=(
                *_defaults(chosen.get("defaults", False), where),
                *(source_from(entry, f"{where}: source {n}") for n, entry in enumerate(own, 1)),
            ),
            user_agent=user_agent,
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
        fields["industry"] = _industry(fields["industry"], where)
    return _built(Source, fields, where)


def _built(kind: type[Any], content: Mapping[str, Any], where: str) -> Any:
    """A dataclass from a table, with its keys and their types checked."""
    declared = {field.name: field for field in dataclasses.fields(kind)}
    _known_keys(content, declared, where)
    types = get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, value in content.items():
        at = f"{where}: {name}"
        if name in _TABLES:
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


def _industry(name: str, where: str) -> IndustryType:
    known = [industry.value for industry in IndustryType]
    if name not in known:
        raise NotFoundError(
            f"{where}: industry must be one that exists, however: {name!r}; {nearest(name, known)}"
        )
    return IndustryType(name)


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

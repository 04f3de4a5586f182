"""Hostile documents through the parser: no crash, no hang, bounded memory, no silent loss.

SPT_DATA_HOME=... python -m tests.bench.bench_feed_documents [--sample N]

All fixtures of `feeds/robustness` and those of tests/feed_documents.py, read from files as
`jobs.watch parse` does. A document is right if it gives the items that its fixture expects, else
at least as many as feedparser finds, or if it says DEGRADED: all others are `lost`. `more` and
`title` are documents with too many items or with another title than the fixture's.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import io
import itertools
import multiprocessing
import os
import resource
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import feedparser

from spt_core.continuous.feeds.documents import documents, parse_unknown
from spt_core.continuous.feeds.pool import ParserPool
from spt_core.continuous.feeds.values import Parsed
from tests.bench.results import finish
from tests.feed_documents import Document, fixtures, hostile, huge, write


def count_by_feedparser(body: bytes) -> int:
    """How many entries feedparser finds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return len(feedparser.parse(io.BytesIO(body)).entries)


def complaint(document: Document, parsed: Parsed, by_feedparser: int | None) -> str:
    """What is wrong with the outcome: lost, too many or another title; empty when nothing is."""
    if parsed.state == "DEGRADED":
        return ""
    wanted = document.expected
    if wanted is not None and len(parsed.items) != wanted:
        return "lost" if len(parsed.items) < wanted else "more"
    least = max(document.at_least, by_feedparser or 0)
    if wanted is None and len(parsed.items) < least:
        return "lost"
    for number, title in document.titles:
        if parsed.items[number].title != " ".join(title.split()):
            return "title"
    return ""


def prepare(folder: Path, home: Path, step: int) -> dict[str, list[dict[str, Any]]]:
    """Write all documents as files and count feedparser's entries; runs in a process of its own."""
    robustness = home / "feeds" / "robustness"
    known = list(fixtures(robustness))[::step] if robustness.is_dir() else []
    index = {
        "fixtures": write(folder / "fixtures", known),
        "generated": write(folder / "generated", itertools.chain(hostile(), huge())),
    }
    for told, document in zip(index["fixtures"], known, strict=True):
        told["by_feedparser"] = count_by_feedparser(document.body)
    return index


def main() -> None:
    """Parse everything and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=1, help="every Nth fixture only")
    given = parser.parse_args()
    home = Path(os.environ.get("SPT_DATA_HOME", "data"))
    context = multiprocessing.get_context("spawn")
    outcomes: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as other:
            index = other.submit(prepare, Path(folder), home, given.sample).result()
        with ParserPool(size=1) as pool:
            for name, listed in index.items():
                outcomes[name] = run(listed, pool)
                outcomes[name]["memory_mb"] = memory_mb()
            outcomes["parser_processes_started"] = pool.num_started
    finish("feed_documents", outcomes)


def memory_mb() -> float:
    """The highest memory of this process so far; parser processes are limited on their own."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(index: Sequence[Mapping[str, Any]], pool: ParserPool) -> dict[str, Any]:
    """The counts over some documents."""
    states: collections.Counter[str] = collections.Counter()
    bad: dict[str, list[str]] = {"crashed": [], "hung": [], "lost": [], "more": [], "title": []}
    slowest, degraded, started = ("", 0.0), list[str](), time.perf_counter()
    for told in index:
        document = Document(
            name=told["name"],
            body=b"",
            expected=told["expected"],
            at_least=told["at_least"],
            titles=told["titles"],
        )
        start = time.perf_counter()
        try:
            ((_, content),) = documents(Path(told["path"]))
            parsed = content if isinstance(content, Parsed) else parse_unknown(content, pool)
        except Exception as error:  # noqa: BLE001
            bad["crashed"].append(f"{document.name}: {error!r}")
            continue
        seconds = time.perf_counter() - start
        slowest = max(slowest, (document.name, seconds), key=lambda pair: pair[1])
        if seconds > 5:
            bad["hung"].append(document.name)
        states[parsed.state] += 1
        wrong = complaint(document, parsed, told.get("by_feedparser"))
        if wrong:
            bad[wrong].append(f"{document.name}: {len(parsed.items)} items")
        if parsed.state == "DEGRADED" and (document.expected or told.get("by_feedparser")):
            degraded.append(f"{document.name}: {len(parsed.items)} items; {parsed.reason}")
    return {
        "documents": states.total(),
        **states,
        "degraded_though_there_are_items": len(degraded),
        **{f"num_{name}": len(names) for name, names in bad.items()},
        "examples": {name: names[:20] for name, names in bad.items() if names},
        "degraded_examples": degraded[:60],
        "slowest": slowest,
        "seconds": time.perf_counter() - started,
    }


if __name__ == "__main__":
    main()

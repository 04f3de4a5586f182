"""What the READMEs tell people to type: jobs, fields, data sets, files and answers that exist."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from jobs.recipes import default
from spt_core.data.catalog.opening import DATASETS
from spt_core.task import all_tasks, find

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("*/**/README.md"))]
TEXTS = {
    str(page.relative_to(ROOT)): page.read_text() for page in PAGES if ".venv" not in str(page)
}
each_page = pytest.mark.parametrize("name", TEXTS)
FAMILIES = (
    "financial_services/fraud_detection",
    "technology/security_analysis",
    "manufacturing/visual_inspection",
    "manufacturing/predictive_maintenance",
)
PLACEHOLDERS = {"FIELD", "NAME"}


def has(config: object, path: str) -> bool:
    name, _, rest = path.partition(".")
    if not dataclasses.is_dataclass(config) or name not in {
        f.name for f in dataclasses.fields(config)
    }:
        return False
    return not rest or has(getattr(config, name), rest)


def missing(name: str, pattern: str) -> set[str]:
    return set(re.findall(pattern, TEXTS[name])) - PLACEHOLDERS


@each_page
def test_every_job_exists(name: str) -> None:
    jobs = missing(name, r"\bjobs\.(?!py\b)([a-z_]+)\b")
    assert [job for job in jobs if not (ROOT / "jobs" / f"{job}.py").exists()] == []


@each_page
def test_every_field_of_a_configuration_exists(name: str) -> None:
    configs = [default(find(path)) for path in FAMILIES]
    fields = missing(name, r"""--set[ \n]+["']?([\w.]+)=""")
    assert [field for field in fields if not any(has(config, field) for config in configs)] == []


@each_page
def test_every_data_set_is_in_the_catalog(name: str) -> None:
    assert missing(name, r"--dataset ([\w-]+)") <= set(DATASETS)


@each_page
def test_every_link_leads_somewhere(name: str) -> None:
    folder = (ROOT / name).parent
    links = missing(name, r"\]\(([^)#:]+)(?:#[^)]*)?\)")
    assert [link for link in links if not (folder / link).exists()] == []


def test_the_table_of_answers_names_every_task_with_its_verb_and_keys() -> None:
    rows = re.findall(r"\| `(\S+)` \| `model\.(\w+)\(record\)` \| `([^`]*)` \|", TEXTS["README.md"])
    expected = [(path, t.verb, ", ".join(t.answer)) for path, t in all_tasks().items()]
    assert rows == expected

"""CONTRIBUTING's worked industry, as it is written there, in a copy of the tree."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # torch, on a busy machine too
ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
WHOLE = TEXT[TEXT.index("## An industry of your own") : TEXT.index("## Rules that the tools")]
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", WHOLE, re.DOTALL)
MAX_LINES = 150
TRIED = """
import dataclasses, json, math, pathlib, sys, types
from industries.energy.example import SURE, EnergyTrainingExample
from spt_core.artifacts import as_uri
from spt_core.benchmark import BenchmarkConfig
from spt_core.continuous.sources import default_sources
from spt_core.examples import ExampleConfig, ExampleRun, Trained, brief
from spt_core.heads.binary import fit_policy
from spt_core.task import find
from tests.held_out import held_out
from tests.tiny_models import tiny_table_artifact

folder = pathlib.Path(sys.argv[1])
task = find("energy/meter_tampering")
table = task.sample(2000, 1)
model = held_out(tiny_table_artifact(task, as_uri(folder)), table.slice(0, 300), folder)
told, optimized = [], []

def trained(run, path):
    version = types.SimpleNamespace(ref=path + "/example@1")
    return Trained(find(path), run.config, model, model, version)

def quick(task):
    few = BenchmarkConfig(num_resamples=10, num_calls=100, reasoning_rows=20, altered_rows=50)
    return dataclasses.replace(brief(task), benchmark=few)

ExampleRun.trained = trained
ExampleRun.optimized = lambda run, *asked: optimized.append([str(each) for each in asked[1:]])
config = ExampleConfig(storage=str(folder), recipe=quick)
outcome = EnergyTrainingExample(config, tell=told.append).run_complete_training_pipeline()
(result,) = outcome["benchmarks"].values()
policy = fit_policy(task.costs, [])
print(json.dumps({
    "answer": model.check_meter(task.example),
    "contract": list(task.answer),
    "is_seeded": table.equals(task.sample(2000, 1)),
    "positives": sum(table["tampered"].to_pylist()),
    "has_feed": "energy_regulator" in [source.id for source in default_sources()],
    "steps": [step["step"] for step in outcome["steps"]],
    "optimized": optimized,
    "sure": {one["task_id"]: one for one in result["benchmarks"]}["energy_sure_001"],
    "said": [
        policy.recommend(1 / (1 + math.exp(-odds)))
        for odds in (-4 + 3 * math.log2(4200 / 1100) + 2, -4)
    ],
    "expected": [output["recommendation"] for output in SURE.expected_outputs],
}))
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout with the industry added as CONTRIBUTING says."""
    folder = tmp_path_factory.mktemp("tree")
    for name in ("cluster", "industries", "jobs", "spt_core"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tests").symlink_to(ROOT / "tests")
    for language, content in BLOCKS:
        if language == "python":
            path = re.match(r"# (\S+)\n", content)
            assert path is not None, content
            (folder / path[1]).parent.mkdir(exist_ok=True)
            (folder / path[1]).write_text(content.partition("\n")[2])
        if language == "diff":
            for change in content.split("--- ")[1:]:
                add(folder, change)
    return folder


def add(folder: Path, change: str) -> None:
    """Put each run of + lines behind the line that stands above it."""
    name, *lines = change.splitlines()
    text = (folder / name).read_text()
    above = ""
    for line in lines:
        if line.startswith("+"):
            assert text.count(above) == 1, (name, above)
            text = text.replace(above, f"{above}{line[1:]}\n")
            above += f"{line[1:]}\n"
        else:
            above = f"{line[1:]}\n"
    (folder / name).write_text(text)


def test_it_is_as_short_as_it_says() -> None:
    assert sum(content.count("\n") for _, content in BLOCKS) < MAX_LINES


def test_a_copy_of_the_tree_with_it_answers_has_its_feed_and_goes_through_its_steps(
    tree: Path, tmp_path: Path
) -> None:
    words = [sys.executable, "-c", TRIED, str(tmp_path)]
    done = subprocess.run(words, cwd=tree, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert list(found["answer"]) == found["contract"]
    assert found["answer"]["recommendation"] in ("leave", "read_again", "inspect")
    assert found["is_seeded"]
    assert found["has_feed"]
    assert len(found["steps"]) == 2
    assert found["optimized"] == [["memory", "average_precision"]]
    assert (found["sure"]["num_cases"], found["sure"]["figures"]["refused"]) == (2, [])
    words = {"approve": "leave", "review": "read_again", "decline": "inspect"}
    assert found["expected"] == [words[action] for action in found["said"]]
    assert 40 < found["positives"] < 400


def test_the_job_knows_it(tree: Path) -> None:
    words = [sys.executable, "-m", "jobs.example", "--help"]
    done = subprocess.run(words, cwd=tree, capture_output=True, text=True, timeout=120)
    assert "energy" in done.stdout

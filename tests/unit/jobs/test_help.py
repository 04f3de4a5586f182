"""Every job answers --help, and refuses a wrong flag, before anything heavy is imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
JOBS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "jobs").rglob("*.py")
    if 'if __name__ == "__main__":' in path.read_text()
)
# One process asks them all: each is blamed for what came with it.
ASK = """
import contextlib, importlib, io, json, sys

def left(main, words):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
        except SystemExit as end:
            return end.code, out.getvalue(), err.getvalue()

found = {}
for job in sys.argv[1:]:
    before = set(sys.modules)
    main = importlib.import_module(job).main
    code, text, _ = left(main, ["--help"])
    refused, _, sentence = left(main, ["--no-such-flag"])
    found[job] = {
        "code": code, "help": text, "refused": refused, "sentence": sentence,
        "imported": sorted({name.partition(".")[0] for name in set(sys.modules) - before}),
    }
print(json.dumps(found))
"""
HEAVY = {"torch", "ray", "pandas", "sklearn", "scipy", "lightgbm", "matplotlib", "transformers"}


@pytest.fixture(scope="module")
def answers():
    words = [sys.executable, "-c", ASK, *JOBS]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_jobs_are_found():
    assert {"jobs.pipeline", "jobs.retrain", "jobs.watch", "jobs.demo.job"} <= set(JOBS)


@pytest.mark.parametrize("job", JOBS)
def test_help_says_what_a_job_does_and_imports_nothing_heavy(answers, job):
    found = answers[job]
    assert found["code"] == 0
    usage, _, description = found["help"].partition("\n\n")
    assert usage.startswith(f"usage: python -m {job}")
    assert not description.startswith(("options:", "positional arguments:"))
    assert HEAVY.isdisjoint(found["imported"])


@pytest.mark.parametrize("job", JOBS)
def test_a_wrong_flag_is_refused_with_a_sentence(answers, job):
    assert answers[job]["refused"] == 2
    assert f"python -m {job}: error: " in answers[job]["sentence"]

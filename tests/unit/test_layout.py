"""Rules of the tree that neither the linter nor the import contracts can say."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PRODUCT = [
    path
    for folder in ("cluster", "industries", "jobs", "serve", "spt_core")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
each_file = pytest.mark.parametrize(
    "path", PRODUCT, ids=[str(p.relative_to(ROOT)) for p in PRODUCT]
)
PICKLES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


def imports(path):
    """Each imported module, with whether `from` introduced it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", True


def test_the_product_is_there():
    assert len(PRODUCT) > 50


@each_file
def test_serve_is_never_imported_by_its_bare_name(path):
    assert ("serve", False) not in set(imports(path))  # Ray has a `serve` too


@each_file
def test_nothing_is_pickled(path):
    assert not {name.split(".")[0] for name, _ in imports(path)} & PICKLES


@each_file
def test_only_the_settings_read_the_environment(path):
    names = {ast.unparse(n) for n in ast.walk(ast.parse(path.read_text())) if hasattr(n, "attr")}
    if path != ROOT / "cluster" / "settings.py":
        assert not names & {"os.environ", "os.environb", "os.getenv", "os.putenv"}
        assert ("os.environ", True) not in set(imports(path))


@each_file
def test_a_file_has_a_docstring_or_is_empty(path):
    tree = ast.parse(path.read_text())
    assert not tree.body or ast.get_docstring(tree)


def test_the_code_is_python_3_11():
    for path in PRODUCT:
        ast.parse(path.read_text(), feature_version=(3, 11))


def test_tasks_are_read_without_torch_or_ray():
    code = (
        "import sys, spt_core.task as t; t.all_tasks(); print({'torch', 'ray'} & set(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stdout.strip() == "set()"

"""Rules of the tree that neither the linter nor the import contracts can say."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PRODUCT = [
    path
    for folder in ("cluster", "industries", "jobs", "serve", "spt_core")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
PICKLES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
ENVIRONMENT = {"environ", "environb", "getenv", "putenv"}


@functools.cache
def nodes(path):
    return list(ast.walk(ast.parse(path.read_text())))


def imports(path):
    """Each imported module, with whether `from` introduced it."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from ((alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", True


def test_the_product_is_there():
    assert len(PRODUCT) > 50


def files(wrong):
    """The files of which `wrong` holds: they are what a failing test shows."""
    return [str(path.relative_to(ROOT)) for path in PRODUCT if wrong(path)]


def test_serve_is_never_imported_by_its_bare_name():
    assert files(lambda path: ("serve", False) in imports(path)) == []  # Ray has a `serve` too


def test_nothing_is_pickled():
    assert files(lambda path: {name.split(".")[0] for name, _ in imports(path)} & PICKLES) == []


def test_only_the_settings_read_the_environment():
    def reads(path):
        names = {ast.unparse(n) for n in nodes(path) if getattr(n, "attr", "") in ENVIRONMENT}
        return names & {f"os.{n}" for n in ENVIRONMENT} or ("os.environ", True) in imports(path)

    # The second is for whoever builds a pipeline without a job: it keeps things where a job does.
    assert files(reads) == ["cluster/settings.py", "spt_core/continuous/options.py"]


def test_a_file_has_a_docstring_or_is_empty():
    trees = {path: nodes(path)[0] for path in PRODUCT}
    assert files(lambda path: trees[path].body and not ast.get_docstring(trees[path])) == []


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

"""The Dockerfile, read: there is no Docker here to build it with."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.unit.kuberay.manifests import KUBERAY, ROOT

TEXT = re.sub(r"\\\n", " ", (KUBERAY / "Dockerfile").read_text())


def stages() -> dict[str, tuple[str, list[str]]]:
    """By name what a stage begins from, and its lines."""
    by_name: dict[str, tuple[str, list[str]]] = {}
    name = ""
    for line in TEXT.splitlines():
        begun = re.fullmatch(r"FROM (\S+) AS (\S+)", line)
        if begun:
            name = begun[2]
            by_name[name] = (begun[1], [])
        elif name and line and not line.startswith("#"):
            by_name[name][1].append(line.strip())
    return by_name


def image(name: str) -> list[str]:
    """All lines of a stage and of those that it begins from."""
    begin, lines = stages()[name]
    return [*(image(begin) if begin in stages() else []), *lines]


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_the_image_is_no_roots_and_has_no_compiler(target: str) -> None:
    lines = image(target)
    assert [line for line in lines if line.startswith("USER ")] == ["USER 1000:1000"]
    assert lines[-1].startswith("USER ")
    assert [line for line in lines if re.search(r"apt-get|gcc|pip install", line)] == []


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_the_packages_are_the_pinned_ones(target: str) -> None:
    pip = [line for line in image(f"packages-{target}") if "pip install" in line]
    assert pip
    assert all("-c constraints.txt" in line for line in pip)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    (asked,) = re.findall(r"'\.\[(.+?)\]'", " ".join(pip))
    assert set(asked.split(",")) <= extras.keys()
    assert "postgres" in asked.split(",")


def test_the_base_is_pinned() -> None:
    (python,) = re.findall(r"^ARG PYTHON=(\S+)", TEXT, re.M)
    assert re.fullmatch(r"3\.11\.\d+-slim-\w+", python)
    bases = {begin for begin, _ in stages().values() if begin not in stages()}
    assert bases == {"python:${PYTHON}"}


def test_what_is_copied_exists_and_is_sent_to_the_builder() -> None:
    sent = (KUBERAY / "Dockerfile.dockerignore").read_text().splitlines()
    copied = {
        word
        for line in TEXT.splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert all((ROOT / name).exists() and f"!{name}" in sent for name in copied)
    packages = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
            "root_packages"
        ]
    )
    assert packages <= copied


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_the_image_runs_the_project_from_its_folder_and_writes_below_tmp(target: str) -> None:
    environment = dict(
        pair.split("=", 1)
        for line in image(target)
        if line.startswith("ENV ")
        for pair in line.removeprefix("ENV ").split()
    )
    (folder,) = [line.split()[1] for line in image(target) if line.startswith("WORKDIR")]
    assert environment["PYTHONPATH"] == folder
    for name in ("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"):
        assert environment[name].startswith("/tmp")

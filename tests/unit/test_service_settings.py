"""What the environment says of keys, TLS, limits and logs, and how mistakes in it are told."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from cluster.settings import (
    connections_per_address,
    is_authenticated,
    load_settings,
    logs_are_json,
    tls_files,
)
from jobs.service import address, shown
from spt_core.errors import InputError

NAMES = ("SPT_AUTHENTICATION", "SPT_LOG_FORMAT", "SPT_CONNECTIONS_PER_ADDRESS")
TLS = ("SPT_TLS_CERTIFICATE", "SPT_TLS_KEY")


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NAMES, *TLS, "RAY_ADDRESS", "SPT_HTTP_HOST"):
        monkeypatch.delenv(name, raising=False)


def make(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate and its key; skipped where there is no openssl."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
    options = ["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    try:
        subprocess.run([*command, *options, *files], check=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("openssl is not on this machine")
    key.chmod(0o600)
    return certificate, key


def test_the_defaults_are_those_of_one_machine() -> None:
    assert not is_authenticated()
    assert tls_files() is None
    assert connections_per_address() == 512
    assert not logs_are_json()


@pytest.mark.parametrize(
    ("name", "text", "read"),
    [
        ("SPT_AUTHENTICATION", "yes", is_authenticated),
        ("SPT_AUTHENTICATION", "ON", is_authenticated),
        ("SPT_LOG_FORMAT", "xml", logs_are_json),
        ("SPT_CONNECTIONS_PER_ADDRESS", "0", connections_per_address),
        ("SPT_CONNECTIONS_PER_ADDRESS", "many", connections_per_address),
    ],
)
def test_another_word_is_refused_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, read: object
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(InputError, match=f"{name} must be .*however: '{text}'"):
        read()  # type: ignore[operator]


def test_tls_takes_two_files_that_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = make(tmp_path, "a")
    _, other = make(tmp_path, "b")
    monkeypatch.setenv("SPT_TLS_CERTIFICATE", str(certificate))
    with pytest.raises(InputError, match="one is not set"):
        tls_files()
    monkeypatch.setenv("SPT_TLS_KEY", str(key))
    assert tls_files() == (str(certificate), str(key))
    settings = load_settings(storage=str(tmp_path))
    assert address(settings).startswith("https://")
    key.chmod(0o644)
    with pytest.raises(InputError, match=r"chmod 600.*mode 0644"):
        tls_files()
    monkeypatch.setenv("SPT_TLS_KEY", str(other))
    with pytest.raises(InputError, match="PEM files that fit"):
        tls_files()
    monkeypatch.setenv("SPT_TLS_KEY", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="SPT_TLS_KEY must name a file"):
        tls_files()


def test_the_printed_question_names_the_key_and_does_not_show_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    question = {"url": "http://127.0.0.1:8000/v1/a/b", "record": {"x": 1}}
    question |= {"answer": {"p": 0.5}, "drawn": False}
    assert "authorization" not in shown(question)
    monkeypatch.setenv("SPT_AUTHENTICATION", "on")
    monkeypatch.setenv("SPT_API_KEY", "spt_secret")
    assert '-H "authorization: Bearer $SPT_API_KEY"' in shown(question)
    assert "spt_secret" not in shown(question)


def test_a_map_is_printed_a_line_at_a_time_and_a_drawn_image_is_said() -> None:
    answer = {"map": [[0.5, -1e-05], [1, 2]], "words": ["1, 2"]}
    question = {"url": "http://x/v1/a/b", "record": {}, "answer": answer, "drawn": True}
    _, answered, said = shown(question).split("\n\n")
    assert json.loads(answered) == answer
    assert "[ 0.5, -1e-05 ]" in answered
    assert "none of your data" in said

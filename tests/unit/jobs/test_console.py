"""What a person sees is what was written, whoever wrote it."""

import threading
import time

import pytest
from rich.console import Console

from jobs.console import Screen

STRANGE = "a page titled [/b] [red]x[/red] [link=file:///etc/passwd]y[/link] :smile:"


def test_nothing_that_a_stranger_wrote_is_markup(capsys):
    screen = Screen(as_json=False)
    screen.say(STRANGE)
    screen.table(STRANGE, [STRANGE], [[STRANGE]])
    with screen.stage("look") as stage:
        stage.say(STRANGE)
    screen.result({}, STRANGE)
    shown = capsys.readouterr()
    assert shown.err.count(STRANGE) == 5
    assert shown.out == f"{STRANGE}\n"


@pytest.mark.parametrize("start", ["", "  "])
def test_the_word_before_a_warning_is_yellow_and_the_rest_is_as_it_is(capsys, start):
    screen = Screen(as_json=False)
    screen.err = Console(stderr=True, highlight=False, markup=False, emoji=False, width=200)
    with screen.err.capture() as captured:
        screen.warn(f"{start}!", f" {STRANGE} [yellow]z[/yellow]")
    assert captured.get() == f"{start}! {STRANGE} [yellow]z[/yellow]\n"
    screen.err = Console(stderr=True, force_terminal=True, color_system="standard", width=200)
    with screen.err.capture() as captured:
        screen.warn(f"{start}!", " all")
    assert captured.get() == f"\x1b[33m{start}!\x1b[0m all\n"


def test_a_log_gets_lines_while_a_stage_runs(monkeypatch, capsys):
    monkeypatch.setattr("jobs.console.LINE_S", 0.01)
    screen, said = Screen(as_json=True), ""
    with screen.stage("train") as stage:
        stage.say(f"epoch 1 of 6 {STRANGE}")
        deadline = time.monotonic() + 30
        while "\n" not in said and time.monotonic() < deadline:
            said += capsys.readouterr().err
    assert said.startswith(f"train      0:00:00 epoch 1 of 6 {STRANGE}\n")


def test_a_terminal_has_its_bar_alone():
    screen = Screen(as_json=True)
    screen.err = Console(stderr=True, force_terminal=True, width=200)
    with screen.err.capture(), screen.stage("train"):
        assert "lines of train" not in [thread.name for thread in threading.enumerate()]
    with Screen(as_json=True).stage("train"):  # no terminal here
        assert "lines of train" in [thread.name for thread in threading.enumerate()]

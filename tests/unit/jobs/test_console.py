"""What a person sees is what was written, whoever wrote it."""

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

import errno

import pytest
from ray.exceptions import AuthenticationError, OutOfMemoryError

from jobs.exits import run
from spt_core.errors import ConflictError, InputError, MachineError


def raising(error):
    def main(arguments):
        raise error

    return main


@pytest.fixture(autouse=True)
def _keep_signals(monkeypatch):
    monkeypatch.setattr("jobs.exits.signal.signal", lambda *_: None)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("a rule, however: a fact"), 2),
        (ConflictError("held"), 2),
        (KeyboardInterrupt(), 130),
        (OSError(errno.ENOSPC, "No space left on device"), 2),
        (OSError(errno.EROFS, "Read-only file system", "/data"), 2),
        (PermissionError(errno.EACCES, "Permission denied", "/data"), 2),
        (MemoryError(), 2),
        (MachineError("Ray must start on this machine, however: it timed out"), 2),
        (OutOfMemoryError("a worker was killed\nand more lines"), 2),
        (AuthenticationError("Unauthorized: Missing authentication token\nand more"), 2),
    ],
)
def test_what_a_person_can_mend_ends_in_one_sentence(error, code, capsys):
    with pytest.raises(SystemExit) as left:
        run(raising(error))
    assert left.value.code == code
    assert capsys.readouterr().err.count("\n") == 1


def test_an_error_of_files_that_no_machine_explains_is_a_bug():
    with pytest.raises(FileNotFoundError):
        run(raising(FileNotFoundError(errno.ENOENT, "No such file", "x")))


def test_a_bug_shows_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run(raising(ZeroDivisionError()))


def test_the_code_of_main_is_the_exit_code():
    with pytest.raises(SystemExit) as left:
        run(lambda _: 0)
    assert left.value.code == 0

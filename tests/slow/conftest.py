"""Jobs in this process, and the pipeline on texts that slow tests go on from."""

from pathlib import Path

import pytest

from tests.integration.conftest import TASK, text_words
from tests.integration.conftest import job as job
from tests.integration.conftest import text_storage as text_storage
from tests.integration.test_pipeline import Ended, command, run_line


@pytest.fixture(scope="session")
def text_pipeline(text_storage: Path) -> Ended:
    """What `jobs.pipeline` did; its model is the champion."""
    return run_line(*command("pipeline", "--once", *text_words(text_storage), task=TASK))

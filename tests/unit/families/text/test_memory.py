import sys

import numpy as np
import pytest

from spt_core.families.text import teaching
from spt_core.families.text.config import TextConfig
from spt_core.families.text.rows import Vocabulary
from spt_core.families.text.token_rows import TokenRow
from spt_core.fitting.config import TrainingConfig
from tests.publications import splits
from tests.tiny_models import text_task


@pytest.mark.parametrize(("num_windows", "hidden_size"), [(1, 32), (12, 384)])
def test_a_students_row_takes_the_memory_that_is_reckoned_with(
    tmp_path, monkeypatch, num_windows, hidden_size
):
    made, num_tokens = splits(tmp_path), 128 * num_windows
    monkeypatch.setattr(teaching, "mean_tokens", lambda *_: num_tokens)
    run = teaching.text_run(
        "student",
        text_task("single_label"),
        made,
        made.signature,
        Vocabulary(b"", max_tokens=128, overlap=16),
        TrainingConfig(family="text", network=TextConfig(max_tokens=128)),
        {"encoder": {"hidden_size": hidden_size}},
    )
    row = TokenRow(
        np.zeros(num_tokens, np.int32),
        np.zeros(num_windows, np.int32),
        np.zeros((1, 3), np.float32),
        np.zeros(1, np.float32),
        np.zeros((0, 5), np.int32),
        np.zeros((num_windows, hidden_size), np.float32),
    )
    size = sys.getsizeof(row) + sum(map(sys.getsizeof, row))
    assert size <= run.row_bytes < 2.5 * size

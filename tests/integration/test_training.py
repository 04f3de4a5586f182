"""What training promises on Ray: an order of rows, and the errors of workers in one sentence."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spt_core.data.sources import open_corpus
from spt_core.data.splits import Splits
from spt_core.data.splitting import split
from spt_core.errors import NotFoundError
from spt_core.families.text.rows import Vocabulary, token_dataset
from spt_core.fitting.ray_train import fit_network
from tests.tiny_models import tiny_text_facts, tiny_tokenizer
from tests.tiny_text_runs import CONFIG, NUM_TEXTS, tiny_dataset, tiny_run
from tests.unit.data.text_examples import task, topics

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]
TOPICS = task("multi_label")


def in_many_files(splits: Splits, num_files: int) -> list[int]:
    """Write the training part anew, most of it into its first file; its row numbers in order."""
    table = splits.table("train")
    (whole,) = (Path(uri.removeprefix("file://")) for uri in splits.files("train"))
    whole.unlink()
    long = pa.array([f"{text} " * 300 for text in table["text"].to_pylist()], pa.large_string())
    table = table.set_column(table.column_names.index("text"), "text", long)
    cut = table.num_rows - num_files + 1
    pieces = [table.slice(0, cut), *(table.slice(at, 1) for at in range(cut, table.num_rows))]
    for number, piece in enumerate(pieces):
        pq.write_table(piece, whole.parent / f"{number:03d}.parquet")
    return table["__row"].to_pylist()


def test_rows_of_many_files_keep_their_order_whichever_is_ready_first(tmp_path: Path) -> None:
    corpus = open_corpus(TOPICS, topics(400), storage=str(tmp_path))
    splits = split(TOPICS, corpus, str(tmp_path))
    wanted = in_many_files(splits, 8)
    tokenizer = tiny_tokenizer()
    facts = tiny_text_facts("multi_label", splits.classes, tokenizer)
    rows = token_dataset(splits, "train", TOPICS, Vocabulary(tokenizer, 24, 4), facts)
    assert [row["row"] for row in rows.iter_rows()] == wanted


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_a_worker_raises_on_purpose_comes_out_in_one_sentence(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, num_workers=1, max_failures=0, output_dir=str(tmp_path))
    run = tiny_run(tmp_path, config)
    lost = dataclasses.replace(run, facts={**run.facts, "base": f"{tmp_path.as_uri()}/nowhere"})
    with pytest.raises(NotFoundError, match="nowhere") as told:
        fit_network(lost, tiny_dataset(NUM_TEXTS, 1), tiny_dataset(8, 2), name="lost")
    assert "\n" not in str(told.value)

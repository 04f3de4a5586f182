"""Public data of images: what the readers make of the files."""

from __future__ import annotations

import json
from collections import Counter

from spt_core.artifacts import as_uri
from spt_core.data.catalog import DATASETS
from spt_core.data.conform import conform
from spt_core.data.corpus import LOOK
from spt_core.data.labels import rule_of
from spt_core.images import decoded, looks_of
from spt_core.task import find


def typed(name: str, data_home: str):
    """The good rows of a data set."""
    dataset = DATASETS[name]
    task = find(dataset.task)
    assert dataset.read is not None
    table = dataset.read(f"{as_uri(data_home)}/{task.industry}/{name}")
    good, bad = conform(table, task.fields, label=dataset.roles.label, labels=rule_of(task))
    assert bad.num_rows == 0
    return good


def test_neu_has_75_gray_pictures_of_each_of_six_kinds(data_home: str) -> None:
    good = typed("neu-surface-defects", data_home)
    assert set(Counter(good["defect"].to_pylist()).values()) == {75}
    pictures = [decoded(content, "it must") for content in good["image"].to_pylist()[:20]]
    assert {picture.pixels.shape for picture in pictures} == {(200, 200)}


def test_pneumonia_has_the_counts_that_its_authors_tell_and_few_copies(data_home: str) -> None:
    good = typed("imaging-pneumoniamnist", data_home)
    counts = Counter(good["findings"].to_pylist())
    assert counts == {json.dumps(["pneumonia"]): 3883, "[]": 1349}
    looks = looks_of(good[LOOK].to_pylist()[:1500])
    alike = (looks @ looks.T >= 0.995).sum() - len(looks)
    assert alike < 0.02 * len(looks)

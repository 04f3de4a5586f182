"""The catalog's entries, and what is said when files are missing or different."""

from __future__ import annotations

from pathlib import Path

import pytest

from spt_core.artifacts import as_uri
from spt_core.data.catalog import DATASETS, open_dataset
from spt_core.data.infer import infer_columns
from spt_core.errors import CorruptArtifactError, InputError, NotFoundError
from spt_core.task import find


def test_an_unknown_name_points_to_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nearest is 'credit-german'"):
        open_dataset("credit-germany", data_home=str(tmp_path), storage=str(tmp_path))


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_a_missing_file_says_where_it_should_be_and_whence(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{name}.*there is no file://.*get it from https://"):
        open_dataset(name, data_home=str(tmp_path), storage=str(tmp_path))


def test_another_file_of_the_same_name_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "financial_services" / "credit-german"
    folder.mkdir(parents=True)
    (folder / "german.data").write_text("A11 6\n")
    with pytest.raises(CorruptArtifactError, match="sha256"):
        open_dataset("credit-german", data_home=str(tmp_path), storage=str(tmp_path))


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_every_data_set_opens_with_its_roles(name: str, data_home: str, tmp_path: Path) -> None:
    dataset = DATASETS[name]
    corpus = open_dataset(name, data_home=data_home, storage=as_uri(tmp_path))
    assert set(dataset.protected) <= set(corpus.protected)
    columns = infer_columns(corpus, find(dataset.task))
    features = {field.name for field in columns.features}
    assert not features & {*dataset.drop, *dataset.protected, dataset.label}
    assert {field.name for field in dataset.declared} - set(corpus.protected) <= features

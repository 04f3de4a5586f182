"""A data set's name -> the Corpus of its files, once they are checked."""

from __future__ import annotations

import hashlib

from spt_core.artifacts import as_uri, exists, filesystem
from spt_core.data.catalog import (
    financial_services,
    healthcare,
    insurance,
    manufacturing,
    technology,
)
from spt_core.data.catalog.values import PublicDataset
from spt_core.data.corpus import Corpus, DatasetInfo
from spt_core.data.sources import open_corpus
from spt_core.errors import CorruptArtifactError, InputError, NotFoundError, nearest
from spt_core.task import find

DATASETS: dict[str, PublicDataset] = {
    dataset.name: dataset
    for industry in (financial_services, healthcare, insurance, manufacturing, technology)
    for dataset in industry.DATASETS
}


def open_dataset(name: str, *, data_home: str, storage: str) -> Corpus:
    """The corpus of a public data set whose files are in the folder `data_home`."""
    if name not in DATASETS:
        raise NotFoundError(f"no public data set is named {name!r}; {nearest(name, DATASETS)}")
    dataset = DATASETS[name]
    task = find(dataset.task)
    folder = f"{as_uri(data_home)}/{dataset.home or task.industry}/{dataset.folder or name}"
    for file, expected in dataset.files.items():
        _check(f"{folder}/{file}", expected, dataset)
    return open_corpus(
        task,
        dataset.read(folder) if dataset.read else f"{folder}/{next(iter(dataset.files))}",
        storage=storage,
        roles=dataset.roles,
        info=DatasetInfo(name=name, licences=(dataset.licence,), synthetic=dataset.synthetic),
    )


def _check(uri: str, expected: str, dataset: PublicDataset) -> None:
    if not exists(uri):
        raise InputError(
            f"the data set {dataset.name!r} must be in the data folder, however: there is no {uri}"
            f"; get it from {dataset.source} ({dataset.licence})"
        )
    checksum = _sha256(uri)
    if checksum != expected:
        raise CorruptArtifactError(
            f"a public file must be the one that the catalog knows, however: {uri} has sha256 "
            f"{checksum[:12]}, the catalog says {expected[:12]}; get it from {dataset.source}"
        )


def _sha256(uri: str) -> str:
    files, path = filesystem(uri)
    with files.open_input_file(path) as stream:  # a stream would unpack .gz on its own
        return hashlib.sha256(stream.read()).hexdigest()

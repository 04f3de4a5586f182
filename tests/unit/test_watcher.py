"""What a cluster's watcher is told is seen by many."""

import pytest

from cluster.watcher import WatchPlan
from spt_core.continuous import WatchOptions
from spt_core.continuous.sources import SourcesFile
from spt_core.errors import InputError


def test_a_database_url_with_a_password_is_not_shown_to_the_cluster():
    url = "postgresql://spt:hunter2@db/spt"
    with pytest.raises(InputError, match="PGPASSFILE") as raised:
        WatchPlan(
            file=SourcesFile(sources=()), options=WatchOptions(storage="s3://b/s", database_url=url)
        )
    assert "hunter2" not in str(raised.value)

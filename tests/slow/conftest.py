"""Jobs in this process, and the pipeline on texts that slow tests go on from."""

from tests.integration.conftest import job as job
from tests.integration.conftest import text_pipeline as text_pipeline
from tests.integration.conftest import text_storage as text_storage

"""Public data sets that the project knows how to read: name -> Corpus. One file per industry.

Nothing is downloaded. A file is looked for in `data_home/INDUSTRY/NAME/`, and must have the sha256
of the copy that the figures in `notes` were made with.
"""

from spt_core.data.catalog.opening import DATASETS, open_dataset
from spt_core.data.catalog.values import PublicDataset

__all__ = ["DATASETS", "PublicDataset", "open_dataset"]

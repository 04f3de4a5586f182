"""What an opened model adds to a process' memory, measured in a process that does nothing else.

open it -> what model and code add; open it once more -> what the model adds
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import psutil

from spt_core.artifacts import ExportedModel, artifact_from_json

ROOT = Path(__file__).parent.parent.parent
_ARTIFACT = "artifact.json"
_TIMEOUT_S = 120


class ResidentBytes(NamedTuple):
    """Growth of resident memory by a model: with the code that runs it, and by itself.

    A model's own is at least its files' size: the allocator may have had that much at hand.
    """

    with_code: int
    model: int


def resident_bytes(exported: ExportedModel) -> ResidentBytes:
    """What opening a model's files adds to a process, the first time and once more."""
    with tempfile.TemporaryDirectory() as folder:
        for name in exported.files:
            (Path(folder) / name).write_bytes(exported.read(name))
        (Path(folder) / _ARTIFACT).write_text(json.dumps(exported.artifact.to_json()))
        done = subprocess.run(
            [sys.executable, "-m", __name__, folder],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=True,
        )
    with_code, model = json.loads(done.stdout)
    return ResidentBytes(with_code, max(model, exported.size_bytes))


def _measure(folder: Path) -> tuple[int, int]:
    process, opened, resident = psutil.Process(), [], []
    artifact = artifact_from_json(json.loads((folder / _ARTIFACT).read_text()))
    resident.append(process.memory_info().rss)
    from spt_core.families.serving import SERVING  # its code counts too

    for _ in range(2):
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        opened.append(SERVING[artifact.family].open(artifact, files.__getitem__))
        resident.append(process.memory_info().rss)
    first, second = (after - before for before, after in itertools.pairwise(resident))
    return first, second


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measure(Path(sys.argv[1]))))

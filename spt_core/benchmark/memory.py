"""What an opened model adds to a process' memory, measured in a process that does nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from spt_core.artifacts import ExportedModel, artifact_from_json

ROOT = Path(__file__).parent.parent.parent
_ARTIFACT = "artifact.json"
_TIMEOUT_S = 120


def resident_bytes(exported: ExportedModel) -> int:
    """Growth of resident memory by opening a model's files; the code that runs them counts too."""
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
    return int(done.stdout)


def _measure(folder: Path) -> int:
    contents = {path.name: path.read_bytes() for path in folder.iterdir()}
    artifact = artifact_from_json(json.loads(contents[_ARTIFACT]))
    before = psutil.Process().memory_info().rss
    from spt_core.families.serving import SERVING  # its code counts too

    opened = SERVING[artifact.family].open(artifact, contents.__getitem__)
    return psutil.Process().memory_info().rss - before if opened else 0


if __name__ == "__main__":
    sys.stdout.write(str(_measure(Path(sys.argv[1]))))

"""What an opened model adds to a process' memory, measured in a process that does nothing else."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import psutil

from spt_core.runtime.onnx import OnnxRuntime

ROOT = Path(__file__).parent.parent.parent
_TIMEOUT_S = 120


def resident_bytes(score_graph: bytes, explain_graph: bytes, num_features: int) -> int:
    """Growth of resident memory by opening both graphs and answering one row."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("score.onnx", "explain.onnx")]
        for path, content in zip(paths, (score_graph, explain_graph), strict=True):
            path.write_bytes(content)
        command = [sys.executable, "-m", __name__, *map(str, paths), str(num_features)]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
    return int(done.stdout)


def _measure(score_path: str, explain_path: str, num_features: str) -> int:
    score_graph, explain_graph = Path(score_path).read_bytes(), Path(explain_path).read_bytes()
    before = psutil.Process().memory_info().rss
    runtime = OnnxRuntime(score_graph, explain_graph)
    runtime.explain(np.zeros((1, int(num_features)), np.float32))
    return psutil.Process().memory_info().rss - before


if __name__ == "__main__":
    sys.stdout.write(str(_measure(*sys.argv[1:])))

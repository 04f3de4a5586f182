"""What an opened model adds to a process' memory, measured in a process that does nothing else."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent.parent
_TIMEOUT_S = 120


def resident_bytes(contents: Sequence[bytes]) -> int:
    """Growth of resident memory by opening a kernel and its graphs: kernel, score, explain."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / str(number) for number in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        command = [sys.executable, "-m", __name__, *map(str, paths)]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
    return int(done.stdout)


def _measure(kernel_path: str, *graph_paths: str) -> int:
    kernel, graphs = Path(kernel_path).read_bytes(), [Path(p).read_bytes() for p in graph_paths]
    before = psutil.Process().memory_info().rss
    from spt_core.runtime.kernel import KernelRuntime, kernel_from_bytes  # their code counts too
    from spt_core.runtime.onnx import OnnxRuntime

    KernelRuntime(kernel_from_bytes(kernel), OnnxRuntime(*graphs))
    return psutil.Process().memory_info().rss - before


if __name__ == "__main__":
    sys.stdout.write(str(_measure(*sys.argv[1:])))

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


def resident_bytes(contents: Sequence[bytes], *, of_text: bool = False) -> int:
    """Growth of resident memory by opening a table's model: kernel, score and explain graph.

    A text's model is its graph and its tokenizer.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / str(number) for number in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        kind = "text" if of_text else "table"
        command = [sys.executable, "-m", __name__, kind, *map(str, paths)]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
    return int(done.stdout)


def _measure(kind: str, *paths: str) -> int:
    return _measure_text(*paths) if kind == "text" else _measure_table(*paths)


def _measure_table(kernel_path: str, *graph_paths: str) -> int:
    kernel, graphs = Path(kernel_path).read_bytes(), [Path(p).read_bytes() for p in graph_paths]
    before = psutil.Process().memory_info().rss
    from spt_core.runtime.kernel import KernelRuntime, kernel_from_bytes  # their code counts too
    from spt_core.runtime.onnx import OnnxRuntime

    KernelRuntime(kernel_from_bytes(kernel), OnnxRuntime(*graphs))
    return psutil.Process().memory_info().rss - before


def _measure_text(graph_path: str, tokenizer_path: str) -> int:
    graph, tokenizer = Path(graph_path).read_bytes(), Path(tokenizer_path).read_bytes()
    before = psutil.Process().memory_info().rss
    from spt_core.runtime.text import OnnxTextRuntime  # their code counts too
    from spt_core.tokens import TextEncoder

    opened = OnnxTextRuntime(graph), TextEncoder(tokenizer, max_tokens=8, overlap=0)
    return psutil.Process().memory_info().rss - before if opened else 0


if __name__ == "__main__":
    sys.stdout.write(str(_measure(*sys.argv[1:])))

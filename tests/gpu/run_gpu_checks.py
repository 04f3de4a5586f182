"""What only a GPU machine can tell, as one JSON: python -m tests.gpu.run_gpu_checks [--rounds 7]

A student of the usual size (2 layers, 256 wide, windows of 128 tokens) with random weights. Its
engine in full precision and in INT8 (Q/DQ), built, refitted and compared with ONNX Runtime;
milliseconds of a call beside ONNX Runtime's processor (one thread) and its TensorRT provider, in
rounds by turns; and tokens a second of the text loop on the GPU, in bf16 and fp32, of an encoder
like MiniLM (6 layers, 384 wide). A check that fails says so and the others go on. Exit code 1 then.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.state import AcceleratorState

from spt_core.artifacts import GRAPH, ExportedModel, as_uri, read_bytes
from spt_core.compression.qdq import qdq_graph
from spt_core.errors import MachineError
from spt_core.export import export
from spt_core.export.tensorrt import build_engine, engine_of, proven, refit
from spt_core.families.onnx import INPUT, open_session
from spt_core.families.serving import ON_GPU, SERVING
from spt_core.families.tensorrt import (
    PLAN,
    Engine,
    Feed,
    GraphRuntime,
    SessionRuntime,
    provider_session,
    this_device,
)
from spt_core.families.text.bases import store_base
from spt_core.families.text.config import TextConfig
from spt_core.families.text.learner import LEARNER
from spt_core.families.text.network import TextNetwork
from spt_core.families.text.rows import TokenShard
from spt_core.families.text.token_rows import TokenRow
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.loop import fit
from spt_core.fitting.plan import TrainingRun
from spt_core.signature import Field, Signature
from spt_core.task import find
from tests.tiny_models import COMPLIANCE, tiny_text_artifact, tiny_text_facts, tiny_tokenizer

TASK = find(COMPLIANCE)
CONFIG = TextConfig(max_tokens=128, window_overlap=16, dropout=0.0, wide_buckets=0)
STUDENT = {
    "hidden_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "intermediate_size": 1024,
    "max_position_embeddings": 512,
}
MINILM = {
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
}
CALLS = {"1 window of 35 tokens": (1, 35), "16 windows of 128 tokens": (16, 128)}
CALLS_A_ROUND = 50
NUM_TEXTS, BATCH = 4096, 64


def student(folder: Path, seed: int) -> ExportedModel:
    """A student of random weights."""
    uri = as_uri(folder)
    return export(tiny_text_artifact(TASK, uri, seed=seed, config=CONFIG, sizes=STUDENT))


def probe_feeds(exported: ExportedModel) -> list[Feed]:
    """What the graph is fed with for the export's probes."""
    predictor: Any = SERVING["text"].open(exported.artifact, exported.read)
    rows = [predictor.read(record) for record in exported.probes["records"]]
    return list(ON_GPU["text"].feeds(predictor, rows))


def differences(first: GraphRuntime, second: GraphRuntime, feeds: list[Feed]) -> dict[str, float]:
    """The largest absolute difference of each output."""
    found: dict[str, float] = {}
    for feed in feeds:
        wanted = second.run(feed)
        for name, array in first.run(feed).items():
            found[name] = max(found.get(name, 0.0), float(np.abs(array - wanted[name]).max()))
    return found


class Engines:
    """The runtimes, made by one check and timed by another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.exported = student(folder / "first", 0)
        self.content = self.exported.read(GRAPH)
        self.feeds = probe_feeds(self.exported)
        self.shapes = ON_GPU["text"].shapes(self.exported)
        self.runtimes: dict[str, GraphRuntime] = {
            "onnx, 1 thread": SessionRuntime(open_session(self.content))
        }

    def full(self) -> dict[str, Any]:
        """An engine in full precision, proven, kept and found again."""
        begin = time.perf_counter()
        made = engine_of(self.exported)
        seconds = time.perf_counter() - begin
        plan = read_bytes(f"{made.uri}/{PLAN}")
        self.runtimes["tensorrt, fp32"] = Engine(plan)
        return {
            "build_s": seconds,
            "size_mb": len(plan) / 1e6,
            "parity": made.parity,
            "found_again": engine_of(self.exported) == made,
        }

    def int8(self) -> dict[str, Any]:
        """An engine of the Q/DQ graph, beside ONNX Runtime on the same graph."""
        content = qdq_graph(self.content, self.feeds)
        begin = time.perf_counter()
        plan = build_engine(content, self.shapes)
        seconds = time.perf_counter() - begin
        self.runtimes["tensorrt, int8"] = Engine(plan)
        same = SessionRuntime(open_session(content))
        engine, full = self.runtimes["tensorrt, int8"], self.runtimes["onnx, 1 thread"]
        return {
            "build_s": seconds,
            "size_mb": len(plan) / 1e6,
            "from_same_graph_in_onnx": differences(engine, same, self.feeds),
            "from_full_precision": differences(engine, full, self.feeds),
        }

    def refitted(self) -> dict[str, Any]:
        """The first engine with another student's weights, proven on that one's probes."""
        other = student(self.folder / "second", 1)
        plan = read_bytes(f"{engine_of(self.exported).uri}/{PLAN}")
        begin = time.perf_counter()
        made = refit(plan, other.read(GRAPH))
        seconds = time.perf_counter() - begin
        return {"refit_s": seconds, "parity": proven(other, Engine(made))}

    def provider(self) -> dict[str, Any]:
        """ONNX Runtime's provider with the whole graph on TensorRT."""
        session = provider_session(self.content, self.shapes, self.folder / "cache")
        self.runtimes["onnx, tensorrt provider"] = session
        return {
            "provider": session.provider,
            "parity": differences(session, self.runtimes["onnx, 1 thread"], self.feeds),
        }

    def latency(self, num_rounds: int) -> dict[str, Any]:
        """Milliseconds a call: the rounds' median, least and greatest, by shape and runtime."""
        draw = np.random.default_rng(0)
        found: dict[str, Any] = {}
        for name, (num_windows, num_tokens) in CALLS.items():
            features = draw.integers(5, 60, (num_windows, num_tokens))
            times: dict[str, list[float]] = {each: [] for each in self.runtimes}
            for number in range(num_rounds + 1):
                for each, runtime in self.runtimes.items():
                    begin = time.perf_counter()
                    for _ in range(CALLS_A_ROUND):
                        runtime.run({INPUT: features})
                    seconds = time.perf_counter() - begin
                    if number:  # the first round warms up
                        times[each].append(1000 * seconds / CALLS_A_ROUND)
            found[name] = {each: spread(values) for each, values in times.items()}
        return found


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and greatest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def training(folder: Path, num_rounds: int) -> dict[str, Any]:
    """Tokens a second of the text loop on the GPU, an epoch to warm up with and one that counts."""
    if not torch.cuda.is_available():  # the loop would go on on the processor
        raise MachineError("torch must see a GPU, however: it does not")
    tokenizer = tiny_tokenizer()
    facts = tiny_text_facts(
        "multi_label", ("neither", "safe", "risky"), tokenizer, config=CONFIG, sizes=MINILM
    )
    weights = TextNetwork(CONFIG, facts).encoder.state_dict()
    base = store_base("gpu", facts["encoder"], tokenizer, weights, storage=str(folder))
    facts = {**facts, "base": base.uri}
    draw = np.random.default_rng(0)
    rows: list[TokenRow] = []
    for length in draw.integers(20, CONFIG.max_tokens - 1, NUM_TEXTS).tolist():
        ids = np.array([2, *draw.integers(5, 60, length - 2), 3], np.int32)
        targets = draw.integers(0, 2, (1, 3)).astype(np.float32)
        one = np.ones(1, np.float32)
        lengths, pairs = np.array([length], np.int32), np.empty((0, 5), np.int32)
        rows.append(TokenRow(ids, lengths, targets, one, pairs, np.empty((1, 0), np.float32)))
    num_tokens = sum(len(row.ids) for row in rows)
    rates: dict[str, list[float]] = {"bf16": [], "fp32": []}
    for number in range(num_rounds + 1):
        for name in rates:
            seconds = _seconds(facts, rows, is_bf16=name == "bf16")
            if number:
                rates[name].append(num_tokens / seconds)
    return {f"{name}_tokens_per_s": spread(values) for name, values in rates.items()}


def _seconds(facts: Mapping[str, Any], rows: list[TokenRow], *, is_bf16: bool) -> float:
    config = TrainingConfig(
        family="text",
        num_epochs=1,
        batch_size=BATCH,
        learning_rate=1e-4,
        evaluation_strategy="no",
        save_strategy="no",
        use_mixed_precision=is_bf16,
        use_gpu=True,
        network=CONFIG,
    )
    run = TrainingRun(
        learner=LEARNER,
        signature=Signature(fields=(Field(name="text", kind="text"),)),
        role="teacher",
        config=config,
        facts=dict(facts),
        num_rows=len(rows),
        row_bytes=1000,
        scoring_rows=2 * BATCH,
        head="multi_label",
    )
    shard = TokenShard(rows, pad=facts["pad"], seed=0)
    # Its precision is that of its process: two in one need what it keeps for its own tests.
    AcceleratorState._reset_state(reset_partial_state=True)
    begin = time.perf_counter()
    fit(run, shard, None, report=lambda metrics, folder: None, resume=None)
    torch.cuda.synchronize()
    return time.perf_counter() - begin


def main() -> int:
    """All checks, the JSON on stdout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    num_rounds = parser.parse_args().rounds
    found: dict[str, Any] = {"torch": torch.__version__}

    def check(name: str, call: Callable[[], Any]) -> None:
        try:
            found[name] = call()
        except Exception as error:  # noqa: BLE001  # a machine is lent for minutes: go on
            traceback.print_exc()
            found[name] = {"error": f"{type(error).__name__}: {error}"}

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        check("device", lambda: dataclasses.asdict(this_device()))
        engines = Engines(folder)
        check("full", engines.full)
        check("int8", engines.int8)
        check("refit", engines.refitted)
        check("provider", engines.provider)
        check("latency_ms", lambda: engines.latency(num_rounds))
        check("training", lambda: training(folder, min(num_rounds, 3)))
    print(json.dumps(found, indent=1))  # noqa: T201
    return 1 if any("error" in part for part in found.values() if isinstance(part, dict)) else 0


if __name__ == "__main__":
    sys.exit(main())

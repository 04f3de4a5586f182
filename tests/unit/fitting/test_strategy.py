import dataclasses

import pytest
import torch

from jobs.overrides import override
from spt_core.errors import InputError
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.precision import bf16_on_cpu
from spt_core.fitting.strategy import check_shards, has_bf16


@pytest.fixture
def saved_by_two(tmp_path):
    for rank in range(2):
        (tmp_path / f"optimizer-{rank}-of-2.pt").touch()
    return tmp_path


def test_a_recipe_chooses_the_strategy():
    config = override(TrainingConfig(), ["strategy=zero2", "optimizer_offload=true"])
    assert (config.strategy, config.optimizer_offload) == ("zero2", True)


def test_the_strategy_is_part_of_a_runs_identity():
    assert TrainingConfig(strategy="zero1").identity() != TrainingConfig().identity()


def test_a_sharded_optimizer_resumes_on_its_number_of_workers(saved_by_two):
    check_shards(saved_by_two, 2)


@pytest.mark.parametrize("num_workers", [1, 3])
def test_another_number_of_workers_is_refused(saved_by_two, num_workers):
    with pytest.raises(InputError, match=f"however: {num_workers} workers found optimizer-0-of-2"):
        check_shards(saved_by_two, num_workers)


def test_a_checkpoint_that_lacks_a_workers_shard_is_refused(saved_by_two):
    (saved_by_two / "optimizer-1-of-2.pt").unlink()
    with pytest.raises(InputError, match="however: 2 workers found optimizer-0-of-2.pt;"):
        check_shards(saved_by_two, 2)


@pytest.mark.parametrize(
    ("has", "is_fast"),
    [({"amx_bf16": True}, True), ({"avx512_bf16": True}, True), ({"avx512_f": True}, False)],
)
def test_texts_train_in_bf16_on_cpus_that_multiply_it_and_tables_do_not(monkeypatch, has, is_fast):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    texts = TrainingConfig(family="text")
    assert has_bf16(texts) == is_fast
    assert not has_bf16(dataclasses.replace(texts, use_mixed_precision=False))
    assert not has_bf16(TrainingConfig(family="tabular"))


@pytest.mark.parametrize("num_tokens", [16, 512])
def test_windows_of_any_length_compute_in_bf16(num_tokens):
    query = torch.randn(2, 1, num_tokens, 8)
    with bf16_on_cpu(asked=True, num_tokens=num_tokens):
        found = torch.nn.functional.scaled_dot_product_attention(query, query, query)
        is_fused = torch.backends.cuda.flash_sdp_enabled()
    assert found.dtype == torch.bfloat16
    assert is_fused == (num_tokens == 512)


def test_a_gpu_that_is_not_there_has_no_bf16(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not has_bf16(TrainingConfig(family="text", use_gpu=True))

"""bf16 on CPUs that multiply it."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

_PLAIN_ATTENTION_TOKENS = 160  # from here on the fused attention is as fast in bf16 (measured)


def is_bf16_cpu() -> bool:
    """Whether this CPU multiplies bf16 (AMX, AVX-512 BF16); others are slower in it."""
    has = torch.cpu.get_capabilities()
    return bool(has.get("amx_bf16") or has.get("avx512_bf16"))


@contextlib.contextmanager
def bf16_on_cpu(*, asked: bool, num_tokens: int) -> Generator[None]:
    """While it lasts, a CPU computes windows of `num_tokens` in bf16, if asked for.

    Attention of short windows is plain products then: the fused one takes up to seven times as
    long. Not through Accelerate, whose precision is that of its process for good.
    """
    if not asked:
        yield
        return
    is_short = num_tokens <= _PLAIN_ATTENTION_TOKENS
    attention = sdpa_kernel(SDPBackend.MATH) if is_short else contextlib.nullcontext()
    with torch.autocast("cpu", torch.bfloat16), attention:
        yield

"""Number formats: which one a network computes in, and which one is best on this machine."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]


def best_precision() -> Precision:
    """bfloat16 where this CPU computes in it, else float32."""
    return "bfloat16" if torch.cpu.get_capabilities().get("avx512_bf16") else "float32"


def computing(precision: Precision, device: str = "cpu") -> torch.autocast:
    """In this context convolutions and products are computed in `precision`; sums stay in float32."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16")

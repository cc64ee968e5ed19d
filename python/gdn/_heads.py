"""Channels of a layer as heads."""

from __future__ import annotations

from torch import Tensor


def heads(x: Tensor, dim: int) -> Tensor:
    """[.., H D] as [.., H, D], a view; Dynamo cannot trace unflatten under a default device."""
    return x.view(*x.shape[:-1], x.shape[-1] // dim, dim)


def split_qkv(mixed_qkv: Tensor, values: int, dk: int, dv: int) -> tuple[Tensor, Tensor, Tensor]:
    """q, k [.., HK, DK] and v [.., HV, DV], views of [.., 2 HK DK + HV DV]; values is HV DV."""
    keys = (mixed_qkv.shape[-1] - values) // 2
    q, k, v = mixed_qkv.split([keys, keys, values], dim=-1)
    return heads(q, dk), heads(k, dk), heads(v, dv)

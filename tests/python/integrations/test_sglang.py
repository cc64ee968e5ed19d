"""The SGLang plugin on stand-ins for SGLang's registry: its kernel on pools as SGLang has them."""

import enum
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import recurrence
import torch
from support import assert_close, tensors, values

import gdn.integrations.sglang as plugin
from gdn.integrations._sglang_kernel import GdnKernel

HK, HV, DK, DV, SLOTS = 2, 4, 32, 48, 7
LINEAR = "sglang.srt.layers.attention.linear"


class Backend(enum.Enum):
    TRITON = "triton"
    CUSTOM = "custom"

    def is_custom(self):
        return self is Backend.CUSTOM


class Base:
    """Stands for LinearAttnKernelBase."""


class Dispatcher:
    """Stands for GDNKernelDispatcher, as SGLang makes it."""

    def __init__(self, decode, prefill, verify=None):
        if Backend.CUSTOM in (decode, prefill):
            raise ValueError("Unsupported GDN backend")
        self.decode_kernel = self.extend_kernel = self.verify_kernel = "triton"
        self.supports_packed_decode = self.verify_kernel_is_flashinfer = False


@pytest.fixture
def sglang(monkeypatch):
    """Stand-ins for the modules that the plugin imports."""
    options = SimpleNamespace(
        linear_attn_backend="triton", linear_attn_decode_backend=None,
        linear_attn_prefill_backend=None, linear_attn_verify_backend=None,
    )  # fmt: skip
    choices = ["triton", "flashinfer"]
    hooks = []
    registry = SimpleNamespace(register=lambda *hook: hooks.append(hook))
    for name, members in {
        "sglang": dict(__version__="0.5.23"),
        "sglang.srt.plugins.hook_registry": dict(
            HookRegistry=registry, HookType=SimpleNamespace(AROUND="around")
        ),
        "sglang.srt.arg_groups.choices": dict(
            LINEAR_ATTN_KERNEL_BACKEND_CHOICES=choices,
            add_linear_attn_kernel_backend_choices=choices.extend,
        ),
        "sglang.srt.runtime_context": dict(get_exec=lambda: SimpleNamespace(mamba=options)),
        f"{LINEAR}.utils": dict(LinearAttnKernelBackend=Backend),
        f"{LINEAR}.kernels.kernel_backend": dict(LinearAttnKernelBase=Base),
    }.items():
        parts = name.split(".")
        for i in range(1, len(parts) + 1):
            path = ".".join(parts[:i])
            if path not in sys.modules:
                monkeypatch.setitem(sys.modules, path, ModuleType(path))
        vars(sys.modules[name]).update(members)
    return SimpleNamespace(options=options, choices=choices, hooks=hooks)


def dispatcher(decode, prefill, verify):
    made = object.__new__(Dispatcher)
    plugin.make_dispatcher(Dispatcher.__init__, made, decode, prefill, verify)
    return made


def test_registration(sglang):
    plugin.register()
    plugin.register()
    assert sglang.choices == ["triton", "flashinfer", "gdn"]
    ((target, hook, kind),) = sglang.hooks
    assert target == f"{LINEAR}.gdn_backend.GDNKernelDispatcher.__init__"
    assert hook is plugin.make_dispatcher and kind == "around"


def test_other_releases_get_no_choice(sglang, caplog):
    sys.modules["sglang"].__version__ = "0.5.22"
    plugin.register()
    assert sglang.choices == ["triton", "flashinfer"] and not sglang.hooks
    assert "0.5.22" in caplog.text


def test_the_choice_reaches_each_phase(sglang):
    sglang.options.linear_attn_backend = "gdn"
    made = dispatcher(Backend.CUSTOM, Backend.CUSTOM, Backend.TRITON)
    assert isinstance(made.decode_kernel, GdnKernel) and isinstance(made.decode_kernel, Base)
    assert made.extend_kernel is made.decode_kernel and made.verify_kernel == "triton"
    assert made.supports_packed_decode
    sglang.options.linear_attn_verify_backend = "gdn"
    made = dispatcher(Backend.CUSTOM, Backend.CUSTOM, Backend.CUSTOM)
    assert made.verify_kernel is made.decode_kernel
    sglang.options.linear_attn_decode_backend = "triton"
    made = dispatcher(Backend.TRITON, Backend.CUSTOM, Backend.CUSTOM)
    assert made.decode_kernel == "triton" and isinstance(made.extend_kernel, GdnKernel)
    assert not made.supports_packed_decode


def test_other_names_stay_sglangs(sglang):
    sglang.options.linear_attn_backend = "mine"
    with pytest.raises(ValueError, match="Unsupported"):
        dispatcher(Backend.CUSTOM, Backend.CUSTOM, None)
    sglang.options.linear_attn_backend = "triton"
    made = dispatcher(Backend.TRITON, Backend.TRITON, None)
    assert made.decode_kernel == made.extend_kernel == made.verify_kernel == "triton"


class Layer:
    """A pool whose slots are further apart than they are long, and inputs."""

    def __init__(self, tokens):
        torch.manual_seed(1)
        self.pool = torch.randn(SLOTS, HV * DV * DK + 32)[:, : HV * DV * DK]
        self.pool = self.pool.unflatten(1, (HV, DV, DK))
        self.q, self.k, self.v, self.g, self.beta = tensors(
            "f32", batch=1, tokens=tokens, hk=HK, hv=HV, dk=DK, dv=DV
        )
        self.a, self.b = torch.randn(tokens, HV), torch.randn(tokens, HV)
        self.A_log, self.dt_bias = torch.randn(HV), torch.randn(HV)

    def expected(self, span, state, gated=False):
        """(o, states after each token) of one sequence from a state [HV, DV, DK]."""
        q, k, v = (values(x)[:, span] for x in (self.q, self.k, self.v))
        g, beta = values(self.g)[:, span], values(self.beta)[:, span]
        if gated:
            g, beta = recurrence.gating(self.A_log, self.a[span], self.b[span], self.dt_bias)
            g, beta = g[None], beta[None]
        o, _, after = recurrence.delta_rule(
            q, k, v, g, beta, initial_state=state.swapaxes(-1, -2)[None],
            use_qk_l2norm_in_kernel=True, checkpoint_every=1,
        )  # fmt: skip
        return o[0], after.swapaxes(-1, -2)


def offsets(lengths):
    return torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32)


@pytest.mark.parametrize("packed", [False, True])
def test_decode(packed):
    layer, kernel = Layer(4), GdnKernel()
    indices = torch.tensor([3, -1, 0, 6], dtype=torch.int32)
    before = values(layer.pool)
    parameters = dict(
        A_log=layer.A_log, dt_bias=layer.dt_bias, ssm_states=layer.pool, cache_indices=indices
    )
    if packed:
        rows = torch.cat([x[0].flatten(1) for x in (layer.q, layer.k, layer.v)], dim=-1)
        o = kernel.packed_decode(
            rows, layer.a, layer.b, scale=DK**-0.5, num_v_heads=HV, head_v_dim=DV, **parameters
        )
    else:
        o = kernel.decode(
            layer.q, layer.k, layer.v, layer.a, layer.b, query_start_loc=offsets([1] * 4),
            **parameters,
        )  # fmt: skip
    assert o.shape == (1, 4, HV, DV)
    for n, slot in enumerate(indices.tolist()):
        if slot < 0:
            assert not o[0, n].any()
            continue
        found, after = layer.expected(slice(n, n + 1), before[slot], gated=True)
        assert_close(o[0, n : n + 1], found, "f32")
        before[slot] = after[-1]
    assert_close(layer.pool, before, "f32")
    assert kernel.calls == {"packed_decode" if packed else "decode": 1}


@pytest.mark.parametrize("tracked", [False, True])
def test_extend(tracked):
    """Prefill, and the snapshots for prefix caches, of which some are not wanted."""
    lengths, slots = [70, 3, 200, 64], [2, -1, 5, 0]
    chunks = [1, 0, -1, 0]
    layer, kernel = Layer(sum(lengths)), GdnKernel()
    before, options = values(layer.pool), {}
    track = torch.full((4, HV, DV, DK), 7.0)
    if tracked:
        options = dict(track_state=track, track_chunk_idx=torch.tensor(chunks, dtype=torch.int32))
    out = torch.zeros(sum(lengths), HV, DV)
    o, state, h = kernel.extend(
        layer.q, layer.k, layer.v, layer.g, layer.beta, ssm_states=layer.pool,
        cache_indices=torch.tensor(slots, dtype=torch.int32), query_start_loc=offsets(lengths),
        output=out, layer_id=3, extend_prefix_lens=None, num_state_checkpoints=None,
        state_checkpoint_cu_starts=None, state_checkpoint_every_n_tokens=None, **options,
    )  # fmt: skip
    assert state is None and h is None and o.data_ptr() == out.data_ptr()
    start = 0
    for n, (length, slot) in enumerate(zip(lengths, slots, strict=True)):
        span = slice(start, start + length)
        start += length
        if slot < 0:
            assert not o[0, span].any()
            continue
        found, after = layer.expected(span, before[slot])
        assert_close(o[0, span], found, "f32")
        if tracked and chunks[n] >= 0:
            at = chunks[n] * 64
            assert_close(track[n], after[at - 1] if at else before[slot], "f32")
        elif tracked:
            assert (track[n] == 7).all()
        before[slot] = after[-1]
    assert_close(layer.pool, before, "f32")


def test_target_verify():
    """The state after each draft lies in the buffer; the pool is as it was."""
    layer, kernel = Layer(6), GdnKernel()
    before = layer.pool.clone()
    indices, rows = torch.tensor([4, -1, 1], dtype=torch.int32), torch.tensor([2, 4, 0])
    buffer = torch.full((5, 2, HV, DV, DK), 7.0)
    o = kernel.target_verify(
        layer.A_log, layer.dt_bias, layer.q, layer.k, layer.v, layer.a, layer.b,
        ssm_states=layer.pool, cache_indices=indices, query_start_loc=offsets([2, 2, 2]),
        intermediate_states_buffer=buffer, intermediate_state_indices=rows, cache_steps=2,
        retrieve_parent_token=None, stable_rows=False,
    )  # fmt: skip
    for n, slot in enumerate(indices.tolist()):
        span = slice(2 * n, 2 * n + 2)
        if slot < 0:
            assert not o[0, span].any()
            continue
        found, after = layer.expected(span, values(before)[slot], gated=True)
        assert_close(o[0, span], found, "f32")
        assert_close(buffer[rows[n]], after, "f32")
    assert torch.equal(layer.pool, before)
    assert (buffer[[1, 3, 4]] == 7).all()


def test_refused_by_name():
    layer, kernel = Layer(1), GdnKernel()
    qkv = layer.q, layer.k, layer.v
    pool = dict(
        ssm_states=layer.pool, cache_indices=torch.tensor([1]), query_start_loc=offsets([1])
    )
    gates = dict(A_log=layer.A_log, dt_bias=layer.dt_bias)
    with pytest.raises(NotImplementedError, match="replayssm_d"):
        kernel.decode(*qkv, layer.a, layer.b, **gates, **pool, replayssm_d=torch.zeros(1))
    with pytest.raises(NotImplementedError, match="inplace_update"):
        kernel.extend(*qkv, layer.g, layer.beta, **pool, inplace_update=False)
    with pytest.raises(NotImplementedError, match="state_checkpoint_cu_starts"):
        kernel.extend(*qkv, layer.g, layer.beta, **pool, state_checkpoint_cu_starts=torch.zeros(2))
    with pytest.raises(NotImplementedError, match="retrieve_parent_token"):
        kernel.target_verify(
            layer.A_log, layer.dt_bias, *qkv, layer.a, layer.b, **pool, cache_steps=1,
            intermediate_states_buffer=torch.zeros(2, 1, HV, DV, DK),
            intermediate_state_indices=torch.tensor([0]),
            retrieve_parent_token=torch.zeros(1, 1),
        )  # fmt: skip
    assert not kernel.calls

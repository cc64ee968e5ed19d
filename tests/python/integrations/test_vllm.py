"""The vLLM plugin: its layer on stand-ins for vLLM's modules, and the engine itself where it is."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import recurrence
import torch
from support import ON_GPU, assert_close, values

import gdn
import gdn.integrations.vllm as plugin

ROOT = Path(__file__).resolve().parents[3]
HK, HV, DK, DV, WIDTH, SLOTS = 2, 4, 32, 48, 4, 9
CHANNELS = 2 * HK * DK + HV * DV
VALUES = HV * DV
CORE = "vllm.model_executor.layers.mamba.ops.cpu.gdn_attention"
LAYERS = "vllm.model_executor.layers.mamba.gdn.qwen_gdn_linear_attn"
COUNTED = ("causal_conv1d_fwd", "chunk_gated_delta_rule", "rms_norm_gated", "fused_gdn_decode")

pytestmark = pytest.mark.skipif(ON_GPU, reason="vLLM's path on the CPU")


def module(monkeypatch, name, **members):
    """Put a stand-in of that name, and of its parents, where import finds it."""
    parts = name.split(".")
    for i in range(1, len(parts) + 1):
        path = ".".join(parts[:i])
        if path not in sys.modules:
            found = ModuleType(path)
            found.__spec__ = SimpleNamespace(name=path)
            monkeypatch.setitem(sys.modules, path, found)
    vars(sys.modules[name]).update(members)
    return sys.modules[name]


run_core = plugin._run


LIBRARIES = []


@pytest.fixture(autouse=True)
def operations_end_with_the_test():
    yield
    while LIBRARIES:
        LIBRARIES.pop()._destroy()


class Norm:
    """vLLM's gated norm."""

    def __init__(self, activation):
        self.weight, self.bias, self.eps = torch.randn(DV), None, 1e-5
        self.activation, self.norm_before_gate, self.group_size = activation, True, None

    def __call__(self, x, z):
        gate = torch.sigmoid if self.activation == "sigmoid" else torch.nn.functional.silu
        y = x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + self.eps)
        return (y * self.weight * gate(z.float())).to(x.dtype)


class Layer:
    """vLLM's layer, whose projections take their results out of its input."""

    prefix, activation, gqa_interleaved_layout = "model.layers.0", "silu", False
    key_dim, value_dim, head_v_dim, tp_size = HK * DK, VALUES, DV, 1

    def __init__(self):
        sys.modules[CORE].register_cpu_gdn_attention_ops()
        self._forward_method = self.forward_cpu

    def forward(self, hidden_states):
        return self._forward_method(hidden_states)

    def forward_cpu(self, hidden_states):
        raise AssertionError("the plugin replaces it")

    def in_proj_qkvz(self, x):
        return x[:, : CHANNELS + VALUES], None

    def in_proj_ba(self, x):
        return x[:, CHANNELS + VALUES :], None

    def out_proj(self, x):
        return x, None


class Engine:
    """One layer and its pools, and vLLM's modules around them."""

    def __init__(self, monkeypatch, dtype=torch.float32, dim_first=False, gate="silu"):
        torch.manual_seed(0)
        self.seen_original = []
        self.dim_first = dim_first
        self.norm = Norm(gate)
        weight = torch.randn(CHANNELS, 1, WIDTH).to(dtype) / 2
        conv1d = SimpleNamespace(weight=weight, bias=None)
        # Slots are further apart than they are long, as in vLLM's blocks.
        shape = (SLOTS, CHANNELS, WIDTH - 1) if dim_first else (SLOTS, WIDTH - 1, CHANNELS)
        conv_pool = torch.randn(SLOTS, CHANNELS * (WIDTH - 1) + 7).to(dtype)
        conv_pool = conv_pool[:, : CHANNELS * (WIDTH - 1)].unflatten(1, shape[1:])
        pool = torch.randn(SLOTS, HV * DV * DK + 16)[:, : HV * DV * DK].unflatten(1, (HV, DV, DK))
        self.parameters = dict(
            conv1d=conv1d, norm=self.norm, A_log=torch.randn(HV),
            dt_bias=torch.randn(HV).to(dtype), kv_cache=(conv_pool, pool),
        )  # fmt: skip
        self.context = SimpleNamespace(no_compile_layers={})
        self.dtype = dtype

        def cpu_gdn_attention_core(
            mixed_qkv: torch.Tensor,
            b: torch.Tensor,
            a: torch.Tensor,
            core_attn_out: torch.Tensor,
            layer_name: str,
        ) -> None:
            self.seen_original.append(layer_name)
            core_attn_out[: self.context.attn_metadata[layer_name].num_actual_tokens] = 2

        def direct_register_custom_op(name, function, mutates_args):
            schema = torch.library.infer_schema(function, mutates_args=mutates_args)
            LIBRARIES.append(torch.library.Library("vllm", "FRAGMENT"))
            LIBRARIES[-1].define(name + schema)
            LIBRARIES[-1].impl(name, function, "CPU")

        module(monkeypatch, "vllm", __version__="0.32.0")
        module(
            monkeypatch, "vllm.platforms",
            current_platform=SimpleNamespace(is_cpu=lambda: True, device_name="cpu"),
        )  # fmt: skip
        module(monkeypatch, "vllm.forward_context", get_forward_context=lambda: self.context)
        module(
            monkeypatch, "vllm.utils.torch_utils", _resolve_layer_name=lambda name: name,
            direct_register_custom_op=direct_register_custom_op,
        )  # fmt: skip
        self.layer_class = type("QwenGatedDeltaNetAttention", (Layer,), {})
        module(
            monkeypatch, LAYERS, QwenGatedDeltaNetAttention=self.layer_class,
            _encode_layer_name=lambda name: name,
        )  # fmt: skip
        module(
            monkeypatch, "vllm.model_executor.layers.mamba.mamba_utils",
            is_conv_state_dim_first=lambda: self.dim_first,
        )  # fmt: skip
        self.module = module(
            monkeypatch, CORE, cpu_gdn_attention_core=cpu_gdn_attention_core,
            register_cpu_gdn_attention_ops=lambda: None, _CPU_GDN_ATTENTION_OPS_REGISTERED=False,
        )  # fmt: skip
        for name, value in dict(_on=False, _prepared=False, _original=None, _file=None).items():
            monkeypatch.setattr(plugin, name, value)
        # The core imports vLLM's modules: those of this test.
        monkeypatch.delitem(sys.modules, "gdn.integrations._vllm_cpu", raising=False)
        monkeypatch.setattr(plugin, "_run", run_core)
        plugin.calls.clear()

    @functools.cached_property
    def layer(self):
        """Made at its first use, as models are after plugins."""
        layer = self.layer_class()
        vars(layer).update(self.parameters)
        self.context.no_compile_layers[layer.prefix] = layer
        return layer

    def conv_states(self):
        """[slots, C, width - 1]."""
        return self.layer.kv_cache[0] if self.dim_first else self.layer.kv_cache[0].mT

    def states(self):
        """[slots, HV, DK, DV]: vLLM views the pool's memory so."""
        return self.layer.kv_cache[1].view(SLOTS, HV, DK, DV)

    def step(self, decodes, prefills):
        """One engine step.

        Args:
            decodes: slot of each decoding sequence; 0 pads the batch.
            prefills: (slot, tokens, has a state) of each prefill.

        Returns:
            (inputs, outputs) by sequence.
        """
        lengths = [1] * len(decodes) + [p[1] for p in prefills]
        tokens = sum(lengths)
        offsets = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32)
        self.context.attn_metadata = {
            self.layer.prefix: SimpleNamespace(
                num_actual_tokens=tokens, spec_sequence_masks=None, num_accepted_tokens=None,
                num_decodes=len(decodes), num_decode_tokens=len(decodes),
                num_prefills=len(prefills), num_prefill_tokens=sum(p[1] for p in prefills),
                non_spec_state_indices_tensor=torch.tensor(
                    [*decodes, *(p[0] for p in prefills)], dtype=torch.int32
                ),
                non_spec_query_start_loc=offsets,
                has_initial_state=torch.tensor([True] * len(decodes) + [p[2] for p in prefills]),
            )
        }  # fmt: skip
        x = torch.randn(tokens + 2, CHANNELS + VALUES + 2 * HV).to(self.dtype)
        out = self.layer.forward(x).unflatten(-1, (HV, DV))
        assert not out[tokens:].any(), "rows past the last token"
        spans = [slice(*offsets[n : n + 2].tolist()) for n in range(len(lengths))]
        mixed, z, b, a = x.split([CHANNELS, VALUES, HV, HV], dim=-1)
        return [(mixed[s], b[s], a[s], z[s]) for s in spans], [out[s] for s in spans]


def expected(engine, inputs, conv_state, state):
    """(out, conv state, state) of one sequence, in float64."""
    mixed, b, a, z = inputs
    weight = values(engine.layer.conv1d.weight)[:, 0]
    columns = np.concatenate([conv_state, values(mixed).T], axis=1)
    y = sum(weight[:, j : j + 1] * columns[:, j : j + len(mixed)] for j in range(WIDTH))
    y = recurrence.silu(y).T[None]
    q, k, v = np.split(y, [HK * DK, 2 * HK * DK], axis=-1)
    g, beta = recurrence.gating(
        *(values(x) for x in (engine.layer.A_log, a, b, engine.layer.dt_bias))
    )
    o, final, *_ = recurrence.delta_rule(
        q.reshape(1, -1, HK, DK), k.reshape(1, -1, HK, DK), v.reshape(1, -1, HV, DV),
        g[None], beta[None], initial_state=state[None], use_qk_l2norm_in_kernel=True,
    )  # fmt: skip
    o, z = o[0], values(z).reshape(-1, HV, DV)
    o = o / np.sqrt(np.square(o).mean(-1, keepdims=True) + engine.norm.eps)
    gate = 1 / (1 + np.exp(-z)) if engine.norm.activation == "sigmoid" else recurrence.silu(z)
    return o * values(engine.norm.weight) * gate, columns[:, -(WIDTH - 1) :], final[0]


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["f32", "bf16"])
def dtype(request):
    return request.param


@pytest.mark.parametrize(("dim_first", "gate"), [(False, "silu"), (True, "sigmoid")])
def test_steps(monkeypatch, dtype, dim_first, gate):
    """Prefills beside decodes and padding; then prefills that go on, in other slots and order."""
    engine = Engine(monkeypatch, dtype, dim_first, gate)
    plugin.enable()
    name = "f32" if dtype == torch.float32 else "bf16"
    steps = [
        ([], [(3, 70, False), (5, 1, False), (8, 130, False)]),
        ([5, 0, 3, 0], [(2, 65, False), (8, 64, True)]),
        ([2, 3, 5, 8], []),
    ]
    for decodes, prefills in steps:
        conv, states = values(engine.conv_states()), values(engine.states())
        inputs, outputs = engine.step(decodes, prefills)
        started = [True] * len(decodes) + [p[2] for p in prefills]
        slots = [*decodes, *(p[0] for p in prefills)]
        for slot, has_state, given, found in zip(slots, started, inputs, outputs, strict=True):
            if slot == 0:
                assert not found.any()
                continue
            o, conv[slot], states[slot] = expected(
                engine, given, conv[slot] * has_state, states[slot] * has_state
            )
            assert_close(found, o, name)
        # Null blocks and what belongs to others are as they were.
        assert_close(engine.conv_states(), conv, name)
        assert_close(engine.states(), states, name)
    tokens = dict(zip(COUNTED, (330, 330, 330, 8), strict=True))
    assert dict(plugin.calls) == {
        **dict.fromkeys(COUNTED, 2), **{f"{name} tokens": n for name, n in tokens.items()},
    }  # fmt: skip
    assert not engine.seen_original


def test_interleaved_projections(monkeypatch):
    """Qwen3-Next's, which vLLM takes apart."""
    engine = Engine(monkeypatch)
    plugin.enable()
    layer, found = engine.layer, []

    def fix_query_key_value_ordering(qkvz, ba):
        parts = qkvz.split([HK * DK, HK * DK, VALUES, VALUES], dim=-1)
        q, k = (part.unflatten(-1, (HK, DK)) for part in parts[:2])
        v, z = (part.unflatten(-1, (HV, DV)) for part in parts[2:])
        return (q, k, v, z, *ba.chunk(2, dim=-1))

    layer.fix_query_key_value_ordering = fix_query_key_value_ordering
    before = [pool.clone() for pool in layer.kv_cache]
    for layer.gqa_interleaved_layout in (False, True):
        torch.manual_seed(5)
        found.append(engine.step([3], [(2, 9, False)])[1])
        for pool, kept in zip(layer.kv_cache, before, strict=True):
            pool.copy_(kept)
    for flat, interleaved in zip(*found, strict=True):
        assert torch.equal(flat, interleaved)


def test_nothing_is_copied_on_the_way(monkeypatch):
    """q, k, v are views of the convolution's result, and the result is written in place."""
    engine, seen = Engine(monkeypatch), {}
    for name in COUNTED:
        original = getattr(gdn, name)

        def watched(*args, _original=original, _name=name, **kwargs):
            seen[_name] = (args, kwargs)
            return _original(*args, **kwargs)

        monkeypatch.setattr(gdn, name, watched)
    plugin.enable()
    _, (decoded, prefilled) = engine.step([3], [(5, 9, False)])
    (q, k, v, *_), chunk = seen["chunk_gated_delta_rule"]
    (mixed_qkv, *_), decode = seen["fused_gdn_decode"]
    storage = q.untyped_storage().data_ptr()
    assert storage == k.untyped_storage().data_ptr() == v.untyped_storage().data_ptr()
    assert mixed_qkv.untyped_storage().data_ptr() == decode["z"].untyped_storage().data_ptr()
    assert seen["rms_norm_gated"][1]["out"].data_ptr() == prefilled.data_ptr()
    assert decode["out"].data_ptr() == decoded.data_ptr()
    for pool in (chunk["initial_state"], decode["state"]):
        assert pool.data_ptr() == engine.layer.kv_cache[1].data_ptr()


def test_a_packed_weight_is_not_read(monkeypatch):
    """vLLM packs the weight for its own kernel and leaves the plain one beside it."""
    engine = Engine(monkeypatch)
    plugin.enable()
    conv1d = engine.layer.conv1d
    conv1d._cpu_unpacked_conv_weight = conv1d.weight.view(CHANNELS, WIDTH).clone()
    plain = conv1d.weight.clone()
    conv1d.weight = torch.full_like(conv1d.weight, float("nan"))
    zeros = np.zeros((CHANNELS, WIDTH - 1)), np.zeros((HV, DK, DV))
    (given,), (found,) = engine.step([], [(4, 20, False)])
    conv1d.weight = plain
    assert_close(found, expected(engine, given, *zeros)[0], "f32")


def test_off_is_vllm_again(monkeypatch):
    engine = Engine(monkeypatch)
    plugin.enable()
    engine.step([3], [])
    plugin.disable()
    assert not plugin.is_enabled()
    (given,), (found,) = engine.step([3], [])
    assert engine.seen_original == [engine.layer.prefix]
    twos = torch.full((1, HV, DV), 2.0)
    assert torch.equal(found, engine.norm(twos, given[3].unflatten(-1, (HV, DV))))
    plugin.enable()
    engine.step([3], [])
    assert len(engine.seen_original) == 1 and plugin.calls["fused_gdn_decode"] == 2


def test_runs_without_work(monkeypatch):
    """Profiling has no metadata, an idle step no tokens."""
    engine = Engine(monkeypatch)
    plugin.enable()
    engine.step([], [])
    engine.context.attn_metadata = None
    found = engine.layer.forward(torch.ones(3, CHANNELS + VALUES + 2 * HV))
    assert found.shape == (3, VALUES) and not found.any()
    assert not plugin.calls


def test_refused_by_name(monkeypatch):
    engine = Engine(monkeypatch)
    plugin.enable()
    engine.step([3], [])
    metadata = engine.context.attn_metadata[engine.layer.prefix]

    def again(match):
        with pytest.raises(NotImplementedError, match=match):
            engine.layer.forward(torch.randn(1, CHANNELS + VALUES + 2 * HV))

    metadata.spec_sequence_masks = torch.tensor([True])
    again("speculative")
    metadata.spec_sequence_masks = None
    engine.layer.activation = "gelu"
    engine.layer.kv_cache = tuple(pool.clone() for pool in engine.layer.kv_cache)
    again("activation")
    engine.layer.activation = "silu"
    engine.norm.group_size = 8
    again("norm")
    engine.norm.group_size = None
    engine.layer.in_proj_qkv = None
    again("LoRA")
    del engine.layer.in_proj_qkv
    metadata.non_spec_state_indices_tensor = torch.zeros(1, 2, dtype=torch.int32)
    again("mamba_cache_mode")


def test_when_it_is_on(monkeypatch):
    engine = Engine(monkeypatch)
    monkeypatch.delenv("GDN_VLLM", raising=False)
    plugin.register()
    assert not plugin.is_enabled()
    monkeypatch.setenv("GDN_VLLM", "yes")
    with pytest.raises(ValueError, match="GDN_VLLM"):
        plugin.register()
    monkeypatch.setenv("GDN_VLLM", "0")
    plugin.register()
    assert not plugin.is_enabled()
    monkeypatch.setenv("GDN_VLLM", "1")
    plugin.register()
    plugin.register()
    assert plugin.is_enabled()
    engine.step([3], [])
    assert plugin.calls["fused_gdn_decode"] == 1
    second = engine.layer_class()
    assert second.forward_cpu.__func__ is engine.layer.forward_cpu.__func__


@pytest.mark.parametrize(
    ("name", "members", "error", "match"),
    [
        ("vllm", dict(__version__="0.31.2"), ImportError, r"0\.31\.2"),
        ("vllm.platforms", dict(current_platform=SimpleNamespace(
            is_cpu=lambda: False, is_cuda=lambda: False, device_name="xpu")), RuntimeError, "xpu"),
        (CORE, dict(_CPU_GDN_ATTENTION_OPS_REGISTERED=True), RuntimeError, "exists already"),
    ],
)  # fmt: skip
def test_nothing_is_changed_where_it_cannot_serve(monkeypatch, name, members, error, match):
    engine = Engine(monkeypatch)
    vars(sys.modules[name]).update(members)
    before = engine.module.register_cpu_gdn_attention_ops
    with pytest.raises(error, match=match):
        plugin.enable()
    assert not plugin.is_enabled() and engine.module.register_cpu_gdn_attention_ops is before


def test_counts_on_disk(monkeypatch, tmp_path):
    """What a worker that is ended by a signal leaves behind, and one that did nothing."""
    engine = Engine(monkeypatch)
    monkeypatch.setenv("GDN_VLLM_COUNTS", str(tmp_path / "counts"))
    plugin.enable()
    path = tmp_path / "counts" / f"{os.getpid()}.counts"
    assert set(plugin.read_counts(path.parent).values()) == {0}
    engine.step([3, 5], [(2, 9, False)])
    counts = plugin.read_counts(path.parent)
    assert {name: n for name, n in counts.items() if n} == dict(plugin.calls)
    assert counts["fused_gdn_decode tokens"] == 2
    assert counts["chunk_gated_delta_rule tokens"] == 9
    path.with_name("1.counts").write_bytes(path.read_bytes())
    assert plugin.read_counts(path.parent) == {name: 2 * n for name, n in counts.items()}


def test_entry_point():
    """The package tells vLLM of the plugin."""
    text = (ROOT / "pyproject.toml").read_text()
    assert (
        '[project.entry-points."vllm.general_plugins"]\ngdn = "gdn.integrations.vllm:register"'
        in text
    )


def test_engine(tmp_path):
    """The short form of bench/vllm_serve.py: real servers, tokens, perplexity, counts."""
    python = os.environ.get("GDN_VLLM_PYTHON", ROOT / ".venv" / "vllm" / "bin" / "python")
    if not Path(python).exists():
        pytest.skip("vllm-cpu is not set up (make vllm)")
    run = subprocess.run(
        [str(python), ROOT / "bench" / "vllm_serve.py", "--short", "--output", tmp_path, "--port",
         "8480"],
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr[-4000:]
    lines = json.loads((tmp_path / "vllm.json").read_text())["checks"]
    assert len(lines) == 6 and all(line.startswith("ok") for line in lines)

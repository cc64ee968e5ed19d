"""The transformers drop-in: every situation gives the logits of transformers' own path.

The models are tiny, with random weights; initialised wide enough that the GDN layers matter (the
sensitivity test holds that). In float32 the two paths are compared with each other; in bfloat16
each is compared with float32, since two right implementations differ by rounding.
"""

import copy
import sys

import pytest
import torch

transformers = pytest.importorskip("transformers")
import gdn  # noqa: E402
import gdn.integrations.transformers as hook  # noqa: E402

FAMILIES = ["qwen3_5", "qwen3_next"]
F32_TOLERANCE = 2e-5  # of the largest logit
VOCABULARY = 96
pytestmark = pytest.mark.filterwarnings("ignore")


def build(family: str, seed: int = 0, **changes):
    """A random model of four layers, three of them GDN, in float32."""
    common = dict(
        vocab_size=VOCABULARY,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        linear_key_head_dim=32,
        linear_value_head_dim=48,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        initializer_range=0.15,
        pad_token_id=0,
        eos_token_id=None,
        bos_token_id=None,
    )
    common.update(changes)
    if family == "qwen3_5":
        if not hasattr(transformers, "Qwen3_5ForCausalLM"):
            pytest.skip(f"transformers {transformers.__version__} has no Qwen3.5")
        rope = {
            "rope_type": "default",
            "rope_theta": 1e4,
            "partial_rotary_factor": 0.5,
            "mrope_section": [2, 1, 1],
        }
        config = transformers.Qwen3_5TextConfig(rope_parameters=rope, **common)
        cls = transformers.Qwen3_5ForCausalLM
    else:
        # Dense layers: a router's choice may flip on a rounding difference.
        config = transformers.Qwen3NextConfig(
            num_experts=2, num_experts_per_tok=1, mlp_only_layers=[0, 1, 2, 3], **common
        )
        cls = transformers.Qwen3NextForCausalLM
    torch.manual_seed(seed)
    model = cls(config).eval()
    for layer in gdn_layers(model):  # time constants from a token to some hundreds
        with torch.no_grad():
            layer.dt_bias.uniform_(-6.0, 1.0)
            layer.A_log.uniform_(-1.0, 2.0)
    return model


def gdn_layers(model):
    return [m for m in model.modules() if hasattr(m, "A_log")]


@pytest.fixture(params=FAMILIES)
def model(request):
    return build(request.param)


@pytest.fixture(autouse=True)
def no_gradients_and_clean_state():
    hook.disable()
    with torch.no_grad():
        yield
    hook.disable()


@pytest.fixture
def calls(monkeypatch):
    """Counts the calls into libgdn by name, and keeps the last arguments."""
    seen = {}
    for name in (
        "chunk_gated_delta_rule",
        "fused_recurrent_gated_delta_rule",
        "causal_conv1d_fn",
        "causal_conv1d_update",
        "fused_gdn_gating",
        "rms_norm_gated",
    ):
        original = getattr(gdn, name)

        def counted(*args, _original=original, _name=name, **kwargs):
            seen.setdefault(_name, []).append((args, kwargs))
            return _original(*args, **kwargs)

        monkeypatch.setattr(gdn, name, counted)
    return seen


def tokens(batch, length, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, VOCABULARY, (batch, length), generator=generator)


def assert_close(found, expected):
    assert found.shape == expected.shape
    assert torch.isfinite(found).all()
    error = (found - expected).abs().max() / expected.abs().max()
    assert error <= F32_TOLERANCE, f"relative error {error:.2e}"


@pytest.mark.parametrize("length", [1, 2, 5, 64, 65, 200])
@pytest.mark.parametrize("batch", [1, 3])
def test_forward(model, calls, batch, length):
    ids = tokens(batch, length)
    expected = model(ids).logits
    assert not calls
    with hook.enabled():
        found = model(ids).logits
    assert_close(found, expected)
    assert {name: len(c) for name, c in calls.items()} == {
        "chunk_gated_delta_rule": 3,
        "causal_conv1d_fn": 3,
        "fused_gdn_gating": 3,
        "rms_norm_gated": 3,
    }
    count = sum(len(c) for c in calls.values())
    model(ids)
    assert sum(len(c) for c in calls.values()) == count, "still routed after the context"


def test_key_heads_are_shared_not_repeated(model, calls):
    with hook.enabled():
        model(tokens(1, 70))
    (q, k, v, *_), _ = calls["chunk_gated_delta_rule"][0]
    assert q.shape[2] == k.shape[2] == 2
    assert v.shape[2] == 4


def test_the_comparison_is_sensitive(model, monkeypatch):
    """One per cent of error in beta must show, or the other tests could not fail."""
    ids = tokens(1, 100)
    expected = model(ids).logits
    gating = gdn.fused_gdn_gating
    monkeypatch.setattr(
        gdn, "fused_gdn_gating", lambda *a, **k: (gating(*a, **k)[0], 1.01 * gating(*a, **k)[1])
    )
    with hook.enabled():
        found = model(ids).logits
    error = (found - expected).abs().max() / expected.abs().max()
    assert error > 10 * F32_TOLERANCE


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(model, dtype):
    """libgdn's error against float32 is no more than half again that of the torch path."""
    ids = tokens(2, 150)
    exact = model(ids).logits
    half = copy.deepcopy(model).to(dtype)
    torch_path = half(ids).logits.float()
    with hook.enabled():
        found = half(ids).logits.float()
    assert torch.isfinite(found).all()
    theirs = (torch_path - exact).norm() / exact.norm()
    ours = (found - exact).norm() / exact.norm()
    assert 0 < ours <= 1.5 * theirs, f"libgdn {ours:.2e}, torch {theirs:.2e}"


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_half_precision_decode(model, dtype):
    """The same over prefill and decode with a cache."""
    ids = tokens(2, 90)
    exact = model(ids).logits
    half = copy.deepcopy(model).to(dtype)
    pieces = [60] + [1] * 30
    torch_path = continued(half, ids, pieces).float()
    with hook.enabled():
        found = continued(half, ids, pieces).float()
    theirs = (torch_path - exact).norm() / exact.norm()
    ours = (found - exact).norm() / exact.norm()
    assert 0 < ours <= 1.5 * theirs, f"libgdn {ours:.2e}, torch {theirs:.2e}"


def continued(model, ids, pieces, **kwargs):
    """Logits of a text read in pieces through one cache."""
    logits, cache, start = [], None, 0
    for piece in pieces:
        out = model(ids[:, start : start + piece], past_key_values=cache, use_cache=True, **kwargs)
        cache, start = out.past_key_values, start + piece
        logits.append(out.logits)
    assert start == ids.shape[1]
    return torch.cat(logits, dim=1)


@pytest.mark.parametrize(
    "pieces",
    [[100], [1] * 12, [2, 1, 1, 3, 5], [64, 64, 1, 1, 70], [50, 1, 33, 1, 1, 2]],
    ids=lambda p: "-".join(map(str, p[:6])),
)
@pytest.mark.parametrize("batch", [1, 2])
def test_cache_continuation(model, calls, batch, pieces):
    """Prefill, more prefill and decode in any order equal one pass over the whole text.

    The whole pass is transformers' own: before 5.10 its continuation forgot the states.
    """
    ids = tokens(batch, sum(pieces))
    expected = model(ids).logits
    with hook.enabled():
        found = continued(model, ids, pieces)
    assert_close(found, expected)
    decodes = sum(piece == 1 for piece in pieces[1:])
    assert len(calls.get("fused_recurrent_gated_delta_rule", [])) == 3 * decodes
    assert len(calls.get("causal_conv1d_update", [])) == 3 * decodes
    assert len(calls["chunk_gated_delta_rule"]) == 3 * (len(pieces) - decodes)


def test_cache_moves_between_the_two_paths(model):
    """A cache filled by one path serves the other."""
    ids = tokens(1, 40)
    expected = model(ids).logits
    with hook.enabled():
        cache = model(ids[:, :30], use_cache=True).past_key_values
    found = [model(ids[:, 30:31], past_key_values=cache, use_cache=True).logits]
    with hook.enabled():
        for t in range(31, 40):
            found.append(model(ids[:, t : t + 1], past_key_values=cache, use_cache=True).logits)
    assert_close(torch.cat(found, dim=1), expected[:, 30:])


@pytest.mark.parametrize("batch", [1, 3])
def test_generate(model, calls, batch):
    ids = tokens(batch, 37)
    expected = model.generate(ids, max_new_tokens=16, do_sample=False)
    with hook.enabled():
        found = model.generate(ids, max_new_tokens=16, do_sample=False)
    assert torch.equal(found, expected)
    assert len(calls["fused_recurrent_gated_delta_rule"]) == 3 * 15


def test_beam_search_reorders_the_states(model):
    ids = tokens(2, 20)
    expected = model.generate(ids, max_new_tokens=12, num_beams=3, do_sample=False)
    with hook.enabled():
        found = model.generate(ids, max_new_tokens=12, num_beams=3, do_sample=False)
    assert torch.equal(found, expected)


def left_padded():
    ids = tokens(3, 80)
    mask = torch.ones_like(ids)
    mask[1, :13] = 0
    mask[2, :77] = 0
    return ids * mask, mask


def test_left_padding(model):
    ids, mask = left_padded()
    expected = model(ids, attention_mask=mask).logits
    with hook.enabled():
        found = model(ids, attention_mask=mask).logits
    real = mask.bool()
    assert_close(found[real], expected[real])


def test_left_padding_generate_equals_each_alone(model):
    ids, mask = left_padded()
    with hook.enabled():
        found = model.generate(ids, attention_mask=mask, max_new_tokens=10, do_sample=False)
    for row in range(3):
        alone = ids[row : row + 1, mask[row].bool()]
        expected = model.generate(alone, max_new_tokens=10, do_sample=False)
        assert torch.equal(found[row, 80:], expected[0, alone.shape[1] :])


LENGTHS = [1, 17, 64, 3, 70]


def separate(model, ids, lengths):
    """Logits of each sequence read by itself."""
    return torch.cat([model(part).logits for part in ids.split(lengths, dim=1)], dim=1)


def restarting(lengths):
    return torch.cat([torch.arange(n) for n in lengths])[None]


def test_packed_by_position_ids(model, calls):
    ids = tokens(1, sum(LENGTHS))
    expected = separate(model, ids, LENGTHS)
    with hook.enabled():
        found = model(ids, position_ids=restarting(LENGTHS), use_cache=False).logits
    assert_close(found, expected)
    _, kwargs = calls["chunk_gated_delta_rule"][0]
    assert kwargs["cu_seqlens"].tolist() == [0, 1, 18, 82, 85, 155]


def test_packed_rows_by_position_ids(model):
    """Two rows, each packed in its own way."""
    first, second = [30, 40, 10], [5, 75]
    ids = tokens(2, 80)
    expected = torch.cat([separate(model, ids[:1], first), separate(model, ids[1:], second)])
    positions = torch.cat([restarting(first), restarting(second)])
    with hook.enabled():
        found = model(ids, position_ids=positions, use_cache=False).logits
    assert_close(found, expected)


@pytest.mark.parametrize("index_type", [torch.int32, torch.int64])
@pytest.mark.parametrize("given", ["cu_seq_lens_q", "seq_idx", "both"])
def test_packed_by_arguments(model, given, index_type):
    """The attention layer needs the position ids; the GDN layers take what is given."""
    ids = tokens(1, sum(LENGTHS))
    expected = separate(model, ids, LENGTHS)
    bounds = torch.tensor([0, 1, 18, 82, 85, 155], dtype=index_type)
    index = torch.repeat_interleave(torch.arange(5), torch.tensor(LENGTHS))[None].to(index_type)
    extra = {}
    if given != "seq_idx":
        extra.update(cu_seq_lens_q=bounds, cu_seq_lens_k=bounds, max_length_q=70, max_length_k=70)
    if given != "cu_seq_lens_q":
        extra["seq_idx"] = index
    with hook.enabled():
        found = model(ids, position_ids=restarting(LENGTHS), use_cache=False, **extra).logits
    assert_close(found, expected)


def test_position_ids_with_a_mask_are_not_packing(model):
    """As in transformers' attention layers: a mask says what belongs together."""
    ids = tokens(1, 40)
    positions = restarting([20, 20])
    mask = torch.ones_like(ids)
    expected = model(ids, position_ids=positions, attention_mask=mask, use_cache=False).logits
    with hook.enabled():
        found = model(ids, position_ids=positions, attention_mask=mask, use_cache=False).logits
    assert_close(found, expected)


def test_packed_with_a_cache_is_refused(model):
    ids = tokens(1, 40)
    with hook.enabled(), pytest.raises(ValueError, match=r"past_key_values.*use_cache=False"):
        model(ids, cu_seq_lens_q=torch.tensor([0, 10, 40], dtype=torch.int32), use_cache=True)


def test_inconsistent_packing_is_refused(model):
    ids = tokens(1, 40)
    index = torch.cat([torch.zeros(20), torch.ones(20)])[None].int()
    bounds = torch.tensor([0, 10, 40], dtype=torch.int32)
    with hook.enabled():
        with pytest.raises(ValueError, match="name different sequences"):
            model(ids, cu_seq_lens_q=bounds, seq_idx=index, use_cache=False)
        with pytest.raises(ValueError, match="batch 1"):
            model(tokens(2, 40), cu_seq_lens_q=bounds, use_cache=False)
        with pytest.raises(ValueError, match="seq_idx"):
            model(ids, seq_idx=index[:, :7], use_cache=False)
        with pytest.raises(ValueError, match="cu_seqlens"):
            model(ids, cu_seq_lens_q=torch.tensor([0, 10, 39]), use_cache=False)


def test_layer_refuses_what_it_does_not_know(model):
    layer = gdn_layers(model)[0]
    x = torch.randn(1, 5, 48)
    with hook.enabled():
        layer(x, use_cache=True, output_attentions=False)
        layer(x, other=None)
        with pytest.raises(TypeError, match="other"):
            layer(x, other=1)


def test_layer_takes_positional_arguments(model):
    layer = gdn_layers(model)[0]
    x = torch.randn(2, 9, 48)
    expected = layer(x, None)
    with hook.enabled():
        assert_close(layer(x, None), expected)


def test_other_activation_is_refused():
    model = build("qwen3_5", hidden_act="gelu")
    with hook.enabled(), pytest.raises(NotImplementedError, match="silu"):
        model(tokens(1, 5))


def test_gradients_are_refused(model):
    with torch.enable_grad(), hook.enabled(), pytest.raises(RuntimeError, match="no backward"):
        model(tokens(1, 5))
    with torch.enable_grad(), hook.enabled():
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        model(tokens(1, 5))


def test_a_replaced_layer_is_no_silent_fallback(model):
    layer = gdn_layers(model)[1]
    layer.forward = layer.forward  # bound to the original: what an early hook does
    with hook.enabled(), pytest.raises(RuntimeError, match="2 of 3 GDN layers"):
        model(tokens(1, 5))


def test_enable_and_disable_nest():
    family = transformers.models.qwen3_next.modeling_qwen3_next
    original = family.Qwen3NextGatedDeltaNet.forward
    hook.enable()
    hook.enable()
    assert hook.is_enabled()
    assert family.Qwen3NextGatedDeltaNet.forward is not original
    with hook.enabled():
        pass
    assert hook.is_enabled(), "the context leaves an earlier enable() alone"
    hook.disable()
    assert family.Qwen3NextGatedDeltaNet.forward is original
    hook.disable()
    with pytest.raises(KeyError), hook.enabled():
        raise KeyError
    assert not hook.is_enabled()


@pytest.mark.parametrize("version", ["4.56.2", "5.1.0", "5.24.0", "6.0.0.dev0"])
def test_unsupported_version_is_named(monkeypatch, version):
    monkeypatch.setattr(sys.modules["transformers"], "__version__", version)
    with pytest.raises(ImportError, match=version.replace(".", r"\.")):
        hook.enable()
    assert not hook.is_enabled()


def test_float32_weights_under_autocast(model):
    """Projections in bfloat16, the small parameters in float32."""
    ids = tokens(1, 70)
    exact = model(ids).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        theirs = model(ids).logits.float()
        with hook.enabled():
            ours = model(ids).logits.float()
    assert (ours - exact).norm() <= 1.5 * (theirs - exact).norm()


def test_batches_of_one_thread_each(model):
    """Packing belongs to one forward pass: two at once do not see each other's."""
    import concurrent.futures

    ids = tokens(1, 60)
    with hook.enabled():
        whole = model(ids, use_cache=False).logits
        packed = model(ids, position_ids=restarting([20, 40]), use_cache=False).logits

        def run(i):
            positions = restarting([20, 40]) if i % 2 else None
            with torch.no_grad():
                return model(ids, position_ids=positions, use_cache=False).logits

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for i, found in enumerate(pool.map(run, range(16))):
                assert_close(found, packed if i % 2 else whole)

"""Packed sequences: each as if read by itself."""

import pytest
import torch
from support import DEVICE, ON_GPU
from tiny_models import assert_close, tokens

import gdn.integrations.transformers as hook

LENGTHS = [1, 17, 64, 3, 70]


def separate(model, ids, lengths):
    """Logits of each sequence read by itself."""
    return torch.cat([model(part).logits for part in ids.split(lengths, dim=1)], dim=1)


def restarting(lengths):
    return torch.cat([torch.arange(n, device=DEVICE) for n in lengths])[None]


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
        for name in ("cu_seq_lens_q", "seq_idx"):
            given = {"cu_seq_lens_q": bounds, "seq_idx": index}[name]
            for wrong, found in ((given.float(), "torch.float32"), (given.tolist(), "list")):
                with pytest.raises(TypeError, match=rf"{name}: {found} found, a tensor of int32"):
                    model(ids, use_cache=False, **{name: wrong})
        if not ON_GPU:  # where cu_seqlens is not read on the host
            with pytest.raises(ValueError, match="cu_seqlens"):
                model(ids, cu_seq_lens_q=torch.tensor([0, 10, 39]), use_cache=False)


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

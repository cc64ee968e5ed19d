"""A hooked model that torch traces: one graph, whatever the hook decides on the way."""

import inspect

import pytest
import torch
import transformers
from support import ON_GPU
from tiny_models import assert_close, gdn_layers, tokens
from transformers import DynamicCache

import gdn.integrations.transformers as hook

pytestmark = pytest.mark.skipif(
    tuple(map(int, transformers.__version__.split(".")[:2])) < (5, 5),
    reason="before 5.5 transformers' own text model is not one graph",
)

OPS = {"causal_conv1d_fwd", "chunk_gated_delta_rule", "fused_gdn_gating", "rms_norm_gated"}


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Recorder:
    """A backend that keeps the names of gdn's ops in each graph and runs it as it is."""

    def __init__(self):
        self.graphs = []

    def __call__(self, graph, inputs):
        targets = [str(node.target) for node in graph.graph.nodes]
        self.graphs.append([t.split(".")[1] for t in targets if t.startswith("gdn.")])
        return graph.forward


def restarted(batch, length, at):
    """Position ids that start again."""
    positions = torch.arange(length).repeat(batch, 1)
    positions[:, at:] -= at
    return positions


def test_one_graph(model):
    """No graph break (fullgraph), also under a default device; all GDN layers in the one graph."""
    ids, recorder = tokens(2, 70), Recorder()
    expected = model(ids, use_cache=False).logits
    with hook.enabled(), torch.device(ids.device):
        compiled = torch.compile(model, fullgraph=True, backend=recorder)
        assert_close(compiled(ids, use_cache=False).logits, expected)
    (ops,) = recorder.graphs
    assert {name: ops.count(name) for name in set(ops)} == dict.fromkeys(OPS, 3)


@pytest.mark.parametrize("by", ["position_ids", "seq_idx", "cu_seq_lens_q"])
def test_packed_sequences(model, by):
    """Found without looking at what tensors hold: the logits of the eager hook."""
    batch = 1 if by == "cu_seq_lens_q" else 2
    ids, positions = tokens(batch, 70), restarted(batch, 70, 33)
    packing = {"position_ids": positions}
    if by == "seq_idx":
        packing["seq_idx"] = (torch.arange(70) >= 33).int().repeat(batch, 1)
    elif by == "cu_seq_lens_q":
        packing["cu_seq_lens_q"] = torch.tensor([0, 33, 70])
    with hook.enabled():
        expected = model(ids, use_cache=False, **packing).logits
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        found = compiled(ids, use_cache=False, **packing).logits
        assert_close(found, expected)
        # The same graph serves sequences that are not packed at all.
        plain = {**packing, "position_ids": torch.arange(70).repeat(batch, 1)}
        if by == "position_ids":
            expected = model(ids, use_cache=False).logits
            assert_close(compiled(ids, use_cache=False, **plain).logits, expected)


def test_cache(model):
    """Prefill and decode through a cache: what the eager hook makes of it."""
    name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    ids = tokens(2, 43)
    with hook.enabled():
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        caches = [{name: DynamicCache(config=model.config), "use_cache": True} for _ in range(2)]
        for begin, end in ((0, 40), (40, 41), (41, 42), (42, 43)):
            found = compiled(ids[:, begin:end], **caches[0]).logits
            assert_close(found, model(ids[:, begin:end], **caches[1]).logits)


@pytest.mark.skipif(ON_GPU, reason="the code generator of the CPU")
def test_inductor(model):
    """torch's default backend."""
    ids = tokens(1, 70)
    expected = model(ids, use_cache=False).logits
    with hook.enabled():
        found = torch.compile(model, fullgraph=True)(ids, use_cache=False).logits
    assert_close(found, expected)


def test_export(model):
    """The exported program runs on libgdn without the hook."""
    ids = tokens(2, 70)
    expected = model(ids, use_cache=False).logits
    with hook.enabled():
        program = torch.export.export(model, (ids,), {"use_cache": False})
    ops = {
        str(node.target).split(".")[1] for node in program.graph.nodes if "gdn." in str(node.target)
    }
    assert ops == OPS
    assert_close(program.module()(ids, use_cache=False).logits, expected)


def test_traced_passes_are_counted(model):
    layer = gdn_layers(model)[1]
    layer.forward = layer.forward
    with hook.enabled(), pytest.raises(RuntimeError, match="2 of 3 GDN layers"):
        torch.compile(model, backend="eager")(tokens(1, 5), use_cache=False)


def test_two_names_of_the_sequences_cannot_be_compared(model):
    packing = dict(cu_seq_lens_q=torch.tensor([0, 5]), seq_idx=torch.zeros(1, 5, dtype=torch.int))
    with hook.enabled(), pytest.raises(ValueError, match="cu_seq_lens_q"):
        torch.compile(model, backend="eager")(tokens(1, 5), use_cache=False, **packing)

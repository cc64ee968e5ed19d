"""When vLLM runs on a GPU, the plugin puts libgdn's functions in the place of vLLM's."""

import ast
import importlib
import inspect
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest
from vllm_sources import sources

import gdn
import gdn.integrations._vllm_cuda as ours
import gdn.integrations._vllm_cuda_switch as switch
import gdn.integrations.vllm as plugin

QWEN = "vllm.model_executor.layers.mamba.gdn.qwen_gdn_linear_attn"
OLMO = "vllm.model_executor.layers.mamba.gdn.olmo_gdn_linear_attn"
OPS = "vllm._custom_ops"


def stand_in(function):
    """A function with the same arguments that does nothing of libgdn's."""

    def theirs(*args, **kwargs):
        return "vllm"

    theirs.__signature__ = inspect.signature(function)
    return theirs


def functions(name):
    """What a module of vLLM has: functions with the arguments that libgdn's have."""
    found = {}
    for path in switch.TARGETS[name]:
        if path == "ChunkGatedDeltaRule.forward":

            class CustomOp:
                def forward(self, *args, **kwargs):
                    return self._forward_method(*args, **kwargs)

            class ChunkGatedDeltaRule(CustomOp):
                forward_native = stand_in(ours.chunk_forward)

                def __init__(self):
                    self._forward_method = self.forward_native

            found["ChunkGatedDeltaRule"] = ChunkGatedDeltaRule
        else:
            found[path] = stand_in(getattr(ours, path))
    return found


class Platform(SimpleNamespace):
    """A GPU, unless told otherwise."""

    def __init__(self, cpu=False, cuda=True):
        super().__init__(is_cpu=lambda: cpu, is_cuda=lambda: cuda, device_name="NVIDIA H200")


@pytest.fixture
def vllm(monkeypatch):
    """Makes stand-ins of vLLM's modules, by name."""

    def make(*names, **members):
        for name in names:
            parts = name.split(".")
            for i in range(1, len(parts) + 1):
                path = ".".join(parts[:i])
                if path not in made:
                    module = ModuleType(path)
                    module.__spec__ = ModuleSpec(path, None, is_package=True)
                    module.__path__ = []
                    monkeypatch.setitem(sys.modules, path, module)
                    made.add(path)
            vars(sys.modules[name]).update(members or functions(name))
        return sys.modules[names[-1]]

    made = set()
    make("vllm", __version__="0.32.0")
    make("vllm.platforms", current_platform=Platform())
    for name, value in dict(_on=False, _original=None, _prepared=False, _file=None).items():
        monkeypatch.setattr(plugin, name, value)
    info = gdn.info()
    with_cuda = {**info, "backends": [*info["backends"], {"name": "cuda", "isas": []}]}
    monkeypatch.setattr(gdn, "info", lambda: with_cuda)
    plugin.calls.clear()
    yield make
    if plugin.is_enabled():
        plugin.disable()
    plugin.calls.clear()


def test_functions_are_replaced_and_put_back(vllm):
    qwen, olmo, ops = vllm(QWEN), vllm(OLMO), vllm(OPS)
    before = {module: dict(vars(module)) for module in (qwen, olmo, ops)}
    made_before = qwen.ChunkGatedDeltaRule()
    plugin.enable()
    plugin.enable()
    assert plugin.is_enabled()
    for module in (qwen, olmo, ops):
        for path in switch.TARGETS[module.__name__]:
            if "." not in path:
                assert getattr(module, path) is getattr(ours, path)
    assert qwen.ChunkGatedDeltaRule.forward is ours.chunk_forward
    with pytest.raises(TypeError, match="output_final_state"):  # libgdn's, which looks at it
        made_before.forward(*["no tensor"] * 7)
    plugin.disable()
    plugin.disable()
    assert not plugin.is_enabled()
    for module, members in before.items():
        for name in members:
            assert getattr(module, name) is members[name]
    assert made_before.forward("anything") == "vllm"
    assert "forward" not in vars(qwen.ChunkGatedDeltaRule)


def test_modules_that_are_imported_later(vllm, tmp_path, monkeypatch):
    """Nothing is imported before its time."""
    vllm(OLMO)
    package = sys.modules[QWEN.rpartition(".")[0]]
    package.__path__ = [str(tmp_path)]
    source = "\n".join(
        f"def {path}{inspect.signature(getattr(ours, path))}:\n    return 'vllm'"
        for path in switch.TARGETS[QWEN]
        if "." not in path
    )
    source += (
        "\nclass ChunkGatedDeltaRule:\n"
        f"    def forward_native{inspect.signature(ours.chunk_forward)}:\n        return 'vllm'\n"
    )
    (tmp_path / "qwen_gdn_linear_attn.py").write_text(
        "from __future__ import annotations\n" + source.replace("'", '"')
    )
    importlib.invalidate_caches()
    plugin.enable()
    assert QWEN not in sys.modules
    qwen = importlib.import_module(QWEN)
    monkeypatch.setitem(sys.modules, QWEN, qwen)
    assert qwen.causal_conv1d_fn is ours.causal_conv1d_fn
    assert qwen.ChunkGatedDeltaRule.forward is ours.chunk_forward
    plugin.disable()
    assert qwen.causal_conv1d_fn(*[None] * 5) == "vllm"


def test_other_arguments_are_refused(vllm):
    """A release whose function has one argument more: nothing is replaced."""
    qwen, olmo = vllm(QWEN), vllm(OLMO)
    before = {module: dict(vars(module)) for module in (qwen, olmo)}

    def causal_conv1d_update(x, conv_state, weight, bias=None, beyond=None):
        return "vllm"

    olmo.causal_conv1d_update = causal_conv1d_update
    with pytest.raises(RuntimeError, match=r"olmo_gdn_linear_attn\.causal_conv1d_update.*beyond"):
        plugin.enable()
    assert not plugin.is_enabled()
    assert all(getattr(qwen, n) is m for n, m in before[qwen].items())
    assert not any(isinstance(finder, switch._Watch) for finder in sys.meta_path)


@pytest.mark.parametrize(
    ("platform", "cuda_built", "match"),
    [(Platform(cuda=False), True, "NVIDIA H200"), (Platform(), False, "CUDA backend")],
    ids=["another device", "no CUDA backend"],
)
def test_where_it_cannot_serve(vllm, monkeypatch, platform, cuda_built, match):
    qwen = vllm(QWEN)
    before = dict(vars(qwen))
    vllm("vllm.platforms", current_platform=platform)
    if not cuda_built:
        monkeypatch.setattr(gdn, "info", lambda: {"backends": [{"name": "cpu"}]})
    with pytest.raises(RuntimeError, match=match):
        plugin.enable()
    assert not plugin.is_enabled() and all(getattr(qwen, n) is m for n, m in before.items())


def defined(tree, path):
    """The arguments of a function of a module, or of a method of one of its classes."""
    found = tree
    for name in path.split("."):
        found = next(
            node
            for node in found.body
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name
        )
    assert not found.args.kwonlyargs
    return [argument.arg for argument in (*found.args.posonlyargs, *found.args.args)]


def test_arguments_are_vllms():
    """Against vLLM's own sources, which its CPU package has too."""
    folder = sources()
    if folder is None:
        pytest.skip("no sources of vLLM: make vllm, or VLLM_PATH, a folder that has vllm/")
    layers = "model_executor/layers/mamba"
    operations = "third_party/flash_linear_attention/ops"
    where = {
        "causal_conv1d_fn": f"{layers}/ops/causal_conv1d.py",
        "causal_conv1d_update": f"{layers}/ops/causal_conv1d.py",
        "chunk_gated_delta_rule": f"{operations}/chunk.py",
        "fused_recurrent_gated_delta_rule": f"{operations}/fused_recurrent.py",
        "fused_recurrent_gated_delta_rule_packed_decode": f"{operations}/fused_recurrent.py",
        "fused_sigmoid_gating_delta_rule_update": f"{operations}/fused_sigmoid_gating.py",
        "fused_gdn_decode_post_conv_mtp": "_custom_ops.py",
    }
    for path in {path for paths in switch.TARGETS.values() for path in paths}:
        file = where.get(path, f"{layers}/gdn/qwen_gdn_linear_attn.py")
        method = path == "ChunkGatedDeltaRule.forward"
        function = ours.chunk_forward if method else getattr(ours, path)
        theirs = defined(
            ast.parse((folder / file).read_text()),
            "ChunkGatedDeltaRule.forward_native" if method else path,
        )
        assert [*inspect.signature(function).parameters] == theirs, path


def test_counts_on_disk(vllm, monkeypatch, tmp_path):
    vllm(QWEN)
    monkeypatch.setenv("GDN_VLLM_COUNTS", str(tmp_path))
    plugin.enable()
    assert set(plugin.read_counts(tmp_path).values()) == {0}
    operations = (
        "causal_conv1d_fwd", "causal_conv1d_update", "chunk_gated_delta_rule",
        "fused_recurrent_gated_delta_rule", "rms_norm_gated",
    )  # fmt: skip
    for n, operation in enumerate(operations):
        plugin.count(operation, 70)
        plugin.count(operation, n)
    counts = plugin.read_counts(tmp_path)
    for n, operation in enumerate(operations):
        assert counts[operation] == 2 and counts[f"{operation} tokens"] == 70 + n

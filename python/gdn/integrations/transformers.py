"""Runs the GDN layers of Qwen3.5 and Qwen3-Next in Hugging Face transformers on libgdn.

    import gdn.integrations.transformers as g
    g.enable()            # from here on, every such model in this process
    ...
    g.disable()           # transformers' own code again

    with g.enabled():     # or for a while
        ...

docs/integrations.md says what is hooked, for which versions, and what is refused.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import threading

from ._switch import check_version, switched_on
from ._transformers_layer import gated_delta_net_forward
from ._transformers_packing import from_arguments, from_position_ids
from ._transformers_pass import ForwardPass, run

__all__ = ["SUPPORTED", "disable", "enable", "enabled", "is_enabled"]

SUPPORTED = (((4, 57), (4, 57)), ((5, 2), (5, 24)))
"""Ranges of transformers releases (major, minor), both ends included, that the tests cover."""

# module of transformers.models: (GDN layer, text model)
_FAMILIES = {
    "qwen3_next": ("Qwen3NextGatedDeltaNet", "Qwen3NextModel"),
    "qwen3_5": ("Qwen3_5GatedDeltaNet", "Qwen3_5TextModel"),
    "qwen3_5_moe": ("Qwen3_5MoeGatedDeltaNet", "Qwen3_5MoeTextModel"),
}

_lock = threading.Lock()
_originals: list[tuple[type, object]] = []


def enable() -> None:
    """Routes the GDN layers of all Qwen3.5 and Qwen3-Next models in this process through libgdn.

    Existing and future models alike. Calling it again changes nothing.

    Raises:
        ImportError: transformers is missing, or its version is not in SUPPORTED.
    """
    with _lock:
        if _originals:
            return
        check_version("transformers", "transformers", *SUPPORTED)
        for layer_class, model_class in _classes():
            _replace(layer_class, _layer_forward(layer_class.forward))
            _replace(model_class, _model_forward(model_class.forward))


def disable() -> None:
    """Gives transformers its own code back. Calling it again changes nothing."""
    with _lock:
        while _originals:
            owner, original = _originals.pop()
            owner.forward = original


def is_enabled() -> bool:
    """Whether GDN layers run on libgdn now."""
    return bool(_originals)


def enabled():
    """A context in which GDN layers run on libgdn; leaves things as it found them."""
    return switched_on(enable, disable, is_enabled)


def _classes() -> list[tuple[type, type]]:
    """(GDN layer class, text model class) of each family that this transformers has."""
    found = []
    for family, names in _FAMILIES.items():
        path = f"transformers.models.{family}"
        if importlib.util.find_spec(path) is not None:
            module = importlib.import_module(f"{path}.modeling_{family}")
            found.append(tuple(getattr(module, name) for name in names))
    return found


def _replace(owner: type, forward) -> None:
    _originals.append((owner, owner.forward))
    owner.forward = forward


def _layer_forward(original):
    """libgdn's forward under the parameter order of the original, which differs by version."""
    names = list(inspect.signature(original).parameters)[1:]
    if "hidden_states" not in names:  # a decorator of some releases hides the signature
        names = ["hidden_states", "cache_params", "attention_mask"]

    @functools.wraps(original)
    def forward(self, *args, **kwargs):
        kwargs.update(zip(names, args, strict=False))
        if "cache" in kwargs:  # its name from 5.24 on
            kwargs["cache_params"] = kwargs.pop("cache")
        return gated_delta_net_forward(self, **kwargs)

    return forward


def _model_forward(original):
    """The text model's forward, with packed sequences found and the GDN layers counted."""
    parameters = inspect.signature(original).parameters.values()
    names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD][1:]

    @functools.wraps(original)
    def forward(self, *args, **kwargs):
        given = dict(zip(names, args, strict=False))
        given.update(kwargs)
        this_pass = ForwardPass(cu_seqlens=_packing(self, given))
        output = run(this_pass, original, self, *args, **kwargs)
        expected = sum(hasattr(layer, "linear_attn") for layer in self.layers)
        if this_pass.calls != expected:
            raise RuntimeError(
                f"libgdn computed {this_pass.calls} of {expected} GDN layers: the forward of the "
                "others was replaced on the module itself (an accelerate hook set before enable(), "
                "or a kernel from the hub); call enable() before the model is loaded"
            )
        return output

    return forward


def _packing(model, given: dict):
    """cu_seqlens of a pass, or None: from explicit arguments, else from position ids that start
    again. The latter by transformers' own rule, only without a mask and without a cache (its
    attention layers separate the sequences in that case alone)."""
    tokens = given.get("input_ids")
    if tokens is None:
        tokens = given.get("inputs_embeds")
    if tokens is None:
        return None  # the original raises
    batch, length = tokens.shape[:2]
    packed = from_arguments(given.get("cu_seq_lens_q"), given.get("seq_idx"), batch, length)
    if packed is not None:
        return packed
    use_cache = given.get("use_cache")
    if use_cache is None:
        use_cache = getattr(model.config, "use_cache", False)
    masked = given.get("attention_mask") is not None
    # Named cache from 5.24 on, where the older name still comes through as another keyword.
    cached = any(given.get(name) is not None for name in ("past_key_values", "cache"))
    if masked or use_cache or cached:
        return None
    return from_position_ids(given.get("position_ids"), batch)

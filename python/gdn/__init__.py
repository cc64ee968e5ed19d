"""Gated DeltaNet kernels for torch tensors and NumPy arrays.

The operations take torch tensors or NumPy arrays (never a mixture) and return the same kind. torch
is optional: without it everything works on NumPy arrays. With it, every operation is also a custom
op of the namespace ``torch.ops.gdn``, so that ``torch.compile`` can trace calls.

Names, shapes and options follow the gated delta rule functions of flash-linear-attention; what is
more than there comes as keyword arguments.
"""

from gdn import stages
from gdn._delta_rule import chunk_gated_delta_rule, fused_recurrent_gated_delta_rule
from gdn._layer import (
    causal_conv1d_fn,
    causal_conv1d_fwd,
    causal_conv1d_update,
    fused_gdn_gating,
    l2norm,
    rms_norm_gated,
)
from gdn._settings import (
    get_include,
    get_library_dir,
    get_num_threads,
    info,
    set_num_threads,
    use,
)
from gdn._settings import version as __version__

__all__ = [
    "__version__",
    "causal_conv1d_fn",
    "causal_conv1d_fwd",
    "causal_conv1d_update",
    "chunk_gated_delta_rule",
    "fused_gdn_gating",
    "fused_recurrent_gated_delta_rule",
    "get_include",
    "get_library_dir",
    "get_num_threads",
    "info",
    "l2norm",
    "rms_norm_gated",
    "set_num_threads",
    "stages",
    "use",
]

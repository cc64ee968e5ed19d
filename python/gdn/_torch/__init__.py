"""torch custom ops (namespace gdn) with fake kernels, and functions that call them.

The functions here have the signatures of the extension module ``_C`` and go through torch's
dispatcher, so that torch.compile and its kind see one op. Ops whose name ends in an underscore
update a state pool or a convolution state in place and say so in their schema; the others are
functional. Absent results of ops are empty tensors, since a schema has no optional results.
"""

from gdn._torch.delta_rule import chunk_gated_delta_rule, fused_recurrent_gated_delta_rule
from gdn._torch.layer import (
    causal_conv1d_fwd,
    causal_conv1d_update,
    fused_gdn_gating,
    l2norm,
    rms_norm_gated,
)
from gdn._torch.stages import (
    chunk_fwd_h,
    chunk_fwd_o,
    chunk_local_cumsum,
    chunk_scaled_dot_kkt,
    recompute_w_u,
    solve_tril,
)

__all__ = [
    "causal_conv1d_fwd",
    "causal_conv1d_update",
    "chunk_fwd_h",
    "chunk_fwd_o",
    "chunk_gated_delta_rule",
    "chunk_local_cumsum",
    "chunk_scaled_dot_kkt",
    "fused_gdn_gating",
    "fused_recurrent_gated_delta_rule",
    "l2norm",
    "recompute_w_u",
    "rms_norm_gated",
    "solve_tril",
]

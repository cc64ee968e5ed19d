"""Bindings of the C library: arguments by position, flags and enums as integers of gdn.h.

None stands for what is absent. The public functions of the package say what the arguments mean.
"""

from typing import Any

MAX_THREADS: int

def version() -> str: ...
def describe() -> dict[str, Any]: ...
def max_threads() -> int: ...
def set_process_threads(n: int, /) -> None: ...
def get_settings() -> tuple[str, str, int, bool]: ...
def set_settings(backend: str, isa: str, threads: int, no_split: bool, /) -> None: ...
def chunk_gated_delta_rule(
    q: Any,
    k: Any,
    v: Any,
    g: Any,
    beta: Any,
    A_log: Any,
    dt_bias: Any,
    cu_seqlens: Any,
    initial_state: Any,
    state_indices: Any,
    out: Any,
    flags: int,
    head_map: int,
    scale: float | None,
    output_final_state: bool,
    in_place: bool,
    chunk_size: int,
    checkpoint_every: int,
    /,
) -> tuple[Any, Any, Any]: ...
def fused_recurrent_gated_delta_rule(
    q: Any,
    k: Any,
    v: Any,
    g: Any,
    beta: Any,
    A_log: Any,
    dt_bias: Any,
    cu_seqlens: Any,
    initial_state: Any,
    state_indices: Any,
    out: Any,
    flags: int,
    head_map: int,
    scale: float | None,
    output_final_state: bool,
    in_place: bool,
    num_accepted_tokens: Any,
    /,
) -> tuple[Any, Any]: ...

# The public functions' arguments in their order; None where an option is not plainly True, False or
# absent, or where torch traces the call: then the package's Python code takes it.
def try_chunk_gated_delta_rule(*args: Any) -> tuple[Any, Any] | None: ...
def try_fused_recurrent_gated_delta_rule(*args: Any) -> tuple[Any, Any] | None: ...
def chunk_local_cumsum(g: Any, cu_seqlens: Any, out: Any, chunk_size: int, /) -> Any: ...
def chunk_scaled_dot_kkt(
    k: Any,
    beta: Any,
    g_cumsum: Any,
    cu_seqlens: Any,
    out: Any,
    chunk_size: int,
    head_map: int,
    /,
) -> Any: ...
def solve_tril(A: Any, cu_seqlens: Any, out: Any, chunk_size: int, output_dtype: str, /) -> Any: ...
def recompute_w_u(
    k: Any,
    v: Any,
    beta: Any,
    T: Any,
    g_cumsum: Any,
    cu_seqlens: Any,
    chunk_size: int,
    head_map: int,
    /,
) -> tuple[Any, Any]: ...
def chunk_fwd_h(
    k: Any,
    w: Any,
    u: Any,
    g_cumsum: Any,
    initial_state: Any,
    cu_seqlens: Any,
    output_final_state: bool,
    chunk_size: int,
    flags: int,
    head_map: int,
    h_dtype: str,
    /,
) -> tuple[Any, Any, Any]: ...
def chunk_fwd_o(
    q: Any,
    k: Any,
    v_new: Any,
    h: Any,
    g_cumsum: Any,
    cu_seqlens: Any,
    out: Any,
    scale: float | None,
    chunk_size: int,
    flags: int,
    head_map: int,
    /,
) -> Any: ...
def causal_conv1d_fwd(
    x: Any,
    weight: Any,
    bias: Any,
    conv_state: Any,
    state_indices: Any,
    has_initial_state: Any,
    cu_seqlens: Any,
    out: Any,
    flags: int,
    /,
) -> Any: ...
def causal_conv1d_update(
    x: Any,
    conv_state: Any,
    weight: Any,
    bias: Any,
    state_indices: Any,
    num_accepted_tokens: Any,
    out: Any,
    flags: int,
    /,
) -> Any: ...
def fused_gdn_gating(
    A_log: Any, a: Any, b: Any, dt_bias: Any, flags: int, beta_dtype: str | None, /
) -> tuple[Any, Any]: ...
def l2norm(x: Any, eps: float, out: Any, /) -> Any: ...
def rms_norm_gated(x: Any, weight: Any, z: Any, eps: float, out: Any, /) -> Any: ...

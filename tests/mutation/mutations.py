"""Seeded bugs, each with the test that must catch it.

A bug replaces one text, which occurs once in its file; run.py refuses a text that it does not find,
so that a bug that no longer applies is noticed and rewritten.
"""

import dataclasses

KERNELS = "src/cpu/kernels/"
TILES = "src/cpu/tiles/"
REFERENCE = "src/reference/"


@dataclasses.dataclass(frozen=True)
class Mutation:
    """One bug: `old` becomes `new` in `file`, and `test` (program, GoogleTest filter) must fail."""

    name: str
    file: str
    old: str
    new: str
    test: tuple


def _chunk(cases):
    return ("chunk_test", ":".join(f"small.{case}/*" for case in cases.split()))


def _recurrent(cases):
    return ("recurrent_test", ":".join(f"*.{case}/*" for case in cases.split()))


def _decay(tests):
    return ("decay_test", ":".join(f"*DecayTest.{test}/*" for test in tests.split()))


def _activation(tests):
    return ("activation_test", ":".join(f"*ActivationTest.{test}/*" for test in tests.split()))


def _extremes(tests):
    return ("extremes_test", ":".join(f"*ExtremesTest.{test}/*" for test in tests.split()))


def _environment(tests):
    return ("abi/float_environment_test", tests)


MUTATIONS = (
    Mutation(
        "value heads of a key head in the wrong order",
        "src/core/delta_rule.h",
        "interleaved ? i * key_heads + key_head : key_head * group() + i",
        "interleaved ? key_head * group() + i : i * key_heads + key_head",
        _chunk("heads_2_6 heads_2_6_interleaved"),
    ),
    Mutation(
        "wrong head map for everybody, the reference included",
        "src/core/delta_rule.h",
        "interleaved ? value_head % key_heads : value_head / group()",
        "interleaved ? value_head / group() : value_head % key_heads",
        ("reference_test", "Reference.AgreesWithTheChunkForm"),
    ),
    Mutation(
        "missing scale",
        KERNELS + "chunk_operands.h",
        "inside ? p.scale * (p.qk_l2norm ? q_norm[i] : 1.0F) : 0.0F;",
        "inside ? (p.qk_l2norm ? p.scale * q_norm[i] : 1.0F) : 0.0F;",
        _chunk("heads_1_1 scale"),
    ),
    Mutation(
        "the state of the sequence before leaks into the next",
        KERNELS + "state_panels.h",
        "const int64_t filled = t.present() ? key_dim : 0;",
        "const int64_t filled = key_dim;",
        _chunk("no_initial_state empty_and_single_no_state"),
    ),
    Mutation(
        "the tail of a sequence reads the next one",
        KERNELS + "chunk_gated_delta_rule.cc",
        "return span.length - t < whole ? span.length - t : whole;",
        "return whole;",
        ("invariance_test", "*NeighboursHoldNan*"),
    ),
    Mutation(
        "decay off by one token",
        KERNELS + "chunk_decays.h",
        "high[i] = static_cast<float>(sum);",
        "high[i] = static_cast<float>(sum - static_cast<double>(g[i]));",
        _chunk("v_first heads_1_1"),
    ),
    Mutation(
        "missing beta",
        KERNELS + "chunk_panel.h",
        "fnma(read, r.v[m][side], beta * x)",
        "fnma(read, r.v[m][side], x)",
        _chunk("v_first heads_1_1"),
    ),
    Mutation(
        "the state does not decay over a chunk",
        KERNELS + "chunk_decays.h",
        "state_decay = e + e * low[kStep - 1];",
        "state_decay = 1.0F;",
        _chunk("v_first strong_decay"),
    ),
    Mutation(
        "a skipped sequence keeps its old output",
        KERNELS + "chunk_gated_delta_rule.cc",
        "if (slot < 0) return clear_output<E>(span);",
        "if (slot < 0) return;",
        _chunk("pool_negative"),
    ),
    Mutation(
        "checkpoints one too late",
        KERNELS + "checkpoint_walk.h",
        "if (left_ > 0) return false;",
        "if (left_ >= 0) return false;",
        _chunk("checkpoints_64 checkpoints_128_bf16"),
    ),
    Mutation(
        "wrong accepted slot, for the reference too",
        "src/core/delta_rule.h",
        "accepted <= columns ? accepted - 1 : 0;",
        "accepted <= columns ? 0 : 0;",
        _recurrent("decode_sequence"),
    ),
    Mutation(
        "verified tokens all go to the first slot",
        KERNELS + "fused_recurrent_gated_delta_rule.cc",
        "p_.token_slot(item_.sequence, t)",
        "p_.token_slot(item_.sequence, 0)",
        _recurrent("verify_slots verify_slots_accepted"),
    ),
    Mutation(
        "beta is not doubled",
        KERNELS + "gates.h",
        "p.allow_neg_eigval ? 2.0F : 1.0F",
        "1.0F",
        _chunk("gate_sigmoid_allow_neg_eigval"),
    ),
    Mutation(
        "l2norm without epsilon",
        KERNELS + "row_norm.h",
        "kL2NormEps = 1e-6F",
        "kL2NormEps = 0.0F",
        _chunk("zero_rows"),
    ),
    Mutation(
        "wrong convolution window",
        KERNELS + "conv1d.h",
        "const int64_t t = begin + i - (W - 1);",
        "const int64_t t = begin + i - (W - 2);",
        ("layer_test", "*ConvForward/*:*ConvInPieces/*"),
    ),
    Mutation(
        "rejected drafts stay in the convolution state",
        KERNELS + "causal_conv1d_update.cc",
        "append(state, kept.after, kept.before, true, x, tokens, count);",
        "append(state, kept.after, p.conv_state.shape[2], true, x, tokens, count);",
        ("layer_test", "*ConvUpdateAfterRejectedDrafts/*"),
    ),
    Mutation(
        "a packed step keeps the first token of the last one, for the reference too",
        "src/core/layer.h",
        "return {within(accepted, entries - others) + others,",
        "return {1 + others,",
        ("conv_pool_test", "*VerifyInStepsOfChangingLengths/*"),
    ),
    Mutation(
        "the null slot is a slot",
        "src/core/tensor.h",
        "|| (has_null && index == null) ?",
        "?",
        ("conv_pool_test", "*NullSlot/*"),
    ),
    Mutation(
        "a wider convolution state is rounded to the type of x",
        KERNELS + "conv1d.h",
        "f.template operator()<E, float, W>();",
        "f.template operator()<E, E, W>();",
        ("conv_pool_test", "*StatesOfAnotherType/*"),
    ),
    Mutation(
        "the last row of a block is not solved",
        KERNELS + "solve_tril.cc",
        "for (int m = n + 1; m < kTileRows; ++m) {",
        "for (int m = n + 1; m < kTileRows - 1; ++m) {",
        ("stage_test", "small.no_final_state/*:small.v_first/*"),
    ),
    Mutation(
        "h after the chunk instead of before it",
        KERNELS + "chunk_fwd_h.cc",
        "store_panel(p.h, first_chunk + t / p.chunk_size, part.head, part.column, state);\n"
        "    run_chunk<E>(p, chunk, part, state);",
        "run_chunk<E>(p, chunk, part, state);\n"
        "    store_panel(p.h, first_chunk + t / p.chunk_size, part.head, part.column, state);",
        ("stage_test", "small.v_first/*"),
    ),
    Mutation(
        "no decay inside the output's triangle",
        KERNELS + "chunk_fwd_o.cc",
        "load(products + offset + j) * exp(set1(c[i]) - load(c + j))",
        "load(products + offset + j)",
        ("stage_test", "small.v_first/*"),
    ),
    Mutation(
        "sum instead of mean of squares",
        KERNELS + "gated_row.h",
        "row_norm(x, width, width, eps)",
        "row_norm(x, width, 1, eps)",
        ("layer_test", "*RmsNormGated/*"),
    ),
    Mutation(
        "a decode step in the layouts that models have drops the newest input",
        KERNELS + "conv_step.h",
        "x[3] = load(newest + c);",
        "x[3] = zero();",
        ("fused_decode_test", "*Layouts/*"),
    ),
    Mutation(
        "a decode step's convolution keeps its old slot",
        KERNELS + "decode_channels.h",
        "push(state<S>(run), kept.after, x.data, run.count);",
        "(void)x;",
        ("fused_decode_test", "*Types/*"),
    ),
    Mutation(
        "inputs of a call are not rounded to the convolution's pool",
        KERNELS + "decode_channels.h",
        "if (!stored) continue;",
        "continue;",
        ("decode_steps_test", "*EveryAcceptedCountIsThePlainRun/*"),
    ),
    Mutation(
        "states are not rounded between tokens",
        KERNELS + "fused_recurrent_gated_delta_rule.cc",
        "if (p_.round_states) round(columns, rows);",
        "",
        ("decode_steps_test", "*TwoTokensOfOneKey/*"),
    ),
    Mutation(
        "a 16-bit pool rounds between tokens unasked",
        KERNELS + "fused_gdn_decode.cc",
        "sizeof(S) == sizeof(float) || rule_.round_states",
        "true",
        ("decode_steps_test", "*StatesAreRoundedOnlyWhereAsked/*"),
    ),
    Mutation(
        "heads past the first block of channels take its values",
        KERNELS + "fused_gdn_decode.cc",
        "if (i % together_ == 0) open_values(i);",
        "if (i == 0) open_values(i);",
        ("fused_decode_test", "*Widths/*"),
    ),
    Mutation(
        "gates of a sequence serve the next one",
        KERNELS + "fused_gdn_decode.cc",
        "if (gates_of_sequence_ != n_ || gates_of_head_ != first) {",
        "if (gates_of_head_ != first) {",
        ("fused_decode_test", "*Types/*"),
    ),
    Mutation(
        "a sequence without a convolution slot runs, for the reference too",
        "src/core/fused_gdn_decode.h",
        "return rule.initial_slot(n) < 0 || conv.slot(n) < 0;",
        "return rule.initial_slot(n) < 0;",
        ("fused_decode_test", "*SkippedSequencesTouchNothing/*"),
    ),
    Mutation(
        "silu in place of sigmoid",
        KERNELS + "gated_row.h",
        "(sigmoid_gate ? set1(1.0F) : gate)",
        "gate",
        ("fused_decode_test", "*Flags/*"),
    ),
    Mutation(
        "the reference forgets beta",
        REFERENCE + "gated_delta_rule.cc",
        "predicted[c] = token.beta * (token.v[static_cast<size_t>(c)] - predicted[c]);",
        "predicted[c] = token.v[static_cast<size_t>(c)] - predicted[c];",
        ("reference_test", "*"),
    ),
    Mutation(
        "the reference truncates to bf16",
        REFERENCE + "convert.h",
        "bits + 0x7fffU + ((bits >> 16) & 1U)",
        "bits",
        ("reference_test", "Reference.RoundsOnce"),
    ),
    Mutation(
        "log decays without a bound",
        KERNELS + "gates.h",
        "max(set1(-1e4F), load(g + i))",
        "load(g + i)",
        _decay("ToNothing"),
    ),
    Mutation(
        "the bound of log decays hides a NaN",
        KERNELS + "gates.h",
        "max(set1(-1e4F), load(g + i))",
        "max(load(g + i), set1(-1e4F))",
        _decay("OfNanIsNan"),
    ),
    Mutation(
        "each token's decay is rounded to f32",
        KERNELS + "gates.h",
        "if (!(g > -0.5F && g <= 0.0F)) return",
        "return",
        _decay("ThroughThousandsOfTokens OneByOneThroughThousandsOfTokens"),
    ),
    Mutation(
        "only the slowest decays are more than f32",
        KERNELS + "gates.h",
        "g > -0.5F",
        "g > -0.003F",
        _decay("ThroughThousandsOfTokens"),
    ),
    Mutation(
        "a chunk's summed decay is rounded to f32",
        KERNELS + "chunk_decays.h",
        "state_decay = e + e * low[kStep - 1];",
        "state_decay = e;",
        _decay("SummedOverAChunk"),
    ),
    Mutation(
        "a token's summed decay is rounded to f32",
        KERNELS + "chunk_decays.h",
        "fma(e, l, e)",
        "e",
        _decay("SummedOverAChunk"),
    ),
    Mutation(
        "a small decay is none at all",
        TILES + "tile.h",
        "exp_bounded(max(set1(-104.0F)",
        "exp_bounded(max(set1(-80.0F)",
        _decay("OfOneToken"),
    ),
    Mutation(
        "softplus is the identity too early",
        TILES + "tile.h",
        "select_gt(x, set1(20.0F), x",
        "select_gt(x, set1(8.0F), x",
        _activation("Gating GateInTheKernel"),
    ),
    Mutation(
        "a small sigmoid is bounded",
        TILES + "tile.h",
        "min(set1(88.0F), zero() - x)",
        "min(set1(20.0F), zero() - x)",
        _activation("Gating SigmoidInTheKernel SiluOfAConvolution SiluOfANorm"),
    ),
    Mutation(
        "squares of long rows overflow",
        KERNELS + "row_norm.h",
        "kOrdinaryHigh = 0x1p40F",
        "kOrdinaryHigh = 0x1p127F",
        _extremes("KeysOfAnyLength"),
    ),
    Mutation(
        "a shrunk row forgets its power of two",
        KERNELS + "row_norm.h",
        "1.0 / (s * __builtin_sqrt",
        "1.0 / (__builtin_sqrt",
        _extremes("Norms"),
    ),
    Mutation(
        "the gate multiplies infinity by zero",
        KERNELS + "gate_rate.h",
        "kOrdinaryRate = 16.0F",
        "kOrdinaryRate = 1e9F",
        _extremes("Gating"),
    ),
    Mutation(
        "decode skips the keys after the last whole band",
        KERNELS + "recurrent_steps.h",
        "for (int64_t d = 0; d < key_dim; d += kBand) {",
        "for (int64_t d = 0; d + kBand <= key_dim; d += kBand) {",
        _recurrent("decode_dims_37x7_strided"),
    ),
    Mutation(
        "has_initial_state does not count",
        KERNELS + "chunk_gated_delta_rule.cc",
        "p_.reads_state(n) ? p_.initial_state : absent",
        "p_.initial_state",
        _chunk("has_initial_state"),
    ),
    Mutation(
        "states go back to where they came from",
        KERNELS + "chunk_gated_delta_rule.cc",
        "store_states(p_.final_state, p_.final_slot(n));",
        "store_states(p_.final_state, slot);",
        _chunk("output_slots"),
    ),
    Mutation(
        "decode writes where it reads",
        KERNELS + "fused_recurrent_gated_delta_rule.cc",
        "rows<S>(p_.final_state, p_.final_slot(item_.sequence), item_.head,",
        "rows<S>(p_.final_state, slot, item_.head,",
        _recurrent("decode_output_slots"),
    ),
    Mutation(
        "steps count from the call",
        KERNELS + "chunk_gated_delta_rule.cc",
        "phase_ = p_.phase(n, kStep);",
        "phase_ = 0;",
        _chunk("checkpoints_positions"),
    ),
    Mutation(
        "a padded buffer without sequences has blocks",
        KERNELS + "blocks.h",
        "if (s.count == 0) return 0;",
        "",
        ("padding_test", "*PaddingTest.*"),
    ),
    Mutation(
        "another epsilon of keys",
        KERNELS + "row_norm.h",
        "kL2NormEps = 1e-6F",
        "kL2NormEps = 1e-5F",
        _activation("EpsilonOfShortKeys"),
    ),
    Mutation(
        "another default epsilon of norms",
        "src/api/shapes.cc",
        "return 1e-6F;",
        "return 1e-5F;",
        _activation("DefaultEpsilon"),
    ),
    Mutation(
        "bf16 is rounded away from zero on a tie",
        TILES + "elements.h",
        "0x7FFFU + ((u >> 16) & 1U)",
        "0x8000U",
        _activation("StoredOutputsAreRoundedToNearestEven"),
    ),
    Mutation(
        "f16 is rounded away from zero on a tie",
        TILES + "elements.h",
        "0xFFFU + ((a >> 13) & 1U)",
        "0x1000U",
        _activation("StoredOutputsAreRoundedToNearestEven"),
    ),
    Mutation(
        "f16 has no subnormals",
        TILES + "elements.h",
        "static_cast<uint16_t>(sign | r)",
        "static_cast<uint16_t>(sign)",
        _activation("StoredOutputsAreRoundedToNearestEven"),
    ),
    Mutation(
        "a call rounds as its caller does",
        "src/core/float_environment.h",
        "(r & kRaised) | kMasked",
        "(r & (kRaised | 0x6000)) | kMasked",
        _environment("*"),
    ),
    Mutation(
        "a call traps what its caller traps",
        "src/core/float_environment.h",
        "(r & kRaised) | kMasked",
        "(r & (kRaised | kMasked))",
        _environment("*"),
    ),
    Mutation(
        "the checks trap what the caller traps",
        "src/api/last_error.h",
        "const FloatEnvironment environment(Denormals::kept);",
        "",
        _environment("*"),
    ),
    Mutation(
        "the caller's floating-point environment does not come back",
        "src/core/float_environment.h",
        "if (get() != saved_) set(saved_);",
        "",
        _environment("*"),
    ),
    Mutation(
        "the reference takes denormals for zero if its caller does",
        "src/core/float_environment.h",
        "(r & kRaised) | kMasked",
        "(r & (kRaised | 0x8040)) | kMasked",
        _environment("*KeepsDenormals*"),
    ),
    Mutation(
        "the first byte behind a longer struct goes unread",
        "src/api/args_struct.cc",
        "size_t i = size; i < found",
        "size_t i = size + 1; i < found",
        ("abi/bad_input_test", "*ResizedStructs*"),
    ),
    Mutation(
        "the last byte behind a longer struct goes unread",
        "src/api/args_struct.cc",
        "size_t i = size; i < found",
        "size_t i = size; i + 1 < found",
        ("abi/bad_input_test", "*ResizedStructs*"),
    ),
    Mutation(
        "offsets of tensors are 32-bit",
        "src/core/tensor.h",
        "return i0 * stride[0] + i1",
        "return static_cast<int32_t>(i0 * stride[0]) + i1",
        ("abi/offsets_test", "*"),
    ),
    Mutation(
        "offsets of index arrays are 32-bit",
        "src/core/tensor.h",
        "return row * row_stride + column",
        "return static_cast<int32_t>(row * row_stride) + column",
        ("abi/offsets_test", "*"),
    ),
)

#ifndef GDN_TESTS_ASCEND_NPU_STUB_H_
#define GDN_TESTS_ASCEND_NPU_STUB_H_

// The names that src/ascend/device takes from the device's compiler, so that it compiles on any
// machine: attributes, address spaces, types, pipes, and intrinsics, which note down what they were
// called with. Comes in front of all else in the file (-include).

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "ascend/device_stub/calls.h"

#define GDN_NPU
#define __global__
#define __gm__
#define __cbuf__
#define __ca__
#define __cb__
#define __cc__
#define __ubuf__

/// 16-bit floats, as their bits; nothing here computes.
struct half {
  half() = default;
  explicit half(int) {}
  uint16_t bits = 0;
};
struct bfloat16_t {
  uint16_t bits = 0;
};

enum pipe_t { PIPE_S, PIPE_V, PIPE_M, PIPE_MTE1, PIPE_MTE2, PIPE_MTE3, PIPE_ALL, PIPE_FIX };
enum event_t { EVENT_ID0 };
enum addr_cal_mode_t { inc, dec };
enum ub_addr8_t { VA0, VA1, VA2, VA3, VA4, VA5, VA6, VA7 };
enum class QuantMode_t { NoQuant, F322F16, F322BF16 };

namespace npu_stub {

/// Where the code runs that is running.
inline Place place;

template <class T>
int64_t number(T x) {
  if constexpr (std::is_pointer_v<T>) {
    return static_cast<int64_t>(reinterpret_cast<uint64_t>(x));
  } else if constexpr (std::is_same_v<T, float>) {
    int32_t bits = 0;
    std::memcpy(&bits, &x, sizeof(bits));
    return bits;
  } else if constexpr (std::is_same_v<T, half>) {
    return x.bits;
  } else {
    return static_cast<int64_t>(x);
  }
}

template <class... A>
void note(const char *name, A... arguments) {
  calls().push_back({place, name, {number(arguments)...}});
}

/// A launch: each core of each block, in turn.
template <class Run>
void launch(uint32_t blocks, Run run) {
#ifdef __DAV_C220_CUBE__
  constexpr int64_t kCores = 1;
#else
  constexpr int64_t kCores = 2;
#endif
  for (int64_t block = 0; block < blocks; ++block) {
    for (int64_t core = 0; core < kCores; ++core) {
      place = {block, core, blocks};
      run();
    }
  }
}

}  // namespace npu_stub

#define GDN_NPU_LAUNCH(entry, blocks, stream, ...) \
  static_cast<void>(stream), npu_stub::launch(blocks, [&] { entry(__VA_ARGS__); })

#define block_num npu_stub::place.blocks
inline int64_t get_block_idx() { return npu_stub::place.block; }
inline int64_t get_subblockid() { return npu_stub::place.core; }

// An intrinsic that takes these types; the call converts to them, as it does on a device.
#define NPU_STUB_1(name, A) \
  inline void name(A a) { npu_stub::note(#name, a); }
#define NPU_STUB_2(name, A, B) \
  inline void name(A a, B b) { npu_stub::note(#name, a, b); }
#define NPU_STUB_3(name, A, B, C) \
  inline void name(A a, B b, C c) { npu_stub::note(#name, a, b, c); }
#define NPU_STUB_5(name, A, B, C, D, E) \
  inline void name(A a, B b, C c, D d, E e) { npu_stub::note(#name, a, b, c, d, e); }

NPU_STUB_1(set_ffts_base_addr, uint64_t)
NPU_STUB_3(set_flag, pipe_t, pipe_t, event_t)
NPU_STUB_3(wait_flag, pipe_t, pipe_t, event_t)
NPU_STUB_1(pipe_barrier, pipe_t)
NPU_STUB_2(ffts_cross_core_sync, pipe_t, uint64_t)
NPU_STUB_1(wait_flag_dev, int64_t)

#ifdef __DAV_C220_CUBE__

NPU_STUB_1(set_nd_para, uint64_t)
NPU_STUB_3(create_cbuf_matrix, half *, int64_t, half)

template <class E>
void copy_gm_to_cbuf_multi_nd2nz_b16(E *to, E *from, uint8_t sid, uint16_t matrices, uint16_t rows,
                                     uint16_t columns, uint16_t from_matrix, uint16_t from_row,
                                     uint16_t to_fractal, uint16_t to_row, uint16_t to_matrix) {
  static_assert(sizeof(E) == 2);
  npu_stub::note("copy_gm_to_cbuf_multi_nd2nz_b16", to, from, sid, matrices, rows, columns,
                 from_matrix, from_row, to_fractal, to_row, to_matrix);
}

template <class E>
void copy_matrix_cc_to_gm(E *to, float *from, uint8_t sid, uint16_t columns, uint16_t rows,
                          uint32_t to_row, uint16_t from_height, uint8_t unit_flag,
                          QuantMode_t rounding, uint8_t relu, bool split, bool nz2nd) {
  npu_stub::note("copy_matrix_cc_to_gm", to, from, sid, columns, rows, to_row, from_height,
                 unit_flag, rounding, relu, split, nz2nd);
}

template <class E>
void copy_matrix_cc_to_cbuf(E *to, float *from, uint8_t sid, uint16_t columns, uint16_t rows,
                            uint32_t to_column, uint16_t from_height, uint8_t unit_flag,
                            QuantMode_t rounding, uint8_t relu, bool split, bool nz2nd) {
  npu_stub::note("copy_matrix_cc_to_cbuf", to, from, sid, columns, rows, to_column, from_height,
                 unit_flag, rounding, relu, split, nz2nd);
}

template <class E>
void load_cbuf_to_ca(E *to, E *from, uint16_t first, uint8_t repeat, uint16_t from_stride,
                     uint16_t to_gap, uint8_t sid, bool transpose, addr_cal_mode_t mode) {
  npu_stub::note("load_cbuf_to_ca", to, from, first, repeat, from_stride, to_gap, sid, transpose,
                 mode);
}

template <class E>
void load_cbuf_to_cb(E *to, E *from, uint16_t first, uint8_t repeat, uint16_t from_stride,
                     uint16_t to_gap, uint8_t sid, bool transpose, addr_cal_mode_t mode) {
  npu_stub::note("load_cbuf_to_cb", to, from, first, repeat, from_stride, to_gap, sid, transpose,
                 mode);
}

/// The types that are multiplied are part of what is noted.
inline void mad(float *c, half *a, half *b, uint16_t m, uint16_t k, uint16_t n, uint8_t unit_flag,
                bool aligned, bool from_bias, bool fresh) {
  npu_stub::note("mad f16", c, a, b, m, k, n, unit_flag, aligned, from_bias, fresh);
}
inline void mad(float *c, bfloat16_t *a, bfloat16_t *b, uint16_t m, uint16_t k, uint16_t n,
                uint8_t unit_flag, bool aligned, bool from_bias, bool fresh) {
  npu_stub::note("mad bf16", c, a, b, m, k, n, unit_flag, aligned, from_bias, fresh);
}

#else

inline void set_mask_norm() { npu_stub::note("set_mask_norm"); }
NPU_STUB_2(set_vector_mask, uint64_t, uint64_t)
NPU_STUB_1(set_mov_pad_val, uint64_t)
NPU_STUB_1(set_cmpmask, void *)
NPU_STUB_5(vbrcb, uint32_t *, uint32_t *, uint16_t, uint16_t, uint8_t)
NPU_STUB_5(scatter_vnchwconv_b32, ub_addr8_t, ub_addr8_t, uint8_t, uint16_t, uint16_t)

inline void set_va_reg_sb(ub_addr8_t reg, uint64_t *at) {
  npu_stub::note("set_va_reg_sb", reg, at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7]);
}

#define NPU_STUB_COPY(name)                                                                        \
  inline void name(void *to, void *from, uint8_t sid, uint16_t rows, uint32_t bytes, uint8_t left, \
                   uint8_t right, uint32_t from_gap, uint32_t to_gap) {                            \
    npu_stub::note(#name, to, from, sid, rows, bytes, left, right, from_gap, to_gap);              \
  }
NPU_STUB_COPY(copy_gm_to_ubuf_align_b8)
NPU_STUB_COPY(copy_gm_to_ubuf_align_b16)
NPU_STUB_COPY(copy_gm_to_ubuf_align_b32)
NPU_STUB_COPY(copy_ubuf_to_gm_align_b16)
NPU_STUB_COPY(copy_ubuf_to_gm_align_b32)

#define NPU_STUB_BINARY(name)                                                                \
  inline void name(float *to, float *a, float *b, uint8_t repeat, uint8_t to_block,          \
                   uint8_t a_block, uint8_t b_block, uint8_t to_repeat, uint8_t a_repeat,    \
                   uint8_t b_repeat) {                                                       \
    npu_stub::note(#name, to, a, b, repeat, to_block, a_block, b_block, to_repeat, a_repeat, \
                   b_repeat);                                                                \
  }
NPU_STUB_BINARY(vadd)
NPU_STUB_BINARY(vsub)
NPU_STUB_BINARY(vmul)
NPU_STUB_BINARY(vmax)
NPU_STUB_BINARY(vmla)

#define NPU_STUB_UNARY(name, To, From)                                                   \
  inline void name(To *to, From *a, uint8_t repeat, uint16_t to_block, uint16_t a_block, \
                   uint16_t to_repeat, uint16_t a_repeat) {                              \
    npu_stub::note(#name, to, a, repeat, to_block, a_block, to_repeat, a_repeat);        \
  }
NPU_STUB_UNARY(vexp, float, float)
NPU_STUB_UNARY(vconv_f162f32, float, half)
NPU_STUB_UNARY(vconv_bf162f32, float, bfloat16_t)
NPU_STUB_UNARY(vconv_f322f16r, half, float)
NPU_STUB_UNARY(vconv_f322bf16r, bfloat16_t, float)

inline void vector_dup(float *to, float value, uint8_t repeat, uint16_t to_block, uint16_t a_block,
                       uint16_t to_repeat, uint16_t a_repeat) {
  npu_stub::note("vector_dup", to, value, repeat, to_block, a_block, to_repeat, a_repeat);
}

inline void vsel(float *to, float *a, void *b, uint8_t repeat, uint8_t to_block, uint8_t a_block,
                 uint8_t b_block, uint8_t to_repeat, uint8_t a_repeat, uint8_t b_repeat,
                 uint8_t mode) {
  npu_stub::note("vsel", to, a, b, repeat, to_block, a_block, b_block, to_repeat, a_repeat,
                 b_repeat, mode);
}

#endif

#endif  // GDN_TESTS_ASCEND_NPU_STUB_H_

#ifndef GDN_TESTS_ASCEND_EXPECTED_CALLS_H_
#define GDN_TESTS_ASCEND_EXPECTED_CALLS_H_

// From what the model records of a core to the calls of intrinsics that a device should see for it.
// Sizes come from the model's bytes, so that nothing here is computed as src/ascend/device does.

#include <bit>
#include <string>
#include <vector>

#include "ascend/device_stub/calls.h"
#include "ascend/model/executor.h"

namespace gdn::ascend::testing {

struct ExpectedCall {
  std::string name;
  std::vector<int64_t> arguments;
  std::string line;  ///< Of the kernel.
};

/// As tests/ascend/device_stub numbers them.
enum NpuPipe { kS, kV, kM, kMte1, kMte2, kMte3, kAll, kFix };

inline int64_t npu_pipe(Pipe pipe) {
  constexpr NpuPipe kPipes[] = {kS, kMte2, kMte1, kM, kFix, kV, kMte3};
  return kPipes[static_cast<int>(pipe)];
}

class ExpectedCalls {
 public:
  /// `tensors` are the addresses of the launch's tensors.
  ExpectedCalls(const model::CoreState &core, CoreKind kind, const std::vector<uint64_t> &tensors,
                uint64_t sync_base)
      : tensors_(tensors) {
    int64_t used[kSpaces] = {};
    for (const model::Buffer &buffer : core.buffers) {
      int64_t &next = used[static_cast<int>(buffer.space)];
      begins_.push_back(next);
      const int64_t unit = buffer.space == Space::ub || buffer.space == Space::l1 ? 32 : 512;
      while (next < begins_.back() + buffer.bytes) next += unit;
    }
    add("set_ffts_base_addr", {static_cast<int64_t>(sync_base)});
    if (kind == CoreKind::cube) {
      add("set_nd_para", {0x100010001});
    } else {
      add("set_mask_norm", {});
      add("set_vector_mask", {0, -1});
      add("set_mov_pad_val", {0});
    }
    for (const model::Instruction &i : core.program) {
      pipe_ = i.pipe;
      line_ = std::string(i.where.file_name()) + ":" + std::to_string(i.where.line());
      std::visit([this](const auto &action) { expect(action); }, i.action);
    }
  }

  const std::vector<ExpectedCall> &all() const { return all_; }

 private:
  void add(const std::string &name, std::vector<int64_t> arguments) {
    all_.push_back({name, std::move(arguments), line_});
  }

  int64_t at(const model::Ref &ref) const {
    if (ref.space == Space::gm) return static_cast<int64_t>(tensors_[ref.buffer]) + ref.byte;
    return begins_[ref.buffer] + ref.byte;
  }
  int64_t at(const model::Operand &operand) const { return at(operand.at); }

  static std::string bits(int64_t element_size) { return std::to_string(element_size * 8); }

  void expect(const model::Load &i) {
    const int64_t in_blocks = (i.width + 31) / 32 * 32;
    add(std::string("copy_gm_to_ubuf_align_b") + bits(i.element_size),
        {at(i.to), at(i.from), 0, i.rows, i.width, 0, (in_blocks - i.width) / i.element_size,
         i.rows == 1 ? 0 : i.stride - i.width, (i.pitch - in_blocks) / 32});
  }
  void expect(const model::Store &i) {
    const int64_t in_blocks = (i.width + 31) / 32 * 32;
    add(std::string("copy_ubuf_to_gm_align_b") + bits(i.element_size),
        {at(i.to), at(i.from), 0, i.rows, i.width, 0, 0, (i.pitch - in_blocks) / 32,
         i.rows == 1 ? 0 : i.stride - i.width});
  }
  void expect(const model::LoadNd2Nz &i) {
    add("copy_gm_to_cbuf_multi_nd2nz_b16",
        {at(i.to), at(i.from), 0, 1, i.rows, i.columns, 0, i.stride / 2, i.height, 1, 1});
  }
  void expect(const model::FillL1 &i) {
    add("create_cbuf_matrix", {at(i.to), i.bytes / 32 * 65536 + 1, 0});
  }
  void expect(const model::StoreNz2Nd &i) {
    const int64_t rounding = i.type == model::Type::f32 ? 0 : i.type == model::Type::f16 ? 1 : 2;
    add("copy_matrix_cc_to_gm",
        {at(i.to), at(i.from), 0, i.columns, i.rows, i.stride / model::size_of(i.type), i.height, 0,
         rounding, 0, 0, 1});
  }
  void expect(const model::StoreL1 &i) {
    add("copy_matrix_cc_to_cbuf", {at(i.to), at(i.from), 0, i.columns, i.rows, i.heights.to,
                                   i.heights.from, 0, i.type == model::Type::f16 ? 1 : 2, 0, 0, 0});
  }
  void expect(const model::LoadL0 &i) {
    add(i.to.space == Space::l0a ? "load_cbuf_to_ca" : "load_cbuf_to_cb",
        {at(i.to), at(i.from), 0, i.fractals.count, i.fractals.stride, 0, 0, i.transposed ? 1 : 0,
         0});
  }
  void expect(const model::Mmad &i) {
    add(i.type == model::Type::f16 ? "mad f16" : "mad bf16",
        {at(i.c), at(i.a), at(i.b), i.m, i.k, i.n, 0, 0, 0, i.sum == Sum::fresh ? 1 : 0});
  }

  /// The mask is set where it changes.
  void mask(const Repeats &repeats) {
    if (repeats.lanes == lanes_) return;
    lanes_ = repeats.lanes;
    uint64_t bits = 0;
    for (int64_t lane = 0; lane < lanes_; ++lane) bits |= 1ULL << lane;
    add("set_vector_mask", {0, static_cast<int64_t>(bits)});
  }
  void three(const char *name, const model::Operand &to, const model::Operand &a,
             const model::Operand &b, const Repeats &repeats) {
    mask(repeats);
    add(name, {at(to), at(a), at(b), repeats.count, to.block_stride, a.block_stride, b.block_stride,
               to.repeat_stride, a.repeat_stride, b.repeat_stride});
  }
  void two(const char *name, const model::Operand &to, const model::Operand &a,
           const Repeats &repeats) {
    mask(repeats);
    add(name, {at(to), at(a), repeats.count, to.block_stride, a.block_stride, to.repeat_stride,
               a.repeat_stride});
  }
  void expect(const model::VBinary &i) {
    constexpr const char *kNames[] = {"vadd", "vsub", "vmul", "vmax"};
    three(kNames[static_cast<int>(i.op)], i.to, i.a, i.b, i.repeats);
  }
  void expect(const model::VMla &i) { three("vmla", i.to, i.a, i.b, i.repeats); }
  void expect(const model::VExp &i) { two("vexp", i.to, i.a, i.repeats); }
  void expect(const model::VDup &i) {
    mask(i.repeats);
    add("vector_dup", {at(i.to), std::bit_cast<int32_t>(i.value), i.repeats.count,
                       i.to.block_stride, 0, i.to.repeat_stride, 0});
  }
  void expect(const model::VCast &i) {
    const bool widens = i.to_type == model::Type::f32;
    if ((widens ? i.type : i.to_type) == model::Type::f16) {
      two(widens ? "vconv_f162f32" : "vconv_f322f16r", i.to, i.a, i.repeats);
    } else {
      two(widens ? "vconv_bf162f32" : "vconv_f322bf16r", i.to, i.a, i.repeats);
    }
  }
  void expect(const model::VSelect &i) {
    mask(i.repeats);
    add("set_cmpmask", {at(i.otherwise)});
    add("pipe_barrier", {kV});
    add("vsel", {at(i.to), at(i.a), at(i.mask), i.repeats.count, i.to.block_stride,
                 i.a.block_stride, 1, i.to.repeat_stride, i.a.repeat_stride, 1, 1});
  }
  void expect(const model::VBrcb &i) { add("vbrcb", {at(i.to), at(i.from), 1, 8, i.repeats}); }
  void expect(const model::VTranspose &i) {
    // What is written has 8 rows of two blocks, what is read 16 rows of one.
    std::vector<int64_t> written, read;
    for (int64_t row = 0; row < 8; ++row) {
      written.push_back(at(i.to) + row * i.strides.to_row * 32);
      written.push_back(written.back() + 32);
    }
    for (int64_t row = 0; row < 16; ++row)
      read.push_back(at(i.from) + row * i.strides.from_row * 32);
    add_register(0, written, 0);
    add_register(1, written, 8);
    add_register(2, read, 0);
    add_register(3, read, 8);
    const bool once = i.repeats == 1;
    add("scatter_vnchwconv_b32",
        {0, 2, i.repeats, once ? 0 : i.strides.to_repeat, once ? 0 : i.strides.from_repeat});
  }
  void add_register(int64_t number, const std::vector<int64_t> &addresses, int64_t first) {
    std::vector<int64_t> arguments = {number};
    for (int64_t a = first; a < first + 8; ++a) {
      arguments.push_back(addresses[static_cast<size_t>(a)]);
    }
    add("set_va_reg_sb", arguments);
  }

  /// A load of the scalar unit is no call.
  void expect(const model::ScalarLoad &) {}
  void expect(const model::SetFlag &i) {
    add("set_flag", {npu_pipe(pipe_), npu_pipe(i.to), i.event});
  }
  void expect(const model::WaitFlag &i) {
    add("wait_flag", {npu_pipe(i.from), npu_pipe(pipe_), i.event});
  }
  void expect(const model::PipeBarrier &) { add("pipe_barrier", {npu_pipe(pipe_)}); }
  void expect(const model::CrossSet &i) {
    add("ffts_cross_core_sync", {npu_pipe(pipe_), 0x21 + i.flag * 256});
  }
  void expect(const model::CrossWait &i) { add("wait_flag_dev", {i.flag}); }

  const std::vector<uint64_t> &tensors_;
  std::vector<int64_t> begins_;  ///< Of the core's buffers.
  std::vector<ExpectedCall> all_;
  Pipe pipe_ = Pipe::s;
  std::string line_ = "the begin";
  int64_t lanes_ = 64;
};

}  // namespace gdn::ascend::testing

#endif  // GDN_TESTS_ASCEND_EXPECTED_CALLS_H_

// Head widths that fill no tile: rows then start anywhere, and the kernels must neither read nor
// write beyond them.

#include "operations.h"

namespace gdn::testing {
namespace {

class Widths : public GpuTest {};
GDN_GPU_SUITE(Widths);

constexpr Element kTypes[] = {Element::bf16, Element::f16, Element::f32};

struct Width {
  int64_t dk, dv;
};

// Rows of 8 (three times), 2 and 4 bytes' alignment, more than a block's columns, more keys than 64
// and than 128.
constexpr Width kWidths[] = {{60, 100}, {36, 20}, {124, 108}, {7, 33}, {50, 130}, {250, 300}};

TEST_P(Widths, EveryOperationAtAnyAlignment) {
  for (const Element type : kTypes) {
    for (const auto [dk, dv] : kWidths) {
      const HostProblem p(type, {1, 63, 0, 64, 70}, 2, 4, dk, dv);
      const std::vector<DeviceOperation> aligned = all_operations(p, GetParam());
      const std::vector<DeviceOperation> shifted = all_operations(p, GetParam(), 1);
      ASSERT_EQ(aligned.size(), shifted.size());
      for (size_t i = 0; i < aligned.size(); ++i) {
        EXPECT_EQ(aligned[i].results(), shifted[i].results())
            << aligned[i].name() << " " << name_of(type) << " " << dk << " x " << dv;
      }
    }
  }
}

/// Rows of `from` elements with zeros behind them.
std::vector<float> padded_rows(const std::vector<float> &x, int64_t from, int64_t to) {
  std::vector<float> y;
  for (auto row = x.begin(); row != x.end(); row += from) {
    y.insert(y.end(), row, row + from);
    y.insert(y.end(), static_cast<size_t>(to - from), 0.0F);
  }
  return y;
}

/// States [.., dk, dv] with rows and columns of zeros behind theirs.
std::vector<float> padded_states(const std::vector<float> &x, Width from, Width to) {
  return padded_rows(padded_rows(x, from.dv, to.dv), from.dk * to.dv, to.dk * to.dv);
}

/// The first `from` of each row of `to` elements.
Bytes cut_rows(const Bytes &x, int64_t from, int64_t to, Element type) {
  const auto size = static_cast<int64_t>(size_of(type));
  Bytes y;
  for (auto row = x.begin(); row != x.end(); row += to * size) {
    y.insert(y.end(), row, row + from * size);
  }
  return y;
}

Bytes cut_states(const Bytes &x, Width from, Width to, Element type) {
  return cut_rows(cut_rows(x, from.dk * to.dv, to.dk * to.dv, type), from.dv, to.dv, type);
}

// Zeros up to whole tiles change no bit: what kernels for whole tiles make of them is what the
// kernels for any width must give.
TEST_P(Widths, AsWithZerosUpToWholeTiles) {
  for (const Element type : kTypes) {
    for (const Width width : kWidths) {
      const Width whole = {(width.dk + 15) / 16 * 16, (width.dv + 15) / 16 * 16};
      const HostProblem narrow(type, {1, 63, 0, 64, 70}, 2, 4, width.dk, width.dv);
      HostProblem wide = narrow;
      wide.dk = whole.dk, wide.dv = whole.dv;
      wide.q = padded_rows(narrow.q, width.dk, whole.dk);
      wide.k = padded_rows(narrow.k, width.dk, whole.dk);
      wide.v = padded_rows(narrow.v, width.dv, whole.dv);
      wide.state = padded_states(narrow.state, width, whole);
      for (const Element state_type : kTypes) {
        for (const bool recurrent : {false, true}) {
          SCOPED_TRACE(::testing::Message()
                       << name_of(type) << ", state " << name_of(state_type) << ", " << width.dk
                       << " x " << width.dv << (recurrent ? ", recurrent" : ", chunk"));
          std::pair<Bytes, Bytes> results[2];
          for (const bool is_wide : {false, true}) {
            const HostProblem &p = is_wide ? wide : narrow;
            DeviceCall call(p);
            const auto n = static_cast<int64_t>(p.lengths.size());
            DeviceTensor in(state_type, {n, p.hv, p.dk, p.dv}),
                out(state_type, {n, p.hv, p.dk, p.dv});
            const Bytes state = encoded(state_type, p.state);
            in.upload(state.data(), state.size());
            call.args.initial_state = in.tensor(), call.args.final_state = out.tensor();
            call.args.flags = GDN_HAS_SCALE;
            call.args.scale = 0.125;
            ASSERT_EQ(call.run(GetParam(), nullptr, recurrent), "");
            ASSERT_CUDA(cudaDeviceSynchronize());
            results[is_wide] = {call.o.download(), out.download()};
          }
          EXPECT_EQ(results[0].first, cut_rows(results[1].first, width.dv, whole.dv, type));
          EXPECT_EQ(results[0].second, cut_states(results[1].second, width, whole, state_type));
        }
      }
    }
  }
}

}  // namespace
}  // namespace gdn::testing

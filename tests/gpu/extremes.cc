// Operands of any finite size: norms whose squares f32 cannot hold, gates whose factors it cannot.

#include <algorithm>
#include <cmath>
#include <limits>

#include "operations.h"

namespace gdn::testing {
namespace {

class Extremes : public GpuTest {
 protected:
  static std::vector<float> decoded(const Bytes &bytes, Element type) {
    std::vector<float> x(bytes.size() / size_of(type));
    for (size_t i = 0; i < x.size(); ++i) {
      if (type == Element::f32) {
        std::memcpy(&x[i], &bytes[4 * i], 4);
      } else {
        uint16_t bits = 0;
        std::memcpy(&bits, &bytes[2 * i], 2);
        x[i] = type == Element::bf16 ? from_bf16(bits) : from_f16(bits);
      }
    }
    return x;
  }
  static double relative_error(const std::vector<float> &a, const std::vector<float> &e) {
    double difference = 0.0, size = 0.0;
    for (size_t i = 0; i < a.size(); ++i) {
      difference += std::pow(double{a[i]} - double{e[i]}, 2);
      size += std::pow(double{e[i]}, 2);
    }
    return std::sqrt(difference / size);
  }
};
GDN_GPU_SUITE(Extremes);

// q and k times powers of two: under l2norm the call's results hardly depend on them.
TEST_P(Extremes, NormsOfAnySize) {
  struct Scaled {
    Element type;
    std::vector<float> factors;
    double bound;
  };
  const Scaled all[] = {{Element::f32, {0x1p40F, 0x1p70F, 0x1p126F, 0x1p-6F}, 1e-4},
                        {Element::bf16, {0x1p40F, 0x1p70F, 0x1p126F, 0x1p-6F}, 1e-2},
                        {Element::f16, {0x1p15F, 0x1p-6F}, 1e-2}};
  for (const auto &[type, factors, bound] : all) {
    for (const int64_t width : {128, 64}) {
      for (const bool recurrent : {false, true}) {
        for (const float factor : factors) {
          HostProblem p(type, {100, 33}, 2, 4, width);
          for (float &x : p.q) x *= factor;
          for (float &x : p.k) x *= factor;
          DeviceCall call(p), plain(HostProblem(type, {100, 33}, 2, 4, width));
          call.args.flags = plain.args.flags = GDN_USE_QK_L2NORM;
          ASSERT_EQ(call.run(GetParam(), nullptr, recurrent), "");
          ASSERT_EQ(plain.run(GetParam(), nullptr, recurrent), "");
          ASSERT_CUDA(cudaDeviceSynchronize());
          // eps makes the norms of small rows off by 1 / 500.
          const double most = factor < 1.0F ? std::max(bound, 5e-3) : bound;
          EXPECT_LE(
              relative_error(decoded(call.o.download(), type), decoded(plain.o.download(), type)),
              most)
              << name_of(type) << " " << width << " " << factor << " " << recurrent;
          EXPECT_LE(relative_error(decoded(call.final_state.download(), Element::f32),
                                   decoded(plain.final_state.download(), Element::f32)),
                    most)
              << name_of(type) << " " << width << " " << factor << " " << recurrent;
        }
      }
    }
  }
}

TEST_P(Extremes, RowNormsOfAnySize) {
  for (const float factor : {0x1p-140F, 0x1p-100F, 0x1p100F, 0x1p127F}) {
    for (const int64_t width : {60, 128, 1000}) {
      std::vector<float> values = drawn_rows(9, width, true, "x");
      for (float &x : values) x *= factor;
      DeviceTensor x(Element::f32, {9, width}), y(Element::f32, {9, width});
      const Bytes bytes = encoded(Element::f32, values);
      x.upload(bytes.data(), bytes.size());
      gdn_l2norm_args a = {};
      a.struct_size = sizeof(a);
      a.flags = GDN_HAS_EPS;
      a.eps = 1e-38;
      a.x = x.tensor(), a.y = y.tensor();
      gdn_exec exec = {};
      exec.struct_size = sizeof(exec);
      const std::string isa = GetParam();
      exec.isa = isa.c_str();
      ASSERT_EQ(outcome(gdn_l2norm(&a, &exec)), "");
      ASSERT_CUDA(cudaDeviceSynchronize());
      std::vector<float> expected;
      for (auto row = values.begin(); row != values.end(); row += width) {
        double sum = 1e-38;
        for (auto e = row; e != row + width; ++e) sum += double{*e} * double{*e};
        for (auto e = row; e != row + width; ++e) {
          expected.push_back(static_cast<float>(double{*e} / std::sqrt(sum)));
        }
      }
      EXPECT_LE(relative_error(decoded(y.download(), Element::f32), expected), 1e-6)
          << factor << " " << width;
    }
  }
}

TEST_P(Extremes, Gates) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::vector<float> logs = {90.0F, -90.0F, 0.5F, 85.0F},
                           raw = {-kInfinity, -100.0F, -85.0F, -30.0F, -5.0F, 0.0F, 30.0F, 1e30F};
  const auto tokens = static_cast<int64_t>(raw.size()), heads = static_cast<int64_t>(logs.size());
  std::vector<float> values;
  for (const float x : raw) values.insert(values.end(), logs.size(), x);
  DeviceTensor A_log(Element::f32, {heads}), a(Element::f32, {1, tokens, heads}),
      b(Element::f32, {1, tokens, heads}), g(Element::f32, {1, tokens, heads}),
      beta(Element::f32, {1, tokens, heads});
  A_log.upload(logs.data(), logs.size() * 4);
  a.upload(values.data(), values.size() * 4);
  b.upload(values.data(), values.size() * 4);
  gdn_fused_gdn_gating_args args = {};
  args.struct_size = sizeof(args);
  args.A_log = A_log.tensor(), args.a = a.tensor(), args.b = b.tensor();
  args.g = g.tensor(), args.beta = beta.tensor();
  gdn_exec exec = {};
  exec.struct_size = sizeof(exec);
  const std::string isa = GetParam();
  exec.isa = isa.c_str();
  ASSERT_EQ(outcome(gdn_fused_gdn_gating(&args, &exec)), "");
  ASSERT_CUDA(cudaDeviceSynchronize());
  const std::vector<float> found = decoded(g.download(), Element::f32);
  for (size_t i = 0; i < found.size(); ++i) {
    const double x = values[i], softplus = x > 20.0 ? x : std::log1p(std::exp(x));
    const auto expected = static_cast<float>(-std::exp(double{logs[i % logs.size()]}) * softplus);
    if (std::isinf(expected)) {
      EXPECT_EQ(found[i], expected) << i;
    } else {
      EXPECT_LE(std::fabs(found[i] - expected), 1e-5 * std::fabs(expected)) << i;
    }
  }
}

// Tokens that forget all, however strong their gates: the state after them is their own update.
TEST_P(Extremes, InfiniteDecays) {
  for (const Element type : {Element::bf16, Element::f32}) {
    for (const bool recurrent : {false, true}) {
      HostProblem strong(type, {100, 33}, 2, 4);
      HostProblem enough = strong;
      for (size_t i = 0; i < strong.g.size(); i += 7) {
        strong.g[i] = i % 2 == 0 ? -std::numeric_limits<float>::infinity() : -1e30F;
        enough.g[i] = -120.0F;
      }
      DeviceCall a(strong), b(enough);
      ASSERT_EQ(a.run(GetParam(), nullptr, recurrent), "");
      ASSERT_EQ(b.run(GetParam(), nullptr, recurrent), "");
      ASSERT_CUDA(cudaDeviceSynchronize());
      EXPECT_EQ(a.o.download(), b.o.download()) << name_of(type) << " " << recurrent;
      EXPECT_EQ(a.final_state.download(), b.final_state.download()) << name_of(type);
    }
  }
}

}  // namespace
}  // namespace gdn::testing

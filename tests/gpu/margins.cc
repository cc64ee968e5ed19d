// Keys that repeat, exactly or nearly: tokens then write over one another, or reflect what the one
// before wrote, and rounding errors add up along their key. The kernels of sm90a take more parts of
// such steps, and are held to half of the bound of the hard cases.

#include <algorithm>
#include <cmath>
#include <ostream>

#include "operations.h"

namespace gdn::testing {
namespace {

/// How keys repeat and what tokens write.
struct Repetition {
  int64_t period;  ///< So many keys take turns.
  float noise;     ///< Around them.
  float g, least_beta, most_beta;
};

std::ostream &operator<<(std::ostream &out, const Repetition &r) {
  return out << "period " << r.period << ", noise " << r.noise << ", g " << r.g << ", beta "
             << r.least_beta << " .. " << r.most_beta;
}

void round_all(std::vector<float> &x) {
  for (float &e : x) e = from_bf16(to_bf16(e));
}

HostProblem repeating(const Repetition &r, int64_t tokens) {
  HostProblem p(Element::bf16, {tokens}, 1, 2);
  // Not longer than 1, or beta near 2 makes the state grow without bound.
  const float length = 1.0F + r.noise;
  const auto period = static_cast<size_t>(r.period * p.dk);
  for (size_t i = period; i < p.k.size(); ++i) {
    p.k[i] = (p.k[i % period] + r.noise * p.k[i]) / length;
  }
  for (size_t i = 0; i < period; ++i) p.k[i] /= length;
  for (std::vector<float> *x : {&p.q, &p.k, &p.v}) round_all(*x);
  std::fill(p.g.begin(), p.g.end(), r.g);
  for (float &b : p.beta) b = r.least_beta + (r.most_beta - r.least_beta) * b;
  std::fill(p.state.begin(), p.state.end(), 0.0F);
  return p;
}

/// Outputs, [token][DV], and last state of a head by the recurrence.
struct Head {
  std::vector<double> o, state;

  Head(const HostProblem &p, int64_t head) {
    const int64_t width = p.dk, key_head = head / (p.hv / p.hk);
    const double scale = 1.0 / std::sqrt(static_cast<double>(width));
    state.assign(static_cast<size_t>(width * width), 0.0);
    std::vector<double> v(static_cast<size_t>(width)), out(v.size());
    for (int64_t t = 0; t < p.tokens(); ++t) {
      const auto gate = static_cast<size_t>(t * p.hv + head);
      const auto row = static_cast<size_t>((t * p.hk + key_head) * width);
      const double decay = std::exp(double{p.g[gate]});
      for (size_t j = 0; j < v.size(); ++j) v[j] = p.v[gate * v.size() + j];
      for (size_t i = 0; i < v.size(); ++i) {
        for (size_t j = 0; j < v.size(); ++j)
          v[j] -= decay * state[i * v.size() + j] * p.k[row + i];
      }
      std::fill(out.begin(), out.end(), 0.0);
      for (size_t i = 0; i < v.size(); ++i) {
        const double k = double{p.beta[gate]} * p.k[row + i], q = scale * p.q[row + i];
        for (size_t j = 0; j < v.size(); ++j) {
          double &s = state[i * v.size() + j];
          s = decay * s + k * v[j];
          out[j] += s * q;
        }
      }
      o.insert(o.end(), out.begin(), out.end());
    }
  }
};

/// Relative RMS of what `found` gives for each element.
double error(const std::vector<double> &expected, const std::function<float(size_t)> &found) {
  double difference = 0.0, size = 0.0;
  for (size_t i = 0; i < expected.size(); ++i) {
    difference += std::pow(found(i) - expected[i], 2);
    size += expected[i] * expected[i];
  }
  return std::sqrt(difference / size);
}

class Margins : public GpuTest {
 protected:
  void SetUp() override {
    if (GetParam().rfind("sm90a", 0) != 0) GTEST_SKIP() << "not a path of Hopper's own";
  }
};
GDN_GPU_SUITE(Margins);

TEST_P(Margins, KeysThatRepeat) {
  for (const Repetition &r :
       {Repetition{1, 0.0F, -1e-6F, 0.99F, 1.0F}, Repetition{1, 0.0F, 0.0F, 1.0F, 2.0F},
        Repetition{1, 0.0F, -1e-3F, 1.9F, 2.0F}, Repetition{1, 0.05F, -1e-6F, 1.9F, 2.0F},
        Repetition{1, 0.2F, -1e-3F, 1.0F, 2.0F}, Repetition{2, 0.0F, -1e-6F, 1.9F, 2.0F},
        Repetition{4, 0.0F, -1e-3F, 1.9F, 2.0F}, Repetition{8, 0.0F, -1e-6F, 1.9F, 2.0F}}) {
    const HostProblem p = repeating(r, 1024);
    DeviceCall call(p);
    ASSERT_EQ(call.run(GetParam()), "");
    ASSERT_CUDA(cudaDeviceSynchronize());
    const Bytes o = call.o.download(), state = call.final_state.download();
    const auto width = static_cast<size_t>(p.dv);
    for (int64_t h = 0; h < p.hv; ++h) {
      const Head expected(p, h);
      const auto head = static_cast<size_t>(h), heads = static_cast<size_t>(p.hv);
      const auto o_at = [&](size_t i) {
        uint16_t bits = 0;
        std::memcpy(&bits, &o[2 * ((i / width * heads + head) * width + i % width)], 2);
        return from_bf16(bits);
      };
      const auto state_at = [&](size_t i) {
        float x = 0.0F;
        std::memcpy(&x, &state[4 * (head * width * width + i)], 4);
        return x;
      };
      const double o_error = error(expected.o, o_at), state_error = error(expected.state, state_at);
      EXPECT_LE(o_error, 1e-2) << r;
      EXPECT_LE(state_error, 1e-2) << r;
    }
  }
}

// Each step decides for itself, by its own tokens: steps whose keys repeat lie between others, and
// heads differ. Unaligned operands take a form of the kernel with other code.
TEST_P(Margins, StepsThatRepeatKeepTheirBits) {
  HostProblem p = repeating({1, 0.0F, -1e-3F, 1.0F, 2.0F}, 640);
  const HostProblem random(Element::bf16, {640}, 1, 2);
  const int64_t row = p.dk;
  for (int64_t t = 0; t < p.tokens(); ++t) {
    if (t / 32 % 5 < 2) continue;
    std::copy_n(random.k.begin() + t * row, row, p.k.begin() + t * row);
    p.beta[static_cast<size_t>(t * p.hv)] /= 2.0F;  // Of the first head alone.
  }
  DeviceCall whole(p), shifted(p, 2);
  for (DeviceCall *call : {&whole, &shifted}) {
    ASSERT_EQ(call->run(GetParam(), nullptr, false, GDN_EXEC_NO_SPLIT), "");
  }
  const Bytes o = whole.o.download(), state = whole.final_state.download();
  EXPECT_TRUE(shifted.o.download() == o);
  EXPECT_TRUE(shifted.final_state.download() == state);
  DeviceCall reference(p);
  ASSERT_EQ(reference.run("sm90a_whole"), "");
  EXPECT_TRUE(reference.o.download() == o);
  EXPECT_TRUE(reference.final_state.download() == state);

  const int64_t first = 96;
  DeviceCall before(p.part(0, first, 0));
  ASSERT_EQ(before.run(GetParam(), nullptr, false, GDN_EXEC_NO_SPLIT), "");
  const Bytes between = before.final_state.download();
  DeviceCall after(p.part(first, p.tokens() - first, 0));
  after.initial_state.upload(between.data(), between.size());
  ASSERT_EQ(after.run(GetParam(), nullptr, false, GDN_EXEC_NO_SPLIT), "");
  Bytes resumed = before.o.download();
  const Bytes rest = after.o.download();
  resumed.insert(resumed.end(), rest.begin(), rest.end());
  EXPECT_TRUE(resumed == o);
  EXPECT_TRUE(after.final_state.download() == state);
}

}  // namespace
}  // namespace gdn::testing

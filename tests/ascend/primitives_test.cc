// Each primitive of the tile layer on the model, beside plain scalar code.

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "ascend/model/convert.h"
#include "ascend/model/launch.h"

namespace gdn::ascend {
namespace {

using model::Launch;
using model::to_bf16;
using model::to_f16;
using model::widen;

std::vector<float> numbers(int64_t n, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> out(static_cast<size_t>(n));
  for (float &x : out) x = normal(random);
  return out;
}

template <class E>
E narrow(float x);
template <>
f16 narrow<f16>(float x) {
  return to_f16(x);
}
template <>
bf16 narrow<bf16>(float x) {
  return to_bf16(x);
}

template <class E>
std::vector<E> narrowed(const std::vector<float> &from) {
  std::vector<E> to;
  for (const float x : from) to.push_back(narrow<E>(x));
  return to;
}

/// Runs `body` on one core of its kind, and expects that the model finds no fault.
template <class Body>
void run_on(CoreKind kind, Launch &launch, Body body) {
  model::Options options;
  options.blocks = 1;
  const auto findings = launch.run(
      [&](Core &core) {
        if (core.kind() == kind && core.vector() <= 0) body(core);
      },
      options);
  for (const model::Finding &finding : findings) ADD_FAILURE() << finding.text;
}

// A vector test: inputs come to UB, V works on them, its result goes back.
class Vectors {
 public:
  explicit Vectors(int64_t elements) : out(static_cast<size_t>(elements), NAN) {}

  /// A tensor of the launch, whole in UB.
  template <class E>
  void add(const std::vector<E> &data) {
    const Gm<const E> from = launch_.input("in", data.data(), static_cast<int64_t>(data.size()));
    loads_.push_back([from, n = static_cast<int64_t>(data.size())](Core &core) {
      load(core, core.take<Ub<E>>("in", n), from, {1, n, 0});
    });
  }

  /// body(core, result): the inputs are buffers 0, 1, ..
  template <class Body>
  void run(Body body) {
    const auto elements = static_cast<int64_t>(out.size());
    const Gm<float> to = launch_.output("out", out.data(), elements);
    run_on(CoreKind::vector, launch_, [&](Core &core) {
      for (const auto &one : loads_) one(core);
      const auto result = core.take<Ub<float>>("out", elements);
      set_flag(core, Pipe::mte2, Pipe::v, 0);
      wait_flag(core, Pipe::mte2, Pipe::v, 0);
      body(core, result);
      set_flag(core, Pipe::v, Pipe::mte3, 0);
      wait_flag(core, Pipe::v, Pipe::mte3, 0);
      store(core, to, result, {1, elements, 0});
    });
  }

  std::vector<float> out;

 private:
  Launch launch_;
  std::vector<std::function<void(Core &)>> loads_;
};

template <class E>
Ub<E> buffer(uint32_t index) {
  return {index, 0};
}

TEST(Primitives, LoadFillsBlocksAndStoreLeavesTheRest) {
  // 5 rows of 3 f32, 7 apart; in UB two blocks apart.
  const std::vector<float> in = numbers(5 * 7, 1);
  std::vector<float> rows(5 * 9, -1.0F);
  std::vector<float> filled(5 * 8, -1.0F);
  Launch launch;
  const Gm<const float> from = launch.input("in", in.data(), 35);
  const Gm<float> to_rows = launch.output("rows", rows.data(), 45);
  const Gm<float> to_filled = launch.output("filled", filled.data(), 40);
  run_on(CoreKind::vector, launch, [&](Core &core) {
    const auto ub = core.take<Ub<float>>("rows", 5 * 16);
    load(core, ub, from, {5, 3, 7, 1});
    set_flag(core, Pipe::mte2, Pipe::mte3, 0);
    wait_flag(core, Pipe::mte2, Pipe::mte3, 0);
    store(core, to_rows, ub, {5, 3, 9, 1});
    store(core, to_filled, ub, {5, 8, 8, 1});
  });
  for (size_t r = 0; r < 5; ++r) {
    for (size_t c = 0; c < 9; ++c) {
      EXPECT_EQ(rows[r * 9 + c], c < 3 ? in[r * 7 + c] : -1.0F);
    }
    for (size_t c = 0; c < 8; ++c) {
      EXPECT_EQ(filled[r * 8 + c], c < 3 ? in[r * 7 + c] : 0.0F);
    }
  }
}

TEST(Primitives, ScalarLoad) {
  const int32_t narrow_in[] = {3, -4};
  const int64_t wide_in[] = {int64_t{1} << 40, -5};
  Launch launch;
  const Gm<const int32_t> narrow_at = launch.input("narrow", narrow_in, 2);
  const Gm<const int64_t> wide_at = launch.input("wide", wide_in, 2);
  int64_t found[4] = {};
  run_on(CoreKind::cube, launch, [&](Core &core) {
    for (int i = 0; i < 2; ++i) {
      found[i] = scalar_load(core, narrow_at + i);
      found[2 + i] = scalar_load(core, wide_at + i);
    }
  });
  EXPECT_EQ(found[0], 3);
  EXPECT_EQ(found[1], -4);
  EXPECT_EQ(found[2], int64_t{1} << 40);
  EXPECT_EQ(found[3], -5);
}

float apply(Binary op, float a, float b) {
  switch (op) {
    case Binary::add:
      return a + b;
    case Binary::sub:
      return a - b;
    case Binary::mul:
      return a * b;
    case Binary::max:
      return a < b ? b : a;
  }
  return NAN;
}

TEST(Primitives, VBinary) {
  const std::vector<float> a = numbers(3 * 64, 2);
  const std::vector<float> b = numbers(3 * 64, 3);
  for (const Binary op : {Binary::add, Binary::sub, Binary::mul, Binary::max}) {
    Vectors v(3 * 64);
    v.add(a);
    v.add(b);
    v.run([&](Core &core, Ub<float> to) {
      vbinary(core, op, {to}, {buffer<float>(0)}, {buffer<float>(1)}, {3});
    });
    for (size_t i = 0; i < v.out.size(); ++i) EXPECT_EQ(v.out[i], apply(op, a[i], b[i]));
  }
}

// A row for each repeat, a value for each row, 50 lanes of 64, rows 16 blocks apart.
TEST(Primitives, VBinaryWithStridesAndLanes) {
  const std::vector<float> a = numbers(8 * 4, 4);
  const std::vector<float> b = numbers(64, 5);
  Vectors v(4 * 128);
  v.add(a);
  v.add(b);
  v.run([&](Core &core, Ub<float> to) {
    vdup(core, {to}, 7.0F, {8});
    pipe_barrier(core, Pipe::v);
    vbinary(core, Binary::sub, {to, 1, 16}, {buffer<float>(0), 0, 1}, {buffer<float>(1), 1, 0},
            {4, 50});
  });
  for (size_t r = 0; r < 4; ++r) {
    for (size_t c = 0; c < 128; ++c) {
      EXPECT_EQ(v.out[r * 128 + c], c < 50 ? a[r * 8 + c % 8] - b[c] : 7.0F);
    }
  }
}

TEST(Primitives, VMla) {
  const std::vector<float> a = numbers(128, 13);
  const std::vector<float> b = numbers(128, 14);
  Vectors v(128);
  v.add(a);
  v.add(b);
  v.run([&](Core &core, Ub<float> to) {
    vdup(core, {to}, 2.0F, {2});
    pipe_barrier(core, Pipe::v);
    vmla(core, {to}, {buffer<float>(0)}, {buffer<float>(1)}, {2});
  });
  // Whether the hardware rounds the product is not known.
  for (size_t i = 0; i < 128; ++i) EXPECT_NEAR(v.out[i], 2.0 + double{a[i]} * b[i], 1e-6);
}

TEST(Primitives, VExp) {
  const std::vector<float> a = numbers(128, 6);
  Vectors v(128);
  v.add(a);
  v.run([&](Core &core, Ub<float> to) { vexp(core, {to}, {buffer<float>(0)}, {2}); });
  for (size_t i = 0; i < 128; ++i) {
    EXPECT_NEAR(v.out[i] / std::exp(static_cast<double>(a[i])), 1.0, 2e-7);
  }
}

template <class E>
void check_cast() {
  const std::vector<E> a = narrowed<E>(numbers(3 * 64, 7));
  Vectors v(3 * 64);
  v.add(a);
  v.run([&](Core &core, Ub<float> to) { vcast<E>(core, {to}, {buffer<E>(0)}, {3}); });
  for (size_t i = 0; i < v.out.size(); ++i) EXPECT_EQ(v.out[i], widen(a[i]));
}

TEST(Primitives, VCastFromF16) { check_cast<f16>(); }
TEST(Primitives, VCastFromBf16) { check_cast<bf16>(); }

template <class E>
void check_round() {
  const std::vector<float> a = numbers(2 * 64, 15);
  Vectors v(2 * 64);
  v.add(a);
  v.run([&](Core &core, Ub<float> to) {
    const auto rounded = core.take<Ub<E>>("rounded", 2 * 64);
    vround<E>(core, {rounded}, {buffer<float>(0)}, {2});
    pipe_barrier(core, Pipe::v);
    vcast<E>(core, {to}, {rounded}, {2});
  });
  for (size_t i = 0; i < v.out.size(); ++i) EXPECT_EQ(v.out[i], widen(narrow<E>(a[i])));
}

TEST(Primitives, VRoundToF16) { check_round<f16>(); }
TEST(Primitives, VRoundToBf16) { check_round<bf16>(); }

TEST(Primitives, VSelect) {
  const std::vector<float> a = numbers(4 * 64, 8);
  std::vector<uint8_t> mask;
  for (int i = 0; i < 4 * 8; ++i) mask.push_back(static_cast<uint8_t>(i * 37 + 5));
  const std::vector<float> otherwise = {-2.0F, -3.0F, 0.0F, 0.0F, 0.0F, 0.0F, 0.0F, 0.0F};
  Vectors v(4 * 64);
  v.add(a);
  v.add(mask);
  v.add(otherwise);
  v.run([&](Core &core, Ub<float> to) {
    vselect(core, {to}, buffer<uint8_t>(1), {buffer<float>(0)}, buffer<float>(2), {4});
  });
  for (size_t i = 0; i < v.out.size(); ++i) {
    EXPECT_EQ(v.out[i], (mask[i / 8] >> i % 8 & 1) != 0 ? a[i] : -2.0F);
  }
}

TEST(Primitives, VBrcb) {
  const std::vector<float> a = numbers(24, 9);
  Vectors v(24 * 8);
  v.add(a);
  v.run([&](Core &core, Ub<float> to) { vbrcb(core, to, buffer<float>(0), 3); });
  for (size_t i = 0; i < v.out.size(); ++i) EXPECT_EQ(v.out[i], a[i / 8]);
}

// [32, 16] of which the first 8 columns become [8, 32].
TEST(Primitives, VTranspose) {
  const std::vector<float> a = numbers(32 * 16, 10);
  Vectors v(8 * 32);
  v.add(a);
  v.run([&](Core &core, Ub<float> to) {
    vtranspose(core, to, buffer<float>(0), 2, {2, 32, 4, 2});
  });
  for (size_t r = 0; r < 8; ++r) {
    for (size_t c = 0; c < 32; ++c) EXPECT_EQ(v.out[r * 32 + c], a[c * 16 + r]);
  }
}

// What a product test multiplies: A [m, k] and B^T [n, k], of which `given` rows of A are in GM.
struct Product {
  int64_t m, k, n;
  int64_t given;
  Sum sum;
  bool turned = false;    ///< B [k, n] in GM, not its transpose.
  bool a_turned = false;  ///< A^T [k, m] in GM.
};

/// C = A B, or 2 A B with Sum::onto; E in L0, R in GM. Rows of A that are not given are zeros.
template <class E, class R>
std::vector<R> multiply(const Product &p, const std::vector<E> &a, const std::vector<E> &b,
                        int64_t stride) {
  std::vector<R> c(static_cast<size_t>(p.m * stride));
  Launch launch;
  const Gm<const E> from_a = launch.input("a", a.data(), p.m * p.k);
  const Gm<const E> from_b = launch.input("b", b.data(), p.n * p.k);
  const Gm<R> to = launch.output("c", c.data(), p.m * stride);
  run_on(CoreKind::cube, launch, [&](Core &core) {
    const auto l1_a = core.take<L1<E>>("a", p.m * p.k);
    const auto l1_b = core.take<L1<E>>("b", p.n * p.k);
    const auto l0a = core.take<L0a<E>>("a", p.m * p.k);
    const auto l0b = core.take<L0b<E>>("b", p.n * p.k);
    const auto l0c = core.take<L0c>("c", p.m * p.n);
    fill_l1(core, l1_a, p.m * p.k);
    pipe_barrier(core, Pipe::mte2);
    if (p.a_turned) {
      load_nd2nz(core, l1_a, from_a, {p.k, p.m, p.m}, p.k);
    } else {
      load_nd2nz(core, l1_a, from_a, {p.given, p.k, p.k}, p.m);
    }
    if (p.turned) {
      load_nd2nz(core, l1_b, from_b, {p.k, p.n, p.n}, p.k);
    } else {
      load_nd2nz(core, l1_b, from_b, {p.n, p.k, p.k}, p.n);
    }
    set_flag(core, Pipe::mte2, Pipe::mte1, 0);
    wait_flag(core, Pipe::mte2, Pipe::mte1, 0);
    if (p.a_turned) {
      load_a_transposed(core, l0a, l1_a, {p.m * p.k / (kFractal * kFractal), 1});
    }
    for (int64_t i = 0; !p.a_turned && i < p.m / kFractal; ++i) {
      load_a(core, l0a + i * kFractal * p.k, l1_a + i * kFractal * kFractal,
             {p.k / kFractal, p.m / kFractal});
    }
    if (p.turned) {
      for (int64_t i = 0; i < p.k / kFractal; ++i) {
        load_b_transposed(core, l0b + i * kFractal * p.n, l1_b + i * kFractal * kFractal,
                          {p.n / kFractal, p.k / kFractal});
      }
    } else {
      load_b(core, l0b, l1_b, {p.n * p.k / (kFractal * kFractal), 1});
    }
    set_flag(core, Pipe::mte1, Pipe::m, 0);
    wait_flag(core, Pipe::mte1, Pipe::m, 0);
    mmad(core, l0c, l0a, l0b, p.m, p.k, p.n, Sum::fresh);
    if (p.sum == Sum::onto) {
      pipe_barrier(core, Pipe::m);
      mmad(core, l0c, l0a, l0b, p.m, p.k, p.n, Sum::onto);
    }
    set_flag(core, Pipe::m, Pipe::fix, 0);
    wait_flag(core, Pipe::m, Pipe::fix, 0);
    store_nz2nd(core, to, l0c, {p.m, p.n, stride}, p.m);
  });
  return c;
}

template <class E>
double exact(const Product &p, const std::vector<E> &a, const std::vector<E> &b, int64_t i,
             int64_t j) {
  double sum = 0.0;
  for (int64_t e = 0; e < p.k && i < p.given; ++e) {
    const int64_t at_a = p.a_turned ? e * p.m + i : i * p.k + e;
    const int64_t at_b = p.turned ? e * p.n + j : j * p.k + e;
    sum += static_cast<double>(widen(a[static_cast<size_t>(at_a)])) *
           static_cast<double>(widen(b[static_cast<size_t>(at_b)]));
  }
  return p.sum == Sum::onto ? 2.0 * sum : sum;
}

template <class E, class R>
void check_product(const Product &p, double bound) {
  const std::vector<E> a = narrowed<E>(numbers(p.m * p.k, 11));
  const std::vector<E> b = narrowed<E>(numbers(p.n * p.k, 12));
  const int64_t stride = p.n + 3;
  const std::vector<R> c = multiply<E, R>(p, a, b, stride);
  for (int64_t i = 0; i < p.m; ++i) {
    for (int64_t j = 0; j < stride; ++j) {
      const R found = c[static_cast<size_t>(i * stride + j)];
      double value = 0.0;
      if constexpr (std::is_same_v<R, float>) {
        value = found;
      } else {
        value = widen(found);
      }
      const double expected = j < p.n ? exact(p, a, b, i, j) : 0.0;
      ASSERT_NEAR(value, expected, bound * (1.0 + std::fabs(expected))) << i << " " << j;
    }
  }
}

// load_nd2nz, fill_l1, load_a, load_b, mmad and store_nz2nd, of three different sizes.
TEST(Primitives, Mmad) { check_product<bf16, float>({48, 32, 80, 48, Sum::fresh}, 1e-6); }
TEST(Primitives, MmadOfF16) { check_product<f16, float>({16, 64, 32, 16, Sum::fresh}, 1e-6); }
TEST(Primitives, MmadOnto) { check_product<bf16, float>({32, 16, 48, 32, Sum::onto}, 1e-6); }
TEST(Primitives, LoadATransposed) {
  check_product<bf16, float>({48, 32, 16, 48, Sum::fresh, false, true}, 1e-6);
}
TEST(Primitives, LoadBTransposed) {
  check_product<f16, float>({16, 48, 32, 16, Sum::fresh, true}, 1e-6);
}
TEST(Primitives, FillL1) { check_product<bf16, float>({48, 32, 16, 33, Sum::fresh}, 1e-6); }
TEST(Primitives, StoreNz2NdAsF16) { check_product<f16, f16>({32, 48, 16, 32, Sum::fresh}, 5e-4); }
TEST(Primitives, StoreNz2NdAsBf16) {
  check_product<bf16, bf16>({16, 16, 32, 16, Sum::fresh}, 4e-3);
}

// 16 rows of a product of 32 x 48 become rows 16 to 31 of a matrix of 64 rows in L1, rounded; times
// the identity they come back.
template <class E>
void check_store_l1() {
  constexpr int64_t kRows = 32, kColumns = 48, kHeight = 64;
  const std::vector<E> a = narrowed<E>(numbers(kRows * kFractal, 13));
  const std::vector<E> b = narrowed<E>(numbers(kColumns * kFractal, 14));
  std::vector<E> identity(kColumns * kColumns);
  for (size_t i = 0; i < kColumns; ++i) identity[i * (kColumns + 1)] = narrow<E>(1.0F);
  std::vector<float> back(kFractal * kColumns);
  Launch launch;
  const Gm<const E> from_a = launch.input("a", a.data(), kRows * kFractal);
  const Gm<const E> from_b = launch.input("b", b.data(), kColumns * kFractal);
  const Gm<const E> from_identity = launch.input("i", identity.data(), kColumns * kColumns);
  const Gm<float> to = launch.output("back", back.data(), kFractal * kColumns);
  run_on(CoreKind::cube, launch, [&](Core &core) {
    const auto l1_a = core.take<L1<E>>("a", kRows * kFractal);
    const auto l1_b = core.take<L1<E>>("b", kColumns * kFractal);
    const auto l1_identity = core.take<L1<E>>("i", kColumns * kColumns);
    const auto matrix = core.take<L1<E>>("matrix", kHeight * kColumns);
    const auto l0a = core.take<L0a<E>>("a", kRows * kColumns);
    const auto l0b = core.take<L0b<E>>("b", kColumns * kColumns);
    const auto l0c = core.take<L0c>("c", kRows * kColumns);
    load_nd2nz(core, l1_a, from_a, {kRows, kFractal, kFractal}, kRows);
    load_nd2nz(core, l1_b, from_b, {kColumns, kFractal, kFractal}, kColumns);
    load_nd2nz(core, l1_identity, from_identity, {kColumns, kColumns, kColumns}, kColumns);
    set_flag(core, Pipe::mte2, Pipe::mte1, 0);
    wait_flag(core, Pipe::mte2, Pipe::mte1, 0);
    load_a(core, l0a, l1_a, {kRows / kFractal, 1});
    load_b(core, l0b, l1_b, {kColumns / kFractal, 1});
    set_flag(core, Pipe::mte1, Pipe::m, 0);
    wait_flag(core, Pipe::mte1, Pipe::m, 0);
    mmad(core, l0c, l0a, l0b, kRows, kFractal, kColumns, Sum::fresh);
    set_flag(core, Pipe::m, Pipe::fix, 0);
    wait_flag(core, Pipe::m, Pipe::fix, 0);
    store_l1(core, matrix + kFractal * kFractal, l0c, kFractal, kColumns, {kHeight, kRows});
    set_flag(core, Pipe::fix, Pipe::mte1, 0);
    wait_flag(core, Pipe::fix, Pipe::mte1, 0);
    load_a(core, l0a, matrix + kFractal * kFractal, {kColumns / kFractal, kHeight / kFractal});
    load_b(core, l0b, l1_identity, {kColumns * kColumns / (kFractal * kFractal), 1});
    set_flag(core, Pipe::mte1, Pipe::m, 0);
    wait_flag(core, Pipe::mte1, Pipe::m, 0);
    mmad(core, l0c, l0a, l0b, kFractal, kColumns, kColumns, Sum::fresh);
    set_flag(core, Pipe::m, Pipe::fix, 0);
    wait_flag(core, Pipe::m, Pipe::fix, 0);
    store_nz2nd(core, to, l0c, {kFractal, kColumns, kColumns}, kFractal);
  });
  const Product product{kRows, kFractal, kColumns, kRows, Sum::fresh};
  const std::vector<float> c = multiply<E, float>(product, a, b, kColumns);
  for (size_t i = 0; i < back.size(); ++i) ASSERT_EQ(back[i], widen(narrow<E>(c[i]))) << i;
}

TEST(Primitives, StoreL1AsF16) { check_store_l1<f16>(); }
TEST(Primitives, StoreL1AsBf16) { check_store_l1<bf16>(); }

// Between any two neighbours: their midpoint goes to the even one, everything else to the nearer.
template <class E>
void check_rounding(int infinity) {
  for (int b = 0; b + 1 < infinity; ++b) {
    const float low = widen(E{static_cast<uint16_t>(b)});
    const float high = widen(E{static_cast<uint16_t>(b + 1)});
    const float middle = low + (high - low) / 2;
    const int even = b % 2 == 0 ? b : b + 1;
    ASSERT_EQ(narrow<E>(low).bits, b);
    ASSERT_EQ(narrow<E>(middle).bits, even);
    ASSERT_EQ(narrow<E>(-middle).bits, even | 0x8000);
    ASSERT_EQ(narrow<E>(std::nextafter(middle, 0.0F)).bits, b);
    ASSERT_EQ(narrow<E>(std::nextafter(middle, INFINITY)).bits, b + 1);
  }
  EXPECT_EQ(narrow<E>(INFINITY).bits, infinity);
  EXPECT_TRUE(std::isnan(widen(narrow<E>(NAN))));
  EXPECT_TRUE(std::isinf(widen(E{static_cast<uint16_t>(infinity)})));
}

TEST(Convert, F16RoundsToNearestEven) { check_rounding<f16>(0x7c00); }
TEST(Convert, Bf16RoundsToNearestEven) { check_rounding<bf16>(0x7f80); }

}  // namespace
}  // namespace gdn::ascend

#include "cpu/isa.h"

#include <array>
#include <cstddef>

#include "cpu/processor.h"
#include "cpu/tables.h"

namespace gdn::cpu {
namespace {

struct Row {
  const char *name;
  bool runs;           ///< On this processor.
  const char *reason;  ///< Why to choose it over the rows before it; nullptr: do not.
  const KernelTable *kernels;
};

#if defined(GDN_CPU_GENERIC_ONLY) || !(defined(__x86_64__) || defined(__aarch64__))

auto make_rows() {
  return std::to_array<Row>({
      {"generic", true, "This build has no other instruction set.", &generic::kTable},
  });
}

#elif defined(__aarch64__)

auto make_rows() {
  return std::to_array<Row>({
      {"generic", true, nullptr, &generic::kTable},
      {"neon", true, "Every 64-bit Arm processor has Advanced SIMD.", &neon::kTable},
  });
}

#else

#if defined(GDN_CPU_AMX_EMULATE)
constexpr bool kAmxEmulated = true;
#else
constexpr bool kAmxEmulated = false;
#endif

const char *avx512_reason(const Processor &has) {
  if (!has.avx512bf16) return "The processor has AVX-512 without AVX512-BF16 and AMX.";
  return "The processor has AVX512-BF16 without AMX and is not an AMD one; on Intel servers the "
         "bf16 dot product was measured at half the rate of the float32 multiply-add, so AVX-512 "
         "in float32 is faster.";
}

const char *avx512bf16_reason(const Processor &has) {
  if (!has.amd) return nullptr;
  return "The processor is an AMD one with AVX512-BF16, whose bf16 dot product was measured at "
         "twice the rate of its float32 multiply-add.";
}

const char *amx_reason(const Processor &has) {
  if (!has.amx) return nullptr;
  return "The processor has AMX and the system grants it; its bf16 tile product was measured at "
         "fifteen times the rate of the float32 multiply-add.";
}

auto make_rows() {
  const Processor &has = processor();
  return std::to_array<Row>({
      {"generic", true, "The processor has neither AVX2 with FMA nor AVX-512.", &generic::kTable},
      {"avx2", has.avx2, "The processor has AVX2 and FMA, without AVX-512.", &avx2::kTable},
      {"avx512", has.avx512, avx512_reason(has), &avx512::kTable},
      {"avx512bf16", has.avx512bf16, avx512bf16_reason(has), &avx512bf16::kTable},
      {"amx", has.amx || (kAmxEmulated && has.avx512bf16), amx_reason(has), &amx::table()},
  });
}

#endif

/// The instruction sets, slowest first.
const auto &rows() {
  static const auto table = make_rows();
  return table;
}

}  // namespace

std::span<const Isa> isas() {
  static const auto table = [] {
    std::array<Isa, std::tuple_size_v<decltype(make_rows())>> isas;
    for (size_t i = 0; i < isas.size(); ++i) isas[i] = {rows()[i].name, rows()[i].runs};
    return isas;
  }();
  return table;
}

IsaChoice choose_isa() {
  size_t i = rows().size() - 1;
  while (!rows()[i].runs || rows()[i].reason == nullptr) --i;
  return {static_cast<int32_t>(i), rows()[i].reason};
}

const KernelTable &kernels(int32_t isa) { return *rows()[static_cast<size_t>(isa)].kernels; }

}  // namespace gdn::cpu

#include "abi/scenario.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace gdn::testing {
namespace {

/// Numbers in [-0.5, 0.5), the same in every run.
std::vector<float> noise(int64_t count) {
  static uint32_t state = 1;
  std::vector<float> out(static_cast<size_t>(count));
  for (float &x : out) {
    state = state * 1664525U + 1013904223U;
    x = static_cast<float>(state >> 8) / 16777216.0F - 0.5F;
  }
  return out;
}

}  // namespace

Operand::Operand(std::string operand, Array memory, unsigned bits, const DLTensor **field)
    : name(std::move(operand)), array(std::move(memory)), traits(bits), slot(field) {
  if (is(kIndex)) {
    integers.assign(static_cast<size_t>(array.size()), 0);
  } else {
    floats = noise(array.size());
  }
}

void Operand::fill(std::vector<int64_t> values) { integers = std::move(values); }

void Operand::reset() {
  header = *array.tensor();
  shape.assign(header.shape, header.shape + header.ndim);
  header.shape = shape.data();
  strides = array.strides();
  header.strides = strides.data();
  *slot = &header;
  if (is(kOutput)) {
    array.poison();
  } else if (is(kIndex)) {
    array.assign(integers);
  } else {
    array.assign(floats);
  }
}

std::vector<uint64_t> Resized::copy_of(const void *value, size_t size) const {
  const size_t kept = std::min(keep, size);
  const size_t total = kept + tail.size();
  std::vector<uint64_t> words(total / sizeof(uint64_t));  // Whole fields, so whole words.
  auto *bytes = reinterpret_cast<unsigned char *>(words.data());
  std::memcpy(bytes, value, kept);
  if (!tail.empty()) std::memcpy(bytes + kept, tail.data(), tail.size());
  std::memcpy(bytes, &total, sizeof total);
  return words;
}

Operand &Scenario::operator[](std::string_view name) {
  for (Operand &o : operands_) {
    if (o.name == name) return o;
  }
  throw std::out_of_range("no operand " + std::string(name));
}

bool Scenario::has(std::string_view name) const {
  return std::any_of(operands_.begin(), operands_.end(),
                     [name](const Operand &o) { return o.name == name; });
}

void Scenario::reset() {
  exec = {};
  exec.struct_size = sizeof exec;
  for (Operand &o : operands_) o.reset();
}

}  // namespace gdn::testing

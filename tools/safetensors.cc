#include "tools/safetensors.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

namespace gdn::tools {
namespace {

using nlohmann::json;

// The format's own bound on the header.
constexpr uint64_t kMaxHeader = 100'000'000;

[[noreturn]] void fail(const std::string &message) {
  throw std::runtime_error("not a valid safetensors file: " + message);
}

uint64_t read_le64(std::span<const std::byte> bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < 8; ++i) value |= std::to_integer<uint64_t>(bytes[i]) << (8 * i);
  return value;
}

/// An unsigned integer member that fits size_t.
size_t offset_of(const json &value, const std::string &name) {
  if (!value.is_number_unsigned()) fail(fmt::format("\"{}\" has a bad data offset", name));
  return value.get<size_t>();
}

SafetensorsEntry parse_entry(const std::string &name, const json &value, size_t data_size) {
  if (!value.is_object()) fail(fmt::format("\"{}\" is not an object", name));
  const auto dtype = value.find("dtype");
  const auto shape = value.find("shape");
  const auto offsets = value.find("data_offsets");
  if (dtype == value.end() || !dtype->is_string()) fail(fmt::format("\"{}\" has no dtype", name));
  if (shape == value.end() || !shape->is_array()) fail(fmt::format("\"{}\" has no shape", name));
  if (offsets == value.end() || !offsets->is_array() || offsets->size() != 2) {
    fail(fmt::format("\"{}\" has no pair of data_offsets", name));
  }

  SafetensorsEntry entry;
  entry.dtype = dtype->get<std::string>();
  entry.begin = offset_of((*offsets)[0], name);
  entry.end = offset_of((*offsets)[1], name);
  if (entry.begin > entry.end || entry.end > data_size) {
    fail(fmt::format("\"{}\" lies at {}..{}, outside of the {} bytes of data", name, entry.begin,
                     entry.end, data_size));
  }
  const size_t size = safetensors_element_size(entry.dtype);
  size_t bytes = size;
  for (const json &extent : *shape) {
    if (!extent.is_number_unsigned() || extent.get<uint64_t>() > INT64_MAX) {
      fail(fmt::format("\"{}\" has a bad extent in its shape", name));
    }
    const auto n = extent.get<size_t>();
    if (__builtin_mul_overflow(bytes, n, &bytes)) fail(fmt::format("\"{}\" is too large", name));
    entry.shape.push_back(static_cast<int64_t>(n));
  }
  if (size != 0 && entry.end - entry.begin != bytes) {
    fail(fmt::format("\"{}\" has {} bytes, its shape needs {}", name, entry.end - entry.begin,
                     bytes));
  }
  return entry;
}

}  // namespace

size_t safetensors_element_size(const std::string &dtype) {
  static const std::array<std::pair<const char *, size_t>, 13> sizes = {{{"F64", 8},
                                                                         {"F32", 4},
                                                                         {"F16", 2},
                                                                         {"BF16", 2},
                                                                         {"I64", 8},
                                                                         {"I32", 4},
                                                                         {"I16", 2},
                                                                         {"I8", 1},
                                                                         {"U64", 8},
                                                                         {"U32", 4},
                                                                         {"U16", 2},
                                                                         {"U8", 1},
                                                                         {"BOOL", 1}}};
  for (const auto &[name, size] : sizes) {
    if (dtype == name) return size;
  }
  return 0;
}

SafetensorsIndex parse_safetensors(std::span<const std::byte> file) {
  if (file.size() < 8)
    fail(fmt::format("it has {} bytes, fewer than the 8 of a length", file.size()));
  const uint64_t header_size = read_le64(file);
  if (header_size > kMaxHeader || header_size > file.size() - 8) {
    fail(fmt::format("its header would have {} bytes, the file has {}", header_size, file.size()));
  }
  const char *text = reinterpret_cast<const char *>(file.data()) + 8;
  const json header = json::parse(text, text + header_size, nullptr, /*allow_exceptions=*/false);
  if (!header.is_object()) fail("its header is not a JSON object");

  SafetensorsIndex index;
  index.data_offset = 8 + static_cast<size_t>(header_size);
  for (const auto &[name, value] : header.items()) {
    if (name == "__metadata__") continue;
    index.entries.emplace(name, parse_entry(name, value, file.size() - index.data_offset));
  }
  return index;
}

}  // namespace gdn::tools

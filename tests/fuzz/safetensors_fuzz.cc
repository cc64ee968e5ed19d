// libFuzzer on the safetensors reader of the command line: any bytes give an index whose entries
// lie inside the file, or an exception with a message.

#include <cstdint>
#include <cstdlib>
#include <span>
#include <stdexcept>
#include <string_view>

#include "tools/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  using namespace gdn::tools;
  const std::span<const std::byte> file(reinterpret_cast<const std::byte *>(data), size);
  try {
    const SafetensorsIndex index = parse_safetensors(file);
    for (const auto &[name, entry] : index.entries) {
      if (entry.begin > entry.end || index.data_offset + entry.end > size) std::abort();
      size_t bytes = safetensors_element_size(entry.dtype);
      if (bytes == 0) continue;  // A type of others: its size is unknown.
      for (const int64_t extent : entry.shape) bytes *= static_cast<size_t>(extent);
      if (bytes != entry.end - entry.begin) std::abort();
    }
  } catch (const std::runtime_error &e) {
    if (std::string_view(e.what()).empty()) std::abort();
  }
  return 0;
}

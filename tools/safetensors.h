#ifndef GDN_TOOLS_SAFETENSORS_H_
#define GDN_TOOLS_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace gdn::tools {

/// One tensor of a safetensors file: its type by the format's name ("F32", "BF16", "F16", "I32",
/// "I64", ..), its shape, and where its bytes lie in the file's data section.
struct SafetensorsEntry {
  std::string dtype;
  std::vector<int64_t> shape;
  size_t begin = 0;
  size_t end = 0;
};

/// What a safetensors file holds: entries by name, and the offset of the data section.
struct SafetensorsIndex {
  std::map<std::string, SafetensorsEntry> entries;
  size_t data_offset = 0;
};

/// Bytes of one element of a safetensors type; 0 if the type is unknown.
size_t safetensors_element_size(const std::string &dtype);

/// Reads the header of a file image. Every length, offset and shape is checked against the image's
/// size, so an index that is returned can be used without further checks; only entries of an
/// unknown type, which others may well use, hold a shape that is not compared with their bytes.
/// @throws std::runtime_error with a sentence that says what is wrong.
SafetensorsIndex parse_safetensors(std::span<const std::byte> file);

}  // namespace gdn::tools

#endif  // GDN_TOOLS_SAFETENSORS_H_

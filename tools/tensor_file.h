#ifndef GDN_TOOLS_TENSOR_FILE_H_
#define GDN_TOOLS_TENSOR_FILE_H_

#include <gdn/gdn.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tools/safetensors.h"

namespace gdn::tools {

struct Free {
  void operator()(void *p) const { std::free(p); }
};
using Bytes = std::unique_ptr<std::byte[], Free>;

/// Memory with the alignment of a workspace; never null.
/// @throws std::runtime_error if there is none, with what it was for.
Bytes allocate(size_t size, const std::string &what);

/// A compact tensor in host memory; dtype is a safetensors type.
struct HostTensor {
  std::string dtype;
  std::vector<int64_t> shape;
  size_t size = 0;  ///< Bytes.
  Bytes data;

  /// The tensor as the C interface takes it; valid while this object stays where it is.
  DLTensor view();
};

/// An uninitialised tensor; messages call it `name`.
HostTensor make_tensor(const std::string &name, const std::string &dtype,
                       std::vector<int64_t> shape);

/// The tensors of a safetensors file by name, each copied to aligned memory when asked for.
class TensorFile {
 public:
  /// @throws std::runtime_error if the file cannot be read or is not valid.
  explicit TensorFile(const std::string &path);

  /// Throws std::runtime_error if the file has a tensor that is not among `names`.
  void refuse_others(const std::vector<std::string> &names) const;

  /// The tensor, if the file has it. @throws std::runtime_error if its type is unknown.
  std::optional<HostTensor> find(const std::string &name) const;

  /// The tensor. @throws std::runtime_error if it is missing or has another rank.
  HostTensor require(const std::string &name, size_t rank) const;

 private:
  std::string path_;
  Bytes bytes_;
  SafetensorsIndex index_;
};

}  // namespace gdn::tools

#endif  // GDN_TOOLS_TENSOR_FILE_H_

#ifndef GDN_TOOLS_SAFETENSORS_OUTPUT_H_
#define GDN_TOOLS_SAFETENSORS_OUTPUT_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace gdn::tools {

/// A file being written. A regular file, new or old, appears under its name only when it is
/// complete; what a symbolic link names is written, not the link. A device or a pipe is written as
/// it stands.
class OutputFile {
 public:
  /// Checks that there can be such a file; nothing is touched yet.
  /// @throws std::runtime_error if not.
  explicit OutputFile(std::string path);
  /// Leaves nothing behind unless committed.
  ~OutputFile();
  OutputFile(const OutputFile &) = delete;
  OutputFile &operator=(const OutputFile &) = delete;

  const std::string &path() const { return path_; }

  /// True if an open file descriptor writes to the same device, pipe or file.
  bool is(int descriptor) const;

  /// @throws std::runtime_error if the bytes cannot be written.
  void write(std::span<const std::byte> bytes);

  /// Ends the file and gives it its name. @throws std::runtime_error if that fails.
  void commit();

 private:
  [[noreturn]] void fail(int error) const;
  void open_partial();

  std::string path_;     ///< As the user wrote it.
  std::string target_;   ///< The regular file that partial_ becomes.
  std::string partial_;  ///< Empty for a device or a pipe, before write() and after commit().
  mode_t mode_ = 0;
  int descriptor_ = -1;
};

/// A tensor to be written.
struct SafetensorsOutput {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  std::span<const std::byte> data;
};

/// Writes a header, then the tensors in the given order.
/// @throws std::runtime_error if they cannot be written.
void write_safetensors(OutputFile *file, const std::vector<SafetensorsOutput> &tensors);

}  // namespace gdn::tools

#endif  // GDN_TOOLS_SAFETENSORS_OUTPUT_H_

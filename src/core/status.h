#ifndef GDN_CORE_STATUS_H_
#define GDN_CORE_STATUS_H_

#include <string>
#include <utility>

namespace gdn {

/// Mirrors gdn_status; the api converts by value.
enum class Code {
  ok = 0,
  invalid_argument = 1,
  unsupported = 2,
  workspace_too_small = 3,
  out_of_memory = 4,
  device_error = 5,
  internal_error = 6,
};

/// Result of a check or a launch. The message is a full sentence; success holds none and costs no
/// allocation.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == Code::ok; }
  Code code() const { return code_; }
  const std::string &message() const { return message_; }

 private:
  Code code_ = Code::ok;
  std::string message_;
};

}  // namespace gdn

#endif  // GDN_CORE_STATUS_H_

#include "tools/safetensors_output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace gdn::tools {
namespace {

/// The path that symbolic links lead to; its last part need not exist.
std::filesystem::path followed(std::filesystem::path path, std::error_code *error) {
  constexpr int kMaxLinks = 40;
  for (int i = 0; i < kMaxLinks; ++i) {
    std::error_code none;
    if (!std::filesystem::is_symlink(std::filesystem::symlink_status(path, none))) return path;
    const std::filesystem::path next = std::filesystem::read_symlink(path, *error);
    if (*error) return path;
    path = next.is_absolute() ? next : path.parent_path() / next;
  }
  *error = std::make_error_code(std::errc::too_many_symbolic_link_levels);
  return path;
}

/// The permissions that a new file gets.
mode_t default_mode() {
  const mode_t mask = umask(0);
  umask(mask);
  return 0666 & ~mask;
}

}  // namespace

OutputFile::OutputFile(std::string path) : path_(std::move(path)) {
  struct stat info {};
  const bool exists = stat(path_.c_str(), &info) == 0;
  if (exists && !S_ISREG(info.st_mode)) {
    descriptor_ = open(path_.c_str(), O_WRONLY | O_CLOEXEC);
    if (descriptor_ < 0) fail(errno);
    return;
  }
  std::error_code error;
  target_ = exists ? std::filesystem::canonical(path_, error) : followed(path_, &error);
  if (error) fail(error.value());
  if (exists && access(target_.c_str(), W_OK) != 0) fail(errno);
  mode_ = exists ? info.st_mode & 07777 : default_mode();
  const std::string folder = std::filesystem::path(target_).parent_path();
  if (access(folder.empty() ? "." : folder.c_str(), W_OK | X_OK) != 0) fail(errno);
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) close(descriptor_);
  if (!partial_.empty()) unlink(partial_.c_str());
}

bool OutputFile::is(int descriptor) const {
  struct stat ours {};
  struct stat theirs {};
  const int found = target_.empty() ? fstat(descriptor_, &ours) : stat(target_.c_str(), &ours);
  return found == 0 && fstat(descriptor, &theirs) == 0 && ours.st_dev == theirs.st_dev &&
         ours.st_ino == theirs.st_ino;
}

void OutputFile::open_partial() {
  partial_ = target_ + ".XXXXXX";
  descriptor_ = mkostemp(partial_.data(), O_CLOEXEC);
  if (descriptor_ < 0) {
    partial_.clear();
    fail(errno);
  }
  // Where the permissions cannot be given (some network file systems), mkostemp's serve.
  (void)fchmod(descriptor_, mode_);
}

void OutputFile::write(std::span<const std::byte> bytes) {
  if (descriptor_ < 0) open_partial();
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(errno);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void OutputFile::commit() {
  if (close(std::exchange(descriptor_, -1)) != 0) fail(errno);
  if (partial_.empty()) return;
  if (std::rename(partial_.c_str(), target_.c_str()) != 0) fail(errno);
  partial_.clear();
}

void OutputFile::fail(int error) const {
  throw std::runtime_error(fmt::format("cannot write {}: {}", path_, std::strerror(error)));
}

void write_safetensors(OutputFile *file, const std::vector<SafetensorsOutput> &tensors) {
  nlohmann::json header = nlohmann::json::object();
  size_t offset = 0;
  for (const SafetensorsOutput &t : tensors) {
    header[t.name] = {
        {"dtype", t.dtype}, {"shape", t.shape}, {"data_offsets", {offset, offset + t.data.size()}}};
    offset += t.data.size();
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // keeps the data 8-byte aligned
  std::array<std::byte, 8> length{};
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<std::byte>(text.size() >> (8 * i));
  file->write(length);
  file->write(std::as_bytes(std::span(text)));
  for (const SafetensorsOutput &t : tensors) file->write(t.data);
}

}  // namespace gdn::tools

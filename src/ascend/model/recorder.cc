#include "ascend/model/recorder.h"

#include <cstring>
#include <string_view>

namespace gdn::ascend::model {
namespace {

constexpr int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

}  // namespace

std::string text_of(const Where &where) {
  std::string_view file = where.file_name();
  file.remove_prefix(file.rfind('/') + 1);
  return std::string(file) + ":" + std::to_string(where.line());
}

bool Recorder::expect(bool holds, Kind kind, const Where &where, const std::string &text) {
  if (!holds) findings_->add(kind, text_of(where) + ": " + text);
  return holds;
}

uint32_t Recorder::take(Space space, const char *name, int64_t bytes, const Where &where) {
  if (options_->one_slot_of == name) {
    for (size_t i = 0; i < buffers_.size(); ++i) {
      if (buffers_[i].name == name) return static_cast<uint32_t>(i);
    }
  }
  if (options_->smaller == name) bytes -= kBlockBytes;
  const std::string what = std::string("buffer \"") + name + "\" in " + name_of(space);
  expect(has_space(kind(), space), Kind::wrong_core, where,
         what + ", a memory that this core lacks.");
  int64_t &used = used_[static_cast<size_t>(space)];
  const int64_t begin = used;
  used = round_up(used + bytes, alignment(space));
  expect(used <= capacity(space), Kind::capacity, where,
         what + " needs " + std::to_string(bytes) + " bytes behind " + std::to_string(begin) +
             ", expected at most " + std::to_string(capacity(space)) + " in all.");
  Buffer buffer;
  buffer.name = name;
  buffer.space = space;
  buffer.bytes = bytes;
  // Whole cells, so that the last one may be read as blocks are.
  buffer.own = std::make_unique<unsigned char[]>(static_cast<size_t>(round_up(bytes, kBlockBytes)));
  buffer.data = buffer.own.get();
  buffer.clear();
  buffers_.push_back(std::move(buffer));
  return static_cast<uint32_t>(buffers_.size() - 1);
}

void Recorder::issue(Pipe pipe, const Action &action, const Where &where) {
  Instruction instruction{pipe, action, where};
  if (options_->edit && !options_->edit(instruction)) return;
  if (!expect(has_pipe(kind(), instruction.pipe), Kind::wrong_core, where,
              std::string("an instruction of pipe ") + name_of(instruction.pipe) + " on a " +
                  (kind() == CoreKind::cube ? "Cube" : "Vector") + " core.")) {
    return;
  }
  program_.push_back(instruction);
}

int64_t Recorder::scalar(const Ref &from, int64_t bytes, const Where &where) {
  const Buffer &tensor = (*tensors_)[from.buffer];
  if (!expect(tensor.role == Role::input, Kind::operand, where,
              "scalar_load of \"" + tensor.name + "\", expected an input of the launch.") ||
      !expect(from.byte >= 0 && from.byte + bytes <= tensor.bytes, Kind::bounds, where,
              "scalar_load of byte " + std::to_string(from.byte) + " of \"" + tensor.name +
                  "\", which has " + std::to_string(tensor.bytes) + ".")) {
    return 0;
  }
  issue(Pipe::s, ScalarLoad{from, bytes}, where);
  int64_t wide = 0;
  int32_t narrow = 0;
  std::memcpy(bytes == 8 ? static_cast<void *>(&wide) : &narrow, tensor.data + from.byte,
              static_cast<size_t>(bytes));
  return bytes == 8 ? wide : narrow;
}

}  // namespace gdn::ascend::model

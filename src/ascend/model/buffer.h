#ifndef GDN_ASCEND_MODEL_BUFFER_H_
#define GDN_ASCEND_MODEL_BUFFER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ascend/model/machine.h"

namespace gdn::ascend::model {

/// What a launch does with a tensor in GM.
enum class Role : uint8_t { input, output, scratch };

/// One access that later ones must be ordered after.
struct Stamp {
  int32_t next = -1;         ///< The cell's next one; -1: none.
  uint32_t time = 0;         ///< Which instruction of its agent it was, counted from 1; 0: none.
  uint32_t instruction = 0;  ///< Number of the instruction.
  uint32_t mask = 0;         ///< Which bytes of the cell.
  uint16_t block = 0;        ///< Its agent's block,
  uint8_t in_block = 0;      ///< and place there.
  bool write = false;
};

/// The stamps of a run behind each cell's first, in lists.
class Stamps {
 public:
  Stamp &operator[](int32_t i) { return all_[static_cast<size_t>(i)]; }
  int32_t add(const Stamp &stamp) {
    if (free_ < 0) {
      all_.push_back(stamp);
      return static_cast<int32_t>(all_.size()) - 1;
    }
    const int32_t i = free_;
    free_ = (*this)[i].next;
    (*this)[i] = stamp;
    return i;
  }
  void remove(int32_t i) {
    (*this)[i].next = free_;
    free_ = i;
  }

 private:
  std::vector<Stamp> all_;
  int32_t free_ = -1;
};

/// A buffer of a core or a tensor in GM. Accesses are tracked by cells of 32 bytes.
struct Buffer {
  std::string name;
  Space space = Space::gm;
  Role role = Role::scratch;
  int64_t bytes = 0;
  unsigned char *data = nullptr;
  std::unique_ptr<unsigned char[]> own;  ///< `data`, unless it is the caller's.
  std::vector<uint32_t> written;         ///< A bit a byte; empty for inputs.
  std::vector<Stamp> stamps;             ///< The first stamp of each cell; empty for inputs.

  /// Ready to be used by a run in which nothing has been written yet.
  void clear() {
    if (role == Role::input) return;
    const auto cells = static_cast<size_t>((bytes + kBlockBytes - 1) / kBlockBytes);
    written.assign(cells, 0);
    stamps.assign(cells, Stamp());
  }
};

}  // namespace gdn::ascend::model

#endif  // GDN_ASCEND_MODEL_BUFFER_H_

#include "ascend/model/cycles.h"

namespace gdn::ascend::model {
namespace {

// Guesses: a start of some cycles each, then so much a cycle.
constexpr double kMoveStart = 32.0;
constexpr double kRowStart = 2.0;
constexpr double kGlobalBytes = 48.0;
constexpr double kLocalBytes = 256.0;
constexpr double kVectorStart = 8.0;
constexpr double kSync = 4.0;

double move(int64_t rows, int64_t bytes, double rate) {
  return kMoveStart + kRowStart * static_cast<double>(rows) + static_cast<double>(bytes) / rate;
}

double vector(const Repeats &repeats, double cycles_of_repeat) {
  return kVectorStart + cycles_of_repeat * static_cast<double>(repeats.count);
}

struct Cost {
  double operator()(const Load &i) const { return move(i.rows, i.rows * i.width, kGlobalBytes); }
  double operator()(const Store &i) const { return move(i.rows, i.rows * i.width, kGlobalBytes); }
  double operator()(const LoadNd2Nz &i) const {
    return move(i.rows, i.rows * i.columns * 2, kGlobalBytes);
  }
  double operator()(const FillL1 &i) const { return move(1, i.bytes, kLocalBytes); }
  double operator()(const StoreNz2Nd &i) const {
    return move(i.rows, i.rows * i.columns * size_of(i.type), kGlobalBytes);
  }
  double operator()(const StoreL1 &i) const {
    return move(i.columns / kFractal, i.rows * i.columns * 2, kLocalBytes);
  }
  double operator()(const LoadL0 &i) const {
    return kVectorStart + static_cast<double>(i.fractals.count * kFractalBytes) / kLocalBytes;
  }
  double operator()(const Mmad &i) const {
    return kVectorStart + static_cast<double>(i.m * i.k * i.n) / (kFractal * kFractal * kFractal);
  }
  double operator()(const VBinary &i) const { return vector(i.repeats, 1.0); }
  double operator()(const VMla &i) const { return vector(i.repeats, 1.0); }
  double operator()(const VExp &i) const { return vector(i.repeats, 4.0); }
  double operator()(const VDup &i) const { return vector(i.repeats, 1.0); }
  double operator()(const VCast &i) const { return vector(i.repeats, 1.0); }
  double operator()(const VSelect &i) const { return vector(i.repeats, 1.0); }
  double operator()(const VBrcb &i) const { return kVectorStart + static_cast<double>(i.repeats); }
  double operator()(const VTranspose &i) const {
    return kVectorStart + 8.0 * static_cast<double>(i.repeats);
  }
  double operator()(const ScalarLoad &) const { return kMoveStart; }
  double operator()(const SetFlag &) const { return kSync; }
  double operator()(const WaitFlag &) const { return kSync; }
  double operator()(const PipeBarrier &) const { return kSync; }
  double operator()(const CrossSet &) const { return kSync; }
  double operator()(const CrossWait &) const { return kSync; }
};

}  // namespace

double cost_of(const Action &action) { return std::visit(Cost(), action); }

}  // namespace gdn::ascend::model

// Every operand of every operation, broken in every way that its header allows.

#include <gtest/gtest.h>

#include "abi/refusal.h"

namespace gdn::testing {
namespace {

class BadOperand : public ::testing::TestWithParam<ScenarioMaker> {
 protected:
  BadOperand() : scenario_(GetParam().make()), refusals_(scenario_.get()) {}

  /// Calls f for each operand, with its name on the trace.
  template <class F>
  void for_each(F f) {
    for (Operand &o : scenario_->operands()) {
      SCOPED_TRACE(o.name);
      f(o);
    }
  }

  static std::string quoted(const Shape &shape) {
    std::string out = "[";
    for (size_t i = 0; i < shape.size(); ++i) out += (i ? ", " : "") + std::to_string(shape[i]);
    return out + "]";
  }

  std::unique_ptr<Scenario> scenario_;
  Refusals refusals_;
};

TEST_P(BadOperand, Null) {
  for_each([&](Operand &o) {
    if (!o.is(kRequired)) return;
    refusals_.expect({o.name + " is NULL", "expected a tensor"}, [&] { *o.slot = nullptr; });
  });
}

TEST_P(BadOperand, Rank) {
  for_each([&](Operand &o) {
    const int rank = o.header.ndim;
    const bool any_rank = o.name == "x" && scenario_->operation().find("norm") != std::string::npos;
    for (const int wrong : {rank - 1, rank + 1, 0, -1, 6}) {
      // A norm's x gives the rank that the others must have.
      if (any_rank && wrong >= 1 && wrong <= 5) continue;
      // The recurrent operation and the fused decode step take slots of both ranks.
      const bool chunk = scenario_->name().starts_with("chunk");
      if (o.name == "state_indices" && !chunk && (wrong == 1 || wrong == 2)) {
        continue;
      }
      o.shape.resize(8, 1);
      refusals_.expect({o.name, "rank " + std::to_string(wrong), "expected rank"}, [&] {
        o.shape.resize(8, 1);
        o.strides.resize(8, 1);
        o.header.shape = o.shape.data();
        o.header.strides = o.strides.data();
        o.header.ndim = wrong;
      });
    }
    refusals_.expect({o.name, "null shape pointer"}, [&] { o.header.shape = nullptr; });
  });
}

TEST_P(BadOperand, Type) {
  for_each([&](Operand &o) {
    const auto refused = [&](DLDataType type, const char *text) {
      refusals_.expect({o.name + " has type " + text, "expected "}, [&] { o.header.dtype = type; });
    };
    refused({kDLFloat, 64, 1}, "float64");
    refused({kDLUInt, 16, 1}, "uint16");
    refused({kDLComplex, 64, 1}, "complex64");
    refused({99, 8, 1}, "DLPack type code 99");
    DLDataType lanes = o.array.tensor()->dtype;
    lanes.lanes = 2;
    refused(lanes, "");
    refused({kDLInt, 32, 0}, "int32 with 0 lanes");
    if (o.is(kIndex)) {
      refused({kDLFloat, 32, 1}, "float32");
    } else {
      refused({kDLInt, 32, 1}, "int32");
    }
  });
}

TEST_P(BadOperand, Device) {
  for_each([&](Operand &o) {
    const auto moved = [&](int type, int id, const char *text) {
      refusals_.expect({o.name, text, "is on cpu", "expected one device"}, [&] {
        o.header.device.device_id = id;
        std::memcpy(&o.header.device.device_type, &type, sizeof type);
      });
    };
    moved(kDLCUDA, 1, "cuda:1");
    moved(kDLCUDAManaged, 0, "cuda_managed:0");
    moved(kDLVulkan, 0, "DLPack device type 7");
    moved(99, 3, "DLPack device type 99, id 3");
  });
}

TEST_P(BadOperand, AllOnAnotherDevice) {
  refusals_.expect(GDN_UNSUPPORTED, {"no backend", "DLPack device type 7"}, [&] {
    for (Operand &o : scenario_->operands()) o.header.device.device_type = kDLVulkan;
  });
}

TEST_P(BadOperand, PinnedMemoryIsHostMemory) {
  refusals_.expect_valid([&] {
    for (Operand &o : scenario_->operands()) o.header.device.device_type = kDLCUDAHost;
    scenario_->operands().front().header.device.device_type = kDLCPU;
  });
}

TEST_P(BadOperand, Shape) {
  for_each([&](Operand &o) {
    for (size_t d = 0; d < o.shape.size(); ++d) {
      SCOPED_TRACE(d);
      refusals_.expect({o.name, "cannot be negative"}, [&] { o.shape[d] = -1; });
      // Another operand may be the one that is named: the first to have an extent decides.
      const bool slots = d == 0 && o.array.shape()[0] == 8;
      const bool state_length = o.name == "conv_state" && d == 2;
      const bool width = (o.name == "weight" || o.name == "conv_weight") && d == 1;
      const bool slots_per_token =
          (o.name == "state_indices" || o.name == "checkpoint_indices") && d == 1;
      // Extents that no other operand has.
      const std::string &name = scenario_->name();
      const bool stage_of_k = name == "kkt" || name == "w_u" || name == "fwd_h";
      const bool key_heads = stage_of_k && o.name == "k" && d == 2;
      const bool key_width = name == "kkt" && o.name == "k" && d == 3;
      if (slots || state_length || width || slots_per_token || key_heads || key_width) continue;
      refusals_.expect({"expected "}, [&] { o.shape[d] -= 1; });
      // A longer cu_seqlens would be read past its memory before it could be refused.
      if (o.name == "cu_seqlens") continue;
      refusals_.expect({"expected "}, [&] { o.shape[d] += 1; });
    }
  });
}

TEST_P(BadOperand, ExtentsThatOverflow) {
  for_each([&](Operand &o) {
    for (size_t d = 0; d < o.shape.size(); ++d) {
      // A mismatch or too many bytes, whichever is met first.
      refusals_.expect({}, [&] { o.shape[d] = INT64_MAX; });
      if (o.shape[d] < 2) continue;
      refusals_.expect({o.name, "2^62 bytes"}, [&] { o.strides[d] = INT64_MAX; });
      refusals_.expect({o.name, "2^62 bytes"}, [&] { o.strides[d] = INT64_MIN; });
      refusals_.expect({o.name, "2^62 bytes"}, [&] { o.strides[d] = INT64_MAX / 2; });
    }
  });
}

TEST_P(BadOperand, LastStride) {
  for_each([&](Operand &o) {
    if (!o.is(kUnitLast)) return;
    refusals_.expect({o.name, "last stride of 1"}, [&] { o.strides.back() = 2; });
    refusals_.expect({o.name, "last stride of 1"}, [&] { o.strides.back() = 0; });
    refusals_.expect({o.name, "last stride of 1"}, [&] { o.strides.back() = -1; });
  });
}

TEST_P(BadOperand, Pointer) {
  for_each([&](Operand &o) {
    refusals_.expect({o.name, "null data pointer", "expected memory"},
                     [&] { o.header.data = nullptr; });
    if (o.header.dtype.bits > 8) {
      refusals_.expect({o.name, "multiple of", "expected alignment"},
                       [&] { o.header.byte_offset += 1; });
    }
    refusals_.expect({o.name, "end of the address space"}, [&] {
      const uint64_t item = o.header.dtype.bits / 8U;
      o.header.byte_offset = 0 - reinterpret_cast<uintptr_t>(o.header.data) - item;
    });
  });
}

TEST_P(BadOperand, OutputsOverlapThemselves) {
  for_each([&](Operand &o) {
    if (!o.written()) return;
    for (size_t d = 0; d < o.shape.size(); ++d) {
      if (o.shape[d] < 2 || (o.is(kUnitLast) && d + 1 == o.shape.size())) continue;
      refusals_.expect({o.name, "elements overlap", "expected an output"},
                       [&] { o.strides[d] = 0; });
    }
  });
}

TEST_P(BadOperand, OutputsOverlapOthers) {
  for_each([&](Operand &o) {
    if (!o.written()) return;
    for (Operand &other : scenario_->operands()) {
      if (&other == &o || &other.array == &o.array) continue;
      // Writing into `other` from its last element on.
      if (other.name == "initial_state" && o.name == "final_state") continue;
      // It may reach into a third operand, which then may be the one that is named.
      refusals_.expect({o.name, "overlaps"}, [&] {
        const DLTensor &t = *other.array.tensor();
        const uint64_t size = static_cast<uint64_t>(other.array.size()) * (t.dtype.bits / 8U);
        const uint64_t align = o.header.dtype.bits / 8U;
        o.header.data = t.data;
        o.header.byte_offset = (t.byte_offset + size - 1) / align * align;
        if (o.header.byte_offset >= t.byte_offset + size) o.header.byte_offset -= align;
      });
    }
  });
}

TEST_P(BadOperand, InterleavedOutputsAreFine) {
  // Each output in a buffer with room for as much again behind every row, which holds an input of
  // the same shape and type.
  for_each([&](Operand &o) {
    if (!o.is(kOutput) || o.shape.size() < 2) return;
    for (Operand &in : scenario_->operands()) {
      if (in.written() || in.shape != o.shape || in.array.type() != o.array.type()) continue;
      const size_t last = o.shape.size() - 1;
      Shape strides = o.strides;
      for (size_t d = 0; d < last; ++d) strides[d] *= 2;
      Array both(o.array.type(), o.shape, {.strides = strides, .spare = o.shape[last]});
      refusals_.expect_valid([&] {
        both.assign(in.floats);
        for (Operand *each : {&in, &o}) {
          each->header.data = both.tensor()->data;
          each->header.byte_offset = both.tensor()->byte_offset;
          each->strides = strides;
          each->header.strides = each->strides.data();
        }
        o.header.byte_offset += static_cast<uint64_t>(o.shape[last]) * o.header.dtype.bits / 8U;
      });
    }
  });
}

std::string name_of_param(const ::testing::TestParamInfo<ScenarioMaker> &param) {
  return param.param.name;
}

INSTANTIATE_TEST_SUITE_P(All, BadOperand, ::testing::ValuesIn(scenario_makers()), name_of_param);

}  // namespace
}  // namespace gdn::testing

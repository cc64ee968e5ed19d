// What the executor says about a kernel: both lines, both agents, the buffer, and what is missing.

#include <algorithm>

#include "ascend/model/executor.h"
#include "ascend/model/names.h"
#include "ascend/model/recorder.h"

namespace gdn::ascend::model {

std::string text_of_core(int64_t core) {
  const int64_t in_block = core % kCoresOfBlock;
  const std::string block = " of block " + std::to_string(core / kCoresOfBlock);
  if (in_block == 0) return "the Cube core" + block;
  return "Vector core " + std::to_string(in_block - 1) + block;
}

std::string text_of(const Agent &agent) {
  return std::string(name_of(agent.pipe())) + " of " + text_of_core(agent.core());
}

namespace {

std::string bytes_of(const Buffer &buffer, int64_t byte, int64_t bytes) {
  return std::string(name_of(buffer.space)) + " \"" + buffer.name + "\" bytes " +
         std::to_string(byte) + " to " + std::to_string(byte + bytes - 1);
}

}  // namespace

const Instruction &Executor::instruction(uint32_t number) const {
  const auto after =
      std::upper_bound(cores_->begin(), cores_->end(), number,
                       [](uint32_t n, const CoreState &core) { return n < core.first; });
  const CoreState &core = *(after - 1);
  return core.program[number - core.first];
}

std::string Executor::place(uint32_t number) const { return text_of(instruction(number).where); }

/// What the running agent has waited for so far.
std::string Executor::known(const Running &now, const Agent &other) const {
  const uint32_t time = (*now.clock)[other];
  const std::string who = name_of(now.agent.pipe());
  if (time == 0) return who + " has waited for nothing that " + name_of(other.pipe()) + " did.";
  const CoreState &core = (*cores_)[static_cast<size_t>(other.core())];
  const size_t index = core.at(other.pipe()).ran[time - 1];
  return who + " has waited for what " + name_of(other.pipe()) + " did up to its " +
         std::to_string(time) + ". instruction, " + text_of(core.program[index].where) + ".";
}

std::string Executor::remedy(const Running &now, const Stamp &earlier) const {
  const Agent other = Agent::of(earlier.block, earlier.in_block);
  const std::string behind = place(earlier.instruction);
  const std::string before = place(now.number);
  const std::string from = name_of(other.pipe());
  if (other.index == now.agent.index) {
    return "Expected pipe_barrier(" + from + ") between " + behind + " and " + before + ".";
  }
  if (other.core() == now.agent.core()) {
    return "Expected set_flag(" + from + ", " + name_of(now.agent.pipe()) + ") behind " + behind +
           " and wait_flag before " + before + ". " + known(now, other);
  }
  if (other.block() == now.agent.block()) {
    return "Expected cross_set(" + from + ") behind " + behind + " and cross_wait before " +
           before + ". " + known(now, other);
  }
  return "Nothing orders the blocks of a launch.";
}

void Executor::race(const Running &now, const Stamp &earlier, const Buffer &buffer, int64_t byte,
                    bool write) {
  const std::string first = place(earlier.instruction);
  const std::string second = place(now.number);
  if (!reported_.emplace(first, second).second) return;
  findings_->add(Kind::race, second + ": " + text_of(now.agent) + (write ? " writes " : " reads ") +
                                 bytes_of(buffer, byte, kBlockBytes) + ", which " + first + ": " +
                                 text_of(Agent::of(earlier.block, earlier.in_block)) +
                                 (earlier.write ? " may still write. " : " may still read. ") +
                                 remedy(now, earlier));
}

void Executor::bad_access(Kind kind, const Running &now, const Buffer &buffer, int64_t byte,
                          int64_t bytes) {
  std::string what;
  if (kind == Kind::bounds) {
    what = " accesses " + bytes_of(buffer, byte, bytes) + ", which has " +
           std::to_string(buffer.bytes) + ".";
  } else if (kind == Kind::unwritten) {
    what = " reads " + bytes_of(buffer, byte, bytes) + ", of which nothing has written all.";
  } else {
    what = " writes " + bytes_of(buffer, byte, bytes) + ", an input of the launch.";
  }
  if (!reported_.emplace(place(now.number), std::to_string(static_cast<int>(kind))).second) return;
  findings_->add(kind, place(now.number) + ": " + text_of(now.agent) + what);
}

/// Why an agent that is not done cannot go on; empty if it is done.
std::string Executor::waiting(const Agent &agent) const {
  const CoreState &core = (*cores_)[static_cast<size_t>(agent.core())];
  const CoreState::PipeState &pipe = core.at(agent.pipe());
  const bool scalar = agent.pipe() == Pipe::s;
  if (scalar ? core.next == core.program.size() : pipe.queue.empty()) return "";
  const Instruction &i = core.program[scalar ? core.next : pipe.queue.front().index];
  const std::string stops = text_of(agent) + " stops at " + text_of(i.where);
  if (const auto *wait = i.as<CrossWait>()) {
    return stops + ": it waits for flag " + std::to_string(wait->flag) + " between cores.";
  }
  if (const auto *wait = i.as<WaitFlag>()) {
    const auto sets = [&](const Instruction &other) {
      const auto *set = other.as<SetFlag>();
      return set != nullptr && other.pipe == wait->from && set->to == agent.pipe() &&
             set->event == wait->event;
    };
    const auto count = std::count_if(core.program.begin(), core.program.end(), sets);
    return stops + ": it waits for event " + std::to_string(wait->event) + " of " +
           name_of(wait->from) + ", which this core's program sets " + std::to_string(count) +
           " times.";
  }
  return stops + ": the queue of " + name_of(i.pipe) + " is full.";
}

void Executor::check_end() {
  std::string stuck;
  int count = 0;
  for (size_t core = 0; core < cores_->size(); ++core) {
    for (int p = 0; p < kPipes; ++p) {
      const std::string why = waiting(Agent(static_cast<int64_t>(core), static_cast<Pipe>(p)));
      if (!why.empty() && ++count <= 8) stuck += " " + why;
    }
  }
  if (count > 0) {
    findings_->add(Kind::deadlock,
                   std::to_string(count) + " agents wait for what does not come." + stuck);
    return;
  }
  for (size_t core = 0; core < cores_->size(); ++core) check_events(static_cast<int64_t>(core));
  check_cross_flags();
}

void Executor::check_events(int64_t core) {
  for (int from = 0; from < kPipes; ++from) {
    for (int to = 0; to < kPipes; ++to) {
      for (int id = 0; id < kEvents; ++id) {
        const Event &event = (*cores_)[static_cast<size_t>(core)].events[from][to][id];
        if (!event.set) continue;
        findings_->add(Kind::flag_left, "At the end of the kernel event " + std::to_string(id) +
                                            " of " + name_of(static_cast<Pipe>(from)) + " for " +
                                            name_of(static_cast<Pipe>(to)) + " of " +
                                            text_of_core(core) + " is still set, by " +
                                            place(event.signal.setter) + ".");
      }
    }
  }
}

void Executor::check_cross_flags() {
  for (const CrossFlag &flag : cross_) {
    if (flag.pending.empty()) continue;
    findings_->add(Kind::flag_left, "At the end of the kernel a flag between cores is still " +
                                        std::to_string(flag.pending.size()) + ", set by " +
                                        place(flag.pending.back().setter) + ": " +
                                        text_of(Agent(flag.setter)) + ".");
  }
}

}  // namespace gdn::ascend::model

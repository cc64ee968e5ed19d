#include "ascend/model/executor.h"

#include <algorithm>
#include <numeric>

#include "ascend/model/execute.h"
#include "ascend/model/names.h"

namespace gdn::ascend::model {

Executor::Executor(std::vector<CoreState> &cores, std::vector<Buffer> &tensors, Findings &findings,
                   uint64_t seed)
    : cores_(&cores), tensors_(&tensors), findings_(&findings), random_(seed) {
  // How many instructions a pipe's queue holds is not known, so the seed chooses.
  depth_ = size_t{4} << random_() % 4;
  is_ready_.resize(cores.size() * kPipes);
  cross_.resize(cores.size() * kCoresOfBlock * kCrossFlags);
  uint32_t first = 0;
  for (CoreState &core : cores) {
    core.first = first;
    first += static_cast<uint32_t>(core.program.size());
  }
}

CrossFlag &Executor::cross(int64_t from_core, int64_t to_core, int flag) {
  const int64_t pair = to_core * kCoresOfBlock + from_core % kCoresOfBlock;
  return cross_[static_cast<size_t>(pair * kCrossFlags + flag)];
}

void Executor::wake(const Agent &agent) {
  const auto i = static_cast<size_t>(agent.index);
  if (is_ready_[i]) return;
  is_ready_[i] = true;
  ready_.push_back(agent);
}

// Blocks run one after the other, in an order that the seed chooses: nothing orders them, so what
// one of them touches after another is a race whichever of them comes first, and a block's memory
// stays in the cache.
Cycles Executor::run() {
  std::vector<int64_t> blocks(cores_->size() / kCoresOfBlock);
  std::iota(blocks.begin(), blocks.end(), 0);
  std::shuffle(blocks.begin(), blocks.end(), random_);
  for (const int64_t block : blocks) run_block(block);
  if (!findings_->full()) check_end();

  Cycles cycles;
  for (size_t core = 0; core < cores_->size(); ++core) {
    const auto kind = static_cast<size_t>(kind_of_core(static_cast<int64_t>(core)));
    for (size_t p = 0; p < kPipes; ++p) {
      const CoreState::PipeState &pipe = (*cores_)[core].pipes[p];
      cycles.total = std::max(cycles.total, pipe.cycle);
      cycles.busy[kind][p] = std::max(cycles.busy[kind][p], pipe.busy);
    }
  }
  return cycles;
}

void Executor::run_block(int64_t block) {
  for (int64_t core = 0; core < kCoresOfBlock; ++core) {
    wake(Agent(block * kCoresOfBlock + core, Pipe::s));
  }
  while (!ready_.empty() && !findings_->full()) {
    const size_t i = random_() % ready_.size();
    const Agent agent = ready_[i];
    // Bursts of 1 to 64 steps let one agent run ahead of the others, or fall behind.
    bool goes_on = true;
    for (uint64_t steps = uint64_t{1} << random_() % 7; goes_on && steps > 0; --steps) {
      goes_on = step(agent);
    }
    if (goes_on) continue;
    // It may have been woken by what it did itself, so its place in the list is still i.
    is_ready_[static_cast<size_t>(agent.index)] = false;
    ready_[i] = ready_.back();
    ready_.pop_back();
  }
}

/// Runs one instruction of an agent, or for a scalar unit issues one. False if it cannot go on.
bool Executor::step(const Agent &agent) {
  if (agent.pipe() == Pipe::s) return step_scalar(agent);
  CoreState &core = core_of(agent);
  CoreState::PipeState &pipe = pipe_of(agent);
  if (pipe.queue.empty()) return false;
  const CoreState::Issued issued = pipe.queue.front();
  if (blocked(agent, core.program[issued.index])) return false;
  pipe.queue.pop_front();
  wake(Agent(agent.core(), Pipe::s));
  for (; pipe.known < issued.known; ++pipe.known) {
    pipe.clock.join(core.scalar_clocks[pipe.known + 1]);
  }
  run_one(agent, issued.index, issued.cycle);
  return true;
}

bool Executor::step_scalar(const Agent &agent) {
  CoreState &core = core_of(agent);
  if (core.next == core.program.size()) return false;
  const Instruction &i = core.program[core.next];
  CoreState::PipeState &scalar = pipe_of(agent);
  if (i.pipe == Pipe::s) {
    if (blocked(agent, i)) return false;
    run_one(agent, core.next, 0.0);
  } else {
    CoreState::PipeState &pipe = core.at(i.pipe);
    if (pipe.queue.size() >= depth_) return false;
    pipe.queue.push_back({core.next, core.scalar_clocks.size() - 1, scalar.cycle});
    scalar.cycle += 1.0;
    wake(Agent(agent.core(), i.pipe));
  }
  ++core.next;
  return true;
}

bool Executor::blocked(const Agent &agent, const Instruction &i) {
  if (const auto *wait = i.as<WaitFlag>()) {
    return !core_of(agent).event(wait->from, agent.pipe(), wait->event).set;
  }
  if (const auto *wait = i.as<CrossWait>()) {
    const int64_t core = agent.core();
    const int64_t cube = core - core % kCoresOfBlock;
    if (core != cube) return cross(cube, core, wait->flag).pending.empty();
    return cross(cube + 1, cube, wait->flag).pending.empty() ||
           cross(cube + 2, cube, wait->flag).pending.empty();
  }
  return false;
}

void Executor::run_one(const Agent &agent, size_t index, double not_before) {
  CoreState &core = core_of(agent);
  CoreState::PipeState &pipe = pipe_of(agent);
  const Instruction &i = core.program[index];
  number_ = core.first + static_cast<uint32_t>(index);
  ++pipe.time;
  pipe.ran.push_back(index);
  pipe.cycle = std::max(pipe.cycle, not_before);
  std::visit([&](const auto &action) { act(agent, action); }, i.action);
  const double cost = cost_of(i.action);
  pipe.cycle += cost;
  if (!i.synchronises()) pipe.busy += cost;
}

template <class A>
void Executor::act(const Agent &agent, const A &i) {
  CoreState &core = core_of(agent);
  const CoreState::PipeState &pipe = pipe_of(agent);
  Access memory({agent, pipe.time, number_, &pipe.clock}, core.buffers, *tensors_, stamps_, *this);
  try {
    execute(i, memory);
  } catch (const Access::Abandoned &) {
    // The finding says what was wrong.
  }
}

/// Its value was read when the program was recorded: it belongs to an input.
void Executor::act(const Agent &, const ScalarLoad &) {}

Signal Executor::signal_of(const Agent &agent) {
  const CoreState::PipeState &pipe = pipe_of(agent);
  Signal signal{pipe.clock, pipe.cycle, number_};
  signal.clock[agent] = pipe.time;
  return signal;
}

void Executor::take(const Agent &agent, const Signal &signal) {
  CoreState::PipeState &pipe = pipe_of(agent);
  pipe.clock.join(signal.clock);
  pipe.cycle = std::max(pipe.cycle, signal.cycle);
  if (agent.pipe() != Pipe::s) return;
  // The scalar unit has finished an instruction before it comes to the next.
  pipe.clock[agent] = pipe.time;
  core_of(agent).scalar_clocks.push_back(pipe.clock);
}

void Executor::act(const Agent &agent, const SetFlag &i) {
  Event &event = core_of(agent).event(agent.pipe(), i.to, i.event);
  const Agent waiter(agent.core(), i.to);
  // Whatever the schedule: the wait for the event's last setting must come before this one.
  const bool taken = event.sets == event.waits &&
                     (event.waits == 0 || pipe_of(agent).clock[waiter] >= event.last_wait);
  if (!taken) {
    findings_->add(Kind::flag_set_twice,
                   place(number_) + " sets event " + std::to_string(i.event) + " for " +
                       name_of(i.to) + ", which may still be set by " + place(event.signal.setter) +
                       ". Expected " + name_of(agent.pipe()) + " to wait for something that " +
                       name_of(i.to) + " sets after its wait_flag.");
  }
  event.set = true;
  event.signal = signal_of(agent);
  ++event.sets;
  wake(waiter);
}

void Executor::act(const Agent &agent, const WaitFlag &i) {
  Event &event = core_of(agent).event(i.from, agent.pipe(), i.event);
  event.set = false;
  event.waits = event.sets;
  event.last_wait = pipe_of(agent).time;
  take(agent, event.signal);
}

void Executor::act(const Agent &agent, const PipeBarrier &) {
  CoreState::PipeState &pipe = pipe_of(agent);
  pipe.clock[agent] = pipe.time;
}

void Executor::act(const Agent &agent, const CrossSet &i) {
  const int64_t core = agent.core();
  const int64_t cube = core - core % kCoresOfBlock;
  if (core == cube) {
    for (int64_t v = 1; v <= kVectorCores; ++v) add(agent, cube + v, i.flag);
  } else {
    add(agent, cube, i.flag);
  }
}

void Executor::add(const Agent &agent, int64_t to_core, int flag) {
  CrossFlag &cell = cross(agent.core(), to_core, flag);
  if (cell.setter >= 0 && cell.setter != agent.index) {
    findings_->add(Kind::operand, place(number_) + " sets flag " + std::to_string(flag) +
                                      ", which " + text_of(Agent(cell.setter)) +
                                      " sets too, expected one pipe.");
  }
  cell.setter = agent.index;
  ++cell.sets;
  // Whatever the schedule: the counter is below its limit if the wait so many settings ago has
  // been.
  const Agent waiter(to_core, Pipe::s);
  const int64_t must_be_taken = cell.sets - kCrossLimit;
  const auto waits = static_cast<int64_t>(cell.wait_times.size());
  if (must_be_taken > 0 &&
      (waits < must_be_taken ||
       pipe_of(agent).clock[waiter] < cell.wait_times[static_cast<size_t>(must_be_taken - 1)])) {
    findings_->add(Kind::flag_overflow,
                   place(number_) + " sets flag " + std::to_string(flag) + " for the " +
                       std::to_string(cell.sets) + ". time, and nothing makes sure that " +
                       text_of(waiter) + " has waited for it " + std::to_string(must_be_taken) +
                       " times by then: it counts to " + std::to_string(kCrossLimit) + ".");
  }
  cell.pending.push_back(signal_of(agent));
  wake(waiter);
}

void Executor::act(const Agent &agent, const CrossWait &i) {
  const int64_t core = agent.core();
  const int64_t cube = core - core % kCoresOfBlock;
  const auto take_from = [&](int64_t from) {
    CrossFlag &cell = cross(from, core, i.flag);
    const Signal signal = cell.pending.front();
    cell.pending.pop_front();
    cell.wait_times.push_back(pipe_of(agent).time);
    take(agent, signal);
  };
  if (core != cube) return take_from(cube);
  for (int64_t v = 1; v <= kVectorCores; ++v) take_from(cube + v);
}

}  // namespace gdn::ascend::model

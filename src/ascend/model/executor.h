#ifndef GDN_ASCEND_MODEL_EXECUTOR_H_
#define GDN_ASCEND_MODEL_EXECUTOR_H_

#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ascend/model/access.h"
#include "ascend/model/cycles.h"
#include "ascend/model/flags.h"
#include "ascend/model/instruction.h"

namespace gdn::ascend::model {

/// A core: its program, its memory, and where its pipes stand.
struct CoreState {
  std::vector<Instruction> program;
  std::vector<Buffer> buffers;
  uint32_t first = 0;  ///< Number of its first instruction.
  size_t next = 0;     ///< What its scalar unit comes to next.

  /// An instruction that waits in a pipe's queue.
  struct Issued {
    size_t index;
    size_t known;  ///< Which of `scalar_clocks` holds what the scalar unit knew.
    double cycle;
  };
  struct PipeState {
    std::deque<Issued> queue;
    Clock clock;              ///< What has finished before its next instruction starts.
    size_t known = 0;         ///< Up to which of `scalar_clocks` it has joined.
    uint32_t time = 0;        ///< Instructions that it has run.
    std::vector<size_t> ran;  ///< Their places in the program.
    double cycle = 0.0;
    double busy = 0.0;
  };
  std::array<PipeState, kPipes> pipes;
  /// What the scalar unit has known, one after the other.
  std::vector<Clock> scalar_clocks = {Clock()};
  Event events[kPipes][kPipes][kEvents];

  PipeState &at(Pipe pipe) { return pipes[static_cast<size_t>(pipe)]; }
  const PipeState &at(Pipe pipe) const { return pipes[static_cast<size_t>(pipe)]; }
  Event &event(Pipe from, Pipe to, int id) {
    return events[static_cast<int>(from)][static_cast<int>(to)][id];
  }
};

/// Runs the programs of a launch's cores. Each pipe of each core is an agent of its own; a random
/// one of those that can go on does, so that a seed is a schedule. What is ordered before what
/// follows from flags, barriers and the scalar unit's issue alone, by vector clocks: a race is
/// found whether or not the schedule shows it.
class Executor final : private Watcher {
 public:
  Executor(std::vector<CoreState> &cores, std::vector<Buffer> &tensors, Findings &findings,
           uint64_t seed);

  Cycles run();

 private:
  CoreState &core_of(const Agent &agent) { return (*cores_)[static_cast<size_t>(agent.core())]; }
  CoreState::PipeState &pipe_of(const Agent &agent) { return core_of(agent).at(agent.pipe()); }
  CrossFlag &cross(int64_t from_core, int64_t to_core, int flag);

  void run_block(int64_t block);
  bool step(const Agent &agent);
  bool step_scalar(const Agent &agent);
  bool blocked(const Agent &agent, const Instruction &i);
  void run_one(const Agent &agent, size_t index, double not_before);
  void wake(const Agent &agent);

  // What an instruction does, once nothing blocks it.
  void act(const Agent &agent, const SetFlag &i);
  void act(const Agent &agent, const WaitFlag &i);
  void act(const Agent &agent, const PipeBarrier &i);
  void act(const Agent &agent, const CrossSet &i);
  void act(const Agent &agent, const CrossWait &i);
  void act(const Agent &agent, const ScalarLoad &i);
  template <class A>
  void act(const Agent &agent, const A &i);
  Signal signal_of(const Agent &agent);
  void take(const Agent &agent, const Signal &signal);
  void add(const Agent &agent, int64_t to_core, int flag);

  void race(const Running &now, const Stamp &earlier, const Buffer &buffer, int64_t byte,
            bool write) override;
  void bad_access(Kind kind, const Running &now, const Buffer &buffer, int64_t byte,
                  int64_t bytes) override;
  void check_end();
  void check_events(int64_t core);
  void check_cross_flags();

  const Instruction &instruction(uint32_t number) const;
  std::string place(uint32_t number) const;
  std::string known(const Running &now, const Agent &other) const;
  std::string remedy(const Running &now, const Stamp &earlier) const;
  std::string waiting(const Agent &agent) const;

  std::vector<CoreState> *cores_;
  std::vector<Buffer> *tensors_;
  Findings *findings_;
  std::mt19937_64 random_;
  size_t depth_;  ///< Of each pipe's queue.
  Stamps stamps_;
  std::vector<Agent> ready_;
  std::vector<bool> is_ready_;
  std::vector<CrossFlag> cross_;
  uint32_t number_ = 0;  ///< Of the instruction that runs.
  /// Both lines of each race, and line and kind of each bad access.
  std::set<std::pair<std::string, std::string>> reported_;
};

}  // namespace gdn::ascend::model

#endif  // GDN_ASCEND_MODEL_EXECUTOR_H_

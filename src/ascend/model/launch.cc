#include "ascend/model/launch.h"

#include "ascend/model/executor.h"

namespace gdn::ascend::model {

uint32_t Launch::add(const char *name, Role role, void *data, int64_t bytes) {
  Buffer tensor;
  tensor.name = name;
  tensor.role = role;
  tensor.bytes = bytes;
  tensor.data = static_cast<unsigned char *>(data);
  if (role == Role::scratch) {
    tensor.own = std::make_unique<unsigned char[]>(static_cast<size_t>(bytes));
    tensor.data = tensor.own.get();
  }
  tensors_.push_back(std::move(tensor));
  return static_cast<uint32_t>(tensors_.size() - 1);
}

std::vector<Finding> Launch::run(const std::function<void(Core &)> &kernel,
                                 const Options &options) {
  for (Buffer &tensor : tensors_) tensor.clear();
  Findings findings(options.most_findings);
  std::vector<CoreState> cores(static_cast<size_t>(options.blocks * kCoresOfBlock));
  for (size_t i = 0; i < cores.size(); ++i) {
    Recorder recorder(static_cast<int64_t>(i), options.blocks, tensors_, options, findings);
    Core core(recorder);
    kernel(core);
    cores[i].program = std::move(recorder.program());
    cores[i].buffers = std::move(recorder.buffers());
  }
  if (options.look) {
    options.look(cores, tensors_);
    return findings.all();
  }
  Executor executor(cores, tensors_, findings, options.seed);
  const Cycles cycles = executor.run();
  if (options.cycles != nullptr) *options.cycles = cycles;
  return findings.all();
}

}  // namespace gdn::ascend::model

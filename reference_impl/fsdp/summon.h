// summon_full_params: full parameters during a scope. Semantics: torch/distributed/fsdp/_unshard_param_utils.py.
#pragma once

#include <string>
#include <vector>

#include "fsdp/fsdp_module.h"

namespace shardcts::reference {

struct SummonOptions {
  bool recurse = true;  // false: only `root` itself, if it is a unit
  bool writeback = true;
  bool rank0_only = false;      // the other ranks keep their shards and gather nothing
  bool offload_to_cpu = false;  // full parameters on the CPU
  bool with_grads = false;      // their gradients too
};

// During its lifetime the slots of the modules in the units below hold full parameters, with their original names,
// shapes and dtype. Construction and End are *Collective* over the units' groups, in the same order on every rank.
class SummonScope {
 public:
  // `root` need not be a unit. NotImplementedError: writeback with rank0_only; with_grads with offload_to_cpu or
  // without use_orig_params; offload_to_cpu with NO_SHARD. AssertionError: a unit is computing or already summoned.
  // After an error nothing is summoned.
  SummonScope(models::Module& root, const SummonOptions& options);
  // As End, but its exceptions are dropped.
  ~SummonScope();
  SummonScope(const SummonScope&) = delete;
  SummonScope& operator=(const SummonScope&) = delete;

  // Writes back the changes of the caller, if writeback is set, and reshards. Further calls do nothing.
  void End();

 private:
  struct Summoned {
    FsdpModule* unit = nullptr;
    at::Tensor whole;  // undefined on ranks that have not summoned it
    at::Tensor gradient;
  };
  void Begin(FsdpModule& unit);
  void End(const Summoned& summoned);

  SummonOptions options_;
  std::vector<Summoned> summoned_;
};

}  // namespace shardcts::reference

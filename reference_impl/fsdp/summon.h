// summon_full_params: whole parameters for a while. Semantics: torch/distributed/fsdp/_unshard_param_utils.py.
#pragma once

#include <string>
#include <vector>

#include "fsdp/fsdp_module.h"

namespace shardcts::reference {

struct SummonOptions {
  bool recurse = true;  // false: only `root` itself, if it is a unit
  bool writeback = true;
  bool rank0_only = false;      // the other ranks keep their shards and gather nothing
  bool offload_to_cpu = false;  // whole parameters on the CPU
  bool with_grads = false;      // their gradients, too
};

// While it lives, the units below have whole parameters in their original names, shapes and dtype in their modules'
// slots. Both ends are *Collective* over the units' groups, in the same order on every rank.
class SummonScope {
 public:
  // `root` need not be a unit. NotImplementedError: writeback with rank0_only; with_grads with offload_to_cpu or
  // without use_orig_params; offload_to_cpu with NO_SHARD. AssertionError: a unit is computing or summoned already.
  // After an error nothing is summoned.
  SummonScope(models::Module& root, const SummonOptions& options);
  // As End, but what it throws is lost.
  ~SummonScope();
  SummonScope(const SummonScope&) = delete;
  SummonScope& operator=(const SummonScope&) = delete;

  // Writes back what the caller has changed, if asked for, and reshards. Once; later it does nothing.
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

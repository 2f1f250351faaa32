#include "fsdp/summon.h"

#include <ATen/ATen.h>

#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

std::string PythonBool(bool value) { return value ? "True" : "False"; }

void Validate(const FsdpModule& unit, const SummonOptions& options) {
  if (options.with_grads && (options.offload_to_cpu || !unit.options().use_orig_params)) {
    throw SemanticError("NotImplementedError", "with_grads=" + PythonBool(options.with_grads) +
                                                   ", use_orig_params=" + PythonBool(unit.options().use_orig_params) +
                                                   ", offload_to_cpu=" + PythonBool(options.offload_to_cpu) +
                                                   " is not supported yet");
  }
  if (options.offload_to_cpu && unit.flat() && !unit.flat()->is_sharded()) {
    throw SemanticError("NotImplementedError", "offload_to_cpu=True and NO_SHARD is not supported yet");
  }
  if (options.writeback && options.rank0_only) {
    throw SemanticError("NotImplementedError", "writeback=True and rank0_only=True is not supported yet");
  }
  if (unit.is_computing()) {
    throw SemanticError("AssertionError", "Cannot manually unshard parameters during forward/backward");
  }
  if (unit.is_summoned()) {
    throw SemanticError("AssertionError", "Cannot manually unshard parameters when already unsharding parameters");
  }
}

}  // namespace

SummonScope::SummonScope(models::Module& root, const SummonOptions& options) : options_(options) {
  std::vector<FsdpModule*> units = FsdpUnits(root);
  if (!options.recurse) {
    auto* unit = dynamic_cast<FsdpModule*>(&root);
    units = unit ? std::vector<FsdpModule*>{unit} : std::vector<FsdpModule*>{};
  }
  for (const FsdpModule* unit : units) Validate(*unit, options);
  try {
    for (FsdpModule* unit : units) Begin(*unit);
  } catch (...) {
    options_.writeback = false;  // nobody has changed anything
    End();
    throw;
  }
}

void SummonScope::Begin(FsdpModule& unit) {
  unit.LazyInit();
  Summoned summoned{&unit, {}, {}};
  if (FlatParameter* flat = unit.flat()) {
    flat->AdoptRequiresGrad();
    summoned.whole = options_.rank0_only ? flat->GatherToFirst() : flat->Gather();
    if (options_.with_grads) summoned.gradient = flat->GatherGradient();
    if (summoned.whole.defined()) {
      if (options_.offload_to_cpu) summoned.whole = summoned.whole.cpu();
      flat->ExposeFull(summoned.whole, summoned.gradient);
    }
  }
  unit.set_summoned(true);
  summoned_.push_back(std::move(summoned));
}

void SummonScope::End(const Summoned& summoned) {
  summoned.unit->set_summoned(false);
  FlatParameter* flat = summoned.unit->flat();
  if (!flat || !summoned.whole.defined()) return;
  const at::Tensor gradient = summoned.gradient;
  flat->HideFull();
  if (!options_.writeback) return;
  flat->WriteBack(summoned.whole);
  if (!gradient.defined()) return;
  const FlatRange owned = flat->layout().Owned(flat->rank());
  at::Tensor sharded = at::zeros({flat->shard().numel()}, gradient.options().device(flat->shard().device()));
  sharded.narrow(0, 0, owned.numel).copy_(gradient.narrow(0, owned.begin, owned.numel));
  flat->SetShardedGradient(sharded);
}

// Innermost first, like nested scopes.
void SummonScope::End() {
  while (!summoned_.empty()) {
    const Summoned last = std::move(summoned_.back());
    summoned_.pop_back();
    End(last);
  }
}

SummonScope::~SummonScope() {
  try {
    End();
  } catch (...) {  // a destructor must not throw; callers that need the error call End
  }
}

}  // namespace shardcts::reference

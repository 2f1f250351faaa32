#include <ATen/ATen.h>

#include "fsdp/phase_timings.h"
#include "fsdp/unit_state_dict.h"

namespace shardcts::reference {
namespace {

// A new full flat parameter; undefined on ranks that keep nothing because of rank0_only.
at::Tensor NewWhole(const FlatParameter& flat, const StateDictConfig& config) {
  at::Tensor whole = config.rank0_only ? flat.GatherToFirst() : flat.Gather();
  if (!whole.defined()) return whole;
  if (config.offload_to_cpu) {
    const PhaseTimer timer(TimedPhase::kDeviceCopy);
    whole = whole.cpu();
  }
  return whole.is_alias_of(flat.shard()) ? whole.clone() : whole;
}

}  // namespace

void SaveFull(FsdpModule& unit, const StateDictConfig& config, SavedEntries& entries) {
  const FlatParameter& flat = *unit.flat();
  const bool keep = !config.rank0_only || flat.rank() == 0;
  const at::Tensor whole = unit.is_summoned() ? at::Tensor() : NewWhole(flat, config);
  for (const auto* slots : {&flat.primary_slots(), &flat.shared_slots()}) {
    const bool is_alias = slots == &flat.shared_slots();
    for (const FlatParameter::Slot& slot : *slots) {
      if (!keep) {
        entries.Drop(slot.fqn);
      } else if (whole.defined()) {
        const at::Tensor value = flat.ViewIn(whole, slot.parameter);
        entries.At(slot.fqn) = is_alias ? value.clone() : value;
      } else {
        auto& summoned = std::get<at::Tensor>(entries.At(slot.fqn));
        summoned = config.offload_to_cpu ? summoned.cpu().clone() : summoned.clone();
      }
    }
  }
}

}  // namespace shardcts::reference

#include "fsdp/unit_state_dict.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <stdexcept>

#include "fsdp/phase_timings.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

constexpr char kNoShardWarning[] =
    "When using ``NO_SHARD`` for ``ShardingStrategy``, full_state_dict will be returned.";

// Buffers are treated like the unit's parameters: kept on the same ranks, offloaded with them, and in their original
// dtype.
void FinishBuffers(const FsdpModule& unit, const StateDictConfig& config, bool keep, SavedEntries& entries) {
  for (const BufferRecord& record : unit.buffer_records()) {
    StateValue* entry = entries.Find(record.name);
    if (!entry) continue;
    if (!keep) {
      entries.Drop(record.name);
      continue;
    }
    auto& buffer = std::get<at::Tensor>(*entry);
    if (config.offload_to_cpu) buffer = buffer.cpu();
    if (record.ignored || !unit.options().mixed_precision.buffer_dtype) continue;
    const bool casts = buffer.is_floating_point() && at::isFloatingType(record.original_dtype);
    buffer = casts ? buffer.to(record.original_dtype).clone() : buffer.clone();
  }
}

}  // namespace

SavedEntries::SavedEntries(StateDict& saved, size_t begin, const std::string& prefix)
    : saved_(saved), begin_(begin), prefix_(prefix) {
  for (size_t i = begin; i < saved.size(); ++i) index_[saved[i].first.substr(prefix.size())] = i;
}

StateValue* SavedEntries::Find(const std::string& name) {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &saved_[found->second].second;
}

StateValue& SavedEntries::At(const std::string& name) {
  if (StateValue* entry = Find(name)) return *entry;
  throw SemanticError("AssertionError", "FSDP assumes " + prefix_ + name + " is in the state_dict");
}

void SavedEntries::Set(const std::string& name, StateValue value) {
  if (StateValue* entry = Find(name)) {
    *entry = std::move(value);
    return;
  }
  index_[name] = saved_.size();
  saved_.emplace_back(prefix_ + name, std::move(value));
}

void SavedEntries::Finish() {
  size_t kept = begin_;
  for (size_t i = begin_; i < saved_.size(); ++i) {
    if (!index_.contains(saved_[i].first.substr(prefix_.size()))) continue;
    if (kept != i) saved_[kept] = std::move(saved_[i]);
    ++kept;
  }
  saved_.resize(kept);
}

StateDictSettings FsdpModule::EffectiveSettings(std::vector<std::string>& user_warnings) {
  if (options_.strategy == ShardingStrategy::kNoShard) {
    user_warnings.push_back(kNoShardWarning);
    return {};
  }
  if (!options_.mesh) return settings_;
  if (settings_.type == StateDictType::kLocal) {
    throw SemanticError("RuntimeError",
                        "Found state_dict_type LOCAL_STATE_DICT. DeviceMesh is not compatible with LOCAL_STATE_DICT. "
                        "Please set state_dict_type to SHARDED_STATE_DICT to get DTensor state_dict.");
  }
  settings_.config.use_dtensor = true;
  return settings_;
}

void FsdpModule::BeforeSave(std::vector<std::string>& user_warnings) {
  const PhaseTimer timer(TimedPhase::kHooks);
  active_settings_ = EffectiveSettings(user_warnings);
  LazyInit();
  if (is_computing()) throw SemanticError("AssertionError", "Expects the handle training to be IDLE");
  if (flat_ && is_summoned_ && active_settings_.type == StateDictType::kLocal) {
    throw SemanticError("RuntimeError", "a LOCAL state dict is of shards, which a scope of full parameters hides");
  }
  if (flat_ && !is_summoned_ && active_settings_.type != StateDictType::kLocal) {
    flat_->Expose(FlatParameter::Exposure::kSlices);
  }
}

void FsdpModule::AfterSave(StateDict& saved, size_t begin, const std::string& prefix) {
  if (!flat_) return;
  const PhaseTimer timer(TimedPhase::kHooks);
  at::NoGradGuard no_grad;
  const StateDictConfig& config = active_settings_.config;
  const bool is_full = active_settings_.type == StateDictType::kFull;
  SavedEntries entries(saved, begin, prefix);
  if (active_settings_.type == StateDictType::kLocal) {
    SaveLocal(*this, config, entries);
  } else {
    is_full ? SaveFull(*this, config, entries) : SaveSharded(*this, config, entries);
    FinishBuffers(*this, config, !is_full || !config.rank0_only || flat_->rank() == 0, entries);
  }
  entries.Finish();
  if (is_summoned_) return;
  const PhaseTimer reshard(TimedPhase::kReshard);
  flat_->ExposeAtRest();
}

void FsdpModule::BeforeLoad(std::map<std::string, StateValue>& entries, const std::string& prefix,
                            std::vector<std::string>& user_warnings) {
  const PhaseTimer timer(TimedPhase::kHooks);
  active_settings_ = EffectiveSettings(user_warnings);
  LazyInit();
  if (is_computing()) throw SemanticError("AssertionError", "Expects the handle training to be IDLE");
  if (!flat_) return;
  at::NoGradGuard no_grad;
  if (active_settings_.type == StateDictType::kLocal) return LoadLocal(*this, entries, prefix);
  if (active_settings_.type == StateDictType::kSharded) LoadSharded(*this, active_settings_.config, entries, prefix);
  if (!is_summoned_) flat_->Expose(FlatParameter::Exposure::kSlices);
}

// The gathered values are out of date.
void FsdpModule::AfterLoad() {
  const PhaseTimer timer(TimedPhase::kHooks);
  if (flat_ && !is_summoned_) flat_->Reshard(/*free=*/true);
}

}  // namespace shardcts::reference

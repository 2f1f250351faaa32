// FsdpModule: one unit, a wrapper in the module tree around the module whose parameters it manages. Semantics:
// FullyShardedDataParallel and torch/distributed/fsdp/_runtime_utils.py, torch 2.13.
//
//   forward     gather ── forward of the wrapped module ── reshard (unless the root, or SHARD_GRAD_OP)
//   backward    gather again if needed ── backward ── reshard, reduce the gradient
//
// Its flat parameter consists of the parameters of modules below that no inner unit has taken and that are not ignored;
// a unit may manage none. Buffers are never sharded.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fsdp/flat_parameter.h"
#include "fsdp/state_dict_type.h"
#include "parameter/apply_hooks.h"
#include "state_dict/state_dict.h"

namespace shardcts::reference {

constexpr char kFsdpChild[] = "_fsdp_wrapped_module";

// A buffer below a unit, as it was when the unit was created.
struct BufferRecord {
  std::string name;  // below the unit
  at::ScalarType original_dtype = at::kFloat;
  bool ignored = false;  // of an ignored module: never cast
};

class FsdpModule : public models::Module, public StateDictHooks, public ApplyHooks {
 public:
  // `flat` is nullptr when the unit manages nothing. Use WrapFsdp (wrap.h).
  FsdpModule(models::ModulePtr wrapped, const FsdpOptions& options, std::shared_ptr<FlatParameter> flat,
             std::vector<BufferRecord> buffers);

  // *Collective* over the groups, like the backward that follows.
  at::Tensor ForwardAll(std::vector<at::Tensor> inputs) override;
  at::Tensor Forward(at::Tensor input) override { return ForwardAll({std::move(input)}); }
  bool IsTransparent() const override { return true; }
  models::ModulePtr ShallowCopy() const override;  // throws: a unit cannot be copied

  models::Module& wrapped() const { return *children().front().second; }
  FlatParameter* flat() const { return flat_.get(); }
  const FsdpOptions& options() const { return options_; }
  const std::vector<BufferRecord>& buffer_records() const { return buffers_; }
  const StateDictSettings& settings() const { return settings_; }
  void set_settings(const StateDictSettings& settings) { settings_ = settings; }

  // *Local*. Called before the first use of any kind: makes this unit the root of the units below, and casts buffers.
  // Later calls do nothing. AssertionError: a unit below is already a root.
  void LazyInit();

  // In summon_full_params: the unit must not be used otherwise at the same time.
  bool is_summoned() const { return is_summoned_; }
  void set_summoned(bool summoned) { is_summoned_ = summoned; }
  bool is_computing() const { return phase_ != Phase::kIdle; }

  // unit_state_dict.cc
  void BeforeSave(std::vector<std::string>& user_warnings) override;
  void AfterSave(StateDict& saved, size_t begin, const std::string& prefix) override;
  void CancelSave() override { AfterLoad(); }
  void BeforeLoad(std::map<std::string, StateValue>& entries, const std::string& prefix,
                  std::vector<std::string>& user_warnings) override;
  void AfterLoad() override;
  bool Keeps(const models::Parameter& parameter) const override { return flat_ && flat_->Holds(parameter); }

  void BeforeApply() override;
  void AfterApply() override;

 private:
  enum class Phase { kIdle, kForward, kPreBackward, kPostBackward };
  // Shared by all units below one root.
  struct Root {
    std::vector<FsdpModule*> units;  // pre-order; all below the root, which owns them
    bool backward_end_queued = false;
  };

  at::Tensor PrepareInput(at::Tensor input) const;
  void CastBuffers();
  void PreBackward();
  void PostBackward();
  void FinishBackward();
  void AbandonBackward();  // of all units below the root: what a backward that ended with an error has left is dropped
  bool FreesAfterForward() const;
  // With use_orig_params the full parameters stay registered, too, until the backward.
  bool StaysWholeAfterForward() const;
  // The effective settings: NO_SHARD gives full values whatever was set.
  StateDictSettings EffectiveSettings(std::vector<std::string>& user_warnings);

  FsdpOptions options_;
  std::shared_ptr<FlatParameter> flat_;
  std::vector<BufferRecord> buffers_;
  StateDictSettings settings_;
  StateDictSettings active_settings_;  // between a Before… and its After…
  Phase phase_ = Phase::kIdle;
  bool is_summoned_ = false;
  std::optional<bool> is_root_;  // nullopt until lazily initialized
  std::shared_ptr<Root> root_;
  std::shared_ptr<FsdpModule*> self_;  // callbacks in backward hold it weakly: a graph may outlive the model
};

// *Local*. All units in the tree of `root`, itself included, pre-order, each once.
std::vector<FsdpModule*> FsdpUnits(models::Module& root);

}  // namespace shardcts::reference

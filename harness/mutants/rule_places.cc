// Mutants of rules on where state is and what it takes: stages of a pipeline, the meta device, devices, memory.
#include <ATen/ATen.h>

#include <cctype>

#include "mutants/rule_mutant.h"

namespace shardcts {
namespace {

// The names of a stage's layers begin with 0.
Outcome NumberLayersFromZero(MutantState& state, std::string_view called, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(called, arguments);
  if (!outcome.ok() || called != "dsd.get_model_state_dict" || outcome.value().AsDict().empty()) return outcome;
  const char first = ToString(outcome.value().AsDict().begin()->key).front();
  if (!std::isdigit(static_cast<unsigned char>(first))) return outcome;
  Dict renumbered;
  for (const auto& [key, value] : outcome.value().AsDict()) {
    std::string name = ToString(key);
    name.front() = static_cast<char>(name.front() - first + '0');
    renumbered.Set(name, value);
  }
  return Value(renumbered);
}

// Both names of what was tied are given storage of their own by a load.
Outcome UntieOnLoad(MutantState& state, std::string_view called, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(called, arguments);
  if (called != "model.parameters" || !outcome.ok()) return outcome;
  for (auto& [name, value] : outcome.value().AsDict()) {
    if (auto* distributed = value.TryAs<DTensor>()) distributed->local = distributed->local.detach().clone();
    if (auto* plain = value.TryAs<Tensor>()) plain->data = plain->data.detach().clone();
  }
  return outcome;
}

// Half of the gradient of what has two names is lost.
Outcome CountOneName(MutantState& state, std::string_view called, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(called, arguments);
  if (called != "model.backward" || !outcome.ok()) return outcome;
  const Value all = state.Require("model.parameters", {{"model", arguments.At("model")}, {"remove_duplicate", false}});
  const Value gradients = state.Require("model.gradients", {{"model", arguments.At("model")}});
  if (all.AsDict().size() == gradients.AsDict().size()) return outcome;
  for (const auto& [name, gradient] : gradients.AsDict()) {
    if (const auto* distributed = gradient.TryAs<DTensor>()) distributed->local.detach().mul_(0.5);
    if (const auto* plain = gradient.TryAs<Tensor>()) plain->data.detach().mul_(0.5);
  }
  return outcome;
}

// A load reports nothing as missing.
void ReportNothing(MutantState&, const Dict&, Value& result) { result.AsDict().Set("missing_keys", List{}); }

// Extra state that is neither text, number nor tensor is lost.
void LoseRareExtraState(MutantState&, const Dict&, Value& result) {
  for (auto& [key, value] : result.AsDict()) {
    if (ToString(key).ends_with("_extra_state") && value.TryAs<Bytes>()) value = Value();
  }
}

void MoveToMeta(MutantState&, const Dict&, Value& result) {
  for (auto& [key, value] : result.AsDict()) {
    if (auto* plain = value.TryAs<Tensor>()) plain->data = plain->data.detach().to(at::kMeta);
    if (auto* distributed = value.TryAs<DTensor>()) distributed->local = distributed->local.detach().to(at::kMeta);
  }
}

// Keeps as much memory as the whole model takes while the call runs.
Outcome HoldWholeModel(MutantState& state, std::string_view called, Dict& arguments) {
  const int64_t ranks = state.context.world_size;
  List whole;
  const Value parameters = state.Require("model.parameters", {{"model", arguments.At("model")}});
  for (const auto& [name, value] : parameters.AsDict()) {
    const auto* distributed = value.TryAs<DTensor>();
    const at::Tensor& local = distributed ? distributed->local : value.AsTensor();
    whole.push_back(at::empty({local.numel() * ranks}, at::TensorOptions(local.scalar_type()).device(at::kCPU)));
  }
  return state.inner.Invoke(called, arguments);
}

Mutation HoldWholeModelIn(bool (*is_call)(std::string_view)) {
  return [=](MutantState& state, std::string_view called, Dict& arguments) {
    return is_call(called) ? HoldWholeModel(state, called, arguments) : state.inner.Invoke(called, arguments);
  };
}

bool IsGet(std::string_view called) {
  return called == "model.state_dict" || called == "dsd.get_model_state_dict" ||
         called == "dsd.get_optimizer_state_dict" || called == "fsdp.optim_state_dict";
}
bool IsSetOfFunctions(std::string_view called) { return called.starts_with("dsd.set_"); }

}  // namespace

std::vector<MutantRow> RulePlaceMutants() {
  return {
      RuleMutant("NA8", "stage_numbers_from_zero", "the layers of a stage are numbered from 0",
                 "M20: numbers of a stage taken for those of the model", NumberLayersFromZero),
      RuleMutant("TB3", "names_untied_by_load", "names of one parameter have storage of their own",
                 "a parameter is made for each name on meta", UntieOnLoad),
      RuleMutant("TB4", "second_name_uncounted", "a tied parameter gets half of its gradient",
                 "the second name's gradient does not count", CountOneName),
      RuleMutant("TB9", "missing_unreported", "a load reports nothing as missing",
                 "left on meta without a word", OnResult("dsd.set_model_state_dict", ReportNothing)),
      RuleMutant("TB11", "bytes_in_extra_state_lost", "extra state of bytes is saved as none",
                 "only texts, numbers and tensors", OnResult("dsd.get_model_state_dict", LoseRareExtraState)),
      RuleMutant("DT9", "entries_on_meta", "entries are on the meta device",
                 "M41: a device that is not the rank's", OnResult("dsd.get_model_state_dict", MoveToMeta)),
      RuleMutant("ME1", "whole_copy_on_every_rank", "a get keeps the whole model on every rank while it runs",
                 "M42: gathered everywhere, then dropped", HoldWholeModelIn(IsGet), /*min_world_size=*/2),
      RuleMutant("ME2", "whole_model_broadcast", "a load has the whole model on every rank while it runs",
                 "M44: broadcast before sharding", HoldWholeModelIn(IsSetOfFunctions), /*min_world_size=*/2),
  };
}

}  // namespace shardcts

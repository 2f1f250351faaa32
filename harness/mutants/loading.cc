// Mutants of loading: load_state_dict says that all is well, and it is not.
#include <ATen/ATen.h>

#include "comm/communicator.h"
#include "mutants/mutate.h"

namespace shardcts {
namespace {

Mutation OnLoad(std::function<Outcome(MutantState&, Dict&)> load) {
  return [=](MutantState& state, std::string_view operation, Dict& arguments) {
    return operation == "model.load_state_dict" ? load(state, arguments) : state.inner.Invoke(operation, arguments);
  };
}

Outcome SkipOnOtherRanks(MutantState& state, Dict& arguments) {
  if (state.context.rank == 0) return state.inner.Invoke("model.load_state_dict", arguments);
  return Value(Dict{{"missing_keys", List{}}, {"unexpected_keys", List{}}});
}

Outcome IgnoreAssign(MutantState& state, Dict& arguments) {
  arguments.Set("assign", false);
  return state.inner.Invoke("model.load_state_dict", arguments);
}

// Each entry becomes the mean over all ranks of the ranks' means.
Outcome AverageRanks(MutantState& state, Dict& arguments) {
  Dict averaged;
  for (const auto& [key, value] : arguments.At("state_dict").AsDict()) {
    const DTensor* dtensor = value.TryAs<DTensor>();
    if (!dtensor || dtensor->local.is_meta()) {
      averaged.Set(key, value);
      continue;
    }
    at::Tensor sums =
        at::tensor({dtensor->local.sum().item<double>(), static_cast<double>(dtensor->local.numel())}, at::kDouble);
    state.context.communicator->AllReduce(sums, ReduceOp::kSum);
    DTensor entry = *dtensor;
    entry.local = at::full_like(entry.local, sums[0].item<double>() / std::max(1.0, sums[1].item<double>()));
    averaged.Set(key, entry);
  }
  arguments.Set("state_dict", averaged);
  return state.inner.Invoke("model.load_state_dict", arguments);
}

// Loads the rows of each entry in reverse order: invisible to constant fills.
Outcome ReverseRows(MutantState& state, Dict& arguments) {
  Dict reversed;
  for (const auto& [key, value] : arguments.At("state_dict").AsDict()) {
    Value entry = value;
    if (DTensor* dtensor = entry.TryAs<DTensor>(); dtensor && dtensor->local.dim() > 0) {
      dtensor->local = dtensor->local.flip(0);
    }
    reversed.Set(key, entry);
  }
  arguments.Set("state_dict", reversed);
  return state.inner.Invoke("model.load_state_dict", arguments);
}

}  // namespace

std::vector<MutantRow> LoadingMutants() {
  return {
      {{"load_skipped_on_other_ranks",
        "only rank 0 loads",
        "broadcast into a temporary copy",
        kFullyShardSuite,
        {"test_dp_state_dict_save_load C12"}},
       OnLoad(SkipOnOtherRanks)},
      {{"load_averages_ranks",
        "ranks and replicas get their mean",
        "a load that synchronizes",
        kFullyShardSuite,
        {"test_dp_state_dict_save_load C12", "test_hsdp_tp_state_dict_save_load C12"}},
       OnLoad(AverageRanks)},
      {{"load_reverses_rows",
        "rows of a shard arrive in reverse order",
        "permutation inside a shard",
        kFullyShardSuite,
        {"test_dp_state_dict_save_load C12"}},
       OnLoad(ReverseRows)},
      {{"assign_ignored",
        "load_state_dict(assign=True) copies",
        "meta tensors are left",
        kFullyShardSuite,
        {"test_dp_state_dict_cpu_offload C1"}},
       OnLoad(IgnoreAssign)},
  };
}

}  // namespace shardcts

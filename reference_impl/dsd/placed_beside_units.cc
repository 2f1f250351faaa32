#include "dsd/placed_beside_units.h"

#include <map>
#include <string>
#include <vector>

#include "dsd/placed_state.h"
#include "dsd/whole_values.h"
#include "fsdp_optim/model_parameters.h"
#include "fsdp_optim/state_entries.h"
#include "parameter/dtensor_parameter.h"

namespace shardcts::reference {
namespace {

struct PlacedEntry {
  const models::Parameter* parameter = nullptr;
  Value* state = nullptr;  // in the given state dict
};

// By name: in one order on all ranks.
std::map<std::string, PlacedEntry> PlacedEntries(models::Module& model, const Optimizer& optimizer, Dict& state_dict) {
  std::map<std::string, PlacedEntry> entries;
  const ModelParameters parameters(model);
  Dict& states = state_dict.Find("state")->AsDict();
  int64_t id = 0;
  for (const models::ParameterPtr& object : ParametersById(optimizer)) {
    const ModelParameter* parameter = parameters.Find(*object);
    Value* state = states.Find(optimizer.StateKey(id++));
    if (parameter && state && FindDistribution(*object)) entries[parameter->fqns.front()] = {object.get(), state};
  }
  return entries;
}

}  // namespace

Dict StateBesideUnits(models::Module& model, const Optimizer& optimizer, const StateDictOptions& options,
                      const StateDictContext& context) {
  Dict state_dict = optimizer.CompleteStateDict();
  const std::map<std::string, PlacedEntry> entries = PlacedEntries(model, optimizer, state_dict);
  Dict placed;
  for (const auto& [name, entry] : entries) {
    const Dict example = optimizer.LargestExampleState(*entry.parameter);
    *entry.state = PlacedState(*entry.parameter, entry.state->AsDict(), example);
    placed.Set(name, *entry.state);
  }
  if (!options.full_state_dict) return state_dict;
  RankAgreement agreement;
  AgreeOnTexts(context.world, agreement, "optimizer state", DistributedIn(placed));
  const Dict formed = InFormOf(options, std::move(placed), context, {});
  for (const auto& [name, entry] : entries) {
    const Value* whole = formed.Find(name);
    *entry.state = whole ? *whole : Value(Dict{});
  }
  return state_dict;
}

void TakePartsBesideUnits(models::Module& model, const Optimizer& optimizer, Dict& state_dict,
                          const StateDictOptions& options, const StateDictContext& context, RankAgreement& agreement) {
  const bool is_whole = options.full_state_dict;
  const std::map<std::string, PlacedEntry> entries = PlacedEntries(model, optimizer, state_dict);
  std::vector<std::string> communications;
  agreement.Try([&] {
    for (const auto& [name, entry] : entries) {
      const Dict example = optimizer.LargestExampleState(*entry.parameter);
      for (const auto& [key, value] : SortedEntries(entry.state->AsDict())) {
        const std::string text =
            CommunicationFor(*entry.parameter, value, example.Find(key), is_whole, context.meshes);
        if (!text.empty()) communications.push_back("has " + name + "." + ToString(key) + " of shape " + text);
      }
    }
  });
  AgreeOnTexts(context.world, agreement, "optimizer state", communications);
  for (const auto& [name, entry] : entries) {
    const Dict example = optimizer.LargestExampleState(*entry.parameter);
    Dict& state = entry.state->AsDict();
    for (const auto& [key, value] : SortedEntries(state)) {
      state.Set(key, LocalState(*entry.parameter, value, example.Find(key), is_whole, context.meshes));
    }
  }
}

}  // namespace shardcts::reference

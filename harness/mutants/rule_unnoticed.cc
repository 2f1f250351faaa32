// Mutants of the rules of the suite storage: what is lost without a word.
#include <ATen/ATen.h>

#include <string>

#include "mutants/checkpoints.h"

namespace shardcts {
namespace {

Mutation WithoutWarnings(const std::string& wanted) {
  return [wanted](MutantState& state, std::string_view operation, Dict& arguments) {
    Outcome outcome = state.inner.Invoke(operation, arguments);
    if (operation == wanted) outcome.warnings.clear();
    return outcome;
  };
}

// Each of two stages numbers its layers from 0: of "layers.N…" with N from 6 on the name becomes "layers.N-6…".
void NumberLayersByStage(MutantState&, Dict&, Dict& saved) {
  static const std::string kPrefix = "layers.";
  Dict renamed;
  for (const auto& [name, value] : saved) {
    const std::string text = ToString(name);
    const size_t dot = text.find('.', kPrefix.size());
    if (!text.starts_with(kPrefix) || dot == std::string::npos) {
      renamed.Set(name, value);
      continue;
    }
    const int layer = std::stoi(text.substr(kPrefix.size(), dot - kPrefix.size()));
    renamed.Set(kPrefix + std::to_string(layer % 6) + text.substr(dot), value);
  }
  saved = renamed;
}

}  // namespace

std::vector<MutantRow> StorageLossMutants() {
  return {
      StorageRule("RK4", "storage_differing_replicas_silent", "replicas that differ are not reported",
                  "pytorch/pytorch#120356", WithoutWarnings("storage.save"), 2),
      StorageRule("RK6", "storage_left_out_silent", "names that no rank asks for are not reported", "torchtitan#816",
                  WithoutWarnings("storage.load"), 3),
      StorageRule("LD7", "storage_holes_accepted", "elements in no chunk keep what they were",
                  "chunks are not compared with the shape", Swallow("storage.load", MessageHas("in no chunk")), 2),
      StorageRule("DT7", "storage_unstorable_accepted", "a save of what safetensors has no place for is not refused",
                  "an error that nobody raises", Swallow("storage.save", MessageHas("safetensors has"))),
      StorageRule("OM4", "storage_layers_of_the_stage", "layers are numbered within their stage", "pytorch/pytorch#126595",
                  OnSavedDict(NumberLayersByStage), 4),
  };
}

}  // namespace shardcts

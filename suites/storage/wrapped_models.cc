// Models: what one wrapper has saved loads into another.
#include <ATen/ATen.h>

#include "contract/dsd.h"
#include "rank/whole.h"
#include "suites/extended/wrapping.h"
#include "suites/rules/comparison.h"
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"

namespace shardcts::storage {
namespace {

// Three layers with 8, 5 and 4 outputs; the first two are in the tensor-parallel plan.
extended::ModelSpec Stack() {
  return {.name = "linear_stack",
          .args = {{"sizes", ToValue(std::vector<int64_t>{6, 8, 5, 4})}},
          .units = {"0", "1"},
          .plan = {{"0", "colwise"}, {"1", "rowwise"}}};
}

}  // namespace

RULE(RS5) {
  const extended::ModelSpec spec = Stack();
  Model model = extended::BuildCoded(t, spec);
  const Dict expected = t.subject().Clone(model.StateDict()).AsDict();
  if (!Saves(t)) model.Fill(-1);
  extended::Wrap(t, model, spec, t.TextParam("wrapper"));
  if (Saves(t)) return SaveCheckpoint(t.caller(), {{"model", GetModelStateDict(model)}}, "checkpoint");
  const Dict loaded = LoadCheckpoint(t.caller(), {{"model", GetModelStateDict(model)}}, "checkpoint");
  rules::SameWholeState(t, "what was loaded", expected, loaded.At("model").AsDict());
  SetModelStateDict(model, loaded.At("model").AsDict());
  rules::SameWholeState(t, "the model", expected, GetModelStateDict(model));
  const Value read = ReadCheckpoint(t.caller(), "checkpoint").At("model");
  t.Rule(SameValue("what was read", expected, InOrderOf(expected, read)));
}

}  // namespace shardcts::storage

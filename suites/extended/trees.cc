#include "suites/extended/trees.h"

#include <fmt/format.h>

#include "rank/whole.h"
#include "suites/extended/comparison.h"

namespace shardcts::extended {
namespace {

Dict With(Dict dict, const Dict& further) {
  for (const auto& [key, value] : further) dict.Set(key, value);
  return dict;
}

bool IsForRank0(std::string_view form) { return form == "dsd_offload" || form == "dsd_broadcast"; }

}  // namespace

Dict LinearNode(int64_t out, const Dict& further) { return With({{"kind", "linear"}, {"out", out}}, further); }

Dict TensorNode(std::vector<int64_t> shape, std::string_view dtype, const Dict& further) {
  return With({{"shape", ToValue(shape)}, {"dtype", dtype}}, further);
}

Dict BareNode(const Dict& parameters, const Dict& buffers) {
  return {{"kind", "bare"}, {"parameters", parameters}, {"buffers", buffers}};
}

ModelSpec TreeSpec(Dict root, const Dict& args, std::vector<std::string> units) {
  return {.name = "tree", .args = With({{"root", std::move(root)}}, args), .units = std::move(units)};
}

Dict ForAllRanks(Trial& t, std::string_view form, const Dict& state) {
  if (!IsForRank0(form)) return state;
  if (t.rank() > 0) t.Rule(Equal<size_t>(fmt::format("{}: entries of rank {}", form, t.rank()), 0, state.size()));
  return t.FromRank0(state).AsDict();
}

bool HasEntries(Trial& t, std::string_view what, const Dict& expected, const Dict& actual) {
  return SameState(t, what, expected, InOrderOf(expected, WholeDict(t, actual)).AsDict());
}

Model LoadedFromCoded(Trial& t, const ModelSpec& spec, std::string_view wrapper, std::string_view form) {
  Model saved = BuildWrapped(t, spec, wrapper);
  const Dict state = GetState(saved, form);
  Model loaded = BuildWrapped(t, spec, wrapper);
  loaded.Fill(0, /*buffers=*/true);
  SetState(loaded, form, state);
  return loaded;
}

bool HasState(Trial& t, std::string_view what, const Dict& expected, Model& model, std::string_view form) {
  return HasEntries(t, what, expected, ForAllRanks(t, form, GetState(model, form)));
}

}  // namespace shardcts::extended

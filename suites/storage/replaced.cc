// What is in a folder after another save or consolidation into it.
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"

namespace shardcts::storage {
namespace {

// Of the older checkpoint blank, of the newer one coded.
const std::vector<PlacedTensor> kOlder = {{"first", {6, 5}, "S0"}, {"second", {5, 2}, "S0"}};
const std::vector<PlacedTensor> kNewer = {{"second", {5, 2}, "S0"}};

// Consolidates the state, one file for each tensor, by rank 0 or by all. Whether it was refused. *Collective*.
bool ConsolidationIsRefused(Trial& t, const World& world, const Dict& state, const std::string& parts, bool by_all) {
  world.Save(state, parts, {.format = "safetensors"});
  std::map<std::string, int64_t> files;
  for (const std::string& name : state.Keys()) files[name] = static_cast<int64_t>(files.size()) + 1;
  bool refused = false;
  try {
    if (by_all) ConsolidateOnEveryRank(t.caller(), parts, "checkpoint", files);
    if (!by_all && t.rank() == 0) ConsolidateCheckpoint(t.caller(), parts, "checkpoint", files);
  } catch (const OperationFailed&) {
    refused = true;
  }
  for (const Value& of_rank : t.AllGather(refused)) {
    if (by_all) t.Rule(Equal("whether another rank was refused", refused, of_rank.AsBool()));
  }
  return t.FromRank0(refused).AsBool();
}

// The older checkpoint into "checkpoint", in a format or consolidated. *Collective*.
void MakeOlder(Trial& t, const World& world, const std::string& way) {
  const Dict state = BlankState(t, world, kOlder);
  if (way == "consolidated") {
    t.Rule(Equal("a consolidation into a new folder is refused", false,
                 ConsolidationIsRefused(t, world, state, "older_parts", false)));
    return;
  }
  world.Save(state, "checkpoint", {.format = way == "default" ? "" : way});
}

// Evaluates the rule on every rank: a read brings the older one whole, with none of the newer one's values.
void HoldsOlder(Trial& t, std::string_view what, const World& world) {
  Dict expected;
  for (const PlacedTensor& tensor : kOlder) expected.Set(tensor.name, at::ones(tensor.shape));
  t.Rule(SameValue(what, expected, InOrderOf(expected, ReadCheckpoint(t.caller(), "checkpoint"))));
}

}  // namespace

RULE(CR13) {
  const World world = FirstRanks(t);
  MakeOlder(t, world, t.TextParam("before"));
  if (ConsolidationIsRefused(t, world, CodedState(t, world, kNewer), "parts", t.TextParam("by") == "all")) {
    return HoldsOlder(t, "after a refused consolidation", world);
  }
  HoldsCoded(t, "what was read", kNewer, "checkpoint");
  HasCoded(t, "what was loaded", world, kNewer,
           world.Load(BlankState(t, world, kNewer), "checkpoint", {.format = "safetensors"}));
}

RULE(CR14) {
  const World world = FirstRanks(t);
  MakeOlder(t, world, t.TextParam("before"));
  for (const char* format : {"", "safetensors"}) {
    IsRefused(t, fmt::format("a save in the format \"{}\" with overwrite=false", format), {}, [&] {
      world.Save(CodedState(t, world, kNewer), "checkpoint", {.format = format, .overwrite = false});
    });
  }
  HoldsOlder(t, "what was there", world);
}

RULE(CR15) {
  const World world = FirstRanks(t);
  const std::string format = FormatOf(t);
  MakeOlder(t, world, t.TextParam("before"));
  world.Save(CodedState(t, world, kNewer), "checkpoint", {.format = format});
  HoldsCoded(t, "what was read", kNewer, "checkpoint");
  HasCoded(t, "what was loaded", world, kNewer,
           world.Load(BlankState(t, world, kNewer), "checkpoint", {.format = format}));
}

RULE(CR16) {
  const World many = FirstRanks(t), few = FirstRanks(t, 1);
  const std::string format = FormatOf(t);
  many.Save(BlankState(t, many, kOlder), "checkpoint", {.format = format});
  few.Save(CodedState(t, few, kNewer), "checkpoint", {.format = format});
  HasCoded(t, "what was loaded", many, kNewer,
           many.Load(BlankState(t, many, kNewer), "checkpoint", {.format = format}));
  IsRefused(t, "a load of a name that only the first save had", {"first"},
            [&] { many.Load(BlankState(t, many, kOlder), "checkpoint", {.format = format}); });
}

}  // namespace shardcts::storage

// What must not go unnoticed: what is lost, or cannot be stored, is an error or at least reported.
#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "contract/tensor_bytes.h"
#include "inventory/phases.h"
#include "rank/session.h"
#include "suites/rules/coded.h"
#include "suites/storage/files_on_disk.h"
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"

namespace shardcts::storage {
namespace {

using Warnings = std::vector<Warning>;

std::string TextOf(const Warnings& warnings) {
  std::string text;
  for (const Warning& warning : warnings) text += warning.message + "\n";
  return text;
}

// Evaluates the rule: the operation inside fails, or it warns, with all of these texts. *Collective* as the body.
void IsReported(Trial& t, const std::string& what, const std::vector<std::string>& texts,
                const std::function<void(Warnings&)>& body) {
  Warnings warnings;
  std::string said;
  try {
    body(warnings);
    said = TextOf(warnings);
  } catch (const OperationFailed& failure) {
    said = failure.error().message;
  }
  for (const std::string& text : texts) {
    const bool has = said.find(text) != std::string::npos;
    t.Rule({has, fmt::format("{}: expected an error or a warning with \"{}\", actual \"{}\"", what, text, said)});
  }
}

// Evaluates the rule: the operation inside does not fail, and no warning has the text.
void IsNotReported(Trial& t, const std::string& what, const std::string& text,
                   const std::function<void(Warnings&)>& body) {
  Warnings warnings;
  body(warnings);
  const std::string said = TextOf(warnings);
  t.Rule({said.find(text) == std::string::npos, fmt::format("{}: expected no warning, actual \"{}\"", what, said)});
}

const std::vector<PlacedTensor> kThree = {{"wanted", {5, 2}, "S0"}, {"left.one", {5}, "S0"}, {"left.two", {3}, "R"}};

std::string OwnName(int64_t rank) { return fmt::format("loader of rank {}", rank); }

// With an entry that no other rank has.
Dict WithOwn(const Trial& t, Dict state, int64_t value) {
  state.Set(OwnName(t.rank()), value);
  return state;
}

// The sizes of a chunk as metadata say them: in a text, or in a pickle.
std::vector<std::pair<std::string, std::string>> SizesSaid(int64_t rows, int64_t other_rows, int64_t columns) {
  const auto pickled = [&](int64_t first) {
    return std::string{'K', static_cast<char>(first), 'K', static_cast<char>(columns)};
  };
  const auto text = [&](int64_t first) { return fmt::format("\"sizes\":[{},{}]", first, columns); };
  return {{text(rows), text(other_rows)}, {pickled(rows), pickled(other_rows)}};
}

// Writes other sizes of a chunk over those in the folder; whether they were found.
bool ChangeSizes(const std::string& folder, int64_t rows, int64_t other_rows, int64_t columns) {
  for (const auto& [said, other] : SizesSaid(rows, other_rows, columns)) {
    const auto [path, place] = FindBytes(folder, said);
    if (path.empty()) continue;
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(place));
    file << other;
    return true;
  }
  return false;
}

// Rows 0 to 96 are one chunk, of which the metadata then have a row less.
void LoadsWithARowLess(Trial& t) {
  const std::vector<PlacedTensor> matrix = {{"matrix", {193, 19}, "S0"}};
  const World world = FirstRanks(t);
  world.Save(CodedState(t, world, matrix), "checkpoint");
  bool found = false;
  Rank0Does(t, [&] { found = ChangeSizes(t.Folder("checkpoint"), 97, 96, 19); });
  if (!t.FromRank0(found).AsBool()) throw OptionNotSupported("no file has the sizes of a chunk in a form that is known");
  IsRefused(t, "a load with a row in no chunk", {}, [&] { world.Load(BlankState(t, world, matrix), "checkpoint"); });
}

// The file of the second of three ranks is gone.
void LoadsWithoutAFile(Trial& t) {
  const std::vector<PlacedTensor> matrix = {{"matrix", {9, 4}, "S0"}};
  const World world = FirstRanks(t);
  const Dict state = CodedState(t, world, matrix);
  world.Save(state, "checkpoint", {.format = "safetensors"});
  const std::vector<Value> parts = t.AllGather(state.At("matrix").AsDTensor().local);
  Rank0Does(t, [&] {
    const std::string file = FindBytes(t.Folder("checkpoint"), TensorBytes(parts.at(1).AsTensor())).first;
    if (file.empty()) throw HarnessError("no file of safetensors has the rows of rank 1");
    std::filesystem::remove(file);
  });
  IsRefused(t, "a load without the file of rank 1", {},
            [&] { world.Load(BlankState(t, world, matrix), "checkpoint", {.format = "safetensors"}); });
}

// Something that no format, or not that of safetensors, has a place for.
Value Unstorable(const std::string& what) {
  if (what == "meta") return at::empty({2, 3}, at::TensorOptions().device(at::kMeta));
  if (what == "value") return 2.5;
  if (what == "text") return "a text";
  if (what == "complex128") return rules::Coded({2, 3}, 1, 0, at::kComplexDouble);
  if (what == "float8_e8m0fnu") return at::ones({2, 3}).to(at::kFloat8_e8m0fnu);
  throw HarnessError(fmt::format("nothing is \"{}\"", what));
}

}  // namespace

RULE(LD3) {
  const World world = FirstRanks(t);
  const Dict destination = WithOwn(t, BlankState(t, world, kThree), -1);
  world.Save(WithOwn(t, CodedState(t, world, kThree), t.rank()), "checkpoint");
  Dict one;
  one.Set("wanted", destination.At("wanted"));
  IsReported(t, "a load of one name", {"left.one", "left.two", OwnName(0), OwnName(t.world_size() - 1)},
             [&](Warnings& warnings) { world.Load(one, "checkpoint", {.warnings = &warnings}); });
  IsNotReported(t, "a load of all names", OwnName(0),
                [&](Warnings& warnings) { world.Load(destination, "checkpoint", {.warnings = &warnings}); });
}

RULE(RK4) {
  const World world = FirstRanks(t);
  const bool is_last = t.rank() == t.world_size() - 1, is_plain = t.TextParam("as") == "plain";
  const auto replica = [&](bool differs) -> Value {
    const at::Tensor whole = rules::Coded({4, 3}, 1);
    if (differs) whole[2][1] = -1;
    return is_plain ? Value(whole) : Value(PartOf(whole, world.layout(), PlacementsOf("R"), t.rank()));
  };
  IsReported(t, "a save of replicas that differ", {"common"}, [&](Warnings& warnings) {
    world.Save({{"common", replica(is_last)}, {"same", replica(false)}}, "differing", {.warnings = &warnings});
  });
  IsNotReported(t, "a save of equal replicas", "common", [&](Warnings& warnings) {
    world.Save({{"common", replica(false)}}, "equal", {.warnings = &warnings});
  });
}

RULE(RK6) {
  const std::vector<PlacedTensor> common = {{"weight", {7, 2}, "S0"}};
  const World world = FirstRanks(t);
  if (Saves(t)) return world.Save(WithOwn(t, CodedState(t, world, common), 100 + t.rank()), "checkpoint");
  const Dict destination = WithOwn(t, BlankState(t, world, common), -1);
  const int64_t saved_on = t.Phases().front().world_size;
  const auto load = [&](Warnings& warnings) { world.Load(destination, "checkpoint", {.warnings = &warnings}); };
  Warnings warnings;
  if (t.world_size() > saved_on) return IsRefused(t, "a load on more ranks", {OwnName(saved_on)}, [&] { load(warnings); });
  IsReported(t, "a load on fewer ranks", {OwnName(saved_on - 1)}, load);
  const Dict loaded = world.Load(destination, "checkpoint");
  t.Rule(Equal<int64_t>("the rank's own value", 100 + t.rank(), loaded.At(OwnName(t.rank())).AsInt()));
}

RULE(LD7) { t.TextParam("hole") == "chunk" ? LoadsWithARowLess(t) : LoadsWithoutAFile(t); }

RULE(DT7) {
  const std::string what = t.TextParam("thing");
  const std::string format = what == "meta" ? "" : "safetensors";
  const World world = FirstRanks(t);
  const Value thing = Unstorable(what);
  try {
    world.Save({{"thing", thing}, {"usual", rules::Coded({4}, 2)}}, "checkpoint", {.format = format});
  } catch (const OperationFailed&) {
    t.Rule(Equal("complete", false, DescribeCheckpoint(t.caller(), "checkpoint").complete));
    return;
  }
  // It could be stored.
  const Dict expected{{"thing", thing}, {"usual", rules::Coded({4}, 2)}};
  t.Rule(SameValue("what was read", expected, InOrderOf(expected, ReadCheckpoint(t.caller(), "checkpoint"))));
}

RULE(LD9) {
  const World world = FirstRanks(t);
  const std::string late = "asked for by the last rank";
  Dict saved = CodedState(t, world, kThree), wanted = BlankState(t, world, kThree);
  saved.Set(late, rules::Coded({3}, 1));
  world.Save(saved, "checkpoint");
  if (t.rank() == t.world_size() - 1) wanted.Set(late, at::zeros({3}));
  IsNotReported(t, "a load of all names, one of them on one rank", late,
                [&](Warnings& warnings) { world.Load(wanted, "checkpoint", {.warnings = &warnings}); });
}

RULE(LD13) {
  const World world = FirstRanks(t);
  const std::vector<PlacedTensor> first(kThree.begin(), kThree.begin() + 1);
  world.Save(CodedState(t, world, kThree), "checkpoint");
  IsNotReported(t, "a partial load of one name", kThree.back().name, [&](Warnings& warnings) {
    world.Load(BlankState(t, world, first), "checkpoint", {.partial = true, .warnings = &warnings});
  });
}

}  // namespace shardcts::storage

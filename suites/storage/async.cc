// Saves that go on in the background.
#include <ATen/ATen.h>

#include <algorithm>
#include <functional>

#include "suites/rules/coded.h"
#include "suites/storage/files_on_disk.h"
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"
#include "suites/storage/trained.h"

namespace shardcts::storage {
namespace {

const std::vector<PlacedTensor> kAsync = {{"sharded", {40, 50}, "S0"}, {"replicated", {30, 20}, "R"}, {"plain", {7}, ""},
                                          {"number", {}, ""},         {"ids", {9}, "S0", at::kLong}};

Dict WithStep(Dict state, int64_t step) {
  state.Set("step", step);
  state.Set("history", List{step, step + 1});
  return state;
}

// Writes over everything that a training would change.
void Overwrite(Trial& t, const Dict& state) {
  for (const auto& [name, value] : state) {
    if (value.TryAs<Tensor>() || value.TryAs<DTensor>()) t.subject().Fill(value, 7);
  }
}

void StepsWhileSaving(Trial& t) {
  Trained trained = BuildTrained(t, 1);
  for (int64_t step = 0; step < 2; ++step) TrainStep(trained, step);
  const Value expected = t.subject().Clone(StateOf(trained));
  BackgroundSave save = SaveCheckpointAsync(t.caller(), StateOf(trained), "trained");
  for (int64_t step = 2; step < 5; ++step) TrainStep(trained, step);
  save.Wait();
  Trained resumed = BuildTrained(t, 2);
  Restore(t, resumed, "trained");
  t.Rule(SameValue("what was saved", expected, InOrderOf(expected, StateOf(resumed))));
}

// Whether the operations inside succeed. *Collective* as the body.
bool Succeeds(const std::function<void()>& body) {
  try {
    body();
    return true;
  } catch (const OperationFailed&) {
    return false;
  }
}

// *Collective*. Two saves of the same names to one folder, one begun before the other has ended: what is wrong with the
// checkpoint; empty, on every rank: nothing, it is of one save, or both have failed.
std::string ProblemOfTwoSaves(Trial& t, const World& world, const std::string& path) {
  std::vector<PlacedTensor> tensors;
  for (int64_t i = 0; i < 30; ++i) tensors.push_back({fmt::format("tensor{}", i), {3 * t.world_size(), 50}, "S0"});
  const Dict one = CodedState(t, world, tensors), other = BlankState(t, world, tensors);
  BackgroundSave first = SaveCheckpointAsync(t.caller(), one, path);
  const bool second_succeeds = Succeeds([&] { SaveCheckpointAsync(t.caller(), other, path).Wait(); });
  const bool first_succeeds = Succeeds([&] { first.Wait(); });
  if (!first_succeeds && !second_succeeds) return "";
  Dict loaded;
  if (!Succeeds([&] { loaded = world.Load(other, path); })) return "cannot be loaded";
  int64_t of_first = 0, of_second = 0;
  const Dict blank = BlankState(t, world, tensors);
  for (const auto& [name, value] : loaded) {
    of_first += SameValue("", one.At(name), value).ok;
    of_second += SameValue("", blank.At(name), value).ok;
  }
  const auto all_of = [&](int64_t count) {
    const std::vector<Value> counts = t.AllGather(count);
    return std::ranges::all_of(counts, [&](const Value& of_rank) {
      return of_rank.AsInt() == static_cast<int64_t>(tensors.size());
    });
  };
  const bool is_first = all_of(of_first), is_second = all_of(of_second);
  if (is_first || is_second) return "";
  return fmt::format("has {} entries of the first and {} of the second on this rank", of_first, of_second);
}

// Memory of the state dict in which every combination of sharing occurs.
Dict SharedState(const Trial& t, const World& world) {
  const at::Tensor base = rules::Coded({6, 4}, 1);
  DTensor rows = PartOf(rules::Coded({6, 4}, 2), world.layout(), PlacementsOf("R"), t.rank());
  return {{"base", base},
          {"row", base.narrow(0, 2, 1)},
          {"column", base.narrow(1, 1, 1)},
          {"inner", Dict{{"again", base}, {"list", List{base.t(), 3}}}},
          {"rows", rows},
          {"of_rows", at::Tensor(rows.local.narrow(0, 0, 1))},
          {"alone", rules::Coded({5}, 3)}};
}

// Everything that was given to a save is written over at once: what is loaded is what was there.
void SaveThenOverwrite(Trial& t, const std::string& path, const SaveOptions& options) {
  const World world = FirstRanks(t);
  const Dict state = WithStep(CodedState(t, world, kAsync), 3);
  BackgroundSave save = SaveCheckpointAsync(t.caller(), state, path, options);
  Overwrite(t, state);
  save.Wait();
  t.Rule(Equal("done", true, save.Progress().done));
  const Dict expected = WithStep(CodedState(t, world, kAsync), 3);
  const Dict loaded = world.Load(WithStep(BlankState(t, world, kAsync), 0), path);
  t.Rule(SameValue("what was loaded", expected, InOrderOf(expected, loaded)));
}

// A save to "bad" that fails on the last rank, then one that does not.
void FailThenSave(Trial& t, const SaveOptions& options, const std::string& path, bool in_background = true) {
  const World world = FirstRanks(t);
  const Dict state = ClashingOnLast(t, CodedState(t, world, kAsync));
  IsRefused(t, "a save that fails on the last rank", {fmt::format("rank {}", t.world_size() - 1), "x.y"},
            [&] { SaveCheckpointAsync(t.caller(), state, "bad", options).Wait(); });
  t.Rule(Equal("complete", false, DescribeCheckpoint(t.caller(), "bad").complete));
  if (in_background) {
    SaveCheckpointAsync(t.caller(), CodedState(t, world, kAsync), path, options).Wait();
  } else {
    world.Save(CodedState(t, world, kAsync), path, options);
  }
  HasCoded(t, "the next save", world, kAsync, world.Load(BlankState(t, world, kAsync), path));
}

}  // namespace

RULE(AS1) {
  if (t.TextParam("what") == "fully_shard") return StepsWhileSaving(t);
  SaveThenOverwrite(t, "checkpoint", {});
}

RULE(AS2) { FailThenSave(t, {}, "good"); }

RULE(AS4) {
  const World world = FirstRanks(t);
  std::string problem;
  for (int64_t round = 0; round < 30 && problem.empty(); ++round) {
    problem = ProblemOfTwoSaves(t, world, fmt::format("round{}", round));
  }
  t.Rule(Holds(problem.empty(), "what two saves leave", problem));
}

RULE(AS5) {
  Trained trained = BuildTrained(t, 1), twin = BuildTrained(t, 1);
  const World world = FirstRanks(t);
  const Dict state = CodedState(t, world, kAsync);
  for (int64_t round = 0; round < 3; ++round) {
    BackgroundSave save = SaveCheckpointAsync(t.caller(), state, fmt::format("round{}", round));
    for (int64_t step = 0; step < 4; ++step) TrainStep(trained, 4 * round + step);
    save.Progress();
    save.Wait();
  }
  for (int64_t step = 0; step < 12; ++step) TrainStep(twin, step);
  const Value expected = StateOf(twin);
  t.Rule(SameValue("the training", expected, InOrderOf(expected, StateOf(trained))));
  HasCoded(t, "the last save", world, kAsync, world.Load(BlankState(t, world, kAsync), "round2"));
}

RULE(AS6) {
  const World world = FirstRanks(t);
  world.Save(BlankState(t, world, kAsync), "checkpoint");
  BackgroundSave save = SaveCheckpointAsync(t.caller(), CodedState(t, world, kAsync), "checkpoint");
  save.Wait();
  t.Rule(Equal("staged", true, save.Progress().staged));
  t.Rule(Equal("done", true, save.Progress().done));
  HasCoded(t, "what was loaded", world, kAsync, world.Load(BlankState(t, world, kAsync), "checkpoint"));
  HoldsCoded(t, "what was read", kAsync, "checkpoint");
}

RULE(AS7) {
  const World world = FirstRanks(t);
  const Dict state = SharedState(t, world);
  const Value before = t.subject().Clone(state);
  const Dict staged = StageState(t.caller(), state);
  t.Rule(SameValue("the copy", before, staged));
  t.Rule(Holds(DataPointer(staged.At("base")) != DataPointer(state.At("base")), "the copy", "is in the caller's memory"));
  for (const char* name : {"row", "column"}) {
    const auto place = [&](const Dict& dict) { return DataPointer(dict.At(name)) - DataPointer(dict.At("base")); };
    t.Rule(Equal(fmt::format("where {} is in base", name), place(state), place(staged)));
  }
  const Value again = staged.At("inner").AsDict().At("again"), turned = staged.At("inner").AsDict().At("list").AsList().at(0);
  t.Rule(Equal("where the second name is", DataPointer(staged.At("base")), DataPointer(again)));
  t.Rule(Equal("where the transposed one is", DataPointer(staged.At("base")), DataPointer(turned)));
  t.Rule(Equal("where a row of the DTensor is", DataPointer(staged.At("rows")), DataPointer(staged.At("of_rows"))));
  t.subject().Fill(state.At("base"), 7);
  t.subject().Fill(state.At("rows"), 7);
  t.subject().Fill(state.At("alone"), 7);
  t.Rule(SameValue("the copy after the source has changed", before, staged));
}

RULE(AS9) {
  const World world = FirstRanks(t);
  const std::vector<PlacedTensor> large = {{"weight", {3000, 500}, "S0"}, {"bias", {4, 6}, "S0"}};
  const std::vector<PlacedTensor> small = {{"number", {}, ""}, {"weight", {6, 5}, "S0"}, {"bias", {4, 6}, "S0"}};
  for (const bool in_order : {true, false}) {
    const std::string of_large = fmt::format("large{}", in_order), of_small = fmt::format("small{}", in_order);
    BackgroundSave first = SaveCheckpointAsync(t.caller(), CodedState(t, world, large), of_large);
    BackgroundSave second = SaveCheckpointAsync(t.caller(), CodedState(t, world, small), of_small);
    (in_order ? first : second).Wait();
    (in_order ? second : first).Wait();
    HasCoded(t, "the large save", world, large, world.Load(BlankState(t, world, large), of_large));
    HasCoded(t, "the small save", world, small, world.Load(BlankState(t, world, small), of_small));
  }
}

RULE(AS10) {
  for (const bool cache_staged : {false, true}) {
    SaveThenOverwrite(t, fmt::format("cached{}", cache_staged), {.cache_staged = cache_staged, .process = true});
  }
}

RULE(AS11) { FailThenSave(t, {.process = true}, "good"); }

RULE(AS12) { FailThenSave(t, {}, "bad", t.TextParam("next") == "background"); }

RULE(AS13) {
  const World world = FirstRanks(t);
  SaveOptions options{.format = FormatOf(t), .threads = t.IntParam("threads"), .lowest_rank = t.BoolParam("lowest_rank")};
  world.Save(CodedState(t, world, kAsync), "foreground", options);
  SaveCheckpointAsync(t.caller(), CodedState(t, world, kAsync), "background", options).Wait();
  HoldsCoded(t, "what was read", kAsync, "background");
  // Names of one length: a path may stand in a file.
  const Dict expected = SizesByName(t.Folder("foreground")), actual = SizesByName(t.Folder("background"));
  t.Rule(SameValue("files and their sizes", expected, InOrderOf(expected, actual)));
}

RULE(AS14) {
  const World world = FirstRanks(t);
  world.Save(CodedState(t, world, kAsync), "checkpoint", {.format = FormatOf(t)});
  IsRefused(t, "a background save that may not overwrite", {}, [&] {
    const SaveOptions options{.format = FormatOf(t), .overwrite = false};
    SaveCheckpointAsync(t.caller(), BlankState(t, world, kAsync), "checkpoint", options).Wait();
  });
  HoldsCoded(t, "what was there", kAsync, "checkpoint");
}

RULE(AS15) {
  const World world(t, {1, 2});
  SaveOptions options;
  options.group = NewGroup(t.caller(), world.ranks(), /*per_device_backends=*/true);
  world.Do([&] {
    SaveCheckpointAsync(t.caller(), CodedState(t, world, kAsync), "checkpoint", options).Wait();
  });
  HasCoded(t, "what was loaded", world, kAsync, world.Load(BlankState(t, world, kAsync), "checkpoint"));
  HoldsCoded(t, "what was read", kAsync, "checkpoint");
}

RULE(AS16) {
  const World world = FirstRanks(t);
  const Dict state = ClashingOnLast(t, CodedState(t, world, kAsync));
  std::optional<BackgroundSave> save;
  IsRefused(t, "a save that fails on the last rank", {"x.y"}, [&] {
    save = SaveCheckpointAsync(t.caller(), state, "bad");
    save->Wait();
  });
  if (!save) return;  // refused before there was anything to wait for
  IsRefused(t, "the second wait", {"x.y"}, [&] { save->Wait(); });
  t.Rule(Equal("done", true, save->Progress().done));
}

}  // namespace shardcts::storage

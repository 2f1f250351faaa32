// Ports of test_planner.py. Plans are those of simulated ranks; what a rank has to write before others are asked is its
// plan where it alone has what is not sharded.
#include <ATen/ATen.h>

#include "suites/dcp/ports.h"
#include "suites/dcp/steps.h"

namespace shardcts::dcp {
namespace {

constexpr int64_t kRanks = 4;

HeldTensorLayout Sharded(int64_t ranks, int64_t length) {
  HeldTensorLayout layout{.shape = {ranks * length}, .chunks = {}};
  for (int64_t rank = 0; rank < ranks; ++rank) layout.chunks.push_back({rank, {{rank * length}, {length}}});
  return layout;
}

HeldTensorLayout Plain(const std::vector<int64_t>& ranks, int64_t length) {
  HeldTensorLayout layout{.shape = {length}, .chunks = {}};
  for (int64_t rank : ranks) layout.chunks.push_back({rank, {{0}, {length}}});
  return layout;
}

const std::vector<int64_t> kAllRanks = {0, 1, 2, 3};

// Upstream's state dict on four ranks: a tensor and a value on `holders`, and 8 elements of a sharded tensor on each.
HeldLayout StateOn(const std::vector<int64_t>& holders, int64_t length = 10) {
  return {kRanks, {{"tensor", Plain(holders, length)}, {"st", Sharded(kRanks, 8)}}, {{"value", holders}}};
}

std::vector<HeldChunk> WrittenBy(int64_t rank, const SavePlan& plan, const std::string& name) {
  std::vector<HeldChunk> written;
  for (const HeldChunk& chunk : plan.chunks.at(name)) {
    if (chunk.rank == rank) written.push_back(chunk);
  }
  return written;
}

size_t ItemsOf(int64_t rank, const SavePlan& plan) {
  size_t items = 0;
  for (const auto& [name, chunks] : plan.chunks) items += WrittenBy(rank, plan, name).size();
  for (const auto& [name, owner] : plan.values) items += owner == rank ? 1 : 0;
  return items;
}

Verification SameChunks(const std::string& what, const std::vector<HeldChunk>& expected,
                        const std::vector<HeldChunk>& actual) {
  return Holds(expected == actual, what, "expected other ranks, offsets or sizes");
}

Verification SamePlan(const std::string& what, const SavePlan& expected, const SavePlan& actual) {
  return Holds(expected.chunks == actual.chunks && expected.values == actual.values, what, "expected the same plan");
}

Verification ReusedBy(const std::string& what, std::vector<bool> expected, const SavePlan& plan) {
  return Equal(what + ": reused", expected, plan.reused);
}

struct LocalPlanChecks {
  std::string_view items, tensor, sharded, value;
};
void PlansOf(Trial& t, const LocalPlanChecks& checks, int64_t rank) {
  const SavePlan plan = PlanSave(t.caller(), StateOn({rank}));
  t.Check(checks.items, Equal<size_t>("items", 3, ItemsOf(rank, plan)));
  t.Check(checks.tensor, SameChunks("tensor", {{rank, {{0}, {10}}}}, WrittenBy(rank, plan, "tensor")));
  t.Check(checks.sharded, SameChunks("st", {{rank, {{8 * rank}, {8}}}}, WrittenBy(rank, plan, "st")));
  t.Check(checks.value, Equal("rank that writes the value", rank, plan.values.at("value")));
}

std::vector<ChunkBox> Lengths(int64_t count, int64_t length) {
  std::vector<ChunkBox> boxes;
  for (int64_t i = 0; i < count; ++i) boxes.push_back({{i * length}, {length}});
  return boxes;
}

// The reads of one wanted chunk: from which saved one, and which elements of the whole.
void Reads(Trial& t, std::string_view count, std::string_view parts, const std::vector<ChunkBox>& saved,
           const ChunkBox& wanted, const std::vector<PlannedRead>& expected) {
  const std::vector<PlannedRead> actual = PlanReads(t.caller(), saved, {wanted});
  t.Check(count, Equal("reads", expected.size(), actual.size()));
  t.Check(parts, Holds(expected == actual, "reads", "expected other chunks, offsets or sizes"));
}

// Two ranks with a tensor each.
HeldLayout OneEach(int64_t first, int64_t second) {
  return {2, {{"a", Plain({0}, first)}, {"b", Plain({1}, second)}}, {}};
}

struct MergeChecks {
  std::string_view first, second, reused;
};
void Merges(Trial& t, const MergeChecks& checks, int64_t first, int64_t second, const std::vector<bool>& reused) {
  PlanSave(t.caller(), OneEach(10, 20), {.series = "merge"});
  const SavePlan plan = PlanSave(t.caller(), OneEach(first, second), {.series = "merge"});
  t.Check(checks.first, SameChunks("rank 0", {{0, {{0}, {first}}}}, plan.chunks.at("a")));
  t.Check(checks.second, SameChunks("rank 1", {{1, {{0}, {second}}}}, plan.chunks.at("b")));
  t.Check(checks.reused, ReusedBy("merged", reused, plan));
}

// A Linear of 2 outputs.
Model LinearOf(Trial& t, int64_t in, int64_t seed) {
  t.subject().Seed(seed);
  return t.subject().Build("linear", {{"in", in}, {"out", 2}}, t.device());
}

}  // namespace

PORT(test_local_plan) {
  PlansOf(t, {"C1", "C2", "C3", "C4"}, 1);
  PlansOf(t, {"C5", "C6", "C7", "C8"}, 0);
}

PORT(test_local_plan_with_caching) {
  const SavePlan first = PlanSave(t.caller(), StateOn({1}), {.series = "local"});
  t.Check("C1", ReusedBy("first", {false, false, false, false}, first));
  const SavePlan second = PlanSave(t.caller(), StateOn({1}), {.series = "local"});
  t.Check("C2", Equal<bool>("second: rank 1 has nothing new", true, second.reused.at(1)));
  t.Strict("C2", SamePlan("second", first, second));
}

PORT(test_global_plan) {
  const SavePlan plan = PlanSave(t.caller(), StateOn(kAllRanks));
  t.Check("C1", Equal<size_t>("tensors", 2, plan.chunks.size()));
  t.Check("C1", Equal<size_t>("values", 1, plan.values.count("value")));
  t.Check("C2", SameChunks("st", Sharded(kRanks, 8).chunks, plan.chunks.at("st")));
  const std::vector<HeldChunk>& tensor = plan.chunks.at("tensor");
  t.Check("C3", Equal<size_t>("chunks of tensor", 1, tensor.size()));
  t.Check("C3", Holds(tensor.front().box == ChunkBox{{0}, {10}}, "tensor", "expected the whole"));
  t.Check("C4", Holds(plan.values.at("value") >= 0 && plan.values.at("value") < kRanks, "value", "has no writer"));
}

PORT(test_dedup_plans) {
  const SavePlan plan = PlanSave(t.caller(), StateOn(kAllRanks));
  t.Check("C1", Equal<size_t>("plans", kRanks, plan.reused.size()));
  size_t items = 0;
  for (int64_t rank = 0; rank < kRanks; ++rank) {
    t.Check("C2", Holds(ItemsOf(rank, plan) < 3, fmt::format("rank {}", rank), "expected fewer than 3 items"));
    items += ItemsOf(rank, plan);
  }
  t.Strict("C2", Equal<size_t>("items of all ranks", 6, items));
}

PORT(test_global_plan_with_caching) {
  const SavePlan first = PlanSave(t.caller(), StateOn(kAllRanks), {.series = "global"});
  t.Check("C1", ReusedBy("first", {false, false, false, false}, first));
  const SavePlan second = PlanSave(t.caller(), StateOn(kAllRanks), {.series = "global"});
  t.Check("C2", ReusedBy("second", {true, true, true, true}, second));
  t.Check("C3", SamePlan("second", first, second));
  const SavePlan third = PlanSave(t.caller(), StateOn(kAllRanks, 20), {.series = "global"});
  // Of the tensor; in PyTorch rank 0.
  const int64_t writer = third.chunks.at("tensor").front().rank;
  std::vector<bool> others(kRanks, true);
  others[static_cast<size_t>(second.chunks.at("tensor").front().rank)] = false;
  others[static_cast<size_t>(writer)] = false;
  t.Check("C4", Equal<bool>("third: its writer has nothing new", false, third.reused[static_cast<size_t>(writer)]));
  t.Check("C5", ReusedBy("third", others, third));
  t.Check("C6", Holds(third.chunks != second.chunks, "third", "expected another plan"));
  t.Strict("C6", SameChunks("third: tensor", {{writer, {{0}, {20}}}}, third.chunks.at("tensor")));
}

PORT(test_finish_plan_with_caching) {
  const HeldLayout layout{1, {{"tensor", Plain({0}, 10)}}, {{"value", {0}}}};
  const SavePlan first = PlanSave(t.caller(), layout, {.series = "finish"});
  t.Check("C1", Equal<size_t>("items", 2, ItemsOf(0, first)));
  const SavePlan second = PlanSave(t.caller(), layout, {.series = "finish"});
  t.Check("C2", SamePlan("second", first, second));
  t.Strict("C2", ReusedBy("second", {true}, second));
}

PORT(test_local_load_plan) {
  Reads(t, "C1", "C2", {{{8}, {8}}}, {{8}, {8}}, {{0, 0, {{8}, {8}}}});
  Reads(t, "C1", "C3", {{{0}, {10}}}, {{0}, {10}}, {{0, 0, {{0}, {10}}}});
  SaveCheckpoint(t.caller(), {{"value", List{1, 2, 3}}}, "checkpoint");
  const Dict loaded = LoadCheckpoint(t.caller(), {{"value", List{}}}, "checkpoint");
  t.Check("C4", SameValue("value", List{1, 2, 3}, loaded.At("value")));
}

PORT(test_load_with_resharding) {
  Reads(t, "C1", "C2", Lengths(8, 16), {{32}, {32}}, {{2, 0, {{32}, {16}}}, {3, 0, {{48}, {16}}}});
  Reads(t, "C3", "C4", Lengths(4, 32), {{16}, {16}}, {{0, 0, {{16}, {16}}}});
}

PORT(test_load_with_world_size_diff_by_one) {
  Reads(t, "C1", "C2", Lengths(4, 30), {{40}, {40}}, {{1, 0, {{40}, {20}}}, {2, 0, {{60}, {20}}}});
}

PORT(test_create_read_item_from_chunks) {
  Reads(t, "C1", "C2", Lengths(2, 8), {{4}, {7}}, {{0, 0, {{4}, {4}}}, {1, 0, {{8}, {3}}}});
}

PORT(test_merge_delta_local_plans) {
  Merges(t, {"C1", "C2", "C3"}, 30, 40, {false, false});
  Merges(t, {"C4", "C5", "C6"}, 30, 20, {false, true});
  Merges(t, {"C7", "C8", "C9"}, 10, 40, {true, false});
  Merges(t, {"C10", "C11", "C12"}, 10, 20, {true, true});
}

PORT(test_compare_save_plans) {
  const HeldLayout one = StateOn({0}), other = StateOn({0}, 11);
  const auto is_same = [&](const HeldLayout& layout) -> bool {
    return PlanSave(t.caller(), layout, {.series = "compare"}).reused.at(0);
  };
  is_same(one);
  t.Check("C1", Equal<bool>("another plan is the same", false, is_same(other)));
  t.Check("C2", Equal<bool>("this plan is the same", true, is_same(other)));
  is_same(one);
  t.Check("C3", Equal<bool>("the first plan is the same", true, is_same(one)));
}

PORT(test_non_overlapping_chunks) {
  t.Check("C1", Equal<size_t>("problems", 0, CheckChunks(t.caller(), {4}, Lengths(4, 1)).size()));
}

PORT(test_detect_overlapping_chunks) {
  const std::vector<std::string> problems = CheckChunks(t.caller(), {4}, {{{0}, {2}}, {{1}, {2}}});
  t.Check("C1", Holds(!problems.empty(), "an overlap", "is not found"));
  // As many elements as the shape has: only the overlap itself tells.
  t.Strict("C1", Holds(!CheckChunks(t.caller(), {4}, {{{0}, {3}}, {{2}, {1}}}).empty(), "an overlap", "is not found"));
}

PORT(test_strict) {
  const Dict saved = LinearOf(t, 2, 1).StateDict();
  SaveCheckpoint(t.caller(), {{"module", saved}}, "checkpoint");
  Dict target = LinearOf(t, 2, 2).StateDict();
  target.Set("extra_param", Uniform({2, 2}));
  Dict loaded;
  t.NoError("C1", [&] {
    loaded = LoadCheckpoint(t.caller(), {{"module", target}}, "checkpoint", {.partial = true}).At("module").AsDict();
  });
  t.Strict("C1", SameValue("extra_param", Uniform({2, 2}), loaded.At("extra_param")));
  t.Strict("C1", SameValue("weight", saved.At("weight"), loaded.At("weight")));
  t.Raises("C2", "CheckpointException", "extra_param",
           [&] { LoadCheckpoint(t.caller(), {{"module", target}}, "checkpoint"); });
}

PORT(test_load_different_sizes_throws) {
  SaveCheckpoint(t.caller(), {{"module", LinearOf(t, 2, 1).StateDict()}}, "checkpoint");
  const Dict target = LinearOf(t, 3, 2).StateDict();
  t.Raises("C1", "CheckpointException", "weight",
           [&] { LoadCheckpoint(t.caller(), {{"module", target}}, "checkpoint"); });
}

PORT(test_version_key_in_planner_data) {
  SaveCheckpoint(t.caller(), {{"module", LinearOf(t, 2, 1).StateDict()}}, "checkpoint");
  LoadCheckpoint(t.caller(), {{"module", LinearOf(t, 2, 2).StateDict()}}, "checkpoint");
  const CheckpointDescription described = DescribeCheckpoint(t.caller(), "checkpoint");
  t.Check("C1", Equal("version", described.writes, described.version));
  t.Strict("C1", Holds(!described.version.empty(), "version", "is empty"));
}

}  // namespace shardcts::dcp

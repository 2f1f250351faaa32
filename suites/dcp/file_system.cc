// Ports of test_file_system_checkpoint_cpu.py.
#include <ATen/ATen.h>

#include "rank/whole.h"
#include "suites/dcp/ports.h"
#include "suites/dcp/steps.h"
#include "suites/storage/sharded.h"

namespace shardcts::dcp {
namespace {

using storage::ShardedOf;
using storage::ShardPlace;

struct RoundTripChecks {
  std::string_view differ;
  StateChecks same;
};

void RoundTrip(Trial& t, const RoundTripChecks& checks, const Dict& saved, const Dict& target,
               const SaveOptions& options) {
  SaveCheckpoint(t.caller(), saved, "checkpoint", options);
  t.Check(checks.differ, Holds(!IsSame(saved, target), "before the load", "expected other values"));
  const Dict loaded =
      LoadCheckpoint(t.caller(), target, "checkpoint", {.distributed = options.distributed});
  ExpectSameState(t, checks.same, "after the load", saved, loaded);
}

void ModuleWithBlob(Trial& t, const RoundTripChecks& checks, const std::string& stream) {
  Dict saved = ModuleState(t, 1), target = ModuleState(t, 2);
  saved.Set("test_blob", Dict{{"blob", Bytes{"SomeBlobForTesting"}}});
  target.Set("test_blob", Dict{{"blob", Bytes{""}}});
  RoundTrip(t, checks, saved, target,
            {.threads = t.IntParam("thread_count"), .stream = stream, .distributed = false});
}

// Chunks along a dimension, of ceil(size / ranks) each, on these ranks in turn.
std::vector<ShardPlace> ChunkedOn(const std::vector<int64_t>& ranks, const std::vector<int64_t>& shape, size_t dim) {
  const auto count = static_cast<int64_t>(ranks.size());
  const int64_t length = (shape[dim] + count - 1) / count;
  std::vector<ShardPlace> places;
  for (int64_t i = 0; i < count; ++i) {
    ShardPlace place{ranks[static_cast<size_t>(i)], std::vector<int64_t>(shape.size(), 0), shape};
    place.offsets[dim] = std::min(i * length, shape[dim]);
    place.sizes[dim] = std::min(length, shape[dim] - place.offsets[dim]);
    places.push_back(std::move(place));
  }
  return places;
}

// Upstream's four plans of a matrix of 10×20.
std::vector<std::vector<ShardPlace>> PlansOfMatrix() {
  return {
      ChunkedOn({0, 1}, {10, 20}, 0),
      ChunkedOn({0, 1, 1, 0}, {10, 20}, 0),
      {{0, {0, 0}, {2, 20}}, {1, {2, 0}, {1, 20}}, {0, {3, 0}, {3, 20}}, {1, {6, 0}, {3, 20}}, {0, {9, 0}, {1, 20}}},
      {{1, {0, 0}, {8, 20}}, {0, {8, 0}, {2, 20}}}};
}

// And of a vector of 32.
std::vector<std::vector<ShardPlace>> PlansOfVector() {
  return {ChunkedOn({0, 1}, {32}, 0), ChunkedOn({0, 1, 1, 0}, {32}, 0), {{1, {0}, {8}}, {0, {8}, {24}}},
          {{0, {0}, {10}}, {1, {10}, {22}}}};
}

SaveOptions WithThreads(const Trial& t) { return {.threads = t.IntParam("thread_count")}; }

// Saves the whole tensor in one plan, and returns what is loaded into another, gathered.
at::Tensor Resharded(Trial& t, const at::Tensor& whole, const std::vector<ShardPlace>& saved,
                     const std::vector<ShardPlace>& wanted) {
  SaveCheckpoint(t.caller(), {{"sharded_tensor", ShardedOf(t, whole, saved)}}, "checkpoint", WithThreads(t));
  const Dict target{{"sharded_tensor", ShardedOf(t, at::zeros_like(whole), wanted)}};
  const Dict loaded = LoadCheckpoint(t.caller(), target, "checkpoint");
  return Whole(t, loaded.At("sharded_tensor")).AsTensor();
}

}  // namespace

PORT(test_read_write_only_tensor) {
  RoundTrip(t, {"C1", {"C2", "C3", "C4"}}, ModuleState(t, 1), ModuleState(t, 2),
            {.threads = t.IntParam("thread_count"), .distributed = false});
}

PORT(test_read_write_tensor_and_blob) { ModuleWithBlob(t, {"C1", {"C2", "C3", "C4"}}, "rot13"); }

PORT(test_read_write_only_tensor_zstandard) { ModuleWithBlob(t, {"C1", {"C2", "C3", "C4"}}, "zstd"); }

PORT(test_read_write_shard_tensor) {
  const std::vector<ShardPlace> rows = ChunkedOn({0, 1}, {10, 20}, 0);
  const auto state = [&](int64_t number) {
    return Dict{{"sharded_tensor1", ShardedOf(t, Uniform({10, 20}, number), rows)},
                {"random_tensor1", Uniform({2, 2}, number + 1)},
                {"submodule.sharded_tensor2", ShardedOf(t, Uniform({10, 20}, number + 2), rows)}};
  };
  RoundTrip(t, {"C1", {"C2", "C3", "C4"}}, state(1), state(4), WithThreads(t));
}

PORT(test_load_with_different_shard_plan) {
  int64_t number = 0;
  const std::vector<std::vector<ShardPlace>> plans = PlansOfMatrix();
  for (size_t from = 0; from < plans.size(); ++from) {
    for (size_t to = 0; to < plans.size(); ++to) {
      if (from == to) continue;
      const at::Tensor whole = Uniform({10, 20}, ++number);
      const at::Tensor loaded = Resharded(t, whole, plans[from], plans[to]);
      if (t.rank() == 0) t.Check("C1", SameValue(fmt::format("plan {} into plan {}", from, to), whole, loaded));
    }
  }
}

PORT(test_load_rowwise_to_colwise) {
  const at::Tensor whole = Uniform({10, 20});
  const at::Tensor loaded =
      Resharded(t, whole, ChunkedOn({0, 1}, {10, 20}, 0), ChunkedOn({0, 1}, {10, 20}, 1));
  if (t.rank() == 0) t.Check("C1", SameValue("rows into columns", whole, loaded));
}

PORT(test_save_load_bytes) {
  SaveCheckpoint(t.caller(), {{"bytes0", List{1}}, {"bytes1", "string"}}, "checkpoint", WithThreads(t));
  const Dict loaded = LoadCheckpoint(t.caller(), {{"bytes0", List{2}}, {"bytes1", "other"}}, "checkpoint");
  t.Check("C1", SameValue("bytes0", List{1}, loaded.At("bytes0")));
  t.Check("C2", SameValue("bytes1", "string", loaded.At("bytes1")));
}

PORT(test_switch_between_sharded_tensor_to_tensor) {
  int64_t number = 0;
  for (const std::vector<ShardPlace>& from : PlansOfVector()) {
    for (const std::vector<ShardPlace>& to : PlansOfVector()) {
      const at::Tensor sharded = Uniform({32}, ++number), replicated = Uniform({32}, ++number);
      SaveCheckpoint(t.caller(), {{"sharded", ShardedOf(t, sharded, from)}, {"replicated", replicated.clone()}},
                     "checkpoint", WithThreads(t));
      const Dict target{{"sharded", at::zeros({32})}, {"replicated", ShardedOf(t, at::zeros({32}), to)}};
      const Dict loaded = LoadCheckpoint(t.caller(), target, "checkpoint");
      const Value gathered = Whole(t, loaded.At("replicated"));
      if (t.rank() > 0) continue;
      t.Check("C1", SameValue("what was sharded", sharded, loaded.At("sharded")));
      t.Check("C2", SameValue("what was plain", replicated, gathered));
    }
  }
}

}  // namespace shardcts::dcp

// Ports of test_checkpoint.py. The storage is a real one that is told where to fail; upstream's stores nothing.
#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <regex>

#include "suites/dcp/ports.h"
#include "suites/dcp/steps.h"
#include "suites/storage/sharded.h"

namespace shardcts::dcp {
namespace {

using storage::ShardedOf;
using storage::ShardPlace;

// Rows on each of these ranks.
std::vector<ShardPlace> RowsOn(const std::vector<int64_t>& ranks, int64_t rows, int64_t columns) {
  const auto count = static_cast<int64_t>(ranks.size());
  const int64_t length = (rows + count - 1) / count;
  std::vector<ShardPlace> places;
  for (int64_t i = 0; i < count; ++i) {
    places.push_back({ranks[static_cast<size_t>(i)], {i * length, 0}, {std::min(length, rows - i * length), columns}});
  }
  return places;
}

// Upstream's state dict, with a tensor over all four ranks unless `alone`.
Dict FailureState(const Trial& t, bool alone) {
  Dict state{{"replicated", Uniform({10, 10})}, {"bytes", List{1, 2, 3, 4}}};
  if (!alone) state.Set("sharded", ShardedOf(t, Uniform({20, 20}, 1), RowsOn({0, 1, 2, 3}, 20, 20)));
  return state;
}

struct FailureChecks {
  std::string_view works;       // without a failure
  std::string_view raises;      // CheckpointException
  std::string_view only_these;  // no other rank is said to have failed
  std::string_view type;        // what they have met is a ValueError
  std::string_view all_these;
};

// Evaluates what upstream does of one call that may be told to fail. `any_type`: the error's type does not count.
void Fails(Trial& t, const FailureChecks& checks, const StorageFailure& failure, bool any_type,
           const std::function<void()>& call) {
  FailAt(t.caller(), failure);
  if (failure.ranks.empty()) return t.NoError(checks.works, call);
  std::string message;
  const bool raised = t.Raises(checks.raises, "CheckpointException", "", [&] {
    try {
      call();
    } catch (const OperationFailed& failed) {
      message = failed.error().message;
      throw;
    }
  });
  if (!raised) return;
  static const std::regex kFailed(R"(rank (\d+): (\w+))");
  std::vector<int64_t> found;
  for (std::sregex_iterator match(message.begin(), message.end(), kFailed), end; match != end; ++match) {
    const int64_t rank = std::stoll((*match)[1]);
    found.push_back(rank);
    t.Check(checks.only_these, Holds(std::ranges::count(failure.ranks, rank) > 0, fmt::format("rank {}", rank),
                                     "is not told to fail: " + message));
    if (!any_type) t.Check(checks.type, Equal<std::string>("type", "ValueError", (*match)[2].str()));
  }
  for (int64_t rank : failure.ranks) {
    t.Check(checks.all_these, Holds(std::ranges::count(found, rank) > 0, fmt::format("rank {}", rank),
                                    "is not named: " + message));
  }
}

void SaveFails(Trial& t, const FailureChecks& checks, bool alone, const std::vector<StorageFailure>& failures) {
  const Dict state = FailureState(t, alone);
  for (const StorageFailure& failure : failures) {
    Fails(t, checks, failure, false,
          [&] { SaveCheckpoint(t.caller(), state, "checkpoint", {.distributed = !alone}); });
  }
}

void LoadFails(Trial& t, const FailureChecks& checks, bool alone, const std::vector<StorageFailure>& failures) {
  const Dict state = FailureState(t, alone);
  SaveCheckpoint(t.caller(), state, "checkpoint", {.distributed = !alone});
  for (const StorageFailure& failure : failures) {
    Fails(t, checks, failure, failure.step == "read_metadata",
          [&] { LoadCheckpoint(t.caller(), state, "checkpoint", {.distributed = !alone}); });
  }
}

}  // namespace

PORT(test_tensor_metadata_with_missing_rank_spec) {
  const at::Tensor zeros = at::zeros({4, 4}, at::kDouble);
  SaveCheckpoint(t.caller(), {{"st", ShardedOf(t, zeros, RowsOn({1}, 4, 4))}}, "checkpoint");
  const SavedEntry entry = DescribeCheckpoint(t.caller(), "checkpoint").entries.at("st");
  t.Check("C1", Equal<size_t>("chunks", 1, entry.chunks.size()));
}

PORT(test_default_metadata) {
  SaveCheckpoint(t.caller(),
                 {{"sharded", ShardedOf(t, Uniform({10, 10}), RowsOn({0, 1}, 10, 10))},
                  {"replicated", Uniform({4}, 1)},
                  {"bytes", List{1, 2, 3, 4}}},
                 "checkpoint");
  auto entries = DescribeCheckpoint(t.caller(), "checkpoint").entries;
  t.Check("C1", Equal<size_t>("bytes", 1, entries.count("bytes")));
  t.Check("C2", Equal("bytes: is a tensor", false, entries["bytes"].is_tensor));
  t.Check("C3", Equal<size_t>("replicated", 1, entries.count("replicated")));
  const SavedEntry& replicated = entries["replicated"];
  t.Check("C4", Equal("replicated: is a tensor", true, replicated.is_tensor));
  t.Check("C5", Equal("replicated: shape", {4}, replicated.shape));
  t.Check("C6", Equal<std::string>("replicated: dtype", "float32", replicated.dtype));
  t.Check("C7", Equal<size_t>("replicated: chunks", 1, replicated.chunks.size()));
  t.Check("C8", Equal<size_t>("sharded", 1, entries.count("sharded")));
  const SavedEntry& sharded = entries["sharded"];
  t.Check("C9", Equal("sharded: is a tensor", true, sharded.is_tensor));
  t.Check("C10", Equal<std::string>("sharded: dtype", "float32", sharded.dtype));
  t.Check("C11", Equal("sharded: shape", {10, 10}, sharded.shape));
  t.Check("C12", Equal<size_t>("sharded: chunks", 2, sharded.chunks.size()));
}

PORT(test_dummy_writer_works) {
  FailAt(t.caller(), {.step = "write", .ranks = {}});
  t.NoError("C1", [&] { SaveCheckpoint(t.caller(), FailureState(t, false), "checkpoint"); });
}

PORT(test_dummy_reader_works) {
  const Dict state = FailureState(t, false);
  SaveCheckpoint(t.caller(), state, "checkpoint");
  FailAt(t.caller(), {.step = "read", .ranks = {}});
  t.NoError("C1", [&] { LoadCheckpoint(t.caller(), state, "checkpoint"); });
}

PORT(test_save_error_handling) {
  SaveFails(t, {.works = "", .raises = "C1", .only_these = "C2", .type = "C3", .all_these = "C4"}, false,
            {{"set_up_writer", {0}},
             {"finish", {0}},
             {"global_plan", {0}},
             {"local_plan", {0}},
             {"write", {2}},
             {"write", {3}, true},
             {"set_up_writer", {1}, false, 1},
             {"finish", {1}, false, 1}});
}

PORT(test_save_error_handling_no_dist) {
  t.Check("C1", Equal("ranks", 1, t.world_size()));
  SaveFails(t, {.works = "", .raises = "C2", .only_these = "C3", .type = "C4", .all_these = "C5"}, true,
            {{"set_up_writer", {0}},
             {"finish", {0}},
             {"global_plan", {0}},
             {"local_plan", {0}},
             {"write", {0}},
             {"write", {0}, true}});
}

PORT(test_load_error_handling) {
  LoadFails(t, {.works = "C1", .raises = "C2", .only_these = "C3", .type = "C4", .all_these = "C5"}, false,
            {{"read", {}},
             {"set_up_reader", {0}},
             {"global_plan", {0}},
             {"read_metadata", {0}},
             {"local_plan", {1}},
             {"read", {3}},
             {"read", {1}, true},
             {"set_up_reader", {0}, false, 3},
             {"read_metadata", {3}, false, 1},
             {"read", {0}, false, 2},
             {"read", {2}, true, 3},
             {"global_plan", {1}, false, 1}});
}

PORT(test_load_error_handling_no_dist) {
  LoadFails(t, {.works = "C1", .raises = "C2", .only_these = "C3", .type = "C4", .all_these = "C5"}, true,
            {{"read", {}},
             {"set_up_reader", {0}},
             {"read_metadata", {0}},
             {"local_plan", {0}},
             {"global_plan", {0}},
             {"read", {0}},
             {"read", {0}, true}});
}

}  // namespace shardcts::dcp

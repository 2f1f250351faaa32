#include "run/restore_pool.h"

#include <filesystem>

#include "pool/pool_record.h"
#include "process/event_tail.h"
#include "run_files/input_error.h"
#include "run_files/json_file.h"
#include "run_files/run_folder.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMaxWorldSize = 4096;

PoolPlan ReadPlan(const PoolPlan& known) {
  const std::filesystem::path file = known.pool_folder / "plan.json";
  const Json json = ReadJsonFile(file);
  PoolPlan plan = known;
  try {
    plan.world_size = json.at("world_size").get<int>();
    plan.seed = json.at("seed").get<uint64_t>();
    plan.tests = json.at("tests").get<std::vector<std::string>>();
    plan.recordings = json.contains("recordings") ? json["recordings"].get<std::vector<std::string>>() : plan.tests;
    if (json.at("implementation").at("label") != known.implementation.at("label")) {
      throw InputError(file.string() + ": is of another implementation");
    }
  } catch (const Json::exception& error) {
    throw InputError(file.string() + ": " + error.what());
  }
  const bool right = plan.world_size >= 1 && plan.world_size <= kMaxWorldSize && plan.recordings.size() == plan.tests.size();
  if (!right) throw InputError(file.string() + ": no plan of a pool");
  return plan;
}

PoolRecord ReadRecord(const PoolPlan& plan) {
  PoolRecord record(plan.tests, plan.world_size);
  for (int rank = 0; rank < plan.world_size; ++rank) {
    EventTail events(EventFile(plan.pool_folder, rank));
    try {
      for (const std::string& line : events.ReadLines()) record.Apply(rank, line);
    } catch (const ProtocolError&) {
      continue;  // the run had noticed it, and had ended the pool there
    }
  }
  return record;
}

}  // namespace

std::optional<RestoredPool> RestorePool(
    const PoolPlan& known, const std::function<std::optional<Incident>(const std::string& recording)>& incident,
    const std::function<void(const RestoredPool& pool, size_t index, const std::vector<RankReport>&,
                             const std::optional<Incident>&)>& on_test_over) {
  if (!std::filesystem::exists(known.pool_folder / "plan.json")) return std::nullopt;
  RestoredPool pool;
  pool.plan = ReadPlan(known);
  const PoolRecord record = ReadRecord(pool.plan);
  pool.implementation = record.ranks().front().implementation;
  for (size_t index = 0; index < pool.plan.tests.size(); ++index) {
    const std::optional<Incident> seen = incident(pool.plan.recordings[index]);
    if (seen || record.FinishedByAll(index)) on_test_over(pool, index, record.Reports(index), seen);
  }
  return pool;
}

}  // namespace shardcts

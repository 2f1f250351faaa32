#include "run/restore_pool.h"

#include <filesystem>

#include "pool/pool_record.h"
#include "process/event_tail.h"
#include "run_files/input_error.h"
#include "run_files/plan.h"
#include "run_files/run_folder.h"

namespace shardcts {
namespace {

// Tests, recordings, world size and seed as the pool had them; the folders as this run has them.
Plan ReadPlanOf(const Plan& known) {
  const std::filesystem::path file = PlanFile(known.pool_folder);
  Plan plan = ReadPlan(file);
  if (plan.implementation.label != known.implementation.label) {
    throw InputError(file.string() + ": is of another implementation");
  }
  plan.run_folder = known.run_folder;
  plan.pool_folder = known.pool_folder;
  plan.trace_folder = TraceFolder(known.run_folder, plan.under_test);
  return plan;
}

PoolRecord ReadRecord(const Plan& plan) {
  PoolRecord record(plan.tests, plan.world_size, plan.phases);
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
    const Plan& known, const std::function<std::optional<Incident>(const Plan& plan, const std::string& recording)>& incident,
    const std::function<void(const RestoredPool& pool, size_t index, const std::vector<RankReport>&,
                             const std::optional<Incident>&)>& on_test_over) {
  if (!std::filesystem::exists(PlanFile(known.pool_folder))) return std::nullopt;
  RestoredPool pool;
  pool.plan = ReadPlanOf(known);
  const PoolRecord record = ReadRecord(pool.plan);
  pool.implementation = record.ranks().front().implementation;
  for (size_t index = 0; index < pool.plan.tests.size(); ++index) {
    const std::optional<Incident> seen = incident(pool.plan, pool.plan.recordings[index]);
    if (seen || record.FinishedByAll(index)) on_test_over(pool, index, record.Reports(index), seen);
  }
  return pool;
}

}  // namespace shardcts

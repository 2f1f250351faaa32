// What the files of a pool that is over say about its tests. *Local*.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "results/verdict.h"
#include "run_files/plan.h"

namespace shardcts {

struct RestoredPool {
  Plan plan;                              // folders, world size, seed, tests and recordings of its plan.json
  nlohmann::ordered_json implementation;  // what rank 0 said of itself; null: it did not get that far
};

// `incident`: what else is known of a recording. `on_test_over` is called for each test that has an incident or that
// every rank has finished, in the order of the plan. `known`: folders of the run. nullopt: the pool has no plan.json,
// so its ranks never began. Throws InputError when plan.json is wrong; of an event file the lines before
// a wrong one count.
std::optional<RestoredPool> RestorePool(
    const Plan& known, const std::function<std::optional<Incident>(const Plan& plan, const std::string& recording)>& incident,
    const std::function<void(const RestoredPool& pool, size_t index, const std::vector<RankReport>&,
                             const std::optional<Incident>&)>& on_test_over);

}  // namespace shardcts

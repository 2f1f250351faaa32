#include "testing/fake_test.h"

#include <algorithm>

namespace shardcts {

TestCase FakeTest(const std::string& behaviour, int world_size) {
  TestCase test;
  test.suite = "fake";
  test.upstream_id = "T.test_" + behaviour;
  test.function = "test_" + behaviour;
  test.id = "fake/" + test.upstream_id + "/world_size=" + std::to_string(world_size);
  test.world_size = world_size;
  test.params = nlohmann::ordered_json::object();
  test.checks = {{"C1", "a check", "strict", InventoryCheck::Ranks::kAll, true}};
  return test;
}

TestCase FakePhasedTest(const std::string& behaviour, const std::vector<int>& world_sizes) {
  TestRanks ranks;
  for (int size : world_sizes) {
    const size_t index = ranks.phases.size();
    ranks.phases.push_back({.index = index, .role = index == 0 ? "save" : "load", .world_size = size});
  }
  TestCase test = FakeTest(behaviour, *std::ranges::max_element(world_sizes));
  test.phases = ranks.phases;
  test.id = "fake/" + test.upstream_id + "/" + RanksText(ranks);
  return test;
}

}  // namespace shardcts

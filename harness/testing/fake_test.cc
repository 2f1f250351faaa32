#include "testing/fake_test.h"

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

}  // namespace shardcts

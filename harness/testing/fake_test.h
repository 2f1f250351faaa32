// A test that no suite has, for tests of the harness. *Local*.
#pragma once

#include <string>
#include <vector>

#include "inventory/inventory.h"

namespace shardcts {

// "crash@1" -> the test fake/T.test_crash@1/world_size=2 with the required check C1.
TestCase FakeTest(const std::string& behaviour, int world_size = 2);

// One with phases on so many ranks each, the first of which saves: "fake/T.test_a/save=2,load=3". C1 is expected in the
// last one.
TestCase FakePhasedTest(const std::string& behaviour, const std::vector<int>& world_sizes);

}  // namespace shardcts

// A test that no suite has, for tests of the harness. *Local*.
#pragma once

#include <string>

#include "inventory/inventory.h"

namespace shardcts {

// "crash@1" -> the test fake/T.test_crash@1/world_size=2 with the required check C1.
TestCase FakeTest(const std::string& behaviour, int world_size = 2);

}  // namespace shardcts

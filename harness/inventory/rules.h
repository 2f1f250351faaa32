// Rules: the tests of a suite that is not made from a file of upstream, `suites/NAME/rules/AREA.json`. Each rule is one
// sentence of the specification; it has one body, one check, and a test for each element of its cases. Format:
// docs/formats.md, "Rules". All functions here are *Local* and need no LibTorch.
#pragma once

#include <vector>

#include "inventory/embedded_suites.h"
#include "inventory/inventory.h"

namespace shardcts {

// The rules of a suite in the order of its files. Throws InputError naming file and position when a text does not
// follow the format: a field, level, capability or value of a parameter that is not known, an id that exists twice.
std::vector<Rule> ReadRules(const EmbeddedSuite& suite);

// The test cases of these rules: id "extended/GE1/world_size=3,wrapper=fully_shard"; function, upstream_id and the only
// check are the rule's id. A case needs the capabilities of its rule, its own, and those of its parameters' values
// (`suites/NAME/parameters.json`). Throws as ReadRules does.
std::vector<TestCase> ReadRuleCases(const EmbeddedSuite& suite);

}  // namespace shardcts

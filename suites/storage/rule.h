// RULE for the rules of this suite (suites/rules/rule.h).
#pragma once

#include "suites/rules/rule.h"

namespace shardcts::storage {

std::vector<Port>& RegisteredRules();

}  // namespace shardcts::storage

// Comparisons of state dicts, by the names of this suite.
#pragma once

#include "suites/rules/comparison.h"

namespace shardcts::extended {

using rules::SameState;
using rules::SameWholeState;

}  // namespace shardcts::extended

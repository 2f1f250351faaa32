// Comparisons of state dicts with what they must be: names first, in order; then the layout; then bits. The messages
// say key, expected and actual; the trial adds the rank.
#pragma once

#include <string_view>

#include "rank/trial.h"

namespace shardcts::rules {

// The same names in the same order; then each value: kind, layout, dtype, shape and bits. Evaluates the rule once for
// the names, and once for each entry that both have. Returns whether all held. *Local*.
bool SameState(Trial& t, std::string_view what, const Dict& expected, const Dict& actual);

// The same after the suite has assembled full tensors from the parts of all ranks (whole.h). `expected` has plain
// tensors on the CPU. *Collective*.
bool SameWholeState(Trial& t, std::string_view what, const Dict& expected, const Dict& actual);

}  // namespace shardcts::rules

// Optimizer state with position-coded moments. *Local*.
#pragma once

#include "contract/value.h"

namespace shardcts::extended {

// Of which parameters the steps are equal. FSDP1 without use_orig_params demands it of each flat parameter.
enum class Steps { kEqual, kDifferent };

// {name: {step, exp_avg, exp_avg_sq}} of the k-th of these parameters, as Adam keeps it: step is a float tensor, 3 or
// k + 3; the moments are Coded(shape, k, kFirstMoment) and Coded(shape, k, kSecondMoment), in the parameter's dtype.
Dict CodedAdamState(const Dict& parameters, Steps steps = Steps::kEqual);

// A full optimizer state dict by names, with one group of all parameters and Adam's options; lr is 1/64.
Dict CodedAdamStateDict(const Dict& parameters, Steps steps = Steps::kEqual);

}  // namespace shardcts::extended

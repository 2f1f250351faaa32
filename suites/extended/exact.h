// Models whose forward is exact in float32 in whatever order sums are made: what a forward gives tells, bit for bit, with
// which values it was computed.
#pragma once

#include <string_view>

#include "rank/trial.h"
#include "suites/extended/training.h"

namespace shardcts::extended {

// The values number 0, 1, … of TrainedStack: multiples of 1/16 below 1, by position.
Dict ExactValues(int64_t number);

// What a forward leaves unsharded, as the parameter `unsharded` of a rule says: root: the default of the wrapper; all:
// everything (SHARD_GRAD_OP of FSDP1, fully_shard without reshard_after_forward).
void WrapKeeping(Trial& t, Model& model, std::string_view wrapper, std::string_view unsharded);

// TrainedStack with these values. *Collective*.
Model BuildExact(Trial& t, int64_t number, std::string_view wrapper, std::string_view unsharded = "root");
// A copy of the state dict of such a model. *Collective*.
Dict SavedExact(Trial& t, int64_t number, std::string_view wrapper, std::string_view form);

// A forward of this rank's part of the batch number `step`. *Collective*.
Value ForwardExact(Trial& t, Model& model, std::string_view wrapper, int64_t step = 0);
// The backward of its result, from the batch's gradient. *Collective*.
void BackwardExact(Trial& t, Model& model, std::string_view wrapper, const Value& output, int64_t step = 0);

// Evaluates the rule: the output is the twin's with these values. *Local*.
bool OutputIsExact(Trial& t, std::string_view what, int64_t number, const Value& output, std::string_view wrapper,
                   int64_t step = 0);
// Evaluates the rule: the model's own state dict, of FSDP1 the full one, of ddp the parameters, has these values.
// *Collective*.
bool ValuesAreExact(Trial& t, std::string_view what, int64_t number, Model& model, std::string_view wrapper);

// {NAME.ENTRY: value} of the optimizer state in a nested or flat state dict.
Dict EntriesByName(const Dict& optimizer_state);

}  // namespace shardcts::extended

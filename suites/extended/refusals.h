// What rules of loading share: state dicts that do not fit, calls that every rank must refuse, the model afterwards.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "contract/facade.h"
#include "rank/trial.h"
#include "suites/extended/wrapping.h"

namespace shardcts::extended {

// A state dict to be loaded in this form, on every rank: the model's own, or its optimizer's, copied. *Collective*.
Dict SavedFor(Trial& t, Model& model, std::string_view form);
Dict SavedStateFor(Trial& t, Model& model, const Optimizer& optimizer, std::string_view form);
// What this rank gives to the load: with dsd_broadcast only rank 0 gives anything. *Local*.
Dict GivenBy(const Trial& t, std::string_view form, const Dict& state);

// Values of TrainedStack that BuildTrained does not give, and a model that has them.
Dict OtherValues();
Model BuildWithOtherValues(Trial& t, std::string_view wrapper);  // *Collective*

// An entry of the same kind (a plain tensor, a DTensor with the same mesh and placements, a ShardedTensor in chunks of
// rows over the same ranks) and dtype, but of this shape; position-coded. *Local*.
Value InShape(const Trial& t, const Value& entry, const std::vector<int64_t>& shape);

// *Collective*. The call must fail on every rank with an error of one of these kinds. Evaluates the rule on every rank,
// and returns on every rank whether it held on all of them. Where it did not, collectives of the implementation may
// have begun on some ranks only: the test must call no further one.
bool Refused(Trial& t, std::string_view what, const std::vector<std::string>& kinds,
             const std::function<void()>& call);

// *Collective*. Everything that a load may change, whole and copied: TrainedParameters, of an optimizer TrainedState.
Dict ParametersOf(Trial& t, Model& model, std::string_view wrapper);
Dict StateOf(Trial& t, Model& model, const Optimizer& optimizer, std::string_view wrapper);

// *Collective*. Rule SM6 after a refused load of a model that BuildTrained(spec) made: `good`, a state dict of such a
// model, is loaded, and a forward and a step do what they do with another such model.
void StaysUsable(Trial& t, Model& model, const ModelSpec& spec, std::string_view wrapper, std::string_view form,
                 const Dict& good);

}  // namespace shardcts::extended

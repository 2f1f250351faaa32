// What the rules of parameter groups and of several optimizers share.
#pragma once

#include <string_view>
#include <vector>

#include "contract/facade.h"
#include "rank/trial.h"
#include "suites/extended/wrapping.h"

namespace shardcts::extended {

// Three layers with weights and biases, in three units.
extern const ModelSpec kThreeLayers;

// In the order of the parameters.
std::vector<std::string> NamesEndingWith(const Dict& tensors, std::string_view end);
std::vector<std::string> NamesEndingWith(const Model& model, std::string_view end);
std::vector<std::string> NamesBelow(const Model& model, std::string_view path);

// A group of the optimizer as it is now, with all its options.
Dict GroupOf(const Optimizer& optimizer, size_t group);

// *Collective*. Forward, backward and a step of each optimizer; no gradient is left.
void TrainOneStep(Trial& t, Model& model, std::vector<Optimizer> optimizers);

}  // namespace shardcts::extended

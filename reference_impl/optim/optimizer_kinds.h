// The kinds of optimizers by their names in the contract. Everything here is *Local*.
#pragma once

#include <memory>
#include <string>

#include "optim/update_rule.h"

namespace shardcts::reference {

// The options of a group as PyTorch has them: the kind's defaults, or those of the optimizer, with `given` over them.
// `given` are options of the contract, where beta1 and beta2 stand for betas.
Dict WithOptions(Dict options, const Dict& given);

// ValueError: an unknown kind, or options that PyTorch refuses.
std::unique_ptr<UpdateRule> MakeRule(const std::string& kind, const Dict& given);

}  // namespace shardcts::reference

// Auto-wrapping: which modules below become units. Semantics: torch/distributed/fsdp/wrap.py and _wrap_utils.py.
#pragma once

#include <string>
#include <vector>

#include "fsdp/ignored_states.h"
#include "fsdp/options.h"

namespace shardcts::reference {

// *Collective* as WrapFsdp. Makes units of modules below `root`, inner ones first, with the root's options; `root`
// itself is not wrapped. With mixed precision, batch norms become units of their own without mixed precision.
// ValueError: there are units below already; or (module classes, paths) a unit would mix parameters with and without
// requires_grad although use_orig_params is off.
void ApplyAutoWrapPolicy(models::Module& root, const FsdpOptions& options, const IgnoredStates& ignored,
                         std::vector<std::string>& user_warnings);

}  // namespace shardcts::reference

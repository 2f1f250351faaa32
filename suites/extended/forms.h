// State dicts in each form that a wrapper has, as the parameter `form` of a rule says:
//
//   native         model.state_dict, optimizer.state_dict
//   full, sharded, local                    FSDP1's three types; optimizer state full and sharded
//   dsd_sharded    the distributed state-dict functions without options
//   dsd_full       full_state_dict
//   dsd_offload    full_state_dict and cpu_offload: rank 0 has the entries, the others none
//   dsd_broadcast  saved as dsd_offload; loaded with broadcast_from_rank0
//   dsd_flat       flatten_optimizer_state_dict
#pragma once

#include <string_view>
#include <vector>

#include "contract/dsd.h"
#include "contract/fsdp_optim.h"
#include "rank/trial.h"

namespace shardcts::extended {

// The options of the forms that begin with dsd_.
StateDictOptions SaveOptionsOf(std::string_view form);
StateDictOptions LoadOptionsOf(std::string_view form);

// *Collective*. HarnessError for a form that there is not.
Dict GetState(Model& model, std::string_view form);
// HarnessError: assign in a form that begins with dsd_.
LoadResult SetState(Model& model, std::string_view form, const Dict& state, const LoadOptions& load = {});

// *Collective*. Of one optimizer, or in the dsd forms of several. Without `strict`: dsd forms only.
Dict GetOptimizerState(Model& model, const std::vector<Optimizer>& optimizers, std::string_view form);
// Of FSDP1's forms: in the layout of this rank's optimizer, which does not load it.
Dict ConvertedOptimizerState(Model& model, const Optimizer& optimizer, std::string_view form, const Dict& state);
void SetOptimizerState(Model& model, const std::vector<Optimizer>& optimizers, std::string_view form,
                       const Dict& state, bool strict = true);

}  // namespace shardcts::extended

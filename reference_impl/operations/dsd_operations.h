// Saving and loading of objects whose state_dict and load_state_dict were patched (dsd.patch_…): *Collective* as the
// distributed state-dict functions that they call.
#pragma once

#include <optional>

#include "operations/handlers.h"

namespace shardcts::reference {

// dsd.get_model_state_dict with these arguments. *Collective*.
Value GetModelByCall(const Call& call);

// nullopt: the object was not patched. The arguments are those of model.state_dict, optimizer.state_dict and so on.
std::optional<Value> SavePatchedModel(const Call& call);
std::optional<Value> LoadPatchedModel(const Call& call);
std::optional<Value> SavePatchedOptimizer(const Call& call);
std::optional<Value> LoadPatchedOptimizer(const Call& call);

}  // namespace shardcts::reference

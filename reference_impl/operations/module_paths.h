// Modules and wrappers by path. All functions are *Local*.
#pragma once

#include <functional>
#include <string>

#include "models/module.h"
#include "operations/handlers.h"

namespace shardcts::reference {

// The module at `path`, outermost wrapper. AttributeError with the message of torch.nn.Module.get_submodule about the
// first component that does not exist.
models::Module& ModuleAt(models::Module& model, const std::string& path);

// The parameter of this name, as in model.parameters; for a tied parameter also a further name. KeyError: none.
models::ParameterPtr ParameterNamed(models::Module& model, const std::string& name);

// The slot of a module: a child of `parent`, which is not a wrapper.
struct ModulePlace {
  models::Module* parent = nullptr;
  std::string name;
};
// AttributeError as ModuleAt; ValueError for the root, which is in no slot.
ModulePlace PlaceAt(models::Module& model, const std::string& path);

// Replaces a module by the result of `make`: outside its wrappers or, with `innermost`, inside all of them. If the root
// is wrapped, the model's handle refers to the wrapper.
using MakeWrapper = std::function<models::ModulePtr(models::ModulePtr wrapped)>;
void WrapAt(const Call& call, const std::string& path, bool innermost, const MakeWrapper& make);

}  // namespace shardcts::reference

// Modules and wrappers by path. All functions are *Local*.
#pragma once

#include <functional>
#include <string>

#include "models/module.h"
#include "operations/handlers.h"

namespace shardcts::reference {

// The module at `path`, outermost wrapper; the complaint of torch.nn.Module.get_submodule about its first part that is
// not there is an AttributeError.
models::Module& ModuleAt(models::Module& model, const std::string& path);

// The parameter of this name, as model.parameters gives it, also under a further name of a tied one. KeyError: none.
models::ParameterPtr ParameterNamed(models::Module& model, const std::string& name);

// Where a module hangs: a child of `parent`, which is no wrapper.
struct ModulePlace {
  models::Module* parent = nullptr;
  std::string name;
};
// AttributeError as ModuleAt; ValueError for the root, which hangs nowhere.
ModulePlace PlaceAt(models::Module& model, const std::string& path);

// Puts what `make` makes of a module into its place: outside of its wrappers, or with `innermost` inside of all. The
// model's handle follows when the root is wrapped.
using MakeWrapper = std::function<models::ModulePtr(models::ModulePtr wrapped)>;
void WrapAt(const Call& call, const std::string& path, bool innermost, const MakeWrapper& make);

}  // namespace shardcts::reference

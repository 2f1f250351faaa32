#include "operations/module_paths.h"

#include <sstream>

#include "tensor/semantic_error.h"

namespace shardcts::reference {

models::Module& ModuleAt(models::Module& model, const std::string& path) {
  models::Module* module = &model;
  std::istringstream parts(path.empty() ? "" : path + ".");  // so that an empty last part is one, too
  for (std::string part; std::getline(parts, part, '.');) {
    models::Module* child = part.empty() ? nullptr : models::FindModule(*module, part);
    if (!child) throw SemanticError("AttributeError", module->type_name() + " has no attribute `" + part + "`");
    module = child;
  }
  return *module;
}

models::ParameterPtr ParameterNamed(models::Module& model, const std::string& name) {
  for (const auto& [known, parameter] : models::NamedParameters(model, /*remove_duplicate=*/false)) {
    if (known == name) return parameter;
  }
  throw SemanticError("KeyError", "'" + name + "'");
}

ModulePlace PlaceAt(models::Module& model, const std::string& path) {
  if (path.empty()) throw SemanticError("ValueError", "the root of a model hangs nowhere");
  ModuleAt(model, path);
  const size_t dot = path.rfind('.');
  const bool below_root = dot == std::string::npos;
  models::Module& parent = ModuleAt(model, below_root ? "" : path.substr(0, dot));
  return {&models::Unwrapped(parent), below_root ? path : path.substr(dot + 1)};
}

void WrapAt(const Call& call, const std::string& path, bool innermost, const MakeWrapper& make) {
  models::Module* holder = &ModuleAt(call.Model(), path);
  if (innermost && holder->IsTransparent()) {
    while (holder->children().front().second->IsTransparent()) holder = holder->children().front().second.get();
    const auto [name, wrapped] = holder->children().front();
    holder->ReplaceChild(name, make(wrapped));
    return;
  }
  if (path.empty()) {
    const Handle& handle = call.Get("model").AsHandle();
    call.session.model_handles.Replace(handle, make(call.session.model_handles.Get(handle)));
    return;
  }
  const ModulePlace place = PlaceAt(call.Model(), path);
  place.parent->ReplaceChild(place.name, make(place.parent->child(place.name)));
}

}  // namespace shardcts::reference

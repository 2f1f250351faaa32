// Session: what one implementation object keeps between operations on one rank.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "contract/implementation.h"
#include "contract/value.h"
#include "models/module.h"
#include "optim/optimizer.h"
#include "tensor/mesh_registry.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {

// Objects of one kind, named by handles. Ids are never used again, so that a handle from before a reset is noticed.
template <class T>
class HandleTable {
 public:
  explicit HandleTable(std::string kind) : kind_(std::move(kind)) {}

  Handle Add(std::shared_ptr<T> object) {
    objects_[++last_id_] = std::move(object);
    return {kind_, last_id_};
  }
  // The handle under which such an object is known already, or a new one.
  template <class Same>
  Handle FindOrAdd(const std::shared_ptr<T>& object, const Same& is_same) {
    for (const auto& [id, known] : objects_) {
      if (is_same(*known, *object)) return {kind_, id};
    }
    return Add(object);
  }
  // ValueError: no such handle.
  const std::shared_ptr<T>& Get(const Handle& handle) const {
    const auto found = objects_.find(handle.id);
    if (handle.kind != kind_ || found == objects_.end()) {
      throw SemanticError("ValueError", "no " + kind_ + " has the handle " + handle.kind + ":" +
                                            std::to_string(handle.id));
    }
    return found->second;
  }
  void Clear() { objects_.clear(); }

 private:
  std::string kind_;
  int64_t last_id_ = 0;
  std::map<int64_t, std::shared_ptr<T>> objects_;
};

struct Session {
  explicit Session(const ImplementationContext& given) : context(given) {}

  // One handle for each mesh, however often its object was made: the same selection of the same root.
  Handle HandleOf(const std::shared_ptr<DeviceMesh>& mesh) {
    return mesh_handles.FindOrAdd(mesh, [](const DeviceMesh& known, const DeviceMesh& given) {
      return &known.root() == &given.root() && known.layout() == given.layout();
    });
  }

  ImplementationContext context;
  MeshRegistry meshes;  // survives a reset: making communicators is expensive
  HandleTable<DeviceMesh> mesh_handles{"mesh"};
  HandleTable<models::Module> model_handles{"model"};
  HandleTable<Optimizer> optimizer_handles{"optimizer"};
};

}  // namespace shardcts::reference

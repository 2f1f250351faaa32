// Session: the state that one implementation object keeps between operations on one rank.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/delayed_communicator.h"
#include "contract/implementation.h"
#include "contract/value.h"
#include "fsdp/phase_timings.h"
#include "models/module.h"
#include "optim/optimizer.h"
#include "storage/async_save.h"
#include "tensor/mesh_registry.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {

// Objects of one kind, named by handles. Ids are never reused, so that a handle from before a reset is recognized as
// invalid.
template <class T>
class HandleTable {
 public:
  explicit HandleTable(std::string kind) : kind_(std::move(kind)) {}

  Handle Add(std::shared_ptr<T> object) {
    objects_[++last_id_] = std::move(object);
    return {kind_, last_id_};
  }
  // The existing handle of an equal object, or a new one.
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
      throw SemanticError("ValueError",
                          "no " + kind_ + " has the handle " + handle.kind + ":" + std::to_string(handle.id));
    }
    return found->second;
  }
  // Another object under the same handle. ValueError: no such handle.
  void Replace(const Handle& handle, std::shared_ptr<T> object) {
    Get(handle);
    objects_[handle.id] = std::move(object);
  }
  void Remove(const Handle& handle) { objects_.erase(handle.id); }
  void Clear() { objects_.clear(); }

 private:
  std::string kind_;
  int64_t last_id_ = 0;
  std::map<int64_t, std::shared_ptr<T>> objects_;
};

// A scope that lasts until scope.exit.
class Scope {
 public:
  virtual ~Scope() = default;
  // With `raised` the scope is left by an exception, as if its body had thrown it.
  virtual void Exit(bool raised) = 0;
};

// A scope object that is active from construction to End, or to destruction.
template <class T>
class ScopeOf : public Scope {
 public:
  template <class... Args>
  explicit ScopeOf(std::shared_ptr<models::Module> model, const Args&... args)
      : model_(std::move(model)), scope_(std::make_unique<T>(*model_, args...)) {}

  void Exit(bool raised) override {
    struct FromTheBody {};
    if (!raised) return scope_->End();
    try {
      const std::unique_ptr<T> left = std::move(scope_);
      throw FromTheBody();
    } catch (const FromTheBody&) {  // thrown only to leave the scope by an exception
    }
  }

 private:
  std::shared_ptr<models::Module> model_;
  std::unique_ptr<T> scope_;
};

// A learning-rate schedule: the rate of a group is its initial one times factor^epoch.
struct LrSchedule {
  double factor = 1;
  int64_t epoch = 0;
  std::vector<Value> initial_rates;  // of each group
};

// Where the next save or load fails.
struct StorageFault {
  StorageStep step = StorageStep::kWrite;
  std::vector<int64_t> ranks;
};

struct Session {
  // The context's communicator is given to all that follows as one that can be delayed. std::invalid_argument: there is
  // none.
  explicit Session(const ImplementationContext& given);

  // One handle for each mesh: objects with the same selection of the same root share it.
  Handle HandleOf(const std::shared_ptr<DeviceMesh>& mesh) {
    return mesh_handles.FindOrAdd(mesh, [](const DeviceMesh& known, const DeviceMesh& given) {
      return &known.root() == &given.root() && known.layout() == given.layout();
    });
  }

  // RuntimeError: this rank is not in the mesh.
  const std::shared_ptr<DeviceMesh>& Mesh(const Handle& handle) const {
    const std::shared_ptr<DeviceMesh>& mesh = mesh_handles.Get(handle);
    if (mesh->IsMember()) return mesh;
    throw SemanticError("RuntimeError", "this rank is not in the mesh " + mesh->layout().ToString());
  }

  // The communicator of a group that this rank is in. ValueError: this rank is not in it.
  const std::shared_ptr<Communicator>& Group(const Handle& handle) const {
    const std::shared_ptr<Communicator>& group = group_handles.Get(handle);
    if (!group) throw SemanticError("ValueError", "this rank is not in the process group");
    return group;
  }

  template <class T, class... Args>
  Handle Enter(const std::shared_ptr<models::Module>& model, const Args&... args) {
    return scope_handles.Add(std::make_shared<ScopeOf<T>>(model, args...));
  }

  // Where state-dict calls add their timings; nullptr: not measured.
  PhaseTimings* Timings() { return timings ? &*timings : nullptr; }

  const std::shared_ptr<TransportDelay> delay = std::make_shared<TransportDelay>();
  const std::unique_ptr<Communicator> world;
  ImplementationContext context;  // its communicator is `world`
  std::optional<PhaseTimings> timings;  // with the option timings=1
  MeshRegistry meshes;  // survives a reset: making communicators is expensive
  HandleTable<DeviceMesh> mesh_handles{"mesh"};
  HandleTable<models::Module> model_handles{"model"};
  HandleTable<Optimizer> optimizer_handles{"optimizer"};
  // Arguments for the distributed state-dict functions that a patched object calls, by the object's handle id.
  std::map<int64_t, Dict> patched_models;
  std::map<int64_t, Dict> patched_optimizers;
  std::map<int64_t, LrSchedule> schedules;  // the last one of each optimizer
  std::map<int64_t, int64_t> steps_before_hooks;  // of each optimizer that a user has put hooks on
  HandleTable<Communicator> group_handles{"group"};  // nullptr if this rank is not a member
  HandleTable<Scope> scope_handles{"scope"};
  HandleTable<AsyncSave> save_handles{"save"};
  std::optional<StorageFault> storage_fault;
  std::map<std::string, std::vector<std::string>> plan_series;  // what each simulated rank writes, by the last plan
};

}  // namespace shardcts::reference

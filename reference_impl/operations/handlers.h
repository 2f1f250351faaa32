// The table of handlers: one function for each operation of operations.json, one source file for each group.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "contract/outcome.h"
#include "operations/fields.h"
#include "operations/session.h"

namespace shardcts::reference {

// One call of an operation. The arguments have been checked against the table: names, types, allowed values and
// required ones, also in records.
struct Call {
  Session& session;
  const Dict& arguments;
  std::vector<Warning>& warnings;  // to be filled by the handler

  const Value& Get(const std::string& name) const { return arguments.At(name); }
  // nullptr when the argument is absent or none.
  const Value* Find(const std::string& name) const { return Fields(arguments).Find(name); }
  bool Flag(const std::string& name, bool default_value) const { return Fields(arguments).Flag(name, default_value); }
  Fields Options() const { return Fields(arguments).Record("options"); }
  const models::ModulePtr& ModelPtr() const { return session.model_handles.Get(Get("model").AsHandle()); }
  models::Module& Model() const { return *ModelPtr(); }
  // The argument "optimizer", which must be there.
  Optimizer& TheOptimizer() const {
    return *session.optimizer_handles.Get(Get("optimizer").AsHandle());
  }
  // The argument "group"; all ranks when it is absent. ValueError: this rank is not in it.
  Communicator& GroupOrWorld() const {
    const Value* group = Find("group");
    return group ? *session.Group(group->AsHandle()) : *session.context.communicator;
  }
  // The argument "mesh", also of a rank that is not in it.
  const std::shared_ptr<DeviceMesh>& AnyMesh() const { return session.mesh_handles.Get(Get("mesh").AsHandle()); }
  // RuntimeError: this rank is not in it.
  const std::shared_ptr<DeviceMesh>& Mesh() const { return session.Mesh(Get("mesh").AsHandle()); }
};

// What implementation.describe declares.
std::vector<std::string> CapabilitiesOf(const Session& session);

// Throws what errors.h converts.
using Handler = std::function<Value(const Call&)>;
using HandlerTable = std::map<std::string, Handler, std::less<>>;

void AddLifecycleHandlers(HandlerTable& table);
void AddMeshHandlers(HandlerTable& table);
void AddModelHandlers(HandlerTable& table);
void AddForwardHandlers(HandlerTable& table);
void AddWrapperHandlers(HandlerTable& table);
void AddFsdpHandlers(HandlerTable& table);
void AddFsdpOptimHandlers(HandlerTable& table);
void AddDsdHandlers(HandlerTable& table);
void AddStateHandlers(HandlerTable& table);
void AddTensorHandlers(HandlerTable& table);
void AddOptimizerHandlers(HandlerTable& table);
void AddCheckpointHandlers(HandlerTable& table);
void AddCheckpointPlanHandlers(HandlerTable& table);

}  // namespace shardcts::reference

#include <ATen/ATen.h>
#include <torch/headeronly/version.h>

#include "models/random_stream.h"
#include "operations/handlers.h"

namespace shardcts::reference {
namespace {

Value Describe(const Call&) {
  return Dict{{"name", "reference"},
              {"version", SHARDCTS_REFERENCE_VERSION},
              {"capabilities", ToValue(std::vector<std::string>{"core", "dtensor", "fsdp2", "hsdp", "tp",
                                                                "cpu_offload_policy", "meta_device", "optimizer", "fsdp1",
                                                                "sharded_tensor", "activation_checkpoint", "ddp",
                                                                "process_groups", "serialization"})},
              {"devices", ToValue(std::vector<std::string>{"cpu"})},
              {"patches", List{}},
              {"notes", Dict{{"torch", TORCH_VERSION}}}};
}

Value Reset(const Call& call) {
  call.session.scope_handles.Clear();
  call.session.optimizer_handles.Clear();
  call.session.model_handles.Clear();
  call.session.mesh_handles.Clear();
  call.session.group_handles.Clear();
  return {};
}

Value Seed(const Call& call) {
  models::SeedThisThread(static_cast<uint64_t>(call.Get("seed").AsInt()));
  return {};
}

}  // namespace

void AddLifecycleHandlers(HandlerTable& table) {
  table["implementation.describe"] = Describe;
  table["implementation.reset"] = Reset;
  table["implementation.seed"] = Seed;
}

}  // namespace shardcts::reference

#include <ATen/ATen.h>

#include "models/random_stream.h"
#include "operations/handlers.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {

std::vector<std::string> CapabilitiesOf(const Session& session) {
  std::vector<std::string> names{"core",
                                 "dtensor",
                                 "fsdp2",
                                 "hsdp",
                                 "tp",
                                 "cpu_offload_policy",
                                 "meta_device",
                                 "optimizer",
                                 "named_optimizer",
                                 "fsdp1",
                                 "fsdp1_optim",
                                 "dsd",
                                 "sharded_tensor",
                                 "layout.pytorch",
                                 "activation_checkpoint",
                                 "ddp",
                                 "process_groups",
                                 "serialization",
                                 "storage",
                                 "storage_async",
                                 "storage_safetensors",
                                 "storage_dcp",
                                 "storage_verify",
                                 "storage_planning",
                                 "storage_convert",
                                 "storage_faults",
                                 "inspection",
                                 "delayed_transport"};
  if (session.timings) names.push_back("timings");
  return names;
}

namespace {

Value Describe(const Call& call) {
  std::vector<std::string> devices{"cpu"};
  const std::string& device = call.session.context.device;
  if (device != "cpu") devices.insert(devices.begin(), device);
  return Dict{{"name", "reference"},
              {"version", SHARDCTS_REFERENCE_VERSION},
              {"capabilities", ToValue(CapabilitiesOf(call.session))},
              {"devices", ToValue(devices)},
              {"patches", List{}},
              {"notes", Dict{}}};
}

Value Reset(const Call& call) {
  call.session.delay->Set(std::nullopt);
  call.session.patched_models.clear();
  call.session.patched_optimizers.clear();
  call.session.schedules.clear();
  call.session.steps_before_hooks.clear();
  call.session.save_handles.Clear();
  call.session.storage_fault.reset();
  call.session.plan_series.clear();
  call.session.scope_handles.Clear();
  call.session.optimizer_handles.Clear();
  call.session.model_handles.Clear();
  call.session.mesh_handles.Clear();
  call.session.group_handles.Clear();
  if (call.session.timings) call.session.timings->Clear();
  return {};
}

Value Seed(const Call& call) {
  models::SeedThisThread(static_cast<uint64_t>(call.Get("seed").AsInt()));
  return {};
}

Value RandomState(const Call&) { return models::StateOfThisThread(); }

Value Delay(const Call& call) {
  const int64_t seed = call.Get("seed").AsInt();
  if (seed < 0) throw SemanticError("ValueError", "a seed is 0 or more, not " + std::to_string(seed));
  call.session.delay->Set(static_cast<uint64_t>(seed) + static_cast<uint64_t>(call.session.world->rank()));
  return {};
}

Value Timings(const Call& call) {
  if (!call.session.timings) throw SemanticError("NotImplementedError", "timings are measured with the option timings=1");
  Dict phases;
  for (const TimedPhase phase : kPhases) {
    const PhaseTimings::Total& total = call.session.timings->Of(phase);
    phases.Set(std::string(NameOf(phase)), Dict{{"calls", total.calls}, {"seconds", total.seconds}});
  }
  return phases;
}

}  // namespace

void AddLifecycleHandlers(HandlerTable& table) {
  table["implementation.describe"] = Describe;
  table["implementation.reset"] = Reset;
  table["implementation.seed"] = Seed;
  table["implementation.random_state"] = RandomState;
  table["implementation.delay"] = Delay;
  table["implementation.timings"] = Timings;
}

}  // namespace shardcts::reference

// The seven tests that run SaveAndLoad (save_and_load.h), each with another wrapper around the copy.
#include <ATen/ATen.h>

#include "contract/fsdp.h"
#include "suites/state_dict/ports.h"
#include "suites/state_dict/save_and_load.h"

namespace shardcts::state_dict {
namespace {

SaveLoadCase CompositeCase(Trial& t) {
  SaveLoadCase save_load;
  save_load.build = [&t] { return CompositeParam(t); };
  save_load.optimizer = t.TextParam("optimizer");
  return save_load;
}

// The module that a parameter belongs to.
std::string ModuleOf(const std::string& parameter) {
  const size_t dot = parameter.rfind('.');
  return dot == std::string::npos ? "" : parameter.substr(0, dot);
}

// u1, u2 or the root.
std::string UnitOf(const std::string& parameter) { return parameter.starts_with("u") ? parameter.substr(0, 2) : ""; }

void SaveAndLoadFsdp(Trial& t) {
  FsdpOptions fsdp;
  fsdp.use_orig_params = t.BoolParam("use_orig_params");
  std::vector<std::string> classes = {"UnitModule"};
  if (t.TextParam("wrapping") == "Linear,UnitModule") classes.push_back("Linear");
  fsdp.auto_wrap_policy = AutoWrapPolicy::Classes(classes);
  SaveLoadCase save_load = CompositeCase(t);
  save_load.wrap = [fsdp](Model& model) { WrapFsdp(model, "", fsdp); };
  save_load.optimizer_of = classes.size() == 1 ? &UnitOf : &ModuleOf;
  SaveAndLoad(t, save_load);
}

}  // namespace

PORT(test_fsdp) { SaveAndLoadFsdp(t); }

// Upstream's test does not compile anything either.
PORT(test_compiled_fsdp) { SaveAndLoadFsdp(t); }

PORT(test_fsdp2) {
  SaveLoadCase save_load = CompositeCase(t);
  save_load.wrap = [&t](Model& model) {
    FullyShardOptions options;
    options.reshard_after_forward = t.BoolParam("reshard_after_forward");
    model.FullyShard("", options);
    if (t.BoolParam("compile_model")) WrapCompile(model);
  };
  SaveAndLoad(t, save_load);
}

PORT(test_ddp) {
  SaveLoadCase save_load = CompositeCase(t);
  const bool composable = t.BoolParam("use_composable");
  save_load.wrap = [composable](Model& model) { composable ? WrapReplicate(model) : WrapDdp(model); };
  SaveAndLoad(t, save_load);
}

// Upstream wraps l of a copy in DDP, discards the copy, and tells FSDP to ignore that l, which is not part of the
// model. Here FSDP ignores the model's own l. With DDP around it, PyTorch's optimizer names would contain the wrapper:
// docs/deviations.md.
PORT(test_fsdp_ddp) {
  SaveLoadCase save_load = CompositeCase(t);
  save_load.wrap = [](Model& model) {
    FsdpOptions fsdp;
    fsdp.use_orig_params = false;
    fsdp.auto_wrap_policy = AutoWrapPolicy::Classes({"UnitModule"});
    fsdp.ignored_modules = {"l"};
    WrapFsdp(model, "", fsdp);
  };
  SaveAndLoad(t, save_load);
}

PORT(test_single_gpu) {
  SaveLoadCase save_load = CompositeCase(t);
  save_load.distributed = false;
  save_load.wrap = [](Model&) {};
  SaveAndLoad(t, save_load);
}

// A tied parameter is in one flat parameter only, so all are frozen or none.
PORT(test_shared_weight) {
  const Mesh mesh = t.subject().InitMesh({t.world_size()});
  SaveLoadCase save_load;
  save_load.build = [&t] { return t.subject().Build("tied_embedding", {{"vocab", 1000}, {"dim", 30}}, t.device()); };
  save_load.wrap = [mesh](Model& model) {
    FsdpOptions fsdp;
    fsdp.device_mesh = mesh;
    WrapFsdp(model, "", fsdp);
  };
  save_load.optimizer = "adamw";
  save_load.flatten_optimizer = t.BoolParam("flatten_optimizer");
  save_load.frozen_prefixes = {""};
  save_load.left_names = {};
  save_load.optional_names = {"decoder.weight"};
  SaveAndLoad(t, save_load);
}

}  // namespace shardcts::state_dict

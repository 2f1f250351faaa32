// A forward, alone and with a user's hook that takes a state dict in it.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <functional>
#include <memory>

#include "fully_shard/fully_shard.h"
#include "operations/dsd_operations.h"
#include "operations/handlers.h"
#include "operations/module_paths.h"
#include "operations/tensor_operations.h"
#include "state_dict/state_dict.h"

namespace shardcts::reference {
namespace {

Value Forward(const Call& call) {
  std::vector<at::Tensor> inputs;
  for (const Value& input : call.Get("inputs").AsList()) {
    inputs.push_back(input.IsNone() ? at::Tensor() : input.AsTensor());
  }
  at::AutoGradMode with_gradients(true);
  try {
    return call.Model().CallAll(std::move(inputs));
  } catch (...) {
    AbandonForward(call.Model());
    throw;
  }
}

models::Module& WithoutWrappers(models::Module& outermost) {
  models::Module* module = &outermost;
  while (module->IsTransparent()) module = module->children().front().second.get();
  return *module;
}

// The hook of a user that runs while this object exists; a module cannot lose a hook, so that a copy of the model is
// refused afterwards, as of every model with hooks.
class HookOnForward {
 public:
  HookOnForward(models::Module& module, std::function<void()> body)
      : body_(std::make_shared<std::function<void()>>(std::move(body))) {
    module.AddForwardPostHook([body = body_](const at::Tensor&, at::Tensor output) {
      if (*body) (*body)();
      return output;
    });
  }
  ~HookOnForward() { *body_ = nullptr; }
  HookOnForward(const HookOnForward&) = delete;
  HookOnForward& operator=(const HookOnForward&) = delete;

 private:
  std::shared_ptr<std::function<void()>> body_;
};

Dict StateOf(const Call& call) {
  if (call.Get("get").AsString() == "model.state_dict") {
    return CopyOfTensors(StateDictValue(SaveStateDict(call.Model(), {}))).AsDict();
  }
  const Dict arguments{{"model", call.Get("model")}};
  return CopyOfTensors(GetModelByCall({call.session, arguments, call.warnings})).AsDict();
}

Value ForwardAndStateDict(const Call& call) {
  Dict state;
  const HookOnForward hook(WithoutWrappers(ModuleAt(call.Model(), call.Get("path").AsString())), [&] {
    at::NoGradGuard no_gradients;
    state = StateOf(call);
  });
  const Value output = Forward(call);
  return Dict{{"output", output}, {"state_dict", std::move(state)}};
}

}  // namespace

void AddForwardHandlers(HandlerTable& table) {
  table["model.forward"] = Forward;
  table["model.forward_and_state_dict"] = ForwardAndStateDict;
}

}  // namespace shardcts::reference

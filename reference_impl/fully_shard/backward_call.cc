#include "fully_shard/backward_call.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/autograd.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/graph_task.h>
#include <torch/custom_class.h>

namespace shardcts::reference {
namespace {

struct CallbackHolder : torch::CustomClassHolder {
  std::function<void()> callback;
};
using CallbackPtr = c10::intrusive_ptr<CallbackHolder>;

constexpr char kCallback[] = "callback";

struct CallInBackward : torch::autograd::Function<CallInBackward> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, at::Tensor input, CallbackPtr callback) {
    context->saved_data[kCallback] = c10::IValue::make_capsule(std::move(callback));
    return input;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    c10::static_intrusive_pointer_cast<CallbackHolder>(context->saved_data[kCallback].toCapsule())->callback();
    return {gradients[0], at::Tensor()};
  }
};

bool GradientFlows(const at::Tensor& tensor) { return at::GradMode::is_enabled() && tensor.requires_grad(); }

}  // namespace

at::Tensor CallWhenGradientPassed(at::Tensor input, std::function<void()> callback) {
  if (!GradientFlows(input)) return input;
  auto holder = c10::make_intrusive<CallbackHolder>();
  holder->callback = std::move(callback);
  return CallInBackward::apply(input, holder);
}

void CallBeforeBackwardOf(const at::Tensor& output, std::function<void()> callback) {
  if (!GradientFlows(output)) return;
  output.register_hook([callback = std::move(callback)](const at::Tensor& gradient) {
    callback();
    return gradient;
  });
}

void CallAfterBackward(std::function<void()> callback) {
  torch::autograd::Engine::get_default_engine().queue_callback(std::move(callback));
}

bool IsInBackward() { return torch::autograd::get_current_graph_task_id() != -1; }

}  // namespace shardcts::reference

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "fsdp/fsdp_module.h"
#include "fully_shard/fully_shard.h"
#include "models/tree.h"
#include "models/zoo.h"
#include "operations/handlers.h"
#include "operations/module_paths.h"
#include "operations/tensor_values.h"
#include "parameter/dtensor_parameter.h"
#include "tensor/on_group_device.h"
#include "wrappers/checkpoint_wrapper.h"
#include "wrappers/compile_wrapper.h"
#include "wrappers/data_parallel.h"

namespace shardcts::reference {
namespace {

Value Build(const Call& call) {
  const Value* args = call.Find("args");
  const Value* device = call.Find("device");
  return call.session.model_handles.Add(models::BuildModel(call.Get("model").AsString(), args ? args->AsDict() : Dict{},
                                                           DeviceFrom(device ? device->AsString() : "cpu")));
}

Value Copy(const Call& call) {
  for (const auto& [path, module] : models::NamedModules(call.Model())) {
    if (!module->extension()) continue;
    throw SemanticError("AssertionError", "FSDP does not support deepcopy. Please use state dict for serialization.");
  }
  return call.session.model_handles.Add(models::DeepCopy(call.Model()));
}

Value Backward(const Call& call) {
  const Value* reduction = call.Find("reduction");
  const std::string kind = reduction ? reduction->AsString() : "sum";
  const Value* gradient = call.Find("gradient");
  if (gradient && reduction) throw SemanticError("ValueError", "either a gradient or a reduction, not both");
  at::AutoGradMode with_gradients(true);
  const at::Tensor& output = call.Get("output").AsTensor();
  if (gradient) {
    output.backward(gradient->AsTensor());
    return {};
  }
  (kind == "sum" ? output.sum() : output.mean()).backward();
  return {};
}

Value ZeroGrad(const Call& call) {
  for (const auto& [name, parameter] : models::NamedParameters(call.Model())) {
    parameter->value.mutable_grad() = at::Tensor();
  }
  return {};
}

// All names are looked up before anything changes.
Value SetRequiresGrad(const Call& call) {
  std::vector<std::pair<models::ParameterPtr, bool>> wanted;
  for (const auto& [name, value] : call.Get("values").AsDict()) {
    wanted.emplace_back(ParameterNamed(call.Model(), ToString(name)), value.AsBool());
  }
  for (const auto& [parameter, requires_grad] : wanted) parameter->value.set_requires_grad(requires_grad);
  return {};
}

Value Parameters(const Call& call) {
  Dict values;
  for (const auto& [name, parameter] : models::NamedParameters(call.Model(), call.Flag("remove_duplicate", true))) {
    values.Set(name, ParameterValue(*parameter));
  }
  return values;
}

Value Buffers(const Call& call) {
  Dict values;
  for (const auto& [name, buffer] : models::NamedBuffers(call.Model())) values.Set(name, buffer);
  return values;
}

Value Gradients(const Call& call) {
  Dict values;
  for (const auto& [name, parameter] : models::NamedParameters(call.Model())) {
    values.Set(name, GradientValue(*parameter));
  }
  return values;
}

Value Fill(const Call& call) {
  at::NoGradGuard no_grad;
  const double value = call.Get("value").AsDouble();
  for (const auto& [name, parameter] : models::NamedParameters(call.Model())) parameter->value.fill_(value);
  if (!call.Flag("buffers", false)) return {};
  for (auto& [name, buffer] : models::NamedBuffers(call.Model())) buffer.fill_(value);
  return {};
}

Value SetLocal(const Call& call) {
  at::NoGradGuard no_grad;
  std::map<std::string, models::ParameterPtr> parameters;
  for (const auto& [name, parameter] : models::NamedParameters(call.Model(), false)) parameters[name] = parameter;
  for (const auto& [key, value] : call.Get("values").AsDict()) {
    const auto found = parameters.find(ToString(key));
    if (found == parameters.end()) throw SemanticError("KeyError", "'" + ToString(key) + "'");
    at::Tensor& target = found->second->value;
    if (target.sizes() != value.AsTensor().sizes()) {
      throw SemanticError("RuntimeError", "parameter '" + ToString(key) + "' has a local part of shape " +
                                              ShapeToString(target.sizes()) + ", the given value " +
                                              ShapeToString(value.AsTensor().sizes()));
    }
    target.copy_(value.AsTensor());
  }
  return {};
}

Value SetValues(const Call& call) {
  at::NoGradGuard no_grad;
  std::map<std::string, at::Tensor> targets;
  for (const auto& [name, parameter] : models::NamedParameters(call.Model(), false)) targets[name] = parameter->value;
  for (const auto& [name, buffer] : models::NamedBuffers(call.Model(), false)) targets[name] = buffer;
  for (const auto& [key, value] : call.Get("values").AsDict()) {
    const auto found = targets.find(ToString(key));
    if (found == targets.end()) throw SemanticError("KeyError", "'" + ToString(key) + "'");
    found->second.copy_(value.AsTensor());
  }
  return {};
}

Value Modules(const Call& call) {
  List modules;
  List wrappers;
  for (const auto& [path, module] : models::NamedModules(call.Model())) {
    if (dynamic_cast<FsdpModule*>(module)) {
      wrappers.push_back("fsdp");
    } else if (dynamic_cast<CheckpointWrapper*>(module)) {
      wrappers.push_back("checkpoint");
    } else if (dynamic_cast<CompileWrapper*>(module)) {
      wrappers.push_back("compile");
    } else if (const auto* replicated = dynamic_cast<DataParallel*>(module)) {
      if (replicated->is_module()) wrappers.push_back("ddp");
    } else {
      modules.push_back(Dict{{"path", path}, {"class", module->class_name()}, {"wrappers", std::move(wrappers)}});
      wrappers.clear();
    }
  }
  return modules;
}

Value HookRuns(const Call& call) {
  Dict runs;
  for (const auto& [name, prefixes] : models::HookRunsOf(call.Model())) runs.Set(name, ToValue(prefixes));
  return runs;
}

Value BroadcastParameters(const Call& call) {
  at::NoGradGuard no_grad;
  const int64_t src = call.Get("src").AsInt();
  if (src < 0 || src >= call.session.context.world_size) {
    throw SemanticError("ValueError", "rank " + std::to_string(src) + " is not in the world");
  }
  for (const auto& [name, parameter] : models::NamedParameters(call.Model())) {
    BroadcastValues(*call.session.context.communicator, parameter->value.detach(), static_cast<int>(src));
  }
  return {};
}

Value Reallocate(const Call& call) {
  ApplyToTensors(call.Model(), [](const at::Tensor& tensor) { return tensor.clone(); });
  return {};
}

Value To(const Call& call) {
  const Value* device = call.Find("device");
  const Value* dtype = call.Find("dtype");
  at::TensorOptions target;
  if (device) target = target.device(DeviceFrom(device->AsString()));
  at::TensorOptions floating = target;
  if (dtype) floating = floating.dtype(DtypeFrom(dtype->AsString()));
  if (dtype && !c10::isFloatingType(c10::typeMetaToScalarType(floating.dtype()))) {
    throw SemanticError("TypeError", "a model is cast to floating-point dtypes only, not to " + dtype->AsString());
  }
  const Value* path = call.Find("path");
  ApplyToTensors(ModuleAt(call.Model(), path ? path->AsString() : ""),
                 [&](const at::Tensor& tensor) { return tensor.to(tensor.is_floating_point() ? floating : target); });
  return {};
}

}  // namespace

void AddModelHandlers(HandlerTable& table) {
  table["model.build"] = Build;
  table["model.copy"] = Copy;
  table["model.backward"] = Backward;
  table["model.zero_grad"] = ZeroGrad;
  table["model.set_requires_grad"] = SetRequiresGrad;
  table["model.parameters"] = Parameters;
  table["model.buffers"] = Buffers;
  table["model.gradients"] = Gradients;
  table["model.fill"] = Fill;
  table["model.set_local"] = SetLocal;
  table["model.set_values"] = SetValues;
  table["model.modules"] = Modules;
  table["model.hook_runs"] = HookRuns;
  table["model.broadcast_parameters"] = BroadcastParameters;
  table["model.reallocate"] = Reallocate;
  table["model.to"] = To;
}

}  // namespace shardcts::reference

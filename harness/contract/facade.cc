#include "contract/facade.h"

namespace shardcts {
namespace {

Dict FullyShardArguments(const FullyShardOptions& options) {
  Dict dict;
  if (options.mesh) dict.Set("mesh", options.mesh->handle());
  if (options.reshard_after_forward) dict.Set("reshard_after_forward", *options.reshard_after_forward);
  if (!options.shard_placement.empty()) dict.Set("shard_placement", options.shard_placement);
  if (options.offload_policy) {
    dict.Set("offload_policy", Dict{{"kind", "cpu"}, {"pin_memory", options.offload_policy->pin_memory}});
  }
  if (options.mp_policy) {
    Dict policy{{"cast_forward_inputs", options.mp_policy->cast_forward_inputs}};
    if (!options.mp_policy->param_dtype.empty()) policy.Set("param_dtype", options.mp_policy->param_dtype);
    if (!options.mp_policy->reduce_dtype.empty()) policy.Set("reduce_dtype", options.mp_policy->reduce_dtype);
    if (!options.mp_policy->output_dtype.empty()) policy.Set("output_dtype", options.mp_policy->output_dtype);
    dict.Set("mp_policy", policy);
  }
  return dict;
}

Dict OptimizerArguments(const OptimizerOptions& options) {
  Dict dict;
  auto set = [&](const char* name, const auto& value) {
    if (value) dict.Set(name, *value);
  };
  set("lr", options.lr);
  set("momentum", options.momentum);
  set("weight_decay", options.weight_decay);
  set("beta1", options.beta1);
  set("beta2", options.beta2);
  set("eps", options.eps);
  set("dampening", options.dampening);
  set("alpha", options.alpha);
  set("rho", options.rho);
  set("lr_decay", options.lr_decay);
  set("momentum_decay", options.momentum_decay);
  set("initial_accumulator_value", options.initial_accumulator_value);
  set("lambd", options.lambd);
  set("t0", options.t0);
  set("amsgrad", options.amsgrad);
  set("maximize", options.maximize);
  set("nesterov", options.nesterov);
  set("centered", options.centered);
  set("decoupled_weight_decay", options.decoupled_weight_decay);
  set("lr", options.lr_tensor);
  return dict;
}

}  // namespace

OperationFailed::OperationFailed(std::string operation, Error error)
    : operation_(std::move(operation)),
      error_(std::move(error)),
      text_(operation_ + ": " + error_.kind + ": " + error_.message) {}

Value Require(Caller& caller, std::string_view operation, Dict arguments) {
  Outcome outcome = caller.Call(operation, std::move(arguments));
  if (!outcome.ok()) throw OperationFailed(std::string(operation), outcome.error());
  return std::move(outcome.value());
}

Mesh Mesh::Submesh(const std::vector<std::string>& dim_names) const {
  return {*caller_, Require(*caller_, "mesh.submesh", {{"mesh", handle_}, {"dim_names", ToValue(dim_names)}})};
}

MeshLayout Mesh::Layout() const {
  const Value value = Require(*caller_, "mesh.describe", {{"mesh", handle_}});
  const Dict& dict = value.AsDict();
  return {dict.At("device_type").AsString(), dict.At("shape").AsInts(), dict.At("dim_names").AsStrings(),
          dict.At("ranks").AsInts()};
}

Dict Model::With(Dict arguments) const {
  Dict all{{"model", handle_}};
  for (const Dict::Entry& entry : arguments) all.Set(entry.key, entry.value);
  return all;
}

Model Model::Copy() const { return {*caller_, Require(*caller_, "model.copy", With())}; }

void Model::FullyShard(const std::string& path, const FullyShardOptions& options) {
  Require(*caller_, "model.wrap",
          With({{"path", path}, {"wrapper", "fully_shard"}, {"options", FullyShardArguments(options)}}));
}

void Model::Parallelize(const Mesh& mesh, const TensorParallelPlan& plan) {
  Dict styles;
  for (const auto& [path, style] : plan) styles.Set(path, Dict{{"style", style}});
  Require(*caller_, "model.parallelize", With({{"mesh", mesh.handle()}, {"plan", styles}}));
}

Value Model::Forward(const std::vector<Value>& inputs) {
  return Require(*caller_, "model.forward", With({{"inputs", List(inputs)}}));
}

void Model::Backward(const Value& output, std::string_view reduction) {
  Require(*caller_, "model.backward", With({{"output", output}, {"reduction", reduction}}));
}

void Model::BackwardFrom(const Value& output, const at::Tensor& gradient) {
  Require(*caller_, "model.backward", With({{"output", output}, {"gradient", gradient}}));
}

void Model::SetRequiresGrad(const std::vector<std::string>& parameters, bool requires_grad) {
  Dict values;
  for (const std::string& name : parameters) values.Set(name, requires_grad);
  Require(*caller_, "model.set_requires_grad", With({{"values", values}}));
}

void Model::ZeroGrad() { Require(*caller_, "model.zero_grad", With()); }

Dict Model::Parameters(bool remove_duplicate) const {
  return Require(*caller_, "model.parameters", With({{"remove_duplicate", remove_duplicate}})).AsDict();
}
Dict Model::Buffers() const { return Require(*caller_, "model.buffers", With()).AsDict(); }
Dict Model::Gradients() const { return Require(*caller_, "model.gradients", With()).AsDict(); }
void Model::Fill(double value, bool buffers) {
  Dict arguments = With({{"value", value}});
  if (buffers) arguments.Set("buffers", true);
  Require(*caller_, "model.fill", std::move(arguments));
}
void Model::SetValues(const Dict& values) { Require(*caller_, "model.set_values", With({{"values", values}})); }
void Model::SetLocal(const Dict& values) { Require(*caller_, "model.set_local", With({{"values", values}})); }
void Model::BroadcastParameters(int64_t src) { Require(*caller_, "model.broadcast_parameters", With({{"src", src}})); }
void Model::Reallocate() { Require(*caller_, "model.reallocate", With()); }
void Model::To(const std::string& device) { Require(*caller_, "model.to", With({{"device", device}})); }

void Model::Cast(const std::string& dtype) { Require(*caller_, "model.to", With({{"dtype", dtype}})); }

Dict Model::StateDict(const std::string& prefix, const std::string& path) const {
  Dict arguments = With();
  if (!path.empty()) arguments.Set("path", path);
  if (!prefix.empty()) arguments.Set("prefix", prefix);
  return Require(*caller_, "model.state_dict", std::move(arguments)).AsDict();
}

LoadResult Model::LoadStateDict(const Dict& state_dict, const LoadOptions& options) {
  const Value value =
      Require(*caller_, "model.load_state_dict",
              With({{"state_dict", state_dict}, {"strict", options.strict}, {"assign", options.assign}}));
  return {value.AsDict().At("missing_keys").AsStrings(), value.AsDict().At("unexpected_keys").AsStrings()};
}

std::map<std::string, std::vector<std::string>> Model::HookRuns() const {
  std::map<std::string, std::vector<std::string>> runs;
  const Value value = Require(*caller_, "model.hook_runs", With());
  for (const auto& [name, prefixes] : value.AsDict()) runs[ToString(name)] = prefixes.AsStrings();
  return runs;
}

void Optimizer::Step() { Require(*caller_, "optimizer.step", {{"optimizer", handle_}}); }
void Optimizer::ZeroGrad() { Require(*caller_, "optimizer.zero_grad", {{"optimizer", handle_}}); }

void Optimizer::InitState() { Require(*caller_, "optimizer.init_state", {{"optimizer", handle_}}); }

Dict Optimizer::StateDict() const {
  const Value state_dict = Require(*caller_, "optimizer.state_dict", {{"optimizer", handle_}});
  return state_dict.AsDict();
}

void Optimizer::LoadStateDict(const Dict& state_dict) {
  Require(*caller_, "optimizer.load_state_dict", {{"optimizer", handle_}, {"state_dict", state_dict}});
}

void Optimizer::Schedule(double factor, int64_t epoch) {
  Dict arguments{{"optimizer", handle_}, {"kind", "exponential"}, {"factor", factor}};
  if (epoch > 0) arguments.Set("epoch", epoch);
  Require(*caller_, "optimizer.schedule", std::move(arguments));
}

void Optimizer::AdvanceSchedule() { Require(*caller_, "optimizer.advance_schedule", {{"optimizer", handle_}}); }

at::Tensor Subject::RandomState() { return Require(caller_, "implementation.random_state", {}).AsTensor(); }

void Subject::Seed(int64_t seed) { Require(caller_, "implementation.seed", {{"seed", seed}}); }

Mesh Subject::InitMesh(const std::vector<int64_t>& shape, const std::vector<std::string>& dim_names,
                       const std::vector<int64_t>& ranks) {
  Dict arguments{{"shape", ToValue(shape)}};
  if (!ranks.empty()) arguments.Set("ranks", ToValue(ranks));
  if (!dim_names.empty()) arguments.Set("dim_names", ToValue(dim_names));
  return {caller_, Require(caller_, "mesh.init", arguments)};
}

Model Subject::Build(std::string_view model, Dict args, std::string_view device) {
  Dict arguments{{"model", model}, {"args", std::move(args)}};
  if (!device.empty()) arguments.Set("device", device);
  return {caller_, Require(caller_, "model.build", arguments)};
}

Optimizer Subject::CreateOptimizer(const Model& model, std::string_view kind, const OptimizerOptions& options) {
  return {caller_, Require(caller_, "optimizer.create",
                           {{"model", model.handle()}, {"kind", kind}, {"options", OptimizerArguments(options)}})};
}

Optimizer Subject::CreateOptimizer(const Model& model, std::string_view kind, const OptimizerOptions& options,
                                   const std::vector<ParameterGroup>& groups, bool named) {
  List list;
  for (const ParameterGroup& group : groups) {
    Dict given{{"parameters", ToValue(group.parameters)}, {"options", OptimizerArguments(group.options)}};
    if (!group.entries.empty()) given.Set("entries", group.entries);
    list.push_back(std::move(given));
  }
  Dict arguments{
      {"model", model.handle()}, {"kind", kind}, {"options", OptimizerArguments(options)}, {"groups", std::move(list)}};
  if (named) arguments.Set("named", true);
  return {caller_, Require(caller_, "optimizer.create", std::move(arguments))};
}

Mesh Subject::MeshOf(const Value& dtensor) { return {caller_, Require(caller_, "tensor.mesh", {{"value", dtensor}})}; }
Value Subject::FullTensor(const Value& dtensor) { return Require(caller_, "tensor.full", {{"value", dtensor}}); }
Dict Subject::FullTensors(const Dict& dtensors) {
  return Require(caller_, "tensor.full", {{"value", dtensors}}).AsDict();
}
Value Subject::Redistribute(const Value& dtensor, const std::vector<Placement>& placements) {
  return Require(caller_, "tensor.redistribute", {{"value", dtensor}, {"placements", ToValue(placements)}});
}
Value Subject::Distribute(const at::Tensor& full, const Mesh& mesh, const std::vector<Placement>& placements) {
  return Require(caller_, "tensor.distribute",
                 {{"value", full}, {"mesh", mesh.handle()}, {"placements", ToValue(placements)}});
}
Value Subject::Clone(const Value& tensors) { return Require(caller_, "tensor.clone", {{"value", tensors}}); }
void Subject::Fill(const Value& tensors, double scalar) {
  Require(caller_, "tensor.fill", {{"value", tensors}, {"scalar", scalar}});
}
Value Subject::To(const Value& tensor, std::string_view device) {
  return Require(caller_, "tensor.to", {{"value", tensor}, {"device", device}});
}

std::vector<Chunk> Subject::ChunksOf(const Value& tensor) {
  std::vector<Chunk> chunks;
  const Value list = Require(caller_, "tensor.chunks", {{"value", tensor}});
  for (const Value& chunk : list.AsList()) {
    const Dict& fields = chunk.AsDict();
    chunks.push_back({fields.At("rank").AsInt(), fields.At("offsets").AsInts(), fields.At("sizes").AsInts()});
  }
  return chunks;
}

}  // namespace shardcts

#include <sstream>

#include "contract/tensor_bytes.h"
#include "fully_shard/fully_shard.h"
#include "operations/handlers.h"
#include "parallel/parallelize.h"

namespace shardcts::reference {
namespace {

// The submodule at `path`, or the complaint of torch.nn.Module.get_submodule about its first part that is not there.
models::Module& ModuleAt(models::Module& model, const std::string& path) {
  models::Module* module = &model;
  std::istringstream parts(path);
  for (std::string part; std::getline(parts, part, '.');) {
    models::Module* child = models::FindModule(*module, part);
    if (!child) throw SemanticError("AttributeError", module->type_name() + " has no attribute `" + part + "`");
    module = child;
  }
  return *module;
}

std::optional<at::ScalarType> DtypeOption(const Dict& options, const std::string& name) {
  const Value* value = options.Find(name);
  if (!value || value->IsNone()) return std::nullopt;
  const std::optional<at::ScalarType> dtype = ParseDtype(value->AsString());
  if (!dtype) {
    throw SemanticError("ValueError", "mp_policy." + name + ": no dtype is called '" + value->AsString() + "'");
  }
  return dtype;
}

MixedPrecisionPolicy ReadMixedPrecision(const Dict& options) {
  MixedPrecisionPolicy policy;
  policy.param_dtype = DtypeOption(options, "param_dtype");
  policy.reduce_dtype = DtypeOption(options, "reduce_dtype");
  policy.output_dtype = DtypeOption(options, "output_dtype");
  if (const Value* cast = options.Find("cast_forward_inputs")) policy.cast_forward_inputs = cast->AsBool();
  return policy;
}

CpuOffloadPolicy ReadOffload(const Dict& options) {
  const Value* kind = options.Find("kind");
  if (!kind || kind->AsString() != "cpu") throw SemanticError("ValueError", "offload_policy.kind must be 'cpu'");
  CpuOffloadPolicy policy;
  if (const Value* pin_memory = options.Find("pin_memory")) policy.pin_memory = pin_memory->AsBool();
  return policy;
}

void ReadOption(const std::string& name, const Value& value, const Session& session, FullyShardOptions& into) {
  if (name == "mesh") {
    into.mesh = session.mesh_handles.Get(value.AsHandle());
  } else if (name == "reshard_after_forward") {
    into.reshard_after_forward = value.AsBool();
  } else if (name == "shard_placement") {
    if (value.AsString() != "largest_dim") throw SemanticError("ValueError", "shard_placement must be 'largest_dim'");
    into.shard_placement = LargestDim;
  } else if (name == "offload_policy") {
    into.offload = ReadOffload(value.AsDict());
  } else if (name == "mp_policy") {
    into.mixed_precision = ReadMixedPrecision(value.AsDict());
  } else {
    throw SemanticError("TypeError", "fully_shard() got an unexpected keyword argument '" + name + "'");
  }
}

FullyShardOptions ReadFullyShardOptions(const Call& call) {
  FullyShardOptions read;
  if (const Value* options = call.Find("options")) {
    for (const auto& [name, value] : options->AsDict()) {
      if (!value.IsNone()) ReadOption(ToString(name), value, call.session, read);
    }
  }
  if (!read.mesh) {
    const ImplementationContext& context = call.session.context;
    read.mesh = call.session.meshes.GetOrCreate(*context.communicator, context.device, {context.world_size}, {});
  }
  return read;
}

Value Wrap(const Call& call) {
  const std::string& wrapper = call.Get("wrapper").AsString();
  if (wrapper != "fully_shard") throw SemanticError("ValueError", "unknown wrapper '" + wrapper + "'");
  FullyShard(ModuleAt(call.Model(), call.Get("path").AsString()), ReadFullyShardOptions(call));
  return {};
}

ParallelPlan ReadPlan(const Dict& plan) {
  ParallelPlan read;
  for (const auto& [path, entry] : plan) {
    const Value* style = entry.AsDict().Find("style");
    if (!style) throw SemanticError("ValueError", "the plan gives no style for '" + ToString(path) + "'");
    read.emplace_back(ToString(path), ParseParallelStyle(style->AsString()));
  }
  return read;
}

Value ParallelizeModel(const Call& call) {
  for (const std::string& text : Parallelize(call.Model(), call.Mesh(), ReadPlan(call.Get("plan").AsDict()))) {
    call.warnings.push_back({"UserWarning", text});
  }
  return {};
}

}  // namespace

void AddWrapperHandlers(HandlerTable& table) {
  table["model.wrap"] = Wrap;
  table["model.parallelize"] = ParallelizeModel;
}

}  // namespace shardcts::reference

#include "contract/tensor_bytes.h"
#include "fsdp/wrap.h"
#include "fully_shard/fully_shard.h"
#include "operations/fsdp_options.h"
#include "operations/handlers.h"
#include "operations/module_paths.h"
#include "parallel/parallelize.h"
#include "wrappers/checkpoint_wrapper.h"
#include "wrappers/compile_wrapper.h"
#include "wrappers/data_parallel.h"

namespace shardcts::reference {
namespace {

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

const Value* FindOption(const Call& call, const std::string& name) {
  const Value* options = call.Find("options");
  return options ? options->AsDict().Find(name) : nullptr;
}

// Skipped modules are detached while `wrap` runs, and come back last.
void WithoutSkipped(const Call& call, const std::function<void()>& wrap) {
  const Value* skipped = FindOption(call, "skip_modules");
  std::vector<std::pair<ModulePlace, models::ModulePtr>> detached;
  if (skipped) {
    for (const std::string& path : skipped->AsStrings()) {
      const ModulePlace place = PlaceAt(call.Model(), path);
      detached.emplace_back(place, place.parent->RemoveChild(place.name));
    }
  }
  wrap();
  for (const auto& [place, module] : detached) place.parent->RegisterChild(place.name, module);
}

void WrapInUnit(const Call& call, const std::string& path) {
  WithoutSkipped(call, [&] {
    const FsdpOptions options = ReadFsdpOptions(call, path);
    std::vector<std::string> user_warnings;
    WrapAt(call, path, /*innermost=*/false,
           [&](models::ModulePtr wrapped) { return WrapFsdp(std::move(wrapped), options, user_warnings); });
    for (const std::string& text : user_warnings) call.warnings.push_back({"UserWarning", text});
  });
}

void WrapInCheckpoint(const Call& call, const std::string& path) {
  const Value* innermost = FindOption(call, "innermost");
  WrapAt(call, path, innermost && innermost->AsBool(),
         [](models::ModulePtr wrapped) { return std::make_shared<CheckpointWrapper>(std::move(wrapped)); });
}

void WrapInDataParallel(const Call& call, const std::string& path) {
  const Value* given = FindOption(call, "process_group");
  const std::shared_ptr<Communicator> group = given ? call.session.Group(given->AsHandle()) : WorldGroup(call.session);
  WrapAt(call, path, /*innermost=*/false,
         [&](models::ModulePtr wrapped) { return std::make_shared<DataParallel>(std::move(wrapped), group); });
}

Value Wrap(const Call& call) {
  const std::string& wrapper = call.Get("wrapper").AsString();
  const std::string& path = call.Get("path").AsString();
  if (wrapper == "fully_shard") {
    FullyShard(ModuleAt(call.Model(), path), ReadFullyShardOptions(call));
  } else if (wrapper == "fsdp") {
    WrapInUnit(call, path);
  } else if (wrapper == "checkpoint") {
    WrapInCheckpoint(call, path);
  } else if (wrapper == "compile") {
    WrapAt(call, path, /*innermost=*/false,
           [](models::ModulePtr wrapped) { return std::make_shared<CompileWrapper>(std::move(wrapped)); });
  } else if (wrapper == "ddp" || wrapper == "replicate") {
    WrapInDataParallel(call, path);
  } else {
    throw SemanticError("ValueError", "unknown wrapper '" + wrapper + "'");
  }
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

#include "fsdp/wrap.h"
#include "fully_shard/fully_shard.h"
#include "operations/fsdp_options.h"
#include "operations/handlers.h"
#include "operations/module_paths.h"
#include "parallel/parallelize.h"
#include "wrappers/checkpoint_wrapper.h"
#include "wrappers/compile_wrapper.h"
#include "tensor/semantic_error.h"
#include "wrappers/data_parallel.h"

namespace shardcts::reference {
namespace {

MixedPrecisionPolicy ReadMixedPrecision(const Fields& options) {
  MixedPrecisionPolicy policy;
  policy.param_dtype = options.Dtype("param_dtype");
  policy.reduce_dtype = options.Dtype("reduce_dtype");
  policy.output_dtype = options.Dtype("output_dtype");
  policy.cast_forward_inputs = options.Flag("cast_forward_inputs", policy.cast_forward_inputs);
  return policy;
}

FullyShardOptions ReadFullyShardOptions(const Call& call) {
  const Fields options = call.Options();
  const ImplementationContext& context = call.session.context;
  FullyShardOptions read;
  const Value* mesh = options.Find("mesh");
  read.mesh = mesh ? call.session.Mesh(mesh->AsHandle())
                   : call.session.meshes.GetOrCreate(*context.communicator, context.device, {context.world_size}, {});
  if (const Value* reshard = options.Find("reshard_after_forward")) read.reshard_after_forward = reshard->AsBool();
  if (options.Find("shard_placement")) read.shard_placement = LargestDim;
  if (options.Find("offload_policy")) {
    read.offload = CpuOffloadPolicy{.pin_memory = options.Record("offload_policy").Flag("pin_memory", true)};
  }
  read.mixed_precision = ReadMixedPrecision(options.Record("mp_policy"));
  return read;
}

struct Skipped {
  ModulePlace place;
  models::ModulePtr module;
  std::vector<std::string> siblings;  // and itself, in their order
};

Skipped Detach(const ModulePlace& place) {
  std::vector<std::string> siblings;
  for (const auto& [name, child] : place.parent->children()) siblings.push_back(name);
  return {place, place.parent->RemoveChild(place.name), std::move(siblings)};
}

void PutBackInOrder(const Skipped& skipped) {
  models::Module& parent = *skipped.place.parent;
  parent.RegisterChild(skipped.place.name, skipped.module);
  for (const std::string& name : skipped.siblings) parent.RegisterChild(name, parent.RemoveChild(name));
}

// Skipped modules are detached while `wrap` runs, and come back last; after an error where they were.
void WithoutSkipped(const Call& call, const std::function<void()>& wrap) {
  std::vector<Skipped> detached;
  try {
    for (const std::string& path : call.Options().Texts("skip_modules")) detached.push_back(Detach(PlaceAt(call.Model(), path)));
    wrap();
  } catch (...) {
    for (auto last = detached.rbegin(); last != detached.rend(); ++last) PutBackInOrder(*last);
    throw;
  }
  for (const Skipped& skipped : detached) skipped.place.parent->RegisterChild(skipped.place.name, skipped.module);
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
  WrapAt(call, path, call.Options().Flag("innermost", false),
         [](models::ModulePtr wrapped) { return std::make_shared<CheckpointWrapper>(std::move(wrapped)); });
}

void WrapInDataParallel(const Call& call, const std::string& path, bool is_module) {
  const Value* given = call.Options().Find("process_group");
  const std::shared_ptr<Communicator> group = given ? call.session.Group(given->AsHandle()) : WorldGroup(call.session);
  const auto* present = dynamic_cast<const DataParallel*>(&ModuleAt(call.Model(), path));
  if (!is_module && present && !present->is_module()) {
    throw SemanticError("AssertionError", "replicate has been applied to the module at \"" + path + "\" before");
  }
  WrapAt(call, path, /*innermost=*/false, [&](models::ModulePtr wrapped) {
    return std::make_shared<DataParallel>(std::move(wrapped), group, is_module);
  });
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
  } else {  // ddp, replicate
    WrapInDataParallel(call, path, wrapper == "ddp");
  }
  return {};
}

ParallelPlan ReadPlan(const Dict& plan) {
  ParallelPlan read;
  for (const auto& [path, entry] : plan) {
    read.emplace_back(ToString(path), ParseParallelStyle(entry.AsDict().At("style").AsString()));
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

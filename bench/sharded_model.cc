#include "bench/sharded_model.h"

#include <ATen/ATen.h>

#include <cmath>

namespace shardcts::bench {
namespace {

int64_t Width(int64_t mebibytes) {
  const double elements = static_cast<double>(mebibytes << 20) / sizeof(float) / kLayers;
  return std::llround(std::sqrt(elements));
}

Model BuildUnits(Measured& implementation, int64_t mebibytes, Units units) {
  Model model = BuildLayers(implementation, mebibytes);
  for (int64_t layer = 0; units == Units::kEachLayer && layer < kLayers; ++layer) {
    WrapFsdp(model, std::to_string(layer));
  }
  WrapFsdp(model, "");
  return model;
}

// Dicts within it, too.
Dict WithTensorsCopied(Dict dict) {
  for (auto& [key, value] : dict) {
    if (value.TryAs<Dict>()) value = WithTensorsCopied(value.AsDict());
    if (value.TryAs<Tensor>()) value = value.AsTensor().clone();
  }
  return dict;
}

}  // namespace

Model BuildLayers(Measured& implementation, int64_t mebibytes) {
  const List sizes(kLayers + 1, Value(Width(mebibytes)));
  return Subject(implementation).Build("linear_stack", {{"sizes", sizes}, {"bias", false}});
}

Measured::Measured(const std::string& source, Communicator& world, const std::string& run_folder)
    : communicator_(world.Split(0, world.rank())) {
  ImplementationContext context;
  context.rank = context.local_rank = world.rank();
  context.world_size = world.size();
  context.run_folder = run_folder;
  context.communicator = communicator_.get();
  implementation_ = LoadImplementation(source, context);
}

Outcome Measured::Call(std::string_view operation, Dict arguments) {
  return implementation_->Invoke(operation, arguments);
}

ShardedModel::ShardedModel(Measured& implementation, int64_t mebibytes, Units units)
    : implementation_(implementation), width_(Width(mebibytes)), model_(BuildUnits(implementation, mebibytes, units)) {}

ShardedModel::~ShardedModel() { implementation_.Call("implementation.reset", {}); }

void ShardedModel::Compute() { model_.Forward({at::ones({1, width_})}); }

// FULL and SHARDED dicts are copies, LOCAL ones views of the shards.
Dict ShardedModel::SaveApart(StateDictKind kind) {
  SetKind(kind);
  Dict saved = Save();
  return kind == StateDictKind::kLocal ? Subject(implementation_).Clone(saved).AsDict() : saved;
}

CallersState::CallersState(Dict state_dict) : saved(std::move(state_dict)), values(WithTensorsCopied(saved)) {}

int64_t ModelBytes(int64_t mebibytes) {
  return kLayers * Width(mebibytes) * Width(mebibytes) * static_cast<int64_t>(sizeof(float));
}

}  // namespace shardcts::bench

// An implementation in C++ of a single feature: it saves models sharded by rows, and gathers them again.
#include <ATen/ATen.h>
#include <comm/communicator.h>
#include <contract/implementation.h>
#include <models/zoo.h>

using namespace shardcts;

class RowSharding final : public Implementation {
 public:
  explicit RowSharding(const ImplementationContext& context) : ranks_(*context.communicator) {}
  Outcome Invoke(std::string_view op, const Dict& args) override try {
    if (op == "implementation.describe")
      return Value(Dict{{"name", "row_sharding"}, {"version", "1"},
                        {"capabilities", List{"core", "dtensor", "fsdp2", "-fsdp2.load", "layout.pytorch"}}});
    if (op == "implementation.reset") return models_.clear(), Value();
    if (op == "implementation.seed") return at::manual_seed(args.At("seed").AsInt()), Value();
    if (op == "model.build")
      return Add(models::BuildModel(args.At("model").AsString(), Or(args, "args", Dict()).AsDict(), at::kCPU));
    if (op == "model.copy") return Add(models::DeepCopy(Find(args)));
    if (op == "model.broadcast_parameters") return Broadcast(Find(args), args.At("src").AsInt());
    if (op == "model.wrap") return Find(args).set_extension(std::make_shared<models::ModuleExtension>()), Value();
    if (op == "model.state_dict") return Entries(Find(args), false, false);
    if (op == "model.parameters") return Entries(Find(args), Or(args, "remove_duplicate", true).AsBool(), true);
    if (op == "tensor.full") return Gather(args.At("value").AsDTensor());
    if (op == "tensor.to") return Value(args.At("value").AsTensor().to(args.At("device").AsString()));
    return Error{"NotImplementedError", std::string(op)};
  } catch (const std::exception& error) {
    return Error{"RuntimeError", error.what()};
  }

 private:
  models::Module& Find(const Dict& args) { return *models_.at(args.At("model").AsHandle().id); }
  Value Or(const Dict& args, const char* key, Value other) { return args.Contains(key) ? args.At(key) : other; }
  Value Add(models::ModulePtr root) { return models_.push_back(root), Handle{"model", std::ssize(models_) - 1}; }
  Value Broadcast(models::Module& model, int64_t source) {
    for (const auto& [name, p] : NamedParameters(model)) ranks_.Broadcast(p->value.detach(), int(source));
    return {};
  }
  Value Entries(models::Module& model, bool once, bool is_parameter) {
    Dict all;
    for (const auto& [name, p] : NamedParameters(model, once))
      all.Set(name, model.extension() ? Shard(p->value, is_parameter) : Tensor{p->value, is_parameter});
    return all;
  }
  Value Shard(const at::Tensor& full, bool is_parameter) {
    const at::Tensor rows = full.detach().chunk(ranks_.size()).at(ranks_.rank());
    const MeshLayout mesh{"cpu", {ranks_.size()}, {}, ranks_.global_ranks()};
    return DTensor{rows, mesh, {Placement::Shard(0)}, full.sizes().vec(), full.strides().vec(), false, is_parameter};
  }
  Value Gather(const DTensor& value) {
    const at::Tensor full = at::empty(value.shape, value.local.options());
    std::vector<at::Tensor> rows = full.chunk(ranks_.size());  // views of it
    return ranks_.AllGatherV(rows, value.local), full;
  }
  Communicator& ranks_;
  std::vector<models::ModulePtr> models_;  // a handle's id is its index here
};

SHARDCTS_IMPLEMENTATION(std::make_unique<RowSharding>)

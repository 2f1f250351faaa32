#include "suites/extended/wrapping.h"

#include "contract/dsd.h"
#include "contract/fsdp.h"
#include "rank/session.h"
#include "suites/extended/coded.h"

namespace shardcts::extended {
namespace {

// The root last.
std::vector<std::string> WithRoot(const ModelSpec& spec) {
  std::vector<std::string> paths = spec.units;
  paths.emplace_back();
  return paths;
}

void FullyShardAll(Model& model, const ModelSpec& spec, const FullyShardOptions& options) {
  for (const std::string& path : WithRoot(spec)) model.FullyShard(path, options);
}

void WrapAllFsdp(Model& model, const ModelSpec& spec, const FsdpOptions& options) {
  for (const std::string& path : WithRoot(spec)) WrapFsdp(model, path, options);
}

}  // namespace

Model BuildCoded(Trial& t, const ModelSpec& spec, std::string_view device) {
  Model model = t.subject().Build(spec.name, spec.args, device.empty() ? t.device() : device);
  if (device == "meta") return model;
  Dict tensors = model.Parameters();
  for (const auto& [name, buffer] : model.Buffers()) tensors.Set(name, buffer);
  model.SetValues(CodedLike(tensors));
  return model;
}

std::vector<int64_t> MeshShapeOf(std::string_view wrapper, int world_size) {
  const bool is_pair = wrapper == "hsdp" || wrapper == "fully_shard_tp" || wrapper == "fsdp_hybrid";
  const std::vector<int64_t> fixed = is_pair                ? std::vector<int64_t>{2}
                                     : wrapper == "hsdp_tp" ? std::vector<int64_t>{2, 2}
                                                            : std::vector<int64_t>{};
  int64_t rest = world_size;
  for (int64_t size : fixed) {
    if (rest % size != 0) throw HarnessError(fmt::format("{} over {} ranks", wrapper, world_size));
    rest /= size;
  }
  if (wrapper == "hsdp" || wrapper == "fsdp_hybrid") return {2, rest};
  if (wrapper == "fully_shard_tp") return {rest, 2};
  if (wrapper == "hsdp_tp") return {2, rest, 2};
  return {rest};
}

std::vector<std::string> MeshNamesOf(std::string_view wrapper) {
  if (wrapper == "hsdp" || wrapper == "fsdp_hybrid") return {"dp_replicate", "dp_shard"};
  if (wrapper == "fsdp_mesh") return {"dp_shard"};
  if (wrapper == "tp") return {"tp"};
  if (wrapper == "fully_shard_tp") return {"dp", "tp"};
  if (wrapper == "hsdp_tp") return {"dp_replicate", "dp_shard", "tp"};
  return {};
}

// fsdp_hybrid: FSDP1. All others: tensor parallel over the dimension "tp", fully_shard over the others.
void WrapOver(Trial& t, Model& model, const ModelSpec& spec, std::string_view wrapper,
              const std::vector<int64_t>& mesh_shape) {
  std::vector<std::string> names = MeshNamesOf(wrapper);
  const Mesh mesh = t.subject().InitMesh(mesh_shape, names);
  if (wrapper == "fsdp_hybrid") {
    return WrapAllFsdp(model, spec, {.device_mesh = mesh, .sharding_strategy = "HYBRID_SHARD", .use_orig_params = false});
  }
  const bool has_tp = names.back() == "tp";
  if (has_tp) {
    model.Parallelize(names.size() == 1 ? mesh : mesh.Submesh({"tp"}), spec.plan);
    names.pop_back();
  }
  if (!names.empty()) FullyShardAll(model, spec, {.mesh = has_tp ? mesh.Submesh(names) : mesh});
}

FsdpOptions FsdpOptionsOf(Trial& t, std::string_view wrapper) {
  FsdpOptions options;
  options.use_orig_params = wrapper == "fsdp_orig";
  if (wrapper == "fsdp_hybrid") options.sharding_strategy = "HYBRID_SHARD";
  if (wrapper == "fsdp_mesh" || wrapper == "fsdp_hybrid") {
    options.device_mesh = t.subject().InitMesh(MeshShapeOf(wrapper, t.world_size()), MeshNamesOf(wrapper));
  }
  return options;
}

void Wrap(Trial& t, Model& model, const ModelSpec& spec, std::string_view wrapper) {
  if (wrapper == "fsdp" || wrapper == "fsdp_orig" || wrapper == "fsdp_mesh" || wrapper == "fsdp_hybrid") {
    return WrapAllFsdp(model, spec, FsdpOptionsOf(t, wrapper));
  }
  if (!MeshNamesOf(wrapper).empty()) {
    return WrapOver(t, model, spec, wrapper, MeshShapeOf(wrapper, t.world_size()));
  }
  if (wrapper == "plain") return;
  if (wrapper == "ddp") return WrapDdp(model);
  if (wrapper == "replicate") return WrapReplicate(model);
  if (wrapper == "fully_shard") return FullyShardAll(model, spec, {});
  throw HarnessError(fmt::format("no wrapper \"{}\"", wrapper));
}

std::vector<int64_t> RanksOfHalf(const Trial& t, Halves halves) {
  const int64_t size = t.world_size() / 2;
  std::vector<int64_t> ranks;
  for (int64_t rank = 0; rank < t.world_size(); ++rank) {
    const bool with_us = halves == Halves::kBlocks ? rank / size == t.rank() / size : rank % 2 == t.rank() % 2;
    if (with_us) ranks.push_back(rank);
  }
  return ranks;
}

std::optional<ProcessGroup> WrapInHalves(Trial& t, Model& model, const ModelSpec& spec, std::string_view wrapper,
                                         Halves halves) {
  if (t.world_size() % 2 != 0) throw HarnessError(fmt::format("halves of {} ranks", t.world_size()));
  if (wrapper == "plain") return {};
  const int64_t size = t.world_size() / 2;
  if (wrapper == "fully_shard") {
    const bool blocks = halves == Halves::kBlocks;
    const Mesh mesh = blocks ? t.subject().InitMesh({2, size}, {"half", "dp"})
                             : t.subject().InitMesh({size, 2}, {"dp", "half"});
    FullyShardAll(model, spec, {.mesh = mesh.Submesh({"dp"})});
    return {};
  }
  FsdpOptions options = FsdpOptionsOf(t, wrapper);
  for (int64_t half = 0; half < 2; ++half) {  // every rank takes part in making both
    std::vector<int64_t> ranks;
    for (int64_t i = 0; i < size; ++i) ranks.push_back(halves == Halves::kBlocks ? half * size + i : 2 * i + half);
    const ProcessGroup group = NewGroup(model.caller(), ranks);
    if (ranks == RanksOfHalf(t, halves)) options.process_group = group;
  }
  WrapAllFsdp(model, spec, options);
  return options.process_group;
}

Model BuildWrapped(Trial& t, const ModelSpec& spec, std::string_view wrapper) {
  Model model = BuildCoded(t, spec);
  Wrap(t, model, spec, wrapper);
  return model;
}

void WrapMixed(Trial& t, Model& model, const std::string& path, const std::string& wrapper,
               const MixedPrecisionPolicy& policy) {
  if (wrapper == "fully_shard") return model.FullyShard(path, {.mp_policy = policy});
  FsdpOptions options = FsdpOptionsOf(t, wrapper);
  options.mixed_precision = FsdpMixedPrecision{.param_dtype = policy.param_dtype, .reduce_dtype = policy.reduce_dtype};
  WrapFsdp(model, path, options);
}

}  // namespace shardcts::extended

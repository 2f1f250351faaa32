#include "suites/extended/wrapping.h"

#include "contract/dsd.h"
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

void WrapAllFsdp(Model& model, const ModelSpec& spec, bool use_orig_params) {
  for (const std::string& path : WithRoot(spec)) WrapFsdp(model, path, {.use_orig_params = use_orig_params});
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
  const std::vector<int64_t> fixed = wrapper == "hsdp" || wrapper == "fully_shard_tp" ? std::vector<int64_t>{2}
                                     : wrapper == "hsdp_tp"                           ? std::vector<int64_t>{2, 2}
                                                                                      : std::vector<int64_t>{};
  int64_t rest = world_size;
  for (int64_t size : fixed) {
    if (rest % size != 0) throw HarnessError(fmt::format("{} over {} ranks", wrapper, world_size));
    rest /= size;
  }
  if (wrapper == "hsdp") return {2, rest};
  if (wrapper == "fully_shard_tp") return {rest, 2};
  if (wrapper == "hsdp_tp") return {2, rest, 2};
  return {rest};
}

std::vector<std::string> MeshNamesOf(std::string_view wrapper) {
  if (wrapper == "hsdp") return {"dp_replicate", "dp_shard"};
  if (wrapper == "tp") return {"tp"};
  if (wrapper == "fully_shard_tp") return {"dp", "tp"};
  if (wrapper == "hsdp_tp") return {"dp_replicate", "dp_shard", "tp"};
  return {};
}

// Tensor parallel over the dimension "tp", fully_shard over the others.
void WrapOver(Trial& t, Model& model, const ModelSpec& spec, std::string_view wrapper,
              const std::vector<int64_t>& mesh_shape) {
  std::vector<std::string> names = MeshNamesOf(wrapper);
  const Mesh mesh = t.subject().InitMesh(mesh_shape, names);
  const bool has_tp = names.back() == "tp";
  if (has_tp) {
    model.Parallelize(names.size() == 1 ? mesh : mesh.Submesh({"tp"}), spec.plan);
    names.pop_back();
  }
  if (!names.empty()) FullyShardAll(model, spec, {.mesh = has_tp ? mesh.Submesh(names) : mesh});
}

void Wrap(Trial& t, Model& model, const ModelSpec& spec, std::string_view wrapper) {
  if (!MeshNamesOf(wrapper).empty()) {
    return WrapOver(t, model, spec, wrapper, MeshShapeOf(wrapper, t.world_size()));
  }
  if (wrapper == "plain") return;
  if (wrapper == "ddp") return WrapDdp(model);
  if (wrapper == "replicate") return WrapReplicate(model);
  if (wrapper == "fsdp" || wrapper == "fsdp_orig") return WrapAllFsdp(model, spec, wrapper == "fsdp_orig");
  if (wrapper == "fully_shard") return FullyShardAll(model, spec, {});
  throw HarnessError(fmt::format("no wrapper \"{}\"", wrapper));
}

Model BuildWrapped(Trial& t, const ModelSpec& spec, std::string_view wrapper) {
  Model model = BuildCoded(t, spec);
  Wrap(t, model, spec, wrapper);
  return model;
}

}  // namespace shardcts::extended

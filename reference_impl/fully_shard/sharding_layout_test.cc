// The layouts of fully_shard on worlds of hundreds of ranks, which are threads here. Expected are the chunks of
// torch.chunk; a tensor whose elements are their own indices shows which chunk a rank really has.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <string>
#include <vector>

#include "comm/threads_communicator.h"
#include "fully_shard/fully_shard.h"
#include "models/zoo.h"
#include "state_dict/state_dict.h"
#include "tensor/sharding.h"

namespace shardcts::reference {
namespace {

struct ModelCase {
  std::string name;
  Dict args;
  int64_t shard_dim = 0;
};

// Every model of the zoo, with fewer rows than ranks, with more, and with a short last chunk.
std::vector<ModelCase> ModelCases() {
  return {
      {"linear", {{"in", 7}, {"out", 1000}}},
      {"linear", {{"in", 5}, {"out", 257}, {"bias", false}}},
      {"linear", {{"in", 255 * 256}, {"out", 3}, {"bias", false}}, 1},
      {"linear_stack", {{"sizes", List{5, 300, 511, 3}}}},
      {"mlp", {{"dim", 96}}},
      {"nested_mlp", {{"dim", 33}}},
      {"mlp_sequence", {{"dim", 64}, {"count", 2}}},
      {"mlp_stack", {{"dim", 50}, {"with_seq_parallel", true}}},
      {"transformer", {{"dropout_p", 0.0}, {"vocab_size", 1000}, {"dim", 32}, {"n_heads", 4}}},
      {"uneven_parameters", {{"shapes", List{List{769, 3}, List{1}, List{0, 2}, List{256, 1, 2}, List{17}}}}},
      {"multibuffer", {}},
      {"non_fsdp_root", {}},
      {"inner_outer", {{"register_buffers", true}}},
      {"dummy_shared", {}},
      {"one_parameter", {}},
      {"skip_model", {}},
      {"transformer_with_shared_params", {}},
      {"nested_blocks", {}},
      {"four_nets", {}},
      {"one_net", {}},
      {"unused_linear", {}},
      {"partly_replicated", {{"sparse", "sparse0"}, {"ranks", 2}}},
      {"composite_param", {}},
      {"tied_embedding", {{"vocab", 300}, {"dim", 7}}},
      {"two_linears", {{"dim", 65}}},
      {"fusion_embedding", {{"kind", "FusionEmbedding"}, {"vocab", 257}, {"fusion_vocab", 5}, {"dim", 3}}},
  };
}

// The last dimension shards, one before it replicates.
struct World {
  std::vector<int64_t> mesh;
  int64_t size() const { return mesh.size() == 1 ? mesh[0] : mesh[0] * mesh[1]; }
};

// A model whose elements are their own indices.
models::ModulePtr BuildCoded(const ModelCase& model_case) {
  models::ModulePtr model = models::BuildModel(model_case.name, model_case.args, at::kCPU);
  at::NoGradGuard no_grad;
  for (const auto& [name, parameter] : models::NamedParameters(*model)) {
    parameter->value.copy_(at::arange(parameter->value.numel()).view_as(parameter->value));
  }
  return model;
}

// What one rank should hold of a tensor.
struct Piece {
  at::Tensor tensor;
  std::vector<int64_t> offset;  // in the full tensor
};

// The chunks of torch.chunk; chunks that it does not return are empty.
std::vector<Piece> CutInPieces(const at::Tensor& full, int64_t dim, int64_t count) {
  std::vector<Piece> pieces;
  std::vector<int64_t> offset(full.dim(), 0);
  for (const at::Tensor& piece : full.chunk(count, dim)) {
    pieces.push_back({piece, offset});
    offset[dim] += piece.size(dim);
  }
  pieces.resize(count, {full.narrow(dim, 0, 0), offset});
  return pieces;
}

struct ExpectedParameter {
  std::string name;
  at::Tensor full;
  std::vector<Piece> pieces;
};

struct CodedModel {
  ModelCase model_case;
  models::ModulePtr model;
  std::vector<ExpectedParameter> parameters;  // tied ones under each name
};

std::vector<CodedModel> BuildAll(const World& world) {
  std::vector<CodedModel> all;
  for (const ModelCase& model_case : ModelCases()) {
    CodedModel coded{model_case, BuildCoded(model_case), {}};
    for (const auto& [name, parameter] : models::NamedParameters(*coded.model, false)) {
      const at::Tensor full = parameter->value.detach();
      coded.parameters.push_back({name, full, CutInPieces(full, model_case.shard_dim, world.mesh.back())});
    }
    all.push_back(std::move(coded));
  }
  return all;
}

std::shared_ptr<DeviceMesh> MakeMesh(Communicator& world, const std::vector<int64_t>& shape) {
  if (shape.size() == 1) return DeviceMesh::Create(world, "cpu", shape, {});
  return DeviceMesh::Create(world, "cpu", shape, {"replicate", "shard"});
}

void ShardChildrenAndRoot(models::Module& model, const FullyShardOptions& options) {
  for (const auto& [name, child] : model.children()) {
    const bool is_shared = child->extension() != nullptr;
    if (child->HasForward() && !is_shared) FullyShard(*child, options);
  }
  FullyShard(model, options);
}

void ExpectLayout(const DTensor& actual, const ExpectedParameter& expected, int64_t shard_dim, const World& world,
                  int rank) {
  const int64_t shards = world.mesh.back();
  const Piece& piece = expected.pieces[rank % shards];
  EXPECT_EQ(actual.local.sizes(), piece.tensor.sizes());
  EXPECT_TRUE(at::equal(actual.local, piece.tensor)) << "it holds other elements";
  EXPECT_EQ(GlobalOffset(actual.shape, actual.mesh->shape(), actual.mesh->coordinate(), actual.placements),
            piece.offset);
  EXPECT_EQ(actual.shape, expected.full.sizes().vec());
  EXPECT_EQ(actual.stride, expected.full.strides().vec());
  EXPECT_EQ(actual.mesh->shape(), world.mesh);
  std::vector<int64_t> coordinate = {rank % shards};
  if (world.mesh.size() == 2) coordinate.insert(coordinate.begin(), rank / shards);
  EXPECT_EQ(actual.mesh->coordinate(), coordinate);
  std::vector<Placement> placements(world.mesh.size(), Placement::Replicate());
  placements.back() = Placement::Shard(shard_dim);
  EXPECT_EQ(actual.placements, placements);
}

// Without the buffers, which stay plain.
StateDict SaveParameters(models::Module& model) {
  StateDict saved = SaveStateDict(model);
  std::erase_if(saved, [](const auto& entry) { return !std::holds_alternative<DTensor>(entry.second); });
  return saved;
}

// Returns how many tensors were looked at.
int64_t CheckModel(const CodedModel& coded, std::shared_ptr<DeviceMesh> mesh, const World& world, int rank) {
  const models::ModulePtr model = models::DeepCopy(*coded.model);
  FullyShardOptions options;
  options.mesh = std::move(mesh);
  options.shard_placement = [&](const models::Parameter&) { return coded.model_case.shard_dim; };
  ShardChildrenAndRoot(*model, options);
  const StateDict saved = SaveParameters(*model);
  EXPECT_EQ(saved.size(), coded.parameters.size()) << coded.model_case.name;
  for (size_t i = 0; i < std::min(saved.size(), coded.parameters.size()); ++i) {
    const ExpectedParameter& expected = coded.parameters[i];
    SCOPED_TRACE(testing::Message() << "rank " << rank << " " << coded.model_case.name << " " << expected.name);
    EXPECT_EQ(saved[i].first, expected.name);
    ExpectLayout(std::get<DTensor>(saved[i].second), expected, coded.model_case.shard_dim, world, rank);
  }
  return static_cast<int64_t>(saved.size());
}

int64_t CheckRank(Communicator& ranks, const World& world, const std::vector<CodedModel>& models) {
  const std::shared_ptr<DeviceMesh> mesh = MakeMesh(ranks, world.mesh);
  ranks.Abort("nothing communicates from here on");
  for (int64_t dim = 0; dim < mesh->NumDims(); ++dim) mesh->group(dim).Abort("nothing communicates from here on");
  int64_t checked = 0;
  for (const CodedModel& coded : models) checked += CheckModel(coded, mesh, world, ranks.rank());
  return checked;
}

class ShardingLayoutTest : public testing::TestWithParam<World> {};

TEST_P(ShardingLayoutTest, EveryRankHoldsThePieceThatChunkCuts) {
  const std::vector<CodedModel> models = BuildAll(GetParam());
  int64_t tensors = 0;
  for (const CodedModel& coded : models) tensors += static_cast<int64_t>(coded.parameters.size());
  std::atomic<int64_t> checked = 0;
  RunThreadRanks(static_cast<int>(GetParam().size()),
                 [&](Communicator& ranks) { checked += CheckRank(ranks, GetParam(), models); });
  EXPECT_EQ(checked, GetParam().size() * tensors);
}

INSTANTIATE_TEST_SUITE_P(Worlds, ShardingLayoutTest,
                         testing::Values(World{{256}}, World{{16, 16}}, World{{64, 4}}, World{{4, 64}}, World{{255}},
                                         World{{15, 17}}),
                         [](const testing::TestParamInfo<World>& info) {
                           std::string name = "Mesh";
                           for (int64_t size : info.param.mesh) name += "_" + std::to_string(size);
                           return name;
                         });

TEST(ShardingLayoutTest, TheCasesCoverTheZoo) {
  std::set<std::string> names;
  for (const ModelCase& model_case : ModelCases()) names.insert(model_case.name);
  const std::vector<std::string> models = models::ModelNames();
  std::set<std::string> zoo(models.begin(), models.end());
  zoo.erase("tree");  // no one model: whatever its argument describes
  EXPECT_EQ(names, zoo);
}

}  // namespace
}  // namespace shardcts::reference

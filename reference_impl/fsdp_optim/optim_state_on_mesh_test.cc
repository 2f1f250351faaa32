// Units on a device mesh: sharded optimizer state is DTensors, and loads as such.
#include "fsdp_optim/testing/optim_state_against_unsharded.h"
#include "tensor/sharding.h"

namespace shardcts::reference {
namespace {

using ::testing::HasSubstr;

struct MeshCase {
  std::string name;
  bool use_orig_params = false;
  bool is_hybrid = false;  // two replicas
};

class OptimStateOnMeshTest : public testing::TestWithParam<MeshCase> {
 protected:
  void SetUp() override {
    if (GetParam().is_hybrid && World().size() < 4) GTEST_SKIP() << "two replicas of one rank each are not sharded";
  }

  FsdpOptions Options() const {
    FsdpOptions options = OverTheWorld();
    options.use_orig_params = GetParam().use_orig_params;
    options.mesh = mesh_;
    if (GetParam().is_hybrid) {
      options.strategy = ShardingStrategy::kHybridShard;
      options.replicate_group = {mesh_, &mesh_->group(0)};
      options.shard_group = {mesh_, &mesh_->group(1)};
    }
    return options;
  }

  std::vector<Placement> Placements() const {
    if (GetParam().is_hybrid) return {Placement::Replicate(), Placement::Shard(0)};
    return {Placement::Shard(0)};
  }

  at::Tensor Whole(const shardcts::DTensor& value) const {
    return FullTensor({value.local, mesh_, value.placements, value.shape, value.stride});
  }

  // The state dict with its moments replaced by other values.
  template <class Change>
  static Dict WithMoments(Dict saved, const Change& change) {
    for (auto& [fqn, state] : saved.Find("state")->AsDict()) {
      for (auto& [name, value] : state.AsDict()) {
        if (value.type() == Value::Type::kDTensor) value = change(value.AsDTensor());
      }
    }
    return saved;
  }

  static void ExpectOwn(const Dict& loaded, const Pair& pair) {
    const Dict own = pair.optimizer->StateDict();
    ASSERT_EQ(StateOf(loaded).size(), StateOf(own).size());
    for (const auto& [id, state] : StateOf(own)) {
      ExpectSameState(StateOf(loaded).At(id).AsDict(), state.AsDict(), ToString(id));
    }
  }

  std::shared_ptr<DeviceMesh> mesh_ = GetParam().is_hybrid ? HybridMesh() : LineMesh();
};

INSTANTIATE_TEST_SUITE_P(All, OptimStateOnMeshTest,
                         testing::Values(MeshCase{"flat"}, MeshCase{"orig", true}, MeshCase{"flat_hybrid", false, true},
                                         MeshCase{"orig_hybrid", true, true}),
                         [](const auto& info) { return info.param.name; });

TEST_P(OptimStateOnMeshTest, ChunksAreDTensorsOnTheMesh) {
  const Pair pair = TrainedPair(Options());
  const Dict saved = Save(pair, {.shard_state = true});
  const auto expected = ExpectedState(pair);
  ASSERT_EQ(StateOf(saved).size(), expected.size());
  for (const auto& [fqn, state] : expected) {
    for (const char* name : {"exp_avg", "exp_avg_sq"}) {
      const shardcts::DTensor& value = StateOf(saved).At(fqn).AsDict().At(name).AsDTensor();
      const at::Tensor& whole = state.At(name).AsTensor();
      EXPECT_EQ(value.mesh, mesh_->layout()) << fqn;
      EXPECT_EQ(value.placements, Placements()) << fqn;
      EXPECT_EQ(value.shape, whole.sizes().vec()) << fqn;
      const int64_t last = mesh_->NumDims() - 1;
      const Range rows = Chunk(whole.size(0), mesh_->Size(last), mesh_->coordinate().at(static_cast<size_t>(last)));
      EXPECT_EQ(value.local.size(0), rows.size()) << fqn;
      EXPECT_TRUE(at::allclose(Whole(value), whole, kSumOrderTolerance, kSumOrderTolerance)) << fqn << " " << name;
    }
    EXPECT_EQ(StateOf(saved).At(fqn).AsDict().At("step").AsTensor().item<float>(), 2);
  }
}

TEST_P(OptimStateOnMeshTest, LoadingGivesTheOptimizersOwnLayoutBack) {
  const Pair pair = TrainedPair(Options());
  const Dict sharded = Save(pair, {.shard_state = true});
  ExpectOwn(ToLoad(pair, &sharded), pair);
  const Dict full = Save(pair);
  ExpectOwn(ToLoad(pair, &full), pair);
  const Dict* at_first = World().rank() == 0 ? &full : nullptr;
  ExpectOwn(ToLoad(pair, at_first, {.rank0_only = true}), pair);
}

// Other placements on the units' mesh are gathered first.
TEST_P(OptimStateOnMeshTest, ReplicatedMomentsLoadToo) {
  const Pair pair = TrainedPair(Options());
  const Dict replicated = WithMoments(Save(pair, {.shard_state = true}), [&](shardcts::DTensor value) {
    value.local = Whole(value);
    value.placements.assign(value.placements.size(), Placement::Replicate());
    return value;
  });
  ExpectOwn(ToLoad(pair, &replicated), pair);
}

TEST_P(OptimStateOnMeshTest, MomentsOnAnotherMeshAreRefused) {
  const Pair pair = TrainedPair(Options());
  const Dict elsewhere = WithMoments(Save(pair, {.shard_state = true}), [](shardcts::DTensor value) {
    value.mesh.dim_names.assign(value.mesh.shape.size(), "elsewhere");
    return value;
  });
  EXPECT_THAT(ErrorOf([&] { ToLoad(pair, &elsewhere); }), HasSubstr("is a DTensor on another mesh than the unit"));
}

}  // namespace
}  // namespace shardcts::reference

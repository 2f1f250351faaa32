// FSDP1 through the contract: wrappers and their paths, units, scopes, groups, gathering, bytes.
#include <gmock/gmock.h>

#include "operations/testing/reference_on_ranks.h"

namespace shardcts::reference {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FsdpOperationsTest : public ReferenceTest {
 protected:
  void Wrap(const Value& model, const std::string& path, const std::string& wrapper, const Dict& options = {}) {
    Run("model.wrap", {{"model", model}, {"path", path}, {"wrapper", wrapper}, {"options", options}});
  }
  // Linear "0" and the root, which owns Linear "1".
  Value BuildUnits(const Dict& options = {}) {
    const Value model = Build("linear_stack", {{"sizes", List{10, 10, 10}}, {"bias", false}});
    Wrap(model, "0", "fsdp", options);
    Wrap(model, "", "fsdp", options);
    return model;
  }
  Value Enter(const Value& model, const std::string& type) {
    return Run("fsdp.state_dict_type", {{"model", model}, {"type", type}});
  }
  void Exit(const Value& scope, bool raised = false) { Run("scope.exit", {{"scope", scope}, {"raised", raised}}); }
  std::string TypeOf(const Value& model) {
    return Run("fsdp.get_state_dict_type", {{"model", model}}).AsDict().At("type").AsString();
  }
  Dict PlainTwin() { return StateDictOf(Build("linear_stack", {{"sizes", List{10, 10, 10}}, {"bias", false}})); }
};

TEST_F(FsdpOperationsTest, UnitsSayWhatTheyHold) {
  const Value model = BuildUnits();
  const List units = Run("fsdp.units", {{"model", model}}).AsList();
  ASSERT_EQ(units.size(), 2u);
  EXPECT_EQ(units[0].AsDict().At("path").AsString(), "");
  EXPECT_EQ(units[1].AsDict().At("path").AsString(), "0");
  const Dict& flat = units[0].AsDict().At("flat_parameter").AsDict();
  EXPECT_THAT(flat.At("fqns").AsStrings(), ElementsAre("1.weight"));
  EXPECT_EQ(flat.At("numel").AsInt(), 100);
  EXPECT_EQ(flat.At("local_numel").AsInt(), 100 / World().size());
}

TEST_F(FsdpOperationsTest, ScopesEndAlsoWhenTheirBodyRaises) {
  const Value model = BuildUnits();
  for (bool raised : {false, true}) {
    const Value scope = Enter(model, "LOCAL");
    EXPECT_EQ(TypeOf(model), "LOCAL");
    Exit(scope, raised);
    EXPECT_EQ(TypeOf(model), "FULL");
    EXPECT_THAT(ErrorOf("scope.exit", {{"scope", scope}}), HasSubstr("ValueError: no scope has the handle"));

    const Value summoned = Run("fsdp.summon_full_params", {{"model", model}});
    EXPECT_THAT(Run("model.parameters", {{"model", model}}).AsDict().Keys(), ElementsAre("0.weight", "1.weight"));
    Run("model.fill", {{"model", model}, {"value", 2.5}});
    Exit(summoned, raised);
    EXPECT_THAT(Run("model.parameters", {{"model", model}}).AsDict().Keys(),
                ElementsAre("_flat_param", "0._flat_param"));
    for (const auto& [name, value] : StateDictOf(model)) EXPECT_TRUE((value.AsTensor() == 2.5).all().item<bool>());
  }
  EXPECT_THAT(ErrorOf("fsdp.state_dict_type",
                      {{"model", model}, {"type", "FULL"}, {"config", Dict{{"class", "LocalStateDictConfig"}}}}),
              HasSubstr("RuntimeError: Expected state_dict_config of type"));
}

TEST_F(FsdpOperationsTest, EveryTypeGoesThroughTheContractAndBack) {
  const Dict expected = PlainTwin();
  for (const char* type : {"FULL", "SHARDED", "LOCAL"}) {
    const Value model = BuildUnits();
    Run("fsdp.set_state_dict_type", {{"model", model}, {"type", type}});
    const Value saved = Clone(Run("model.state_dict", {{"model", model}}));
    const Value bytes = Run("state.serialize", {{"state_dict", saved}});
    const Value read = Run("state.deserialize", {{"data", bytes}});
    Run("model.fill", {{"model", model}, {"value", 0.0}});
    Run("model.load_state_dict", {{"model", model}, {"state_dict", read}});
    Run("fsdp.set_state_dict_type", {{"model", model}, {"type", "FULL"}});
    for (const auto& [name, value] : StateDictOf(model)) {
      EXPECT_TRUE(at::equal(value.AsTensor(), expected.At(name).AsTensor())) << type << " " << ToString(name);
    }
  }
}

TEST_F(FsdpOperationsTest, GatheringGivesWholeTensorsAndPassesOthersOn) {
  const Value model = BuildUnits();
  const Dict expected = PlainTwin();
  const Value scope = Enter(model, "SHARDED");
  Dict saved = StateDictOf(model);
  Exit(scope);
  const at::Tensor plain = at::ones({2});
  saved.Set("plain", plain);
  const Value gathered = Run("sharded.gather", {{"value", saved}});
  for (const auto& [name, value] : expected) {
    EXPECT_TRUE(at::equal(gathered.AsDict().At(name).AsTensor(), value.AsTensor())) << ToString(name);
  }
  EXPECT_EQ(gathered.AsDict().At("plain").AsTensor().data_ptr(), plain.data_ptr());
}

TEST_F(FsdpOperationsTest, WrappersAreListedAndNeverPartOfAPath) {
  const Value model = BuildUnits();
  Wrap(model, "0", "checkpoint", {{"innermost", true}});
  Wrap(model, "1", "checkpoint");
  const List modules = Run("model.modules", {{"model", model}}).AsList();
  ASSERT_EQ(modules.size(), 3u);
  EXPECT_THAT(modules[0].AsDict().At("wrappers").AsStrings(), ElementsAre("fsdp"));
  EXPECT_THAT(modules[1].AsDict().At("wrappers").AsStrings(), ElementsAre("fsdp", "checkpoint"));
  EXPECT_THAT(modules[2].AsDict().At("wrappers").AsStrings(), ElementsAre("checkpoint"));
  EXPECT_EQ(modules[1].AsDict().At("path").AsString(), "0");
  EXPECT_THAT(StateDictOf(model).Keys(), ElementsAre("0.weight", "1.weight"));
}

TEST_F(FsdpOperationsTest, SkippedModulesStayPlainAndComeLast) {
  const Value model = Build("linear_stack", {{"sizes", List{4, 4, 4}}, {"bias", false}});
  Wrap(model, "", "fsdp", {{"skip_modules", List{"0"}}});
  EXPECT_THAT(Run("model.parameters", {{"model", model}}).AsDict().Keys(), ElementsAre("_flat_param", "0.weight"));
}

TEST_F(FsdpOperationsTest, UnitsOverASmallerGroup) {
  const Value group = Run("group.new", {{"ranks", List{0, 1}}});
  if (World().rank() > 1) return;
  const Value model = BuildUnits({{"process_group", group}});
  const List units = Run("fsdp.units", {{"model", model}}).AsList();
  EXPECT_EQ(units[0].AsDict().At("world_size").AsInt(), 2);
  const Dict expected = PlainTwin();
  for (const auto& [name, value] : StateDictOf(model)) {
    EXPECT_TRUE(at::equal(value.AsTensor(), expected.At(name).AsTensor())) << ToString(name);
  }
}

TEST_F(FsdpOperationsTest, HalfReachesTheShards) {
  const Value model = BuildUnits();
  Run("model.to", {{"model", model}, {"dtype", "float16"}});
  for (const auto& [name, value] : StateDictOf(model)) EXPECT_EQ(value.AsTensor().scalar_type(), at::kHalf);
}

}  // namespace
}  // namespace shardcts::reference

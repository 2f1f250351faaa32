// The option timings=1 and the results of implementation.timings.
#include <gmock/gmock.h>

#include <stdexcept>

#include "operations/testing/reference_on_ranks.h"

namespace shardcts::reference {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class TimingsTest : public ReferenceTest {
 protected:
  TimingsTest() : ReferenceTest({{"timings", "1"}}) {}

  // Two linears, one unit each, and a unit around them that manages nothing.
  Value Units() {
    const Value model = Build("linear_stack", {{"sizes", List{4, 4, 4}}, {"bias", false}});
    for (const char* path : {"0", "1", ""}) {
      Run("model.wrap", {{"model", model}, {"path", path}, {"wrapper", "fsdp"}});
    }
    return model;
  }
  void SetType(const Value& model, const std::string& type) {
    Run("fsdp.set_state_dict_type", {{"model", model}, {"type", type}});
  }
  Dict Timings() { return Run("implementation.timings").AsDict(); }
  static int64_t Calls(const Dict& timings, const std::string& phase) {
    const Value of_phase = timings.At(phase);
    return of_phase.AsDict().At("calls").AsInt();
  }
  static double Seconds(const Dict& timings, const std::string& phase) {
    const Value of_phase = timings.At(phase);
    return of_phase.AsDict().At("seconds").AsDouble();
  }
};

std::vector<std::string> CapabilitiesIn(const Value& description) {
  return description.AsDict().At("capabilities").AsStrings();
}

TEST_F(TimingsTest, TheCapabilityIsDeclaredAndEveryPhaseListed) {
  EXPECT_THAT(CapabilitiesIn(Run("implementation.describe")), Contains("timings"));
  EXPECT_THAT(Timings().Keys(), ElementsAre("hooks", "unshard", "gather", "device_copy", "reshard"));
}

TEST_F(TimingsTest, AFullStateDictGathersEachUnitOnce) {
  const Value model = Units();
  SetType(model, "FULL");
  EXPECT_EQ(Calls(Timings(), "gather"), 0) << "nothing is measured outside of state-dict calls";
  StateDictOf(model);
  const Dict timings = Timings();
  EXPECT_EQ(Calls(timings, "gather"), 2);
  EXPECT_EQ(Calls(timings, "unshard"), 2);
  EXPECT_GT(Calls(timings, "hooks"), 0);
  EXPECT_GT(Seconds(timings, "gather"), 0);
}

TEST_F(TimingsTest, PhasesOfSavingAndLoadingAddUpUntilAReset) {
  const Value model = Units();
  SetType(model, "SHARDED");
  const Dict saved = StateDictOf(model);
  EXPECT_EQ(Calls(Timings(), "gather"), 2);
  Run("model.load_state_dict", {{"model", model}, {"state_dict", saved}});
  EXPECT_GT(Calls(Timings(), "gather"), 2);
  Run("implementation.reset");
  EXPECT_EQ(Calls(Timings(), "gather"), 0);
  EXPECT_EQ(Seconds(Timings(), "gather"), 0);
}

TEST_F(ReferenceTest, WithoutTheOptionNothingIsMeasured) {
  EXPECT_THAT(CapabilitiesIn(Run("implementation.describe")), Not(Contains("timings")));
  EXPECT_THAT(ErrorOf("implementation.timings"), HasSubstr("NotImplementedError: timings are measured with"));
}

TEST_F(ReferenceTest, WrongValuesOfTheOptionAreRefused) {
  for (const std::string value : {"2", "yes", ""}) {
    EXPECT_THAT([&] { ReferenceImplementation refused(Context({{"timings", value}})); },
                testing::ThrowsMessage<std::invalid_argument>("reference: timings is 0 or 1, not " + value));
  }
  ReferenceImplementation accepted(Context({{"timings", "0"}}));
}

}  // namespace
}  // namespace shardcts::reference

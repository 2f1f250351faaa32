#include "mutants/mutant.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <set>

#include "run_files/input_error.h"

namespace shardcts {
namespace {

// Gives a fixed state dict and remembers the calls.
class FixedImplementation : public Implementation {
 public:
  Outcome Invoke(std::string_view operation, const Dict&) override {
    if (operation != "model.state_dict") return Error{"NotImplementedError", std::string(operation)};
    return Value(Dict{{"0.in.weight", at::ones({2})}, {"bias", at::ones({2})}});
  }
};

std::vector<std::string> KeysUnder(const std::string& mutant) {
  auto implementation = MakeMutant(mutant, std::make_unique<FixedImplementation>(), {});
  return implementation->Invoke("model.state_dict", {{"model", Handle{"model", 1}}}).value().AsDict().Keys();
}

TEST(Mutants, AreSortedUniqueAndDescribed) {
  std::string last;
  ASSERT_GE(AllMutants().size(), 12u);
  for (const MutantInfo& info : AllMutants()) {
    EXPECT_LT(last, info.name);
    EXPECT_FALSE(info.description.empty()) << info.name;
    EXPECT_FALSE(info.expected_checks.empty()) << info.name;
    last = info.name;
  }
}

TEST(Mutants, UnknownNameIsToldTheNearest) {
  try {
    MakeMutant("state_dict_clond", std::make_unique<FixedImplementation>(), {});
    FAIL();
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(),
                 "unknown mutant \"state_dict_clond\"; the nearest known one is \"state_dict_cloned\"");
  }
}

TEST(Mutants, ChangeWhatTheySayAndNothingElse) {
  EXPECT_EQ(KeysUnder("state_dict_cloned"), (std::vector<std::string>{"0.in.weight", "bias"}));
  EXPECT_EQ(KeysUnder("state_dict_reversed"), (std::vector<std::string>{"bias", "0.in.weight"}));
  EXPECT_EQ(KeysUnder("state_dict_drops_last_key"), (std::vector<std::string>{"0.in.weight"}));
  EXPECT_EQ(KeysUnder("state_dict_prefix_leaks"),
            (std::vector<std::string>{"0._fsdp_wrapped_module.in.weight", "bias"}));
}

TEST(Mutants, AnErrorOfTheImplementationStaysAnError) {
  auto implementation = MakeMutant("balanced_split", std::make_unique<FixedImplementation>(), {});
  const Outcome outcome = implementation->Invoke("model.fill", {});
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.error().kind, "NotImplementedError");
}

}  // namespace
}  // namespace shardcts

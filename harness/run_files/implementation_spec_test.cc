#include "run_files/implementation_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "run_files/input_error.h"
#include "run_files/shipped_implementations.h"

namespace shardcts {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;

std::string ErrorOfSpec(const std::string& text) {
  try {
    ParseImplementationSpec(text);
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

TEST(ImplementationSpecTest, ReadsNameDeviceAndOptions) {
  const ImplementationSpec spec = ParseImplementationSpec("torch,device=cpu,backend=gloo");
  EXPECT_EQ(spec.label, "torch,backend=gloo");
  EXPECT_EQ(spec.source, "torch");
  EXPECT_EQ(spec.device, "cpu");
  EXPECT_THAT(spec.options, ElementsAre(Pair("backend", "gloo")));
  EXPECT_EQ(spec.mutant, std::nullopt);
}

TEST(ImplementationSpecTest, ReadsMutant) {
  const ImplementationSpec spec = ParseImplementationSpec("reference+mutant=state_dict_cloned,device=cpu");
  EXPECT_EQ(spec.label, "reference+mutant=state_dict_cloned");
  EXPECT_EQ(spec.source, "reference");
  EXPECT_EQ(spec.mutant, "state_dict_cloned");
}

TEST(ImplementationSpecTest, SameMeaningSameLabel) {
  EXPECT_EQ(ParseImplementationSpec("/v.so,z=1,device=cuda,a=2"), ParseImplementationSpec("/v.so,a=2,z=1,device=cuda"));
  EXPECT_EQ(ParseImplementationSpec("/v.so,z=1,device=cuda,a=2").label, "/v.so,device=cuda,a=2,z=1");
}

TEST(ImplementationSpecTest, LabelReadsBackAsTheSameSpec) {
  for (const char* text : {"reference", "python:my.module:Class,k=v", "torch+mutant=m,device=cuda", "/a/b+c.so"}) {
    const ImplementationSpec spec = ParseImplementationSpec(text);
    EXPECT_EQ(ParseImplementationSpec(spec.label), spec) << text;
  }
}

TEST(ImplementationSpecTest, LibraryPathBecomesAbsolute) {
  const ImplementationSpec spec = ParseImplementationSpec("./vendor.so");
  EXPECT_EQ(spec.source, (std::filesystem::current_path() / "vendor.so").string());
  EXPECT_EQ(spec.label, "./vendor.so");
}

TEST(ImplementationSpecTest, UnknownNameListsWhatIsPossible) {
  EXPECT_THAT(ErrorOfSpec("pytorch"), AllOf(HasSubstr("'pytorch'"), HasSubstr("reference, torch, python:MODULE:CLASS")));
  EXPECT_THAT(ErrorOfSpec("pytorch"), Not(HasSubstr("reference-mutant")));  // for developers
  EXPECT_THAT(ErrorOfSpec(""), HasSubstr("no implementation is named"));
  EXPECT_THAT(ErrorOfSpec("reference+foo=1"), HasSubstr("unknown implementation 'reference+foo=1'"));
}

TEST(ImplementationSpecTest, OptionsOfShippedImplementationsAreKnown) {
  EXPECT_EQ(ErrorOfSpec("reference,timngs=1"),
            "--impl reference,timngs=1: unknown option \"timngs\"; the nearest known one is \"timings\"");
  EXPECT_EQ(ErrorOfSpec("torch,devise=cpu"),
            "--impl torch,devise=cpu: unknown option \"devise\"; the nearest known one is \"device\"");
  for (const ShippedImplementation& shipped : kShippedImplementations) {
    for (const std::string_view option : shipped.options) {
      EXPECT_EQ(ErrorOfSpec(std::string(shipped.name) + "," + std::string(option) + "=1"), "no error");
    }
  }
  EXPECT_EQ(ErrorOfSpec("python:module:Class,timngs=1"), "no error");
}

TEST(ImplementationSpecTest, BadTextsAreOneLineErrors) {
  EXPECT_THAT(ErrorOfSpec("python:module"), HasSubstr("not python:MODULE:CLASS"));
  EXPECT_THAT(ErrorOfSpec("python:1x:C"), HasSubstr("not python:MODULE:CLASS"));
  EXPECT_THAT(ErrorOfSpec("torch,device"), HasSubstr("'device' is not key=value"));
  EXPECT_THAT(ErrorOfSpec("torch,=x"), HasSubstr("not key=value"));
  EXPECT_THAT(ErrorOfSpec("torch,device="), HasSubstr("'device' has no value"));
  EXPECT_THAT(ErrorOfSpec("torch,device=cpu,device=cpu"), HasSubstr("'device' is given twice"));
  EXPECT_THAT(ErrorOfSpec("torch,a=1,a=2"), HasSubstr("'a' is given twice"));
  EXPECT_THAT(ErrorOfSpec("torch+mutant="), HasSubstr("names no mutant"));
  EXPECT_THAT(ErrorOfSpec("torch,mutant=x"), HasSubstr("NAME+mutant=x"));
  EXPECT_THAT(ErrorOfSpec("torch,python_class=x"), HasSubstr("set by the harness"));
}

}  // namespace
}  // namespace shardcts

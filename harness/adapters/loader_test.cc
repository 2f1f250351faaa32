#include "adapters/loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "run_files/input_error.h"

namespace shardcts {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

std::string TestLibrary(const std::string& name) {
  return std::string(SHARDCTS_TEST_LIBRARY_FOLDER) + "/libshardcts_test_" + name + ".so";
}

std::string ErrorOf(const std::string& source) {
  try {
    LoadImplementation(source, ImplementationContext{});
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

TEST(LoaderTest, LibraryIsLoadedWithItsContext) {
  ImplementationContext context;
  context.rank = 3;
  auto implementation = LoadImplementation(TestLibrary("echo"), context);
  const Outcome outcome = implementation->Invoke("test.echo", Dict{{"x", 7}});
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome.value().AsDict().At("x").AsInt(), 7);
  EXPECT_EQ(outcome.value().AsDict().At("rank").AsInt(), 3);
  EXPECT_EQ(implementation->Invoke("test.other", {}).error(), (Error{"NotImplementedError", "test.other"}));
  EXPECT_EQ(implementation->library(), std::filesystem::path(TestLibrary("echo")).lexically_normal());
}

TEST(LoaderTest, ValuesOutliveTheImplementation) {
  Outcome outcome = Value();
  {
    auto implementation = LoadImplementation(TestLibrary("echo"), ImplementationContext{});
    outcome = implementation->Invoke("test.echo", Dict{{"x", "text"}});
  }
  EXPECT_EQ(outcome.value().AsDict().At("x").AsString(), "text");
}

TEST(LoaderTest, MissingFileIsNamed) { EXPECT_EQ(ErrorOf("/nowhere/x.so"), "/nowhere/x.so: no such file"); }

TEST(LoaderTest, FileThatIsNoLibraryIsNamed) {
  const std::string path = ::testing::TempDir() + "text.so";
  std::ofstream(path) << "this is text\n";
  EXPECT_THAT(ErrorOf(path), AllOf(HasSubstr("text.so: cannot be loaded: "), Not(HasSubstr("\n"))));
}

TEST(LoaderTest, LibraryWithoutEntryPointIsNamed) {
  EXPECT_THAT(ErrorOf(TestLibrary("no_entry_point")),
              AllOf(HasSubstr("no_entry_point.so: "), EndsWith("it has no entry point shardcts_contract_abi")));
}

TEST(LoaderTest, OtherContractShowsBothVersions) {
  EXPECT_THAT(ErrorOf(TestLibrary("other_abi")),
              AllOf(HasSubstr("'shardcts-contract-0 of old'"), HasSubstr("'" SHARDCTS_CONTRACT_ABI "'")));
}

TEST(LoaderTest, FailedConstructorIsOneLine) {
  EXPECT_THAT(ErrorOf(TestLibrary("throwing")), EndsWith("throwing.so: no licence for this host"));
}

TEST(LoaderTest, WhatIsNoExceptionIsTheImplementationsFaultToo) {
  auto implementation = LoadImplementation(TestLibrary("throwing_int"), ImplementationContext{});
  EXPECT_EQ(implementation->Invoke("test.any", {}).error(),
            (Error{"ContractViolation", "Invoke must not throw, it threw what is no std::exception"}));
  ImplementationContext context;
  context.options["at"] = "constructor";
  try {
    LoadImplementation(TestLibrary("throwing_int"), context);
    FAIL() << "no error";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), EndsWith("throwing_int.so: shardcts_create threw what is no std::exception"));
  }
}

TEST(LoaderTest, TextsOfErrorsAndWarningsAreBounded) {
  auto implementation = LoadImplementation(TestLibrary("throwing_int"), ImplementationContext{});
  const Outcome outcome = implementation->Invoke("test.long", {});
  EXPECT_LT(outcome.error().kind.size(), 1100u);
  EXPECT_THAT(outcome.error().message, EndsWith("xxx… (5000000 bytes)"));
  EXPECT_LT(outcome.error().message.size(), 66'000u);
  EXPECT_EQ(outcome.warnings.size(), 1000u);
  EXPECT_LT(outcome.warnings.front().message.size(), 66'000u);
}

TEST(LoaderTest, LibraryThatDoesNotSayThatItCanBePreloadedIsNot) {
  try {
    PreloadImplementation(TestLibrary("echo"), {});
    FAIL() << "no error";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), EndsWith("echo.so: does not say that it can be preloaded"));
  }
}

TEST(LoaderTest, UnknownSourceListsWhatIsPossible) {
  EXPECT_EQ(ErrorOf("pytorch"),
            "unknown implementation 'pytorch'; possible: reference, torch, python:MODULE:CLASS, PATH.so");
  EXPECT_EQ(ErrorOf("python:x"), "python:x: not python:MODULE:CLASS");
}

}  // namespace
}  // namespace shardcts

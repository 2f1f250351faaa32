#include "rank/data_communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "rank/control_plane.h"
#include "rank/local_device.h"
#include "run_files/input_error.h"
#include "run_files/program_folder.h"

namespace shardcts {
namespace {

using testing::HasSubstr;

Plan PlanFor(const std::string& source, const std::string& device, const std::string& comm = "") {
  Plan plan;
  plan.implementation.source = source;
  plan.implementation.device = device;
  if (!comm.empty()) plan.implementation.options["comm"] = comm;
  return plan;
}

// What is wrong with the plan; empty: nothing.
std::string Problem(const Plan& plan) {
  try {
    DataCommunicator{plan};
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

TEST(DataCommunicatorTest, MpiIsNeededWhereItIsAskedForOrALauncherStartsTheRanks) {
  EXPECT_FALSE(DataCommunicator::NeedsMpi(PlanFor("reference", "cpu")));
  EXPECT_FALSE(DataCommunicator::NeedsMpi(PlanFor("torch", "cpu")));
  EXPECT_TRUE(DataCommunicator::NeedsMpi(PlanFor("reference", "cpu", "mpi")));
  EXPECT_TRUE(DataCommunicator::NeedsMpi(PlanFor("torch", "cpu", "mpi")));
  Plan launched = PlanFor("/x/vendor.so", "cpu");
  launched.launched = true;
  EXPECT_TRUE(DataCommunicator::NeedsMpi(launched));
  launched.implementation.options["comm"] = "local";
  EXPECT_FALSE(DataCommunicator::NeedsMpi(launched));
}

TEST(DataCommunicatorTest, PythonClassesGetNone) {
  ControlPlane alone;
  EXPECT_EQ(DataCommunicator(PlanFor("torch", "cpu")).Make(alone, 0), nullptr);
  EXPECT_EQ(DataCommunicator(PlanFor("reference", "cpu")).Make(alone, 0)->backend(), "local");
  EXPECT_EQ(DataCommunicator(PlanFor("torch", "cuda")).nccl_version(), "");
  EXPECT_EQ(DataCommunicator(PlanFor("python:vendor.adapter:Adapter", "cuda")).nccl_version(), "");
}

TEST(DataCommunicatorTest, WrongOptionsAreNamed) {
  EXPECT_EQ(Problem(PlanFor("reference", "cpu", "gloo")), "option comm=gloo: possible: local, mpi, nccl, staged, none");
  EXPECT_EQ(Problem(PlanFor("reference", "cuda", "local")),
            "option comm=local carries tensors of device cpu, not of cuda");
  EXPECT_EQ(Problem(PlanFor("reference", "cuda", "mpi")),
            "option comm=mpi carries tensors of device cpu, not of cuda");
  EXPECT_EQ(Problem(PlanFor("reference", "cpu", "nccl")),
            "option comm=nccl carries tensors of device cuda, not of cpu");
}

TEST(DataCommunicatorTest, WhatNoCommunicatorCarriesIsSaid) {
  EXPECT_EQ(Problem(PlanFor("reference", "cpu", "staged")),
            "option comm=staged carries tensors of any device but the CPU, not of cpu");
  ControlPlane alone;
  const DataCommunicator vendors(PlanFor("/x/vendor.so", "npu"));
  EXPECT_THROW(vendors.Make(alone, 0), InputError);  // LibTorch has no such device
  EXPECT_EQ(DataCommunicator(PlanFor("/x/vendor.so", "npu", "none")).Make(alone, 0), nullptr);
  EXPECT_EQ(DataCommunicator(PlanFor("python:vendor.adapter:Adapter", "npu")).Make(alone, 0), nullptr);
  EXPECT_EQ(Problem(PlanFor("/x/vendor.so", "npu", "mpi")),
            "option comm=mpi carries tensors of device cpu, not of npu");
}

TEST(DataCommunicatorTest, DevicesWithoutCollectivesAreStagedAndShared) {
  ControlPlane alone;
  const DataCommunicator staged(PlanFor("reference", "hostdev"));
  EXPECT_EQ(staged.Make(alone, 0)->device(), at::Device("hostdev:0"));
  EXPECT_EQ(staged.Make(alone, 9)->device(), at::Device("hostdev:1"));  // of 8
  EXPECT_EQ(staged.Make(alone, 0)->backend(), "staged over local");
  EXPECT_EQ(CountDevices("hostdev"), 8);
  EXPECT_EQ(CountDevices("npu"), 0);
  EXPECT_THAT(NameOfDevices("hostdev"), HasSubstr("emulated accelerator"));
  Plan launched = PlanFor("reference", "hostdev");
  launched.launched = true;
  EXPECT_TRUE(DataCommunicator::NeedsMpi(launched));
}

TEST(DataCommunicatorTest, WhatDoesNotBringTheDeviceTypeIsNamed) {
  Plan plan = PlanFor("/x/vendor.so", "npu");
  plan.implementation.options["import"] = "/nowhere/libnpu.so";
  EXPECT_EQ(Problem(plan), "option import=/nowhere/libnpu.so: no such file");
  plan.implementation.options["import"] = OwnLibrary("libshardcts_contract.so");
  EXPECT_THAT(Problem(plan), testing::EndsWith("after it LibTorch has no device of type npu"));
}

TEST(DataCommunicatorTest, WithoutNcclOrGpuTheReasonIsOneLine) {
  const std::string problem = Problem(PlanFor("reference", "cuda", "nccl"));
  if (problem.empty()) GTEST_SKIP() << "this machine has NCCL and a GPU";
  EXPECT_THAT(problem, testing::StartsWith("communicator nccl: "));
  EXPECT_THAT(problem, testing::Not(HasSubstr("\n")));
}

}  // namespace
}  // namespace shardcts

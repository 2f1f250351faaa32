#include "rank/data_communicator.h"

#include "comm/nccl_communicator.h"
#include "comm/nccl_library.h"
#include "run_files/input_error.h"
#include "run_files/program_folder.h"
#include "run_files/shipped_implementations.h"

namespace shardcts {
namespace {

std::string Choice(const Plan& plan) {
  const auto option = plan.options.find("comm");
  if (option != plan.options.end()) return option->second;
  const ShippedImplementation* shipped = FindShipped(plan.source);
  const bool is_library = shipped ? !shipped->library.empty() : plan.source.ends_with(".so");
  return plan.device == "cuda" && is_library ? "nccl" : "mpi";
}

// What a value of comm carries tensors of.
std::string DeviceOf(const std::string& choice) {
  if (choice == "mpi" || choice == "nccl-emulator") return "cpu";
  if (choice == "nccl") return "cuda";
  throw InputError("option comm=" + choice + ": possible: mpi, nccl, nccl-emulator");
}

}  // namespace

DataCommunicator::DataCommunicator(const Plan& plan) {
  const std::string choice = Choice(plan);
  const std::string device = DeviceOf(choice);
  if (plan.options.contains("comm") && device != plan.device) {
    throw InputError("option comm=" + choice + " carries tensors of device " + device + ", not of " + plan.device);
  }
  try {
    if (choice == "nccl") nccl_ = LoadNccl();
    if (choice == "nccl-emulator") nccl_ = LoadNcclEmulator(OwnLibrary("libshardcts_nccl_emulator.so"));
  } catch (const NcclNotUsable& error) {
    throw InputError("communicator " + choice + ": " + error.what());
  }
}

std::unique_ptr<Communicator> DataCommunicator::Make(Communicator& world, int local_rank) const {
  if (!nccl_) return world.Split(0, world.rank());
  try {
    return MakeNcclCommunicator(world, nccl_, local_rank);
  } catch (const NcclNotUsable& error) {
    throw InputError(error.what());
  }
}

std::string DataCommunicator::nccl_version() const { return nccl_ ? nccl_->version : ""; }

}  // namespace shardcts

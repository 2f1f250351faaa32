#include "rank/data_communicator.h"

#include "comm/local_communicator.h"
#include "comm/mpi_communicator.h"
#include "comm/nccl_communicator.h"
#include "comm/nccl_library.h"
#include "run_files/input_error.h"
#include "run_files/shipped_implementations.h"

namespace shardcts {
namespace {

std::string Choice(const Plan& plan) {
  const ImplementationSpec& spec = plan.implementation;
  const auto option = spec.options.find("comm");
  if (option != spec.options.end()) return option->second == "none" ? "" : option->second;
  const ShippedImplementation* shipped = FindShipped(spec.source);
  const bool is_library = shipped ? !shipped->library.empty() : spec.source.ends_with(".so");
  if (!is_library) return "";
  if (spec.device == "cuda") return "nccl";
  if (spec.device == "cpu") return plan.launched ? "mpi" : "local";
  throw InputError("no communicator of ours carries tensors of device " + spec.device +
                   " (local, mpi: cpu; nccl: cuda); comm=none gives the library none");
}

// The device whose tensors a value of comm supports.
std::string DeviceOf(const std::string& choice) {
  if (choice == "local" || choice == "mpi") return "cpu";
  if (choice == "nccl") return "cuda";
  throw InputError("option comm=" + choice + ": possible: local, mpi, nccl, none");
}

}  // namespace

DataCommunicator::DataCommunicator(const Plan& plan) : choice_(Choice(plan)) {
  if (choice_.empty()) return;
  const std::string device = DeviceOf(choice_);
  if (plan.implementation.options.contains("comm") && device != plan.implementation.device) {
    throw InputError("option comm=" + choice_ + " carries tensors of device " + device + ", not of " +
                     plan.implementation.device);
  }
  try {
    if (choice_ == "nccl") nccl_ = LoadNccl();
  } catch (const NcclNotUsable& error) {
    throw InputError("communicator " + choice_ + ": " + error.what());
  }
}

bool DataCommunicator::NeedsMpi(const Plan& plan) { return Choice(plan) == "mpi"; }

std::unique_ptr<Communicator> DataCommunicator::Make(Rendezvous& rendezvous, int local_rank) const {
  if (choice_.empty()) return nullptr;
  if (choice_ == "local") return MakeLocalCommunicator(rendezvous);
  if (choice_ == "mpi") return MakeMpiCommunicator();
  try {
    return MakeNcclCommunicator(rendezvous, nccl_, local_rank);
  } catch (const NcclNotUsable& error) {
    throw InputError(error.what());
  }
}

std::string DataCommunicator::nccl_version() const { return nccl_ ? nccl_->version : ""; }

}  // namespace shardcts

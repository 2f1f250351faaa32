#include "rank/data_communicator.h"

#include "comm/local_communicator.h"
#include "comm/mpi_communicator.h"
#include "comm/nccl_communicator.h"
#include "comm/nccl_loading.h"
#include "comm/staged_communicator.h"
#include "rank/local_device.h"
#include "run_files/input_error.h"
#include "run_files/shipped_implementations.h"

namespace shardcts {
namespace {

constexpr char kNcclOrStaged[] = "nccl or staged";

bool IsLibrary(const ImplementationSpec& spec) {
  const ShippedImplementation* shipped = FindShipped(spec.source);
  return shipped ? !shipped->library.empty() : spec.source.ends_with(".so");
}

std::string Choice(const Plan& plan) {
  const ImplementationSpec& spec = plan.implementation;
  const auto option = spec.options.find("comm");
  if (option != spec.options.end()) return option->second == "none" ? "" : option->second;
  if (!IsLibrary(spec)) return "";
  if (spec.device == "cpu") return plan.launched ? "mpi" : "local";
  return spec.device == "cuda" ? kNcclOrStaged : "staged";
}

// Whether a value of comm carries tensors of that device type, and which it carries.
std::pair<bool, std::string> Carries(const std::string& choice, const std::string& device) {
  if (choice == "local" || choice == "mpi") return {device == "cpu", "device cpu"};
  if (choice == "nccl" || choice == kNcclOrStaged) return {device == "cuda", "device cuda"};
  if (choice == "staged") return {device != "cpu", "any device but the CPU"};
  throw InputError("option comm=" + choice + ": possible: local, mpi, nccl, staged, none");
}

}  // namespace

DataCommunicator::DataCommunicator(const Plan& plan)
    : choice_(Choice(plan)), device_(plan.implementation.device), over_mpi_(plan.launched) {
  if (!choice_.empty()) {
    const auto [fits, carried] = Carries(choice_, device_);
    if (!fits) throw InputError("option comm=" + choice_ + " carries tensors of " + carried + ", not of " + device_);
  }
  if (IsLibrary(plan.implementation) && device_ != "cpu") BringDeviceType(plan.implementation);
  if (choice_ != "nccl" && choice_ != kNcclOrStaged) return;
  try {
    nccl_ = LoadNccl();
  } catch (const NcclNotUsable& error) {
    if (choice_ == "nccl") throw InputError("communicator " + choice_ + ": " + error.what());
  }
}

bool DataCommunicator::NeedsMpi(const Plan& plan) {
  const std::string choice = Choice(plan);
  return choice == "mpi" || (plan.launched && (choice == "staged" || choice == kNcclOrStaged));
}

std::unique_ptr<Communicator> DataCommunicator::Make(Rendezvous& rendezvous, int local_rank) const {
  if (choice_.empty()) return nullptr;
  if (choice_ == "local") return MakeLocalCommunicator(rendezvous);
  if (choice_ == "mpi") return MakeMpiCommunicator();
  if (choice_ == "staged") return MakeStaged(rendezvous, local_rank);
  if (choice_ == kNcclOrStaged) return MakeNcclOrStaged(rendezvous, local_rank);
  try {
    return MakeNcclCommunicator(rendezvous, nccl_, local_rank);
  } catch (const NcclNotUsable& error) {
    throw InputError(error.what());
  }
}

std::unique_ptr<Communicator> DataCommunicator::MakeStaged(Rendezvous& rendezvous, int local_rank) const {
  const at::Device device = OpenSharedDevice(device_, local_rank);
  return MakeStagedCommunicator(over_mpi_ ? MakeMpiCommunicator() : MakeLocalCommunicator(rendezvous), device);
}

std::unique_ptr<Communicator> DataCommunicator::MakeNcclOrStaged(Rendezvous& rendezvous, int local_rank) const {
  bool all_have_it = true;
  for (const std::string& has_it : rendezvous.AllGather(nccl_ ? "yes" : "no")) all_have_it &= has_it == "yes";
  if (!all_have_it) return MakeStaged(rendezvous, local_rank);
  try {
    return MakeNcclCommunicator(rendezvous, nccl_, local_rank);
  } catch (const NcclNotUsable&) {  // on every rank: one has no GPU of its own
    return MakeStaged(rendezvous, local_rank);
  }
}

std::string DataCommunicator::nccl_version() const { return nccl_ ? NcclVersion(*nccl_) : ""; }

}  // namespace shardcts

#include "operations/reference_implementation.h"

#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <stdexcept>

#include "contract/argument_check.h"
#include "contract/unsupported_option.h"
#include "operations/errors.h"
#include "tensor/direct_memory.h"

namespace shardcts::reference {
namespace {

HandlerTable AllHandlers() {
  HandlerTable table;
  AddLifecycleHandlers(table);
  AddMeshHandlers(table);
  AddModelHandlers(table);
  AddForwardHandlers(table);
  AddWrapperHandlers(table);
  AddFsdpHandlers(table);
  AddFsdpOptimHandlers(table);
  AddDsdHandlers(table);
  AddStateHandlers(table);
  AddTensorHandlers(table);
  AddOptimizerHandlers(table);
  AddCheckpointHandlers(table);
  AddCheckpointPlanHandlers(table);
  return table;
}

// The communicator's device is this rank's, and the current one from here on: tensors on "cuda" are made there.
void OpenDevice(const std::string& device_type, at::Device device) {
  const std::string carried = c10::DeviceTypeName(device.type(), /*lower_case=*/true);
  if (carried != device_type) {
    throw std::invalid_argument("reference: is to run on " + device_type + " with a communicator for " + carried);
  }
  if (!device.is_cpu()) c10::impl::getDeviceGuardImpl(device.type())->setDevice(device);
}

Communicator& CommunicatorOf(const ImplementationContext& context) {
  if (!context.communicator) throw std::invalid_argument("reference: needs the harness's communicator");
  return *context.communicator;
}

}  // namespace

Session::Session(const ImplementationContext& given)
    : world(MakeDelayedCommunicator(CommunicatorOf(given), delay)), context(given) {
  context.communicator = world.get();
}

ReferenceImplementation::ReferenceImplementation(const ImplementationContext& context)
    : session_(context), handlers_(AllHandlers()) {
  OpenDevice(context.device, context.communicator->device());
  const auto option = context.options.find("timings");
  const std::string timings = option == context.options.end() ? "0" : option->second;
  if (timings != "0" && timings != "1") throw std::invalid_argument("reference: timings is 0 or 1, not " + timings);
  if (timings == "1") session_.timings.emplace();
  declared_ = CapabilitiesOf(session_);
}

Outcome ReferenceImplementation::Invoke(std::string_view operation, const Dict& arguments) {
  const auto handler = handlers_.find(operation);
  if (handler == handlers_.end()) {
    return Error{"NotImplementedError", "the reference has no operation '" + std::string(operation) + "'"};
  }
  const DirectMemoryScope direct_memory(*session_.context.communicator);
  std::vector<Warning> warnings;
  try {
    const OperationSpec& spec = *FindOperation(operation);
    if (const auto complaint = CheckArguments(spec, arguments)) {
      return Error{"TypeError", complaint->message};
    }
    const auto refused = FindUndeclaredOption(spec, arguments, declared_);
    if (refused) return Error{std::string(kNotSupported), refused->path + ": " + refused->capability + " is not declared"};
    Outcome outcome = handler->second({session_, arguments, warnings});
    outcome.warnings = std::move(warnings);
    return outcome;
  } catch (...) {
    Outcome outcome = ErrorOfCurrentException();
    outcome.warnings = std::move(warnings);
    return outcome;
  }
}

}  // namespace shardcts::reference

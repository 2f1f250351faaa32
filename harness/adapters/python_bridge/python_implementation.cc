// The implementation library that serves Python adapters: option "python_module" and "python_class" say which.
// The class gets the other options, and these: "run_folder", "local_rank", and "store", the name of a file that does
// not exist yet and is the same on all ranks: a rendezvous for process groups.
#include <signal.h>
#include <unistd.h>

#include <memory>
#include <stdexcept>

#include "adapters/python_bridge/interpreter.h"
#include "adapters/python_bridge/value_conversion.h"
#include "contract/implementation.h"
#include "contract/nearest_name.h"
#include "contract/operation_table.h"
#include "contract/preload.h"
#include "contract/version_number.h"

namespace shardcts {
namespace {

namespace py = pybind11;

// The run folder is the pool's own, and all ranks make their objects in the same order.
std::string RendezvousFile(const ImplementationContext& context) {
  static int made = 0;
  return context.run_folder + "/rendezvous-" + std::to_string(made++);
}

std::string Take(std::map<std::string, std::string>& options, const std::string& key) {
  auto node = options.extract(key);
  if (node.empty()) throw std::runtime_error("option " + key + " is missing");
  return node.mapped();
}

// The Python objects; made and destroyed under the GIL.
struct PythonState {
  ValueConversion conversion;
  py::object dispatcher;  // shardcts.adapter.Dispatcher
};

// What shardcts.adapter.load says itself needs no class name in front.
std::string LoadErrorText(const py::error_already_set& error) {
  constexpr std::string_view kOwnError = "AdapterError: ";
  const std::string text = ToString(error);
  return text.starts_with(kOwnError) ? text.substr(kOwnError.size()) : text;
}

// The rank's answer to SIGUSR2 (rank/stack_signal.h) begins with the stacks of all Python threads.
void ShowPythonStacksToo() {
  py::module_::import("faulthandler")
      .attr("register")(SIGUSR2, py::arg("all_threads") = true, py::arg("chain") = true);
}

// A misspelled name would be an operation that nobody calls, and the right one not supported. Those of the group "test"
// are for tests of the bridge.
void CheckOperations(const py::object& dispatcher, const std::string& class_name) {
  std::vector<std::string> known;
  for (const OperationSpec& operation : Operations()) known.push_back(operation.name);
  for (const py::handle name : py::iter(dispatcher.attr("operations"))) {
    const std::string text = py::str(name);
    if (FindOperation(text) == nullptr && !text.starts_with("test.")) {
      throw std::runtime_error("class '" + class_name + "': @operation: " + UnknownName("operation", text, known));
    }
  }
}

std::unique_ptr<PythonState> Load(const ImplementationContext& context) {
  std::map<std::string, std::string> options = context.options;
  const std::string module = Take(options, "python_module");
  const std::string class_name = Take(options, "python_class");
  options.emplace("store", RendezvousFile(context));
  options.emplace("run_folder", context.run_folder);
  options.emplace("local_rank", std::to_string(context.local_rank));
  const py::gil_scoped_acquire gil;
  try {
    ReadEnvironmentAgain();
    ShowPythonStacksToo();
    py::dict python_options;
    for (const auto& [key, value] : options) python_options[py::str(key)] = value;
    auto state = std::make_unique<PythonState>();
    state->dispatcher =
        py::module_::import("shardcts.adapter")
            .attr("load")(module, class_name, context.rank, context.world_size, context.device, python_options,
                          SHARDCTS_CONTRACT_VERSION);
    CheckOperations(state->dispatcher, class_name);
    return state;
  } catch (const py::error_already_set& error) {
    throw std::runtime_error(LoadErrorText(error));
  }
}

class PythonImplementation final : public Implementation {
 public:
  explicit PythonImplementation(const ImplementationContext& context) : state_(Load(context)) {}

  ~PythonImplementation() override {
    const py::gil_scoped_acquire gil;
    try {
      state_->dispatcher.attr("close")();
    } catch (const py::error_already_set&) {
      PyErr_Clear();  // the run is over, there is no one to report to
    }
    state_.reset();
  }

  Outcome Invoke(std::string_view operation, const Dict& arguments) override {
    const py::gil_scoped_acquire gil;
    try {
      return ToOutcome(state_->dispatcher.attr("invoke")(operation, state_->conversion.ToPython(arguments)));
    } catch (const ContractViolation& violation) {
      return Error{"ContractViolation", "result of " + std::string(operation) + violation.what()};
    } catch (const py::error_already_set& error) {
      return Error{py::str(error.type().attr("__name__")), py::str(error.value())};
    } catch (const std::exception& error) {
      return Error{"RuntimeError", error.what()};
    }
  }

 private:
  // shardcts.adapter.Dispatcher.invoke gives (error or None, value, warnings).
  Outcome ToOutcome(const py::tuple& answer) const {
    const auto text = [this](py::handle pair, int index) {
      return state_->conversion.ToValue(pair[py::int_(index)]).AsString();
    };
    const py::object error = answer[0];
    Outcome outcome = error.is_none() ? Outcome(state_->conversion.ToValue(py::object(answer[1])))
                                      : Outcome(Error{text(error, 0), text(error, 1)});
    for (py::handle warning : py::iter(answer[2])) outcome.warnings.push_back({text(warning, 0), text(warning, 1)});
    return outcome;
  }

  const InterpreterUse interpreter_;  // outlives the objects
  std::unique_ptr<PythonState> state_;
};

std::unique_ptr<Implementation> MakePythonImplementation(const ImplementationContext& context) {
  return std::make_unique<PythonImplementation>(context);
}

void Preload(const std::map<std::string, std::string>& options) {
  const InterpreterUse interpreter;
  const py::gil_scoped_acquire gil;
  try {
    py::module_::import("shardcts.preload").attr("preload")(options.at("python_module"));
  } catch (const py::error_already_set& error) {
    throw std::runtime_error(ToString(error));
  }
  PrepareForks();
}

}  // namespace
}  // namespace shardcts

SHARDCTS_IMPLEMENTATION(::shardcts::MakePythonImplementation)
SHARDCTS_PRELOAD(::shardcts::Preload)

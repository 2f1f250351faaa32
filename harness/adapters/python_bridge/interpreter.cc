#include "adapters/python_bridge/interpreter.h"

#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

#include "contract/torch_version.h"
#include "run_files/program_folder.h"

namespace shardcts {
namespace {

namespace py = pybind11;

std::string FromEnvironment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

std::vector<std::string> SplitAtColons(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const size_t colon = text.find(':');
    if (colon != 0) parts.emplace_back(text.substr(0, colon));
    text = colon == text.npos ? std::string_view() : text.substr(colon + 1);
  }
  return parts;
}

// Extension modules expect Python's symbols in the global scope, but we came through dlopen(RTLD_LOCAL).
void MakePythonSymbolsGlobal() {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&Py_IsInitialized), &info) == 0 ||
      dlopen(info.dli_fname, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD) == nullptr) {
    throw std::runtime_error("the Python library cannot be made visible to extension modules");
  }
}

void Check(const PyStatus& status, const std::string& python) {
  if (PyStatus_Exception(status)) {
    throw std::runtime_error("Python at " + python + " does not start: " + (status.err_msg ? status.err_msg : "?"));
  }
}

// Signals that Python's own program ignores: a write to a peer that is gone is an error, not the end of the process.
// install_signal_handlers would take SIGINT as well.
void IgnoreSignalsAsPythonDoes() {
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);
}

void Initialize(const std::string& python) {
  PyConfig config;
  PyConfig_InitPythonConfig(&config);
  config.install_signal_handlers = 0;
  config.parse_argv = 0;
  config.buffered_stdio = 0;  // a rank's log shows everything, in order, however the rank ends
  // Python finds the virtual environment by the path of its program.
  Check(PyConfig_SetBytesString(&config, &config.program_name, python.c_str()), python);
  Check(PyConfig_SetBytesString(&config, &config.executable, python.c_str()), python);
  const PyStatus status = Py_InitializeFromConfig(&config);
  PyConfig_Clear(&config);
  Check(status, python);
  IgnoreSignalsAsPythonDoes();
}

void ExtendSearchPath() {
  std::vector<std::string> front = SplitAtColons(FromEnvironment("SHARDCTS_PYTHONPATH", ""));
  for (const std::string& folder : SplitAtColons(SHARDCTS_PYTHON_PACKAGES)) {
    front.push_back(DataFile("python", folder).string());
  }
  py::list path = py::module_::import("sys").attr("path");
  for (size_t i = 0; i < front.size(); ++i) path.insert(i, py::str(front[i]));
  path.append(py::str(std::filesystem::current_path().string()));
}

// Python's PyTorch brings no LibTorch of its own into a process that has one.
void CheckTorchOf(const std::string& python) {
  const py::object spec = py::module_::import("importlib.util").attr("find_spec")("torch");
  if (spec.is_none()) return;  // what imports it says so
  const std::string folder = py::str(py::list(spec.attr("submodule_search_locations"))[0]);
  const std::string version = TorchVersionIn(folder);
  if (version == LoadedTorchVersion()) return;
  throw std::runtime_error("Python at " + python + " (SHARDCTS_PYTHON) has PyTorch " + version + " in " + folder +
                           ", but LibTorch " + LoadedTorchVersion() + " is loaded: build ShardCTS with that Python");
}

void StartInterpreter() {
  if (Py_IsInitialized()) return;
  const std::string python = FromEnvironment("SHARDCTS_PYTHON", SHARDCTS_DEFAULT_PYTHON);
  if (!std::filesystem::exists(python)) throw std::runtime_error("no Python at " + python + " (SHARDCTS_PYTHON)");
  MakePythonSymbolsGlobal();
  Initialize(python);
  ExtendSearchPath();
  CheckTorchOf(python);
  PyEval_SaveThread();
}

int users = 0;
std::optional<PyGILState_STATE> kept_by_last_user;

// The GIL is taken from `prepare` on until both processes have heard of the fork.
bool tells_of_forks = false;
bool is_forked = false;
PyGILState_STATE state_before_fork;

void BeforeFork() {
  if (!tells_of_forks) return;
  state_before_fork = PyGILState_Ensure();
  PyOS_BeforeFork();
}

void AfterForkInParent() {
  if (!tells_of_forks) return;
  PyOS_AfterFork_Parent();
  PyGILState_Release(state_before_fork);
}

void AfterForkInChild() {
  if (!tells_of_forks) return;
  tells_of_forks = false;
  is_forked = true;
  PyOS_AfterFork_Child();
  PyGILState_Release(state_before_fork);
}

}  // namespace

void PrepareForks() {
  tells_of_forks = true;
  if (pthread_atfork(BeforeFork, AfterForkInParent, AfterForkInChild) != 0) {
    throw std::runtime_error("Python cannot be told of forks");
  }
}

void ReadEnvironmentAgain() {
  if (!is_forked) return;
  py::dict now;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const size_t equals = text.find('=');
    if (equals != text.npos) now[py::bytes(text.substr(0, equals))] = py::bytes(text.substr(equals + 1));
  }
  const py::object python_environment = py::module_::import("os").attr("environb");
  python_environment.attr("clear")();
  python_environment.attr("update")(now);
  py::module_::import("tempfile").attr("tempdir") = py::none();  // TMPDIR may be another
}

InterpreterUse::InterpreterUse() {
  StartInterpreter();
  if (users++ == 0 && kept_by_last_user) PyGILState_Release(*std::exchange(kept_by_last_user, std::nullopt));
}

InterpreterUse::~InterpreterUse() {
  if (--users == 0) kept_by_last_user = PyGILState_Ensure();
}

std::string ToString(const pybind11::error_already_set& error) {
  std::string message = py::str(error.value());
  for (char& c : message) {
    if (c == '\n') c = ' ';
  }
  const std::string type = py::str(error.type().attr("__name__"));
  return message.empty() ? type : type + ": " + message;
}

}  // namespace shardcts

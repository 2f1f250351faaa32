#include "adapters/loader.h"

#include <dlfcn.h>

#include <filesystem>
#include <utility>

#include "comm/communicator.h"
#include "contract/torch_version.h"
#include "run_files/foreign_text.h"
#include "run_files/input_error.h"
#include "run_files/program_folder.h"
#include "run_files/shipped_implementations.h"

namespace shardcts {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPythonPrefix = "python:";
constexpr std::string_view kPythonLibrary = "libshardcts_python.so";

// Our own library, for the implementation `source`.
std::string LibraryFor(const std::string& source, std::string_view file) {
  try {
    return OwnLibrary(std::string(file));
  } catch (const InputError& error) {
    throw InputError(source + ": " + error.what());
  }
}

template <class Function>
Function* FindSymbol(void* handle, const std::string& library, const char* name) {
  void* symbol = dlsym(handle, name);
  if (symbol == nullptr) {
    throw InputError(library + ": not an implementation of the ShardCTS contract, it has no entry point " + name);
  }
  return reinterpret_cast<Function*>(symbol);
}

void* Open(const std::string& library) {
  if (!fs::exists(library)) throw InputError(library + ": no such file");
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (handle == nullptr) throw InputError(OneLine(library + ": cannot be loaded: " + dlerror()));
  return handle;
}

// What a source names: a library, and the options that it gets in addition to the user's.
struct Door {
  std::string library;
  std::string subject;  // what errors of the constructor are about: the library, or the Python class that it serves
  std::map<std::string, std::string> options;
};

Door PythonDoor(const std::string& source, std::string_view module, std::string_view class_name) {
  return {LibraryFor(source, kPythonLibrary),
          source,
          {{"python_module", std::string(module)}, {"python_class", std::string(class_name)}}};
}

Door FindDoor(const std::string& source) {
  if (const ShippedImplementation* shipped = FindShipped(source)) {
    if (shipped->library.empty()) return PythonDoor(source, shipped->python_module, shipped->python_class);
    const std::string library = LibraryFor(source, shipped->library);
    return {library, library, {}};
  }
  if (source.starts_with(kPythonPrefix)) {
    const size_t colon = source.find(':', kPythonPrefix.size());
    if (colon == source.npos) throw InputError(source + ": not python:MODULE:CLASS");
    return PythonDoor(source, source.substr(kPythonPrefix.size(), colon - kPythonPrefix.size()),
                      source.substr(colon + 1));
  }
  if (source.ends_with(".so")) {
    const std::string library = fs::absolute(source).lexically_normal().string();
    return {library, library, {}};
  }
  throw InputError("unknown implementation '" + source + "'; possible: " + PossibleImplementations());
}

// The library has passed for the LibTorch that we were built with; that one must also be the one that is loaded.
void CheckLoadedTorch() {
  if (LoadedTorchIsTheBuilt()) return;
  throw InputError("built with LibTorch " TORCH_VERSION ", but the one that is loaded is " + LoadedTorchVersion() +
                   ": build ShardCTS with that one, or look at LD_LIBRARY_PATH and LD_PRELOAD (docs/versions.md)");
}

// The library's handle, when it speaks our contract.
void* OpenDoor(const std::string& library) {
  void* handle = Open(library);
  const std::string abi = FindSymbol<const char*()>(handle, library, "shardcts_contract_abi")();
  if (abi != SHARDCTS_CONTRACT_ABI) {
    throw InputError(library + ": built for contract ABI '" + abi +
                     "', this harness speaks '" SHARDCTS_CONTRACT_ABI "'");
  }
  CheckLoadedTorch();
  return handle;
}

std::unique_ptr<LoadedImplementation> Create(const Door& door, const ImplementationContext& context) {
  const auto& [library, subject, options] = door;
  void* handle = OpenDoor(library);
  auto* create = FindSymbol<Implementation*(const ImplementationContext&)>(handle, library, "shardcts_create");
  std::unique_ptr<Implementation> implementation;
  try {
    implementation.reset(create(context));
  } catch (const CommunicationError&) {
    throw;  // another rank's end is not this library's fault
  } catch (const std::exception& error) {
    throw InputError(OneLine(subject + ": " + Bounded(error.what())));
  } catch (...) {
    throw InputError(subject + ": shardcts_create threw what is no std::exception");
  }
  if (implementation == nullptr) throw InputError(subject + ": shardcts_create returned nothing");
  return std::make_unique<LoadedImplementation>(library, std::move(implementation));
}

// Errors and warnings go into event files, results and reports.
Outcome WithBoundedTexts(Outcome outcome) {
  if (outcome.warnings.size() > kMaxEntries) outcome.warnings.resize(kMaxEntries);
  for (Warning& warning : outcome.warnings) {
    warning = {Bounded(std::move(warning.category), kMaxNameBytes), Bounded(std::move(warning.message))};
  }
  if (outcome.ok()) return outcome;
  Outcome bounded = Error{Bounded(outcome.error().kind, kMaxNameBytes), Bounded(outcome.error().message)};
  bounded.warnings = std::move(outcome.warnings);
  return bounded;
}

}  // namespace

LoadedImplementation::LoadedImplementation(std::string library, std::unique_ptr<Implementation> implementation)
    : library_(std::move(library)), implementation_(std::move(implementation)) {}

Outcome LoadedImplementation::Invoke(std::string_view operation, const Dict& arguments) {
  try {
    return WithBoundedTexts(implementation_->Invoke(operation, arguments));
  } catch (const std::exception& error) {
    return Error{"ContractViolation", Bounded(std::string("Invoke must not throw, it threw: ") + error.what())};
  } catch (...) {
    return Error{"ContractViolation", "Invoke must not throw, it threw what is no std::exception"};
  }
}

std::unique_ptr<LoadedImplementation> LoadImplementation(const std::string& source,
                                                         const ImplementationContext& context) {
  const Door door = FindDoor(source);
  ImplementationContext completed = context;
  for (const auto& [name, value] : door.options) completed.options[name] = value;
  return Create(door, completed);
}

void PreloadImplementation(const std::string& source, std::map<std::string, std::string> options) {
  const Door door = FindDoor(source);
  void* preload = dlsym(OpenDoor(door.library), "shardcts_preload");
  if (preload == nullptr) throw InputError(door.library + ": does not say that it can be preloaded");
  for (const auto& [name, value] : door.options) options[name] = value;
  try {
    reinterpret_cast<void (*)(const std::map<std::string, std::string>&)>(preload)(options);
  } catch (const std::exception& error) {
    throw InputError(OneLine(door.subject + ": " + error.what()));
  }
}

}  // namespace shardcts

#include "adapters/loader.h"

#include <dlfcn.h>

#include <filesystem>
#include <utility>

#include "comm/communicator.h"
#include "run_files/input_error.h"

namespace shardcts {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPythonPrefix = "python:";

std::string OneLine(std::string text) {
  for (char& c : text) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  return text;
}

// Our own library NAME: beside the running program, or where an installation puts it.
std::string FindOwnLibrary(const std::string& source, const std::string& file) {
  const fs::path program_folder = fs::read_symlink("/proc/self/exe").parent_path();
  const fs::path installed_folder = (program_folder / "../lib/shardcts").lexically_normal();
  for (const fs::path& folder : {program_folder, installed_folder}) {
    if (fs::exists(folder / file)) return (folder / file).string();
  }
  throw InputError(source + ": " + file + " is neither in " + program_folder.string() + " nor in " +
                   installed_folder.string());
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

// What a source stands for: a library, and the options that it gets beside the user's.
struct Door {
  std::string library;
  std::string subject;  // what errors of the constructor are about: the library, or the Python class that it serves
  std::map<std::string, std::string> options;
};

Door PythonDoor(const std::string& source, const std::string& module, const std::string& class_name) {
  return {FindOwnLibrary(source, "libshardcts_python.so"),
          source,
          {{"python_module", module}, {"python_class", class_name}}};
}

Door FindDoor(const std::string& source) {
  if (source == "reference") {
    const std::string library = FindOwnLibrary(source, "libshardcts_reference.so");
    return {library, library, {}};
  }
  if (source == "torch") return PythonDoor(source, "shardcts.torch_adapter", "TorchAdapter");
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
  throw InputError("unknown implementation '" + source + "'; possible: reference, torch, python:MODULE:CLASS, PATH.so");
}

// The library's handle, when it speaks our contract.
void* OpenDoor(const std::string& library) {
  void* handle = Open(library);
  const std::string abi = FindSymbol<const char*()>(handle, library, "shardcts_contract_abi")();
  if (abi != SHARDCTS_CONTRACT_ABI) {
    throw InputError(library + ": built for contract ABI '" + abi +
                     "', this harness speaks '" SHARDCTS_CONTRACT_ABI "'");
  }
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
    throw InputError(OneLine(subject + ": " + error.what()));
  }
  if (implementation == nullptr) throw InputError(subject + ": shardcts_create returned nothing");
  return std::make_unique<LoadedImplementation>(library, std::move(implementation));
}

}  // namespace

LoadedImplementation::LoadedImplementation(std::string library, std::unique_ptr<Implementation> implementation)
    : library_(std::move(library)), implementation_(std::move(implementation)) {}

Outcome LoadedImplementation::Invoke(std::string_view operation, const Dict& arguments) {
  try {
    return implementation_->Invoke(operation, arguments);
  } catch (const std::exception& error) {
    return Error{"ContractViolation", std::string("Invoke must not throw, it threw: ") + error.what()};
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

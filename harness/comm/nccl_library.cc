#include "comm/nccl_library.h"

#include <dlfcn.h>

#include "comm/emulator/emulator_mark.h"

namespace shardcts {
namespace {

// Libraries stay loaded: communicators and device memory may outlive any object of ours.
void* Open(const std::string& library) {
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (handle == nullptr) throw NcclNotUsable(std::string("cannot be loaded: ") + dlerror());  // it names the library
  return handle;
}

template <class Function>
void Find(void* handle, const std::string& library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(handle, name));
  if (function == nullptr) throw NcclNotUsable(library + ": has no function " + name);
}

void FindAll(void* nccl, const std::string& nccl_name, void* cuda, const std::string& cuda_name, NcclLibrary& library) {
#define SHARDCTS_FIND_NCCL(name) Find(nccl, nccl_name, #name, library.name);
#define SHARDCTS_FIND_CUDA(name) Find(cuda, cuda_name, #name, library.name);
  SHARDCTS_NCCL_FUNCTIONS(SHARDCTS_FIND_NCCL)
  SHARDCTS_CUDA_FUNCTIONS(SHARDCTS_FIND_CUDA)
#undef SHARDCTS_FIND_NCCL
#undef SHARDCTS_FIND_CUDA
}

std::string VersionText(int code) {
  return std::to_string(code / 10000) + "." + std::to_string(code / 100 % 100) + "." + std::to_string(code % 100);
}

// The configuration struct grows with the version: an older library does not know all of ours.
void CheckVersion(const std::string& name, NcclLibrary& library) {
  int code = 0;
  if (library.ncclGetVersion(&code) != ncclSuccess) throw NcclNotUsable(name + ": does not tell its version");
  library.version = VersionText(code);
  if (code < NCCL_VERSION_CODE || code / 10000 != NCCL_MAJOR) {
    throw NcclNotUsable(name + ": is NCCL " + library.version + ", this program was built with the header of " +
                        VersionText(NCCL_VERSION_CODE));
  }
}

}  // namespace

std::shared_ptr<const NcclLibrary> LoadNccl() {
  const std::string nccl_name = "libnccl.so." + std::to_string(NCCL_MAJOR);
  const std::string cuda_name = "libcudart.so." + std::to_string(CUDART_VERSION / 1000);
  auto library = std::make_shared<NcclLibrary>();
  void* cuda = Open(cuda_name);
  void* nccl = Open(nccl_name);
  if (dlsym(nccl, SHARDCTS_NCCL_EMULATOR_MARK) != nullptr) throw NcclNotUsable(nccl_name + ": is the emulator");
  FindAll(nccl, nccl_name, cuda, cuda_name, *library);
  CheckVersion(nccl_name, *library);
  int devices = 0;
  const cudaError_t code = library->cudaGetDeviceCount(&devices);
  if (code != cudaSuccess) throw NcclNotUsable("no usable GPU: " + std::string(library->cudaGetErrorString(code)));
  if (devices == 0) throw NcclNotUsable("no usable GPU: there is none");
  return library;
}

std::string NcclVersion(const NcclLibrary& library) { return library.version; }

std::shared_ptr<const NcclLibrary> LoadNcclEmulator(const std::string& path) {
  auto library = std::make_shared<NcclLibrary>();
  void* handle = Open(path);
  if (dlsym(handle, SHARDCTS_NCCL_EMULATOR_MARK) == nullptr) throw NcclNotUsable(path + ": is not the NCCL emulator");
  FindAll(handle, path, handle, path, *library);
  CheckVersion(path, *library);
  library->emulator = true;
  library->version += " (emulator)";
  return library;
}

}  // namespace shardcts

// NCCL's functions, as the emulator has them: arguments are checked, the work is given to the communicator's thread.
#include <nccl.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "comm/emulator/emulated_comm.h"
#include "comm/emulator/fault.h"
#include "comm/emulator/reduction.h"

using shardcts::nccl_emulator::ElementSize;
using shardcts::nccl_emulator::EmulatedComm;
using shardcts::nccl_emulator::Fault;
using shardcts::nccl_emulator::FaultOfCall;
using shardcts::nccl_emulator::FaultOfInit;
using shardcts::nccl_emulator::Message;
using shardcts::nccl_emulator::PeerSockets;
using shardcts::nccl_emulator::Reduce;

struct ncclComm {
  std::shared_ptr<EmulatedComm> comm;  // a split under way holds its child as well
  std::string error_text;              // what ncclGetLastError points to
};

namespace {

constexpr char kIdPrefix[] = "shardcts-emulator-";

enum class Kind : uint32_t { kAllGather = 1, kAllReduce, kReduceScatter, kBroadcast, kPointToPoint, kSplit };

// What ranks must agree on, besides sizes.
uint32_t Operation(Kind kind, ncclDataType_t type = ncclUint8, ncclRedOp_t op = ncclSum) {
  return static_cast<uint32_t>(kind) << 16 | static_cast<uint32_t>(op) << 8 | static_cast<uint32_t>(type);
}

thread_local std::string refusal;  // why the last call on this thread was refused

ncclResult_t Refuse(ncclResult_t code, const std::string& reason) {
  refusal = reason;
  return code;
}

// Runs `call` and converts what it throws.
template <class Call>
ncclResult_t AtBoundary(Call call) {
  try {
    return call();
  } catch (const std::invalid_argument& error) {
    return Refuse(ncclInvalidArgument, error.what());
  } catch (const std::exception& error) {
    return Refuse(ncclSystemError, error.what());
  }
}

void CheckArguments(ncclComm_t handle, ncclDataType_t type, int peer = 0) {
  if (handle == nullptr) throw std::invalid_argument("the communicator is null");
  if (ElementSize(type) == 0) throw std::invalid_argument("the emulator has no type " + std::to_string(type));
  if (peer < 0 || peer >= handle->comm->size()) throw std::invalid_argument("there is no rank " + std::to_string(peer));
}

void CheckOp(ncclRedOp_t op) {
  if (op < ncclSum || op > ncclAvg) throw std::invalid_argument("the emulator has no operation " + std::to_string(op));
}

void CheckConfig(const ncclConfig_t* config) {
  if (config == nullptr || config->magic != NCCL_API_MAGIC || config->blocking != 0) {
    throw std::invalid_argument("the emulator has non-blocking communicators only");
  }
}

// Gives the work of a call to the communicator's thread, or does instead what the fault wants.
ncclResult_t Begin(EmulatedComm& comm, cudaStream_t stream, EmulatedComm::Work work) {
  switch (FaultOfCall(comm.world_rank())) {
    case Fault::kSyncError: return Refuse(ncclInternalError, "an injected error");
    case Fault::kAsyncError: comm.EnqueueFailure(ncclRemoteError, stream); break;
    case Fault::kStall: comm.EnqueueStall(stream); break;
    case Fault::kNone: comm.Enqueue(std::move(work), stream, false); break;
  }
  return ncclInProgress;
}

char* Bytes(const void* buffer) { return static_cast<char*>(const_cast<void*>(buffer)); }

// A message to or from each rank; for rank r from r * stride on.
std::vector<Message> ToEach(const EmulatedComm& comm, char* data, size_t bytes, size_t stride) {
  std::vector<Message> messages;
  for (int r = 0; r < comm.size(); ++r) messages.push_back({r, data + r * stride, bytes});
  return messages;
}

// Sends and receives between ncclGroupStart and ncclGroupEnd, by communicator.
struct Batch {
  cudaStream_t stream = nullptr;
  std::vector<Message> sends, receives;
};
thread_local int group_depth = 0;
thread_local std::map<ncclComm_t, Batch> group;

ncclResult_t BeginBatch(ncclComm_t handle, Batch batch) {
  return Begin(*handle->comm, batch.stream, [batch = std::move(batch)](PeerSockets& sockets) {
    return sockets.Exchange(Operation(Kind::kPointToPoint), batch.sends, batch.receives);
  });
}

ncclResult_t AddToGroup(ncclComm_t handle, cudaStream_t stream, std::vector<Message> Batch::*list, Message message) {
  Batch batch;
  Batch& target = group_depth > 0 ? group[handle] : batch;
  target.stream = stream;
  (target.*list).push_back(message);
  return group_depth > 0 ? ncclSuccess : BeginBatch(handle, std::move(batch));
}

// Ranks with this color, by key, then rank: {key, rank in the old group}.
using Wish = std::array<int64_t, 2>;  // color, key
std::vector<std::tuple<int64_t, int>> Members(const std::vector<Wish>& wishes, int color) {
  std::vector<std::tuple<int64_t, int>> members;
  for (size_t r = 0; r < wishes.size(); ++r) {
    if (wishes[r][0] == color) members.emplace_back(wishes[r][1], static_cast<int>(r));
  }
  std::sort(members.begin(), members.end());
  return members;
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) int shardcts_this_is_an_emulator_of_nccl() { return 1; }

ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t result) {
  switch (result) {
    case ncclSuccess: return "no error";
    case ncclUnhandledCudaError: return "unhandled cuda error";
    case ncclSystemError: return "unhandled system error";
    case ncclInternalError: return "internal error";
    case ncclInvalidArgument: return "invalid argument";
    case ncclInvalidUsage: return "invalid usage";
    case ncclRemoteError: return "remote process exited or there was a network error";
    case ncclInProgress: return "NCCL operation in progress";
    default: return "unknown result code";
  }
}

const char* ncclGetLastError(ncclComm_t handle) {
  if (handle == nullptr || handle->comm->error_text().empty()) return refusal.c_str();
  handle->error_text = handle->comm->error_text();
  return handle->error_text.c_str();
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  unsigned char random[16];
  if (getrandom(random, sizeof random, 0) != sizeof random) return Refuse(ncclSystemError, "getrandom failed");
  std::string text = kIdPrefix;
  for (const unsigned char byte : random) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  *id = {};
  std::copy(text.begin(), text.end(), id->internal);
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int nranks, ncclUniqueId id, int rank, ncclConfig_t* config) {
  return AtBoundary([&] {
    CheckConfig(config);
    const std::string name(id.internal, strnlen(id.internal, sizeof id.internal));
    if (!name.starts_with(kIdPrefix)) throw std::invalid_argument("this is not a unique id of the emulator");
    if (rank < 0 || rank >= nranks) throw std::invalid_argument("there is no rank " + std::to_string(rank));
    *comm = new ncclComm{std::make_shared<EmulatedComm>(name, rank), ""};
    (*comm)->comm->Start(rank, nranks, FaultOfInit(rank) == Fault::kStall);
    return ncclInProgress;
  });
}

ncclResult_t ncclCommSplit(ncclComm_t handle, int color, int key, ncclComm_t* newcomm, ncclConfig_t* config) {
  return AtBoundary([&] {
    CheckArguments(handle, ncclUint8);
    CheckConfig(config);
    if (color < 0 && color != NCCL_SPLIT_NOCOLOR) throw std::invalid_argument("a color must not be negative");
    EmulatedComm* parent = handle->comm.get();
    auto child = std::make_shared<EmulatedComm>(parent->ChildName(color), parent->world_rank());
    *newcomm = color < 0 ? nullptr : new ncclComm{child, ""};
    parent->Enqueue(
        [parent, child, color, key](PeerSockets& sockets) {
          std::vector<Wish> wishes(parent->size());
          Wish own = {color, key};
          if (!sockets.Exchange(Operation(Kind::kSplit), ToEach(*parent, Bytes(&own), sizeof own, 0),
                                ToEach(*parent, Bytes(wishes.data()), sizeof own, sizeof own))) {
            return false;
          }
          if (color < 0) return true;
          const auto members = Members(wishes, color);
          const auto place = std::find(members.begin(), members.end(), std::tuple(int64_t{key}, parent->rank()));
          child->Start(static_cast<int>(place - members.begin()), static_cast<int>(members.size()), false);
          return true;
        },
        nullptr, true);
    return ncclInProgress;
  });
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t handle, ncclResult_t* error) {
  if (handle == nullptr) return Refuse(ncclInvalidArgument, "the communicator is null");
  *error = handle->comm->error();
  return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t handle) {
  if (handle == nullptr) return Refuse(ncclInvalidArgument, "the communicator is null");
  handle->comm->Enqueue([](PeerSockets&) { return true; }, nullptr, true);  // done when all before it is
  return ncclInProgress;
}

ncclResult_t ncclCommAbort(ncclComm_t handle) {
  if (handle == nullptr) return Refuse(ncclInvalidArgument, "the communicator is null");
  handle->comm->Stop();
  delete handle;
  return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t handle) { return ncclCommAbort(handle); }

ncclResult_t ncclAllGather(const void* send, void* receive, size_t count, ncclDataType_t type, ncclComm_t handle,
                           cudaStream_t stream) {
  return AtBoundary([&] {
    CheckArguments(handle, type);
    EmulatedComm* comm = handle->comm.get();
    const size_t bytes = count * ElementSize(type);
    return Begin(*comm, stream, [=](PeerSockets& sockets) {
      return sockets.Exchange(Operation(Kind::kAllGather, type), ToEach(*comm, Bytes(send), bytes, 0),
                              ToEach(*comm, Bytes(receive), bytes, bytes));
    });
  });
}

ncclResult_t ncclAllReduce(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t handle, cudaStream_t stream) {
  return AtBoundary([&] {
    CheckArguments(handle, type);
    CheckOp(op);
    EmulatedComm* comm = handle->comm.get();
    const size_t bytes = count * ElementSize(type);
    return Begin(*comm, stream, [=](PeerSockets& sockets) {
      std::vector<char> rows(comm->size() * bytes);
      if (!sockets.Exchange(Operation(Kind::kAllReduce, type, op), ToEach(*comm, Bytes(send), bytes, 0),
                            ToEach(*comm, rows.data(), bytes, bytes))) {
        return false;
      }
      Reduce(type, op, rows.data(), comm->size(), count, Bytes(receive));
      return true;
    });
  });
}

ncclResult_t ncclReduceScatter(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t op,
                               ncclComm_t handle, cudaStream_t stream) {
  return AtBoundary([&] {
    CheckArguments(handle, type);
    CheckOp(op);
    EmulatedComm* comm = handle->comm.get();
    const size_t bytes = count * ElementSize(type);
    return Begin(*comm, stream, [=](PeerSockets& sockets) {
      std::vector<char> rows(comm->size() * bytes);
      if (!sockets.Exchange(Operation(Kind::kReduceScatter, type, op), ToEach(*comm, Bytes(send), bytes, bytes),
                            ToEach(*comm, rows.data(), bytes, bytes))) {
        return false;
      }
      Reduce(type, op, rows.data(), comm->size(), count, Bytes(receive));
      return true;
    });
  });
}

ncclResult_t ncclBroadcast(const void* send, void* receive, size_t count, ncclDataType_t type, int root,
                           ncclComm_t handle, cudaStream_t stream) {
  return AtBoundary([&] {
    CheckArguments(handle, type, root);
    EmulatedComm* comm = handle->comm.get();
    const size_t bytes = count * ElementSize(type);
    return Begin(*comm, stream, [=](PeerSockets& sockets) {
      std::vector<Message> sends;
      if (comm->rank() == root) sends = ToEach(*comm, Bytes(send), bytes, 0);
      return sockets.Exchange(Operation(Kind::kBroadcast, type), sends, {{root, Bytes(receive), bytes}});
    });
  });
}

ncclResult_t ncclSend(const void* send, size_t count, ncclDataType_t type, int peer, ncclComm_t handle,
                      cudaStream_t stream) {
  return AtBoundary([&] {
    CheckArguments(handle, type, peer);
    return AddToGroup(handle, stream, &Batch::sends, {peer, Bytes(send), count * ElementSize(type)});
  });
}

ncclResult_t ncclRecv(void* receive, size_t count, ncclDataType_t type, int peer, ncclComm_t handle,
                      cudaStream_t stream) {
  return AtBoundary([&] {
    CheckArguments(handle, type, peer);
    return AddToGroup(handle, stream, &Batch::receives, {peer, Bytes(receive), count * ElementSize(type)});
  });
}

ncclResult_t ncclGroupStart() {
  ++group_depth;
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
  if (group_depth == 0) return Refuse(ncclInvalidUsage, "ncclGroupEnd without ncclGroupStart");
  if (--group_depth > 0) return ncclSuccess;
  return AtBoundary([] {
    ncclResult_t result = ncclSuccess;
    for (auto& [handle, batch] : std::exchange(group, {})) {
      const ncclResult_t code = BeginBatch(handle, std::move(batch));
      if (result == ncclSuccess || result == ncclInProgress) result = code;
    }
    return result;
  });
}

}  // extern "C"

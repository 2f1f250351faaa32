// The faults that SHARDCTS_NCCL_EMULATOR_FAULT asks for (emulator_mark.h). All *Local*.
#pragma once

namespace shardcts::nccl_emulator {

enum class Fault { kNone, kSyncError, kAsyncError, kStall };

// For a call of the rank `world_rank` that begins now. Throws std::invalid_argument when the variable cannot be read.
Fault FaultOfCall(int world_rank);
// For the making of the first communicator: kNone or kStall.
Fault FaultOfInit(int world_rank);

}  // namespace shardcts::nccl_emulator

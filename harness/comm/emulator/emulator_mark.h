// What tells the emulator from NCCL.
//
// libshardcts_nccl_emulator.so has the functions of NCCL and of the CUDA runtime that ShardCTS calls, over host memory
// and between real processes of one machine: "device" pointers are host pointers, a stream is a counter of calls under
// way, ranks exchange messages over sockets. It behaves like NCCL where callers can tell: communicators are
// non-blocking, calls end later than they return, a peer that is gone is waited for until ncclCommAbort, float16 and
// bfloat16 are rounded at each step, an average is a sum of quotients. Unlike NCCL it notices when ranks call
// different things: ncclInvalidUsage, asynchronously. There is no performance to be measured.
//
// Faults for tests, by the environment variable SHARDCTS_NCCL_EMULATOR_FAULT=KIND[@RANK[:CALL]], read at each call:
// KIND is sync_error or async_error (the call fails, at once or while it is waited for), stall (the call never ends),
// or absent (ncclCommInitRankConfig never meets its peers); RANK is the rank in the first communicator of the process,
// CALL the number of the call in the process, from 0. Without them: every rank, every call.
#pragma once

// The name of a symbol that only the emulator has.
#define SHARDCTS_NCCL_EMULATOR_MARK "shardcts_this_is_an_emulator_of_nccl"

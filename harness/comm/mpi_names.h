// The names that MPI has for dtypes and reductions. All *Local*.
#pragma once

#include <ATen/core/Tensor.h>
#include <mpi.h>

#include <string>

#include "comm/communicator.h"

namespace shardcts {

std::string MpiErrorText(int code);

// Both throw std::invalid_argument: a dtype that MPI does not reduce, an average of integers. An average is a sum here,
// to be divided by the caller; bool sums and products are logical or and logical and.
MPI_Datatype MpiType(at::ScalarType type);
MPI_Op MpiOp(ReduceOp op, at::ScalarType type);

}  // namespace shardcts

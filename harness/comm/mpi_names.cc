#include "comm/mpi_names.h"

#include <stdexcept>

namespace shardcts {

std::string MpiErrorText(int code) {
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  return {text, static_cast<size_t>(length)};
}

MPI_Datatype MpiType(at::ScalarType type) {
  switch (type) {
    case at::kFloat: return MPI_FLOAT;
    case at::kDouble: return MPI_DOUBLE;
    case at::kChar: return MPI_INT8_T;
    case at::kShort: return MPI_INT16_T;
    case at::kInt: return MPI_INT32_T;
    case at::kLong: return MPI_INT64_T;
    case at::kByte: return MPI_UINT8_T;
    case at::kBool: return MPI_UINT8_T;
    default: throw std::invalid_argument(std::string("no reduction of dtype ") + c10::toString(type));
  }
}

MPI_Op MpiOp(ReduceOp op, at::ScalarType type) {
  const bool is_bool = type == at::kBool;
  switch (op) {
    case ReduceOp::kSum: return is_bool ? MPI_MAX : MPI_SUM;
    case ReduceOp::kAvg:
      if (!c10::isFloatingType(type)) throw std::invalid_argument("an average needs a floating-point dtype");
      return MPI_SUM;
    case ReduceOp::kMin: return MPI_MIN;
    case ReduceOp::kMax: return MPI_MAX;
    case ReduceOp::kProduct: return is_bool ? MPI_MIN : MPI_PROD;
  }
  throw std::invalid_argument("unknown reduction");
}

}  // namespace shardcts

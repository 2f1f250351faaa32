// Contract values as Python objects and back.
//
//   none, bool, int, double, string, bytes, list   None, bool, int, float, str, bytes, list (a tuple is a list, too)
//   dict                                           dict with str or int keys, in order
//   Tensor                                         torch.Tensor, or torch.nn.Parameter; storage and graph are shared
//   DTensor, ShardedTensor, Handle                 shardcts.values.DTensorValue, ShardedTensorValue, Handle
#pragma once

#include <pybind11/pybind11.h>

#include "contract/value.h"

namespace shardcts {

// All calls, destruction included, need the GIL.
class ValueConversion {
 public:
  // Imports torch and shardcts.values; throws pybind11::error_already_set.
  ValueConversion();

  // Throws pybind11::error_already_set.
  pybind11::object ToPython(const Value& value) const;
  pybind11::object ToPython(const Dict& dict) const;

  // Throws ContractViolation that says where inside the object something is that no Value can hold.
  Value ToValue(pybind11::handle object) const;

 private:
  pybind11::object ToPython(const DTensor& value) const;
  pybind11::object ToPython(const ShardedTensor& value) const;
  Value DictToValue(pybind11::dict dict) const;
  Value SequenceToValue(pybind11::sequence sequence) const;
  Value DTensorToValue(pybind11::handle object) const;
  Value ShardedTensorToValue(pybind11::handle object) const;

  mutable int depth_ = 0;  // of the value that is being converted
  pybind11::object parameter_type_;
  pybind11::object dtensor_type_;
  pybind11::object mesh_type_;
  pybind11::object sharded_tensor_type_;
  pybind11::object shard_metadata_type_;
  pybind11::object local_shard_type_;
  pybind11::object handle_type_;
};

}  // namespace shardcts

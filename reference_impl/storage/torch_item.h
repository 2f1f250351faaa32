// What torch.save writes, as torch.distributed.checkpoint uses it: an archive for each tensor and each plain value.
// Nothing of it is run: its pickle is read as data (pickle.h). *Local*.
//
// Source: torch/serialization.py, torch/_utils.py (_rebuild_tensor_v2, _rebuild_tensor_v3, _rebuild_parameter).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "contract/value.h"
#include "storage/files.h"
#include "storage/zip_item.h"

namespace shardcts::reference {

// A strided view of values in a file.
struct TensorItem {
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> sizes;
  std::vector<int64_t> strides;  // elements, not negative
  int64_t first = 0;             // element
  ZipMember storage;             // all of the view's elements are in it
};

// RuntimeError beginning with `where`: no such archive in this part of the file, or one of anything else than a dense
// tensor of numbers.
TensorItem ReadTensorItem(const ReadableFile& file, FileRange range, const std::string& where);

// A plain value: none, bools, ints of 64 bits, doubles, texts, bytes, lists, tuples (as lists) and dicts of these.
// RuntimeError: another one, naming its kind.
Value ReadValueItem(const ReadableFile& file, FileRange range, const std::string& where);

// A plain value with tensors in it, as torch.save writes whole state dicts. Each tensor is contiguous, with memory of
// its own: names of one tensor become tensors of equal values.
Value ReadStateItem(const ReadableFile& file, FileRange range, const std::string& where);

// What torch.save writes for a contiguous tensor on the CPU. Returns the number of bytes.
int64_t WriteTensorItem(WritableFile& file, const at::Tensor& contiguous);
// TypeError: a value that is no plain one.
int64_t WriteValueItem(WritableFile& file, const Value& value);

}  // namespace shardcts::reference

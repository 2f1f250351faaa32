// Checkpoints of torch.distributed.checkpoint, made by hand: right ones, as PyTorch writes them, and ones that lie.
// Written without the implementation under test. *Local*.
//
// Source of the format: torch/distributed/checkpoint/metadata.py and filesystem.py; of the opcodes: Python's
// pickletools.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace shardcts::storage {

// A pickle as a text that grows. Each function appends what leaves one object on the stack.
std::string PickledInt(int64_t value);
std::string PickledText(const std::string& text);
std::string PickledInts(const std::vector<int64_t>& values);                   // a tuple
std::string PickledList(const std::vector<std::string>& items);
std::string PickledTuple(const std::vector<std::string>& items);
std::string PickledDict(const std::vector<std::pair<std::string, std::string>>& items);  // of pickled keys and values
std::string PickledCall(const std::string& name, const std::string& arguments);  // "module name", a pickled tuple
std::string PickledObject(const std::string& name, const std::string& state);

// What an attacker puts in the place of an object: a call that makes a folder.
std::string PickledAttack(const std::string& folder);

struct ForgedTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<std::pair<std::vector<int64_t>, std::vector<int64_t>>> chunks;  // offsets, sizes
  std::string properties;  // pickled; "": of a dense tensor of float32
};
struct ForgedPlace {
  std::string name;
  std::vector<int64_t> offsets;  // of a tensor's chunk
  bool is_value = false;
  std::string file;
  int64_t offset = 0;  // bytes
  int64_t length = 0;
};

struct ForgedMetadata {
  std::vector<ForgedTensor> tensors;
  std::vector<std::string> values;  // names
  std::vector<ForgedPlace> places;
  std::vector<std::pair<std::string, std::string>> more;  // further fields, pickled values
  std::string version = "1.0.0";                          // "": none, as older versions
  std::string Pickled() const;                            // the content of .metadata
};

// An archive of torch.save with this pickle and, if `storage` is not nullptr, these bytes.
std::string ForgedItem(const std::string& pickle, const std::string* storage);
// The item of a float32 tensor without gaps, in the order in which its elements lie: of a transposed one by columns.
std::string ForgedTensorItem(const at::Tensor& tensor);
// Of consecutive numbers from `first` on.
std::string ForgedTensorItem(const std::vector<int64_t>& shape, float first);
// The item of a plain value.
std::string ForgedValueItem(const std::string& pickled);

}  // namespace shardcts::storage

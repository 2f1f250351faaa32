// Pickles from files that nobody vouches for: what they describe as a graph of plain nodes. Nothing that a pickle names
// is looked up, imported or called. *Local*.
//
// Opcodes: those that torch.distributed.checkpoint's metadata and torch.save's items have, 36 of them; every other one
// is refused. Names: only those that the caller lists. Source of the opcodes: Python's pickletools.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace shardcts::reference {

// Number of a node in its pickle.
using PickleId = uint32_t;

struct PickleNode {
  enum class Kind : uint8_t {
    kNone, kBool, kInt, kDouble, kText,
    kList, kTuple, kDict,  // items; of a dict key, value, key, value, …
    kName,                 // "module name"
    kMade,                 // what a name gives: items are the name, its arguments (a tuple), and perhaps a state
    kPersistent,           // an object outside the pickle: the item is its id
  };
  Kind kind = Kind::kNone;
  union {
    int64_t number = 0;  // of kInt, kBool
    double real;
  };
  std::string_view text;        // of kText (UTF-8) and kName; into the pickle or into the list of names
  std::vector<PickleId> items;  // of kMade: name, arguments, state
};

// A graph that may share nodes and have cycles.
class Pickle {
 public:
  // RuntimeError beginning with `where`: not a pickle of these opcodes and names, with the byte that is wrong. Time is
  // linear in the bytes; memory, too, with at most some 200 bytes for each. The bytes and the names must outlive it.
  Pickle(std::string_view bytes, std::span<const std::string_view> names, std::string where);

  const PickleNode& At(PickleId id) const { return nodes_[id]; }
  PickleId root() const { return root_; }
  const std::string& where() const { return where_; }
  size_t size() const { return bytes_; }  // bytes

 private:
  friend class PickleMachine;
  std::vector<PickleNode> nodes_;
  PickleId root_ = 0;
  std::string where_;
  size_t bytes_ = 0;
};

// A node and where it is, for messages: `.metadata: storage_data`. Every access that does not fit is a RuntimeError
// that says so.
struct PicklePlace {
  const Pickle* pickle;
  PickleId id;
  std::string where;

  explicit PicklePlace(const Pickle& whole) : pickle(&whole), id(whole.root()), where(whole.where()) {}
  PicklePlace(const Pickle& whole, PickleId node, std::string place)
      : pickle(&whole), id(node), where(std::move(place)) {}

  [[noreturn]] void Fail(const std::string& problem) const;
  const PickleNode& node() const { return pickle->At(id); }
  bool IsNone() const { return node().kind == PickleNode::Kind::kNone; }
  bool Is(PickleNode::Kind kind) const { return node().kind == kind; }
  std::string Text() const;
  int64_t Number() const;
  bool Flag() const;
  std::vector<PicklePlace> Items() const;  // of a list or tuple
  PicklePlace Only() const;                 // of a list or tuple of one item
  std::vector<std::pair<PicklePlace, PicklePlace>> Entries() const;  // of a dict: keys, perhaps twice, and values
  // Of a dict whose keys are texts: the value; fails if the key is missing or there twice.
  PicklePlace Field(std::string_view key) const;
  bool HasField(std::string_view key) const;
  // What `name` ("module name") gives; fails for anything else.
  bool IsMadeBy(std::string_view name) const;
  PicklePlace Arguments() const;  // of something made, a tuple
  PicklePlace State() const;      // of something made that has one
  bool HasState() const;
};

}  // namespace shardcts::reference

#include "storage/pickle.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "storage/utf8.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

using NodeKind = PickleNode::Kind;

constexpr uint8_t kHighestProtocol = 5;

// Nodes that every pickle has, so that an opcode of one byte needs no node of its own.
constexpr PickleId kNoneId = 0, kFalseId = 1, kTrueId = 2, kEmptyTupleId = 3;

std::string Hexadecimal(uint8_t byte) {
  static constexpr char kDigits[] = "0123456789abcdef";
  return std::string("0x") + kDigits[byte >> 4] + kDigits[byte & 15];
}

}  // namespace

// One run over the bytes. Every opcode consumes at least one byte and adds at most one node and as many items as it
// takes from the stack, which is why memory is linear.
class PickleMachine {
 public:
  PickleMachine(std::string_view bytes, std::span<const std::string_view> names, Pickle& pickle)
      : bytes_(bytes), names_(names), pickle_(pickle) {
    Add({.kind = NodeKind::kNone});
    Add({.kind = NodeKind::kBool, .number = 0});
    Add({.kind = NodeKind::kBool, .number = 1});
    Add({.kind = NodeKind::kTuple});
    stack_.clear();
  }

  void Run() {
    while (!done_) {
      opcode_at_ = at_;
      const uint8_t opcode = Byte();
      if (!Scalar(opcode) && !Container(opcode) && !Memo(opcode) && !Named(opcode)) {
        Fail("opcode " + Hexadecimal(opcode) + " is none of a checkpoint");
      }
    }
    if (at_ != bytes_.size()) Fail("goes on behind its end");
    pickle_.root_ = stack_.front();
    pickle_.bytes_ = bytes_.size();
  }

 private:
  [[noreturn]] void Fail(const std::string& problem) const {
    throw SemanticError("RuntimeError", pickle_.where_ + ": no checkpoint's pickle at byte " +
                                            std::to_string(opcode_at_) + ": " + problem);
  }

  // Input.
  std::string_view Take(uint64_t count) {
    if (count > bytes_.size() - at_) Fail("leaves the file");
    const std::string_view taken = bytes_.substr(at_, count);
    at_ += count;
    return taken;
  }
  uint8_t Byte() { return static_cast<uint8_t>(Take(1).front()); }
  // Little-endian.
  uint64_t Unsigned(size_t bytes) {
    const std::string_view taken = Take(bytes);
    uint64_t number = 0;
    for (size_t i = 0; i < bytes; ++i) number |= uint64_t{static_cast<uint8_t>(taken[i])} << (8 * i);
    return number;
  }
  std::string_view Line() {
    const size_t end = bytes_.find('\n', at_);
    if (end == bytes_.npos) Fail("a line leaves the file");
    const std::string_view line = Take(end - at_);
    Take(1);
    return line;
  }

  // Nodes and stack.
  PickleId Add(PickleNode node) {
    pickle_.nodes_.push_back(std::move(node));
    stack_.push_back(static_cast<PickleId>(pickle_.nodes_.size() - 1));
    return stack_.back();
  }
  PickleNode& Node(PickleId id) { return pickle_.nodes_[id]; }
  bool IsOrderedDict(const PickleNode& made) { return Node(made.items.front()).text == "collections OrderedDict"; }
  // The lowest place that may be popped.
  size_t Floor() const { return marks_.empty() ? 0 : marks_.back(); }
  PickleId Top() const {
    if (stack_.size() <= Floor()) Fail("the stack is empty");
    return stack_.back();
  }
  PickleId Pop() {
    const PickleId top = Top();
    stack_.pop_back();
    return top;
  }
  std::vector<PickleId> PopToMark() {
    if (marks_.empty()) Fail("there is no mark");
    std::vector<PickleId> items(stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return items;
  }
  std::vector<PickleId> PopSome(size_t count) {
    if (stack_.size() - Floor() < count) Fail("the stack is too short");
    std::vector<PickleId> items(stack_.end() - static_cast<std::ptrdiff_t>(count), stack_.end());
    stack_.resize(stack_.size() - count);
    return items;
  }

  bool Scalar(uint8_t opcode) {
    switch (opcode) {
      case 0x80: return Protocol(), true;                                      // PROTO
      case 0x95: return Frame(), true;                                         // FRAME
      case '.': return Stop(), true;                                           // STOP
      case 'N': return stack_.push_back(kNoneId), true;                        // NONE
      case 0x88: return stack_.push_back(kTrueId), true;                       // NEWTRUE
      case 0x89: return stack_.push_back(kFalseId), true;                      // NEWFALSE
      case 'J': return AddInt(static_cast<int32_t>(Unsigned(4))), true;        // BININT
      case 'K': return AddInt(static_cast<int64_t>(Unsigned(1))), true;        // BININT1
      case 'M': return AddInt(static_cast<int64_t>(Unsigned(2))), true;        // BININT2
      case 0x8a: return AddLong(Byte()), true;                                 // LONG1
      case 'G': return AddDouble(), true;                                      // BINFLOAT
      case 'X': return AddText(Take(Unsigned(4))), true;                       // BINUNICODE
      case 0x8c: return AddText(Take(Unsigned(1))), true;                      // SHORT_BINUNICODE
      default: return false;
    }
  }
  void Protocol() {
    const uint8_t protocol = Byte();
    if (opcode_at_ != 0 || protocol > kHighestProtocol) Fail("protocol " + std::to_string(protocol));
  }
  void Frame() {
    if (Unsigned(8) > bytes_.size() - at_) Fail("a frame leaves the file");
  }
  void Stop() {
    if (stack_.size() != 1 || !marks_.empty()) Fail("ends with other than one object");
    done_ = true;
  }
  void AddInt(int64_t number) { Add({.kind = NodeKind::kInt, .number = number}); }
  void AddLong(size_t count) {
    if (count > 8) Fail("an integer of " + std::to_string(count) + " bytes, beyond 2^63");
    uint64_t number = Unsigned(count);
    const bool negative = count > 0 && (number >> (8 * count - 1) & 1) != 0;
    if (negative && count < 8) number |= ~uint64_t{0} << (8 * count);
    AddInt(static_cast<int64_t>(number));
  }
  void AddDouble() {
    uint64_t bits = 0;
    for (const char byte : Take(8)) bits = bits << 8 | static_cast<uint8_t>(byte);
    PickleNode node{.kind = NodeKind::kDouble};
    node.real = std::bit_cast<double>(bits);
    Add(std::move(node));
  }
  void AddText(std::string_view text) {
    if (!IsUtf8(text)) Fail("a text that is not UTF-8");
    Add({.kind = NodeKind::kText, .text = text});
  }

  bool Container(uint8_t opcode) {
    switch (opcode) {
      case '(': return marks_.push_back(stack_.size()), true;                       // MARK
      case '}': return Add({.kind = NodeKind::kDict}), true;                            // EMPTY_DICT
      case ']': return Add({.kind = NodeKind::kList}), true;                            // EMPTY_LIST
      case ')': return stack_.push_back(kEmptyTupleId), true;                       // EMPTY_TUPLE
      case 't': return AddTuple(PopToMark()), true;                                 // TUPLE
      case 0x85: case 0x86: case 0x87: return AddTuple(PopSome(opcode - 0x84)), true;  // TUPLE1, TUPLE2, TUPLE3
      case 'a': return Append(PopSome(1)), true;                                    // APPEND
      case 'e': return Append(PopToMark()), true;                                   // APPENDS
      case 's': return SetItems(PopSome(2)), true;                                  // SETITEM
      case 'u': return SetItems(PopToMark()), true;                                 // SETITEMS
      default: return false;
    }
  }
  void AddTuple(std::vector<PickleId> items) { Add({.kind = NodeKind::kTuple, .items = std::move(items)}); }
  void Append(const std::vector<PickleId>& items) {
    PickleNode& list = Node(Top());
    if (list.kind != NodeKind::kList) Fail("appends to something that is no list");
    list.items.insert(list.items.end(), items.begin(), items.end());
  }
  void SetItems(const std::vector<PickleId>& items) {
    if (items.size() % 2 != 0) Fail("a key without a value");
    PickleId target = Top();
    if (Node(target).kind == NodeKind::kMade) {  // an OrderedDict: its items are its state
      if (!IsOrderedDict(Node(target))) Fail("sets items of something that is no dict");
      if (Node(target).items.size() == 2) {
        const PickleId state = Add({.kind = NodeKind::kDict});
        stack_.pop_back();
        Node(target).items.push_back(state);
      }
      target = Node(target).items[2];
    }
    PickleNode& dict = Node(target);
    if (dict.kind != NodeKind::kDict) Fail("sets items of something that is no dict");
    dict.items.insert(dict.items.end(), items.begin(), items.end());
  }

  bool Memo(uint8_t opcode) {
    switch (opcode) {
      case 0x94: return Keep(memo_.size()), true;     // MEMOIZE
      case 'q': return Keep(Unsigned(1)), true;       // BINPUT
      case 'r': return Keep(Unsigned(4)), true;       // LONG_BINPUT
      case 'h': return Recall(Unsigned(1)), true;     // BINGET
      case 'j': return Recall(Unsigned(4)), true;     // LONG_BINGET
      default: return false;
    }
  }
  void Keep(size_t number) {
    if (number > memo_.size()) Fail("leaves numbers of the memo out");
    if (number == memo_.size()) memo_.push_back(kNoneId);
    memo_[number] = Top();
  }
  void Recall(size_t number) {
    if (number >= memo_.size()) Fail("the memo has no number " + std::to_string(number));
    stack_.push_back(memo_[number]);
  }

  bool Named(uint8_t opcode) {
    switch (opcode) {
      case 'c': return AddNameOfLines(), true;        // GLOBAL
      case 0x93: return AddNameOfStack(), true;       // STACK_GLOBAL
      case 0x81: case 'R': return Make(), true;       // NEWOBJ, REDUCE
      case 'b': return SetState(), true;              // BUILD
      case 'Q': return AddPersistent(), true;         // BINPERSID
      default: return false;
    }
  }
  void AddName(std::string_view module, std::string_view name) {
    const std::string full = std::string(module) + " " + std::string(name);
    const auto known = std::ranges::find(names_, full);
    if (known == names_.end()) {
      Fail("names " + full.substr(0, 200) + ", which no checkpoint needs; nothing of it was run");
    }
    Add({.kind = NodeKind::kName, .text = *known});
  }
  void AddNameOfLines() {
    const std::string_view module = Line();
    AddName(module, Line());
  }
  void AddNameOfStack() {
    const std::vector<PickleId> both = PopSome(2);
    if (Node(both[0]).kind != NodeKind::kText || Node(both[1]).kind != NodeKind::kText) Fail("a name that is no text");
    AddName(Node(both[0]).text, Node(both[1]).text);
  }
  void Make() {
    std::vector<PickleId> both = PopSome(2);
    if (Node(both[0]).kind != NodeKind::kName) Fail("calls something that is no name");
    if (Node(both[1]).kind != NodeKind::kTuple) Fail("arguments that are no tuple");
    Add({.kind = NodeKind::kMade, .items = std::move(both)});
  }
  void SetState() {
    const PickleId state = Pop();
    PickleNode& made = Node(Top());
    if (made.kind != NodeKind::kMade || made.items.size() != 2 || IsOrderedDict(made)) {
      Fail("gives a state to something that has none");
    }
    made.items.push_back(state);
  }
  void AddPersistent() { Add({.kind = NodeKind::kPersistent, .items = {Pop()}}); }

  const std::string_view bytes_;
  const std::span<const std::string_view> names_;
  Pickle& pickle_;
  size_t at_ = 0, opcode_at_ = 0;
  bool done_ = false;
  std::vector<PickleId> stack_;
  std::vector<size_t> marks_;  // sizes of the stack
  std::vector<PickleId> memo_;
};

Pickle::Pickle(std::string_view bytes, std::span<const std::string_view> names, std::string where)
    : where_(std::move(where)) {
  PickleMachine(bytes, names, *this).Run();
}

void PicklePlace::Fail(const std::string& problem) const {
  throw SemanticError("RuntimeError", where + ": " + problem);
}

std::string PicklePlace::Text() const {
  if (!Is(NodeKind::kText)) Fail("expected a text");
  return std::string(node().text);
}

int64_t PicklePlace::Number() const {
  if (!Is(NodeKind::kInt)) Fail("expected an integer");
  return node().number;
}

bool PicklePlace::Flag() const {
  if (!Is(NodeKind::kBool)) Fail("expected true or false");
  return node().number != 0;
}

std::vector<PicklePlace> PicklePlace::Items() const {
  if (!Is(NodeKind::kList) && !Is(NodeKind::kTuple)) Fail("expected a list");
  std::vector<PicklePlace> items;
  for (const PickleId item : node().items)
    items.emplace_back(*pickle, item, where + "[" + std::to_string(items.size()) + "]");
  return items;
}

PicklePlace PicklePlace::Only() const {
  const std::vector<PicklePlace> items = Items();
  if (items.size() != 1) Fail("expected one item");
  return items.front();
}

std::vector<std::pair<PicklePlace, PicklePlace>> PicklePlace::Entries() const {
  if (!Is(NodeKind::kDict)) Fail("expected a dict");
  std::vector<std::pair<PicklePlace, PicklePlace>> entries;
  for (size_t i = 0; i < node().items.size(); i += 2) {
    const PickleNode& key = pickle->At(node().items[i]);
    const std::string place =
        where + "[" + (key.kind == NodeKind::kText ? "\"" + std::string(key.text) + "\"" : std::to_string(i / 2)) + "]";
    entries.emplace_back(PicklePlace(*pickle, node().items[i], place),
                         PicklePlace(*pickle, node().items[i + 1], place));
  }
  return entries;
}

bool PicklePlace::HasField(std::string_view key) const {
  if (!Is(NodeKind::kDict)) Fail("expected a dict");
  for (size_t i = 0; i < node().items.size(); i += 2) {
    if (pickle->At(node().items[i]).kind == NodeKind::kText && pickle->At(node().items[i]).text == key) return true;
  }
  return false;
}

PicklePlace PicklePlace::Field(std::string_view key) const {
  if (!Is(NodeKind::kDict)) Fail("expected a dict");
  std::vector<PickleId> found;
  for (size_t i = 0; i < node().items.size(); i += 2) {
    const PickleNode& one = pickle->At(node().items[i]);
    if (one.kind == NodeKind::kText && one.text == key) found.push_back(node().items[i + 1]);
  }
  if (found.empty()) Fail("has no \"" + std::string(key) + "\"");
  if (found.size() > 1) Fail("has \"" + std::string(key) + "\" twice");
  return {*pickle, found.front(), where + ": " + std::string(key)};
}

bool PicklePlace::IsMadeBy(std::string_view name) const {
  return Is(NodeKind::kMade) && pickle->At(node().items.front()).text == name;
}

PicklePlace PicklePlace::Arguments() const {
  if (!Is(NodeKind::kMade)) Fail("expected something that a name gives");
  return {*pickle, node().items[1], where};
}

bool PicklePlace::HasState() const { return Is(NodeKind::kMade) && node().items.size() == 3; }

PicklePlace PicklePlace::State() const {
  if (!HasState()) Fail("expected something with a state");
  return {*pickle, node().items[2], where};
}

}  // namespace shardcts::reference

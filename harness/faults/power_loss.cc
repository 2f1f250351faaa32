#include "faults/power_loss.h"

#include <fcntl.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <set>
#include <sstream>
#include <tuple>

namespace shardcts::faults {
namespace {

namespace fs = std::filesystem;

constexpr int kGone = -1;
constexpr int kRoot = 0;
constexpr size_t kLongestFile = size_t{1} << 32;

struct Node {
  bool is_folder = false;
  std::string content;           // of a file
  std::string synced;            // its content at the last sync
  std::map<std::string, int> children;         // of a folder
  std::map<std::string, int> synced_children;  // at the last sync
  bool IsChanged() const { return content != synced; }
};

// One change of names that no sync has made lasting: these places now have these nodes.
struct Change {
  struct Place {
    int folder;
    std::string name;
    int node;
  };
  std::vector<Place> places;
  std::string text;
};

enum class Content { kKept, kLost, kZeros, kHalf };

std::string ContentOf(const Node& node, Content mode) {
  switch (mode) {
    case Content::kKept: return node.content;
    case Content::kLost: return node.synced;
    case Content::kZeros: {
      std::string zeros = node.synced;
      zeros.resize(std::max(zeros.size(), node.content.size()), '\0');
      return zeros;
    }
    case Content::kHalf: {
      if (node.content.size() < node.synced.size()) return node.content;
      return node.content.substr(0, (node.synced.size() + node.content.size()) / 2);
    }
  }
  return "";
}

class Disk {
 public:
  explicit Disk(const FileTree& tree) {
    nodes_.push_back({.is_folder = true});
    for (const auto& [path, content] : tree) Make(path, content);
    for (Node& node : nodes_) {
      node.synced = node.content;
      node.synced_children = node.children;
    }
  }

  void Do(const Operation& operation) {
    if (operation.result == -1 || operation.kind == Kind::kRead) return;
    switch (operation.kind) {
      case Kind::kOpen: return Open(operation);
      case Kind::kWrite: return Write(operation);
      case Kind::kTruncate: return Resize(operation.path, static_cast<size_t>(std::max<int64_t>(operation.length, 0)));
      case Kind::kAllocate: return Grow(operation);
      case Kind::kSync: return Sync(operation.path);
      case Kind::kMakeFolder: return Put({{.is_folder = true}}, operation.path, "mkdir " + operation.path);
      case Kind::kRename: return Rename(operation);
      case Kind::kLink: return Link(operation);
      case Kind::kUnlink:
      case Kind::kRemoveFolder: return Remove(operation.path);
      default: return;
    }
  }

  size_t changes() const { return changes_.size(); }
  const Change& change(size_t index) const { return changes_[index]; }
  std::vector<int> ChangedFiles() const {
    std::vector<int> changed;
    for (size_t node = 0; node < nodes_.size(); ++node) {
      if (!nodes_[node].is_folder && nodes_[node].IsChanged()) changed.push_back(static_cast<int>(node));
    }
    return changed;
  }
  std::string PathOf(int wanted) const {
    std::string found;
    Walk(kRoot, "", [&](const std::string& path, int node) { found = node == wanted ? path : found; },
         [&](int folder) { return nodes_[static_cast<size_t>(folder)].children; });
    return found.empty() ? "a file without a name" : found;
  }

  FileTree Now() const {
    return Tree([this](int folder) { return At(folder).children; }, [](int) { return Content::kKept; });
  }
  // Where these changes and this content of unsynced files lasted.
  FileTree After(const std::function<bool(size_t)>& keeps, const std::function<Content(int)>& content) const {
    std::map<int, std::map<std::string, int>> folders;
    for (size_t node = 0; node < nodes_.size(); ++node) folders[static_cast<int>(node)] = nodes_[node].synced_children;
    for (size_t i = 0; i < changes_.size(); ++i) {
      if (!keeps(i)) continue;
      for (const Change::Place& place : changes_[i].places) {
        if (place.node == kGone) {
          folders[place.folder].erase(place.name);
        } else {
          folders[place.folder][place.name] = place.node;
        }
      }
    }
    return Tree([&](int folder) { return folders.at(folder); }, content);
  }

 private:
  using Children = std::function<std::map<std::string, int>(int)>;

  const Node& At(int node) const { return nodes_[static_cast<size_t>(node)]; }
  Node& At(int node) { return nodes_[static_cast<size_t>(node)]; }

  void Walk(int folder, const std::string& above, const std::function<void(const std::string&, int)>& visit,
            const Children& children, int depth = 0) const {
    for (const auto& [name, node] : children(folder)) {
      const std::string path = above + name + (At(node).is_folder ? "/" : "");
      visit(path, node);
      if (At(node).is_folder && depth < 100) Walk(node, path, visit, children, depth + 1);
    }
  }

  FileTree Tree(const Children& children, const std::function<Content(int)>& content) const {
    FileTree tree;
    Walk(kRoot, "", [&](const std::string& path, int node) {
      tree[path] = At(node).is_folder ? "" : ContentOf(At(node), At(node).IsChanged() ? content(node) : Content::kKept);
    }, children);
    return tree;
  }

  void Make(std::string path, const std::string& content) {
    const bool is_folder = path.ends_with('/');
    if (is_folder) path.pop_back();
    const auto [folder, name] = PlaceOf(path);
    if (folder == kGone) return;
    nodes_.push_back({.is_folder = is_folder, .content = content});
    At(folder).children[name] = static_cast<int>(nodes_.size()) - 1;
  }

  int Find(const std::string& path) const {
    int node = kRoot;
    if (path == ".") return node;
    std::stringstream parts(path);
    for (std::string part; std::getline(parts, part, '/');) {
      const auto found = At(node).children.find(part);
      if (found == At(node).children.end()) return kGone;
      node = found->second;
    }
    return node;
  }
  std::pair<int, std::string> PlaceOf(const std::string& path) const {
    const size_t cut = path.rfind('/');
    return {cut == path.npos ? kRoot : Find(path.substr(0, cut)), path.substr(cut == path.npos ? 0 : cut + 1)};
  }

  void Apply(Change change) {
    for (const Change::Place& place : change.places) {
      if (place.node == kGone) {
        At(place.folder).children.erase(place.name);
      } else {
        At(place.folder).children[place.name] = place.node;
      }
    }
    changes_.push_back(std::move(change));
  }

  void Put(std::vector<Node> made, const std::string& path, const std::string& text) {
    const auto [folder, name] = PlaceOf(path);
    if (folder == kGone) return;
    nodes_.push_back(std::move(made.front()));
    Apply({{{folder, name, static_cast<int>(nodes_.size()) - 1}}, text});
  }

  void Open(const Operation& operation) {
    const int node = Find(operation.path);
    if (node == kGone) {
      if ((operation.flags & O_CREAT) != 0) Put({{}}, operation.path, "the name " + operation.path);
    } else if ((operation.flags & O_TRUNC) != 0 && !At(node).is_folder) {
      At(node).content.clear();
    }
  }

  void Write(const Operation& operation) {
    const int node = Find(operation.path);
    if (node == kGone || operation.offset < 0) return;
    std::string& content = At(node).content;
    const size_t begin = static_cast<size_t>(operation.offset), end = begin + operation.bytes.size();
    if (end > kLongestFile) return;
    if (content.size() < end) content.resize(end, '\0');
    content.replace(begin, operation.bytes.size(), operation.bytes);
  }

  void Resize(const std::string& path, size_t length) {
    const int node = Find(path);
    if (node != kGone && length <= kLongestFile) At(node).content.resize(length, '\0');
  }

  void Grow(const Operation& operation) {
    const int node = Find(operation.path);
    const size_t end = static_cast<size_t>(operation.offset + operation.length);
    if (node != kGone && At(node).content.size() < end) Resize(operation.path, end);
  }

  // Of a folder: its names. A change of two folders lasts with either.
  void Sync(const std::string& path) {
    const int synced = Find(path);
    if (synced == kGone) return;
    At(synced).synced = At(synced).content;
    if (!At(synced).is_folder) return;
    for (auto change = changes_.begin(); change != changes_.end();) {
      const bool lasts = std::ranges::count(change->places, synced, &Change::Place::folder) > 0;
      if (lasts) {
        for (const Change::Place& place : change->places) {
          auto& names = At(place.folder).synced_children;
          if (place.node == kGone) {
            names.erase(place.name);
          } else {
            names[place.name] = place.node;
          }
        }
      }
      change = lasts ? changes_.erase(change) : change + 1;
    }
  }

  void Rename(const Operation& operation) {
    const int node = Find(operation.path);
    const auto [from, from_name] = PlaceOf(operation.path);
    const auto [to, to_name] = PlaceOf(operation.to);
    if (node == kGone || to == kGone) return;
    Apply({{{from, from_name, kGone}, {to, to_name, node}}, "the renaming to " + operation.to});
  }

  void Link(const Operation& operation) {
    const int node = Find(operation.path);
    const auto [to, to_name] = PlaceOf(operation.to);
    if (node != kGone && to != kGone) Apply({{{to, to_name, node}}, "the link " + operation.to});
  }

  void Remove(const std::string& path) {
    const auto [folder, name] = PlaceOf(path);
    if (folder != kGone && Find(path) != kGone) Apply({{{folder, name, kGone}}, "the removal of " + path});
  }

  std::vector<Node> nodes_;
  std::vector<Change> changes_;  // in order
};

// The variants at one place in the log.
class Variants {
 public:
  Variants(const Disk& disk, size_t after, size_t singles) : disk_(disk), after_(after), singles_(singles) {}

  std::vector<PowerLoss> All() {
    const auto all = [](size_t) { return true; };
    const auto none = [](size_t) { return false; };
    Add("nothing is lost", all, Content::kKept);
    Add("all that was not synced is lost", none, Content::kLost);
    Add("unsynced content is lost, names are kept", all, Content::kLost);
    Add("unsynced content is zeros", all, Content::kZeros);
    Add("half of the unsynced content is lost", all, Content::kHalf);
    Add("unsynced names are lost, content is kept", none, Content::kKept);
    // The later ones first: they are those that commit.
    for (size_t i = disk_.changes(); i-- > 0 && disk_.changes() - i <= singles_;) {
      const std::string& text = disk_.change(i).text;
      Add(text + " alone is lost", [i](size_t other) { return other != i; }, Content::kKept);
      Add(
          "of what was not synced " + text + " alone is kept", [i](size_t other) { return other == i; },
          Content::kLost);
    }
    const std::vector<int> changed = disk_.ChangedFiles();
    for (size_t i = 0; i < changed.size() && i < singles_; ++i) {
      const auto alone = [only = changed[i]](Content mode) {
        return [only, mode](int node) { return node == only ? mode : Content::kKept; };
      };
      const std::string name = disk_.PathOf(changed[i]);
      AddTree("the unsynced content of " + name + " alone is lost", disk_.After(all, alone(Content::kLost)));
      AddTree("half of the unsynced content of " + name + " alone is lost", disk_.After(all, alone(Content::kHalf)));
    }
    return std::move(found_);
  }

 private:
  void Add(const std::string& text, const std::function<bool(size_t)>& keeps, Content content) {
    bool keeps_names = true;
    for (size_t i = 0; i < disk_.changes(); ++i) keeps_names = keeps_names && keeps(i);
    found_.push_back({after_, text, keeps_names, disk_.After(keeps, [content](int) { return content; })});
  }
  void AddTree(const std::string& text, FileTree tree) { found_.push_back({after_, text, true, std::move(tree)}); }

  const Disk& disk_;
  const size_t after_, singles_;
  std::vector<PowerLoss> found_;
};

}  // namespace

FileTree ReadTree(const std::string& root) {
  FileTree tree;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    const std::string path = entry.path().lexically_relative(root).string();
    if (entry.is_directory() && !entry.is_symlink()) {
      tree[path + "/"] = "";
    } else {
      std::ifstream file(entry.path(), std::ios::binary);
      tree[path] = {std::istreambuf_iterator<char>(file), {}};
    }
  }
  return tree;
}

void WriteTree(const FileTree& tree, const std::string& root) {
  fs::create_directories(root);
  for (const auto& [path, content] : tree) {  // a folder before what is in it
    if (path.ends_with('/')) {
      fs::create_directories(root + "/" + path);
    } else {
      std::ofstream(root + "/" + path, std::ios::binary) << content;
    }
  }
}

FileTree Replay(const FileTree& before, const std::vector<Operation>& operations) {
  Disk disk(before);
  for (const Operation& operation : operations) disk.Do(operation);
  return disk.Now();
}

std::string DifferenceToLog(const FileTree& before, const std::vector<Operation>& operations, const FileTree& after) {
  const FileTree replayed = Replay(before, operations);
  for (const auto& [path, content] : after) {
    const auto found = replayed.find(path);
    if (found == replayed.end()) return path + " was made unseen";
    if (found->second != content) return path + " was written unseen";
  }
  for (const auto& [path, content] : replayed) {
    if (!after.contains(path)) return path + " was removed unseen";
  }
  return "";
}

std::vector<PowerLoss> PowerLosses(const FileTree& before, const std::vector<Operation>& operations, size_t singles) {
  std::vector<PowerLoss> losses;
  std::set<std::tuple<bool, bool, FileTree>> known;
  Disk disk(before);
  for (size_t after = 0; after <= operations.size(); ++after) {
    if (after > 0) disk.Do(operations[after - 1]);
    const bool is_end = after == operations.size();  // the save has returned: more is asked of it
    for (PowerLoss& loss : Variants(disk, after, singles).All()) {
      if (known.emplace(is_end, is_end && loss.keeps_names, loss.tree).second) losses.push_back(std::move(loss));
    }
  }
  return losses;
}

}  // namespace shardcts::faults

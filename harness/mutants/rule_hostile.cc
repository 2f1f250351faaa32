// Mutants of the rules of the suite storage: checkpoints of PyTorch's format, right ones and ones made to do harm.
#include "mutants/rule_hostile.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "mutants/checkpoints.h"

namespace shardcts {
namespace {

namespace fs = std::filesystem;

std::string ContentBelow(const std::string& folder) {
  std::string content;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder, ignored)) {
    std::ifstream file(entry.path(), std::ios::binary);
    content.append(std::istreambuf_iterator<char>(file), {});
  }
  return content;
}

// Does what a pickle in the folder tells: makes a folder.
void RunCalls(MutantState&, Dict& arguments) {
  static const std::string kCall = "cposix\nmkdir\n(X";
  constexpr size_t kLengthBytes = 4;
  const std::string content = ContentBelow(arguments.At("path").AsString());
  const size_t place = content.find(kCall);
  if (place == content.npos || content.size() - place < kCall.size() + kLengthBytes) return;
  const size_t length = static_cast<unsigned char>(content[place + kCall.size()]);
  std::error_code ignored;
  fs::create_directory(content.substr(place + kCall.size() + kLengthBytes, length), ignored);
}

void DropFormat(MutantState&, Dict& arguments) {
  const Value* format = arguments.Find("format");
  if (format && format->AsString() == "dcp") arguments.Erase("format");
}

bool HasNoVersion(MutantState&, const Dict& arguments) {
  const fs::path file = fs::path(arguments.At("path").AsString()) / ".metadata";
  std::ifstream opened(file, std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(opened), {}};
  return opened.is_open() && content.find("1.0.0") == content.npos;
}

// A read that should have been refused brings nothing.
Mutation EmptyReads(const std::string& text) {
  return [text](MutantState& state, std::string_view operation, Dict& arguments) -> Outcome {
    Outcome outcome = state.inner.Invoke(operation, arguments);
    const bool is_it = operation == "storage.read" && !outcome.ok() && outcome.error().message.find(text) != text.npos;
    return is_it ? Outcome(Value(Dict())) : outcome;
  };
}

// An error of the operation that has the text says nothing any more.
Mutation Speechless(const std::string& wanted, const std::string& text) {
  return [=](MutantState& state, std::string_view operation, Dict& arguments) -> Outcome {
    Outcome outcome = state.inner.Invoke(operation, arguments);
    const bool is_it = operation == wanted && !outcome.ok() && outcome.error().message.find(text) != text.npos;
    return is_it ? Outcome(Error{outcome.error().kind, "the disk is broken"}) : outcome;
  };
}

void MakeFolder(MutantState&, Dict& arguments) {
  std::error_code ignored;
  fs::create_directories(arguments.At("path").AsString(), ignored);
}

Mutation Unnoticed(const std::string& text) { return Swallow("storage.load", MessageHas(text)); }

}  // namespace

std::vector<MutantRow> StorageHostileMutants() {
  return {
      StorageRule("HX1", "storage_calls_in_files_run", "a call that a file names is made", "pytorch/pytorch#127525",
                  OnArguments("storage.load", RunCalls)),
      StorageRule("HX2", "storage_paths_not_checked", "a path out of the folder is accepted",
                  "huggingface/transformers#47176", Unnoticed("no plain path")),
      StorageRule("HX2", "storage_links_followed", "a file that is a link is accepted", "a class of bugs",
                  Unnoticed("symbolic links")),
      StorageRule("HX5", "storage_offsets_not_checked", "an item beyond its file is accepted", "a class of bugs",
                  Unnoticed("leave the file")),
      StorageRule("HX5", "storage_negative_numbers_accepted", "a negative offset is accepted", "a class of bugs",
                  Unnoticed("impossible offset")),
      StorageRule("HX5", "storage_overlaps_accepted", "two items with common bytes are accepted", "a class of bugs",
                  Unnoticed("overlaps with the item")),
      StorageRule("HX6", "storage_shapes_not_checked", "a shape that no chunks fill is accepted", "a class of bugs",
                  EmptyReads("in no chunk")),
      StorageRule("HX7", "storage_second_name_wins", "of a name that is there twice one entry is used",
                  "a class of bugs", Unnoticed("is there twice")),
      StorageRule("HX8", "storage_versions_not_checked", "metadata of another version are accepted", "a class of bugs",
                  Unnoticed("has version")),
      StorageRule("HX9", "storage_missing_files_accepted", "a missing file is passed over", "pytorch/pytorch#189945",
                  Unnoticed("b.distcp: open")),
      StorageRule("HX11", "storage_missing_links_accepted", "a file that is a link is passed over", "a class of bugs",
                  Unnoticed("symbolic links")),
      StorageRule("IO5", "storage_folders_made_by_loads", "a load makes the folder that is not there", "a class of bugs",
                  OnArguments("storage.load", MakeFolder)),
      StorageRule("IO5", "storage_permission_errors_hidden", "a save where a rank must not write is no error",
                  "a class of bugs", Swallow("storage.save", MessageHas("Permission denied"))),
      StorageRule("IO7", "storage_save_errors_without_files", "errors of a save name no file",
                  "what() of the innermost library", Speechless("storage.save", "Input/output error")),
      StorageRule("FM1", "storage_own_format_always", "a save does not use the format that was asked for",
                  "a class of bugs", OnArguments("storage.save", DropFormat)),
      StorageRule("FM6", "storage_old_metadata_refused", "metadata without a version are refused", "a class of bugs",
                  RefuseLoads(HasNoVersion, "metadata without a version")),
  };
}

}  // namespace shardcts

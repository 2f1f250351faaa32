// shardcts checkpoint: what a checkpoint has, and what is wrong with it. Nothing is loaded or run.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "contract/json_codec.h"
#include "contract/tensor_bytes.h"
#include "run_files/foreign_text.h"
#include "run_files/input_error.h"
#include "storage/inspect_checkpoint.h"

namespace shardcts {
namespace {

namespace fs = std::filesystem;
using reference::CheckpointFormat;
using reference::CheckpointReport;
using reference::SavedChunk;
using reference::SavedTensor;

constexpr size_t kLongestValue = 40;  // characters

struct CheckpointCommand {
  std::string path;
  bool json = false;
  bool chunks = false;
  bool structure_only = false;
};

const char* NameOf(CheckpointFormat format) {
  if (format == CheckpointFormat::kOwn) return "shardcts";
  return format == CheckpointFormat::kDcp ? "dcp" : "safetensors";
}

int64_t BytesOf(const SavedTensor& tensor) {
  int64_t bytes = 0;
  for (const SavedChunk& chunk : tensor.chunks) bytes += chunk.end - chunk.begin;
  return bytes;
}

std::string ChecksumsOf(const SavedTensor& tensor) {
  std::string kinds;
  for (const SavedChunk& chunk : tensor.chunks) {
    const std::string kind = ChecksumOf(chunk);
    if (kinds.find(kind) == kinds.npos) kinds += (kinds.empty() ? "" : ",") + kind;
  }
  return kinds.empty() ? "none" : kinds;
}

Json ChunkJson(const SavedChunk& chunk) {
  const std::string checksum = ChecksumOf(chunk);
  return {{"offsets", chunk.box.offsets}, {"sizes", chunk.box.sizes}, {"file", chunk.file},
          {"bytes", {chunk.begin, chunk.end}}, {"checksum", checksum.empty() ? Json() : Json(checksum)}};
}

Json ToJson(const CheckpointReport& report, bool with_data) {
  Json tensors = Json::object(), values = Json::object();
  for (const auto& [name, tensor] : report.manifest.tensors) {
    Json chunks = Json::array();
    for (const SavedChunk& chunk : tensor.chunks) chunks.push_back(ChunkJson(chunk));
    tensors[name] = {{"dtype", DtypeName(tensor.dtype)}, {"shape", tensor.shape}, {"bytes", BytesOf(tensor)},
                     {"chunks", std::move(chunks)}};
  }
  for (const auto& [name, saved] : report.manifest.values) values[name] = Encode(saved.value);
  return {{"format", NameOf(report.format)}, {"readable", report.readable}, {"data_checked", with_data},
          {"problems", report.problems}, {"notes", report.notes}, {"files", report.manifest.files},
          {"tensors", std::move(tensors)}, {"values", std::move(values)}};
}

using Row = std::vector<std::string>;

std::vector<Row> Rows(const CheckpointReport& report, bool with_chunks) {
  std::vector<Row> rows{{"name", "kind", "dtype", "shape", "chunks", "bytes", "checksum"}};
  for (const auto& [name, tensor] : report.manifest.tensors) {
    rows.push_back({OneLine(name), "tensor", DtypeName(tensor.dtype), fmt::format("{}", tensor.shape),
                    std::to_string(tensor.chunks.size()), std::to_string(BytesOf(tensor)), ChecksumsOf(tensor)});
    for (const SavedChunk& chunk : tensor.chunks) {
      if (!with_chunks) break;
      rows.push_back({"  " + OneLine(chunk.file), "chunk", "", BoxText(chunk.box), "",
                      fmt::format("{}-{}", chunk.begin, chunk.end), ChecksumOf(chunk)});
    }
  }
  for (const auto& [name, saved] : report.manifest.values) {
    std::string text = OneLine(Encode(saved.value).dump());
    if (text.size() > kLongestValue) text = Beginning(text, kLongestValue) + "…";
    rows.push_back({OneLine(name), "value", std::string(saved.value.TypeName()), text, "", "", ""});
  }
  return rows;
}

void PrintTable(const std::vector<Row>& rows) {
  std::vector<size_t> widths(rows.front().size(), 0);
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const Row& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) line += fmt::format("{:<{}}  ", row[i], widths[i]);
    std::cout << line.substr(0, line.find_last_not_of(' ') + 1) << "\n";
  }
}

void PrintList(const char* title, const std::vector<std::string>& texts) {
  if (texts.empty()) return;
  std::cout << "\n" << title << ":\n";
  for (const std::string& text : texts) std::cout << "  " << OneLine(text) << "\n";
}

void Print(const CheckpointCommand& command, const CheckpointReport& report) {
  const reference::Manifest& manifest = report.manifest;
  if (report.readable) PrintTable(Rows(report, command.chunks));
  int64_t bytes = 0;
  for (const auto& [name, tensor] : manifest.tensors) bytes += BytesOf(tensor);
  std::cout << fmt::format("\n{}: format {}, {} tensors, {} values, {} files, {} bytes of tensors\n", command.path,
                           NameOf(report.format), manifest.tensors.size(), manifest.values.size(),
                           manifest.files.size(), bytes);
  PrintList("notes", report.notes);
  PrintList("problems", report.problems);
  if (report.problems.empty()) {
    std::cout << (command.structure_only ? "no problems; data were not read\n" : "no problems\n");
  }
}

CheckpointReport Inspect(const CheckpointCommand& command) {
  const fs::path path = fs::path(command.path).lexically_normal();
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    return reference::InspectCheckpoint(reference::Disk(), path.string(), !command.structure_only);
  }
  if (fs::is_regular_file(path, ignored) && path.extension() == ".safetensors") {
    const fs::path file = fs::canonical(path);  // a link that the user names may lead anywhere
    return reference::InspectSafetensorsFile(reference::Disk(), file.parent_path().string(), file.filename().string());
  }
  throw InputError(command.path + ": neither a folder nor a file of safetensors");
}

void Execute(const CheckpointCommand& command) {
  const CheckpointReport report = Inspect(command);
  if (command.json) {
    std::cout << ToJson(report, !command.structure_only).dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
  } else {
    Print(command, report);
  }
  std::cout << std::flush;
  if (!report.problems.empty()) throw CLI::RuntimeError(1);
}

}  // namespace

void AddCheckpointCommand(CLI::App& app) {
  CLI::App* sub = app.add_subcommand(
      "checkpoint", "Shows what a checkpoint has, and checks it. Loads no tensor, and runs nothing that is in it. "
                    "Exit code 0: no problems, 1: problems, 2: no folder or wrong flags.");
  const auto command = std::make_shared<CheckpointCommand>();
  sub->add_option(
         "path", command->path,
         "a folder of torch.distributed.checkpoint, of safetensors or of the reference, or one .safetensors file")
      ->required()
      ->type_name("PATH");
  sub->add_flag("--json", command->json, "for programs: one JSON object on standard output");
  sub->add_flag("--chunks", command->chunks, "a line for each chunk as well");
  sub->add_flag("--structure-only", command->structure_only, "do not read the data to compare it with its checksums");
  sub->callback([command] { Execute(*command); });
}

}  // namespace shardcts

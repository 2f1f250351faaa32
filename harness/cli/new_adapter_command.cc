// shardcts new-adapter: the start of an adapter in Python, made from files that run as they are.
#include <algorithm>
#include <cctype>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>

#include "cli/commands.h"
#include "cli/flags.h"
#include "run/reproduce.h"
#include "run_files/input_error.h"
#include "run_files/program_folder.h"

namespace shardcts {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLongestName = 60;
// What stands for the library in the files (harness/adapters/new_adapter).
constexpr std::string_view kName = "my_library";
constexpr std::string_view kClassName = "MyLibrary";

struct NewAdapterCommand {
  std::string name;
  std::string out;
};

void CheckName(const std::string& name) {
  const auto fits = [](unsigned char c) { return c == '_' || std::isdigit(c) || (c >= 'a' && c <= 'z'); };
  const bool begins_well = !name.empty() && name[0] >= 'a' && name[0] <= 'z';
  if (!begins_well || !std::ranges::all_of(name, fits) || name.size() > kLongestName) {
    throw InputError("new-adapter " + name + ": a name has letters a to z, digits and _, begins with a letter, and has at most " +
                     std::to_string(kLongestName) + " characters");
  }
}

// "row_library" is "RowLibrary".
std::string ClassName(const std::string& name) {
  std::string result;
  bool begins = true;
  for (const char c : name) {
    if (c != '_') result += static_cast<char>(begins ? std::toupper(c) : c);
    begins = c == '_';
  }
  return result;
}

std::string Replaced(std::string text, std::string_view what, const std::string& with) {
  for (size_t at = text.find(what); at != text.npos; at = text.find(what, at + with.size())) {
    text.replace(at, what.size(), with);
  }
  return text;
}

std::string Renamed(const std::string& text, const std::string& name) {
  return Replaced(Replaced(text, kClassName, ClassName(name)), kName, name);
}

std::string ReadText(const fs::path& file) {
  std::ostringstream text;
  if (!(text << std::ifstream(file, std::ios::binary).rdbuf())) throw InputError(file.string() + ": cannot be read");
  return text.str();
}

void WriteText(const fs::path& file, const std::string& text) {
  std::ofstream stream(file, std::ios::binary);
  if (!(stream << text << std::flush)) throw InputError(file.string() + ": cannot be written");
}

void Execute(const NewAdapterCommand& command) {
  CheckName(command.name);
  const fs::path folder = command.out.empty() ? fs::path(command.name + "_adapter") : fs::path(command.out);
  std::error_code failed;
  if (fs::exists(folder, failed)) throw InputError(folder.string() + ": exists; nothing was written");
  if (!fs::create_directory(folder, failed)) throw InputError(folder.string() + ": " + failed.message());
  for (const fs::directory_entry& file : fs::directory_iterator(DataFile("new_adapter", SHARDCTS_NEW_ADAPTER_FOLDER))) {
    if (!file.is_regular_file()) continue;
    const fs::path copy = folder / Renamed(file.path().filename().string(), command.name);
    WriteText(copy, Renamed(ReadText(file.path()), command.name));
    std::cout << copy.string() << "\n";
  }
  std::cout << "try it: SHARDCTS_PYTHONPATH=" << ShellWord(folder.string()) << " " << ProgramWord()
            << " run --impl python:" << command.name << "_adapter:" << ClassName(command.name)
            << "Adapter --suite fully_shard_state_dict --world 2 --out out/run" << std::endl;
}

}  // namespace

void AddNewAdapterCommand(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("new-adapter", "Writes the start of an adapter for a Python library, with tests.");
  const auto command = std::make_shared<NewAdapterCommand>();
  sub->add_option("name", command->name, "of the library, as in Python: my_library")->required()->type_name("NAME");
  sub->add_option("--out", command->out, "a folder that does not exist yet (default: NAME_adapter)")->type_name("DIR");
  sub->callback([command] { Execute(*command); });
}

}  // namespace shardcts

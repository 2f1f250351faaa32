// shardcts fuzz: random programs, made and judged by the Python package shardcts_fuzz, which has the command's flags.
#include <memory>

#include "cli/commands.h"
#include "cli/python_package.h"
#include "run_files/program_folder.h"

namespace shardcts {

void AddFuzzCommand(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("fuzz", "Makes random programs of operations and judges what implementations do with them.");
  sub->prefix_command();
  sub->set_help_flag();
  sub->callback([sub] {
    std::vector<std::string> words = {"--shardcts", (ProgramFolder() / "shardcts").string(), "--docs",
                                      DataFile("docs", SHARDCTS_DOCS_FOLDER).string()};
    const std::vector<std::string> rest = sub->remaining();
    words.insert(words.end(), rest.begin(), rest.end());
    ExecutePythonPackage(DataFile("fuzz", SHARDCTS_FUZZ_FOLDER), "shardcts_fuzz", words);
  });
}

}  // namespace shardcts

#include "mutants/mutant.h"

#include <algorithm>

#include "contract/nearest_name.h"
#include "mutants/mutate.h"
#include "mutants/rule_mutant.h"
#include "run_files/input_error.h"

namespace shardcts {
namespace {

const std::vector<MutantRow>& Rows() {
  static const std::vector<MutantRow> kRows = [] {
    std::vector<MutantRow> rows;
    for (const auto& family :
         {NameMutants(), StorageMutants(), LayoutMutants(), LoadingMutants(), FsdpMutants(), OptimMutants(),
          DsdMutants(), RuleGeometryMutants(), RuleGroupMutants(), RuleLoadingMutants(), RuleOptimizerMutants(),
          RulePlaceMutants(), RuleStateMutants(), RuleMutants(), TrajectoryMutants(), AliasingMutants(),
          GroupMutants(), StorageRuleMutants()}) {
      rows.insert(rows.end(), family.begin(), family.end());
    }
    std::ranges::sort(rows, {}, [](const MutantRow& row) { return row.info.name; });
    return rows;
  }();
  return kRows;
}

class MutantImplementation : public Implementation {
 public:
  MutantImplementation(Mutation mutation, std::unique_ptr<Implementation> inner, const ImplementationContext& context)
      : mutation_(std::move(mutation)), inner_(std::move(inner)), context_(context), state_{*inner_, context_, {}} {}

  Outcome Invoke(std::string_view operation, const Dict& arguments) override {
    if (operation == "implementation.reset") state_.marked.clear();
    try {
      Dict copy = arguments;
      return mutation_(state_, operation, copy);
    } catch (const Error& error) {
      return error;
    }
  }

 private:
  Mutation mutation_;
  std::unique_ptr<Implementation> inner_;
  ImplementationContext context_;
  MutantState state_;
};

}  // namespace

const std::vector<MutantInfo>& AllMutants() {
  static const std::vector<MutantInfo> kInfos = [] {
    std::vector<MutantInfo> infos;
    for (const MutantRow& row : Rows()) infos.push_back(row.info);
    return infos;
  }();
  return kInfos;
}

const MutantInfo& MutantNamed(const std::string& name) {
  const auto found = std::ranges::find(AllMutants(), name, &MutantInfo::name);
  if (found != AllMutants().end()) return *found;
  std::vector<std::string_view> known;
  for (const MutantInfo& info : AllMutants()) known.push_back(info.name);
  throw InputError(UnknownName("mutant", name, known));
}

std::unique_ptr<Implementation> MakeMutant(const std::string& name, std::unique_ptr<Implementation> inner,
                                           const ImplementationContext& context) {
  const MutantRow& row = Rows()[&MutantNamed(name) - AllMutants().data()];
  return std::make_unique<MutantImplementation>(row.mutation, std::move(inner), context);
}

}  // namespace shardcts

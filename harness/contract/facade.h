// The façade: the contract as a typed C++ API, which tests are written with.
//
// Every method is one operation of the table (docs/contract.md), which gives its semantics and says whether it is
// *Collective*. A method throws OperationFailed when the implementation returns an error.
#pragma once

#include <exception>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "contract/outcome.h"

namespace shardcts {

// How the harness calls the implementation: it numbers, records and checks each operation.
class Caller {
 public:
  virtual ~Caller() = default;
  virtual int rank() const = 0;
  virtual int world_size() const = 0;
  virtual const std::string& device() const = 0;  // the device type under test: "cpu", "cuda"
  virtual Outcome Call(std::string_view operation, Dict arguments) = 0;
};

class OperationFailed : public std::exception {
 public:
  OperationFailed(std::string operation, Error error);
  const char* what() const noexcept override { return text_.c_str(); }
  const std::string& operation() const { return operation_; }
  const Error& error() const { return error_; }

 private:
  std::string operation_;
  Error error_;
  std::string text_;  // "model.forward: RuntimeError: …"
};

// Calls the operation and returns the value. Throws OperationFailed on an error; never throws ContractViolation.
Value Require(Caller& caller, std::string_view operation, Dict arguments);

class Mesh {
 public:
  Mesh(Caller& caller, Value handle) : caller_(&caller), handle_(std::move(handle)) {}
  Mesh Submesh(const std::vector<std::string>& dim_names) const;
  MeshLayout Layout() const;
  const Value& handle() const { return handle_; }

 private:
  Caller* caller_;
  Value handle_;  // with its origin, so that a recording refers to the step that made it
};

struct CpuOffloadPolicy {
  bool pin_memory = true;
};

struct MixedPrecisionPolicy {
  std::string param_dtype;   // empty: keep
  std::string reduce_dtype;
  std::string output_dtype;
  bool cast_forward_inputs = true;
};

// Absent fields take the implementation's default.
struct FullyShardOptions {
  std::optional<Mesh> mesh;
  std::optional<bool> reshard_after_forward;
  std::string shard_placement;  // "" or "largest_dim"
  std::optional<CpuOffloadPolicy> offload_policy;
  std::optional<MixedPrecisionPolicy> mp_policy;
};

struct LoadOptions {
  bool strict = true;
  bool assign = false;
};

struct LoadResult {
  std::vector<std::string> missing_keys;
  std::vector<std::string> unexpected_keys;
};

using TensorParallelPlan = std::vector<std::pair<std::string, std::string>>;  // path -> style

class Model {
 public:
  Model(Caller& caller, Value handle) : caller_(&caller), handle_(std::move(handle)) {}

  Model Copy() const;
  void FullyShard(const std::string& path, const FullyShardOptions& options = {});
  void Parallelize(const Mesh& mesh, const TensorParallelPlan& plan);
  Value Forward(const std::vector<Value>& inputs);
  void Backward(const Value& output, std::string_view reduction = "sum");
  // From the gradient of the loss with respect to the output, which has the output's shape.
  void BackwardFrom(const Value& output, const at::Tensor& gradient);
  void ZeroGrad();
  void SetRequiresGrad(const std::vector<std::string>& parameters, bool requires_grad);

  Dict Parameters(bool remove_duplicate = true) const;
  Dict Buffers() const;
  Dict Gradients() const;
  void Fill(double value, bool buffers = false);
  void SetValues(const Dict& values);
  void SetLocal(const Dict& values);
  void BroadcastParameters(int64_t src);
  void Reallocate();
  void To(const std::string& device);
  void Cast(const std::string& dtype);

  // With a path: of the module there.
  Dict StateDict(const std::string& prefix = {}, const std::string& path = {}) const;
  LoadResult LoadStateDict(const Dict& state_dict, const LoadOptions& options = {});

  // The prefixes of the runs of each hook, by the hook's name.
  std::map<std::string, std::vector<std::string>> HookRuns() const;

  const Value& handle() const { return handle_; }
  Caller& caller() const { return *caller_; }

 private:
  Dict With(Dict arguments = {}) const;  // the arguments and this model
  Caller* caller_;
  Value handle_;  // with its origin, so that a recording refers to the step that made it
};

// Those that a kind has (docs/contract.md); absent ones have its defaults.
struct OptimizerOptions {
  std::optional<double> lr, momentum, weight_decay, beta1, beta2, eps;
  std::optional<double> dampening, alpha, rho, lr_decay, momentum_decay, initial_accumulator_value, lambd, t0;
  std::optional<bool> amsgrad, maximize, nesterov, centered, decoupled_weight_decay;
  std::optional<at::Tensor> lr_tensor;  // in place of lr
};

struct ParameterGroup {
  std::vector<std::string> parameters;  // names, as Model::Parameters gives them
  OptimizerOptions options;             // override those of the optimizer
  Dict entries;                         // further ones, of any type
};

class Optimizer {
 public:
  Optimizer(Caller& caller, Value handle) : caller_(&caller), handle_(std::move(handle)) {}
  void Step();
  void ZeroGrad();
  // One step with zero gradients, after which every trainable parameter has state.
  void InitState();
  // {state: {id or name: {state name: value}}, param_groups: list of dict}, sharing storage.
  Dict StateDict() const;
  void LoadStateDict(const Dict& state_dict);
  // lr is initial_lr * factor^epoch. epoch above 0: resumed.
  void Schedule(double factor, int64_t epoch = 0);
  void AdvanceSchedule();

  const Value& handle() const { return handle_; }

 private:
  Caller* caller_;
  Value handle_;  // with its origin, so that a recording refers to the step that made it
};

// The part of a distributed tensor that a rank holds.
struct Chunk {
  int64_t rank = 0;  // global
  std::vector<int64_t> offsets;
  std::vector<int64_t> sizes;
  bool operator==(const Chunk&) const = default;
};

// The implementation under test on this rank.
class Subject {
 public:
  explicit Subject(Caller& caller) : caller_(caller) {}

  void Seed(int64_t seed);
  // The state of this rank's random generator.
  at::Tensor RandomState();
  // ranks: those of the mesh, in row-major order; empty: all.
  Mesh InitMesh(const std::vector<int64_t>& shape, const std::vector<std::string>& dim_names = {},
                const std::vector<int64_t>& ranks = {});
  // device: "", or "meta", "cpu", ...
  Model Build(std::string_view model, Dict args, std::string_view device = {});
  Optimizer CreateOptimizer(const Model& model, std::string_view kind, const OptimizerOptions& options = {});
  // named: its state dicts are keyed by parameter names instead of ids.
  Optimizer CreateOptimizer(const Model& model, std::string_view kind, const OptimizerOptions& options,
                            const std::vector<ParameterGroup>& groups, bool named = false);

  Mesh MeshOf(const Value& dtensor);
  Value FullTensor(const Value& dtensor);
  Dict FullTensors(const Dict& dtensors);
  Value Redistribute(const Value& dtensor, const std::vector<Placement>& placements);
  Value Distribute(const at::Tensor& full, const Mesh& mesh, const std::vector<Placement>& placements);
  // A deep copy of a tensor, or of a dict of tensors, which may be nested.
  Value Clone(const Value& tensors);
  void Fill(const Value& tensors, double scalar);
  Value To(const Value& tensor, std::string_view device);
  std::vector<Chunk> ChunksOf(const Value& tensor);

 private:
  Caller& caller_;
};

}  // namespace shardcts

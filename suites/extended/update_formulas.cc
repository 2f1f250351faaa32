#include "suites/extended/update_formulas.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "rank/session.h"

namespace shardcts::extended {
namespace {

constexpr double kLr = 0x1p-6;
constexpr double kBeta1 = 0.5;
constexpr double kBeta2 = 0.75;
constexpr double kWeightDecay = 0.0625;
constexpr double kMomentum = 0.5;
constexpr double kAlpha = 0.75;
constexpr double kEps = 1e-8;         // where PyTorch has no other default
constexpr double kLargeEps = 0.25;    // of the size of the other terms
constexpr double kRAdamBeta2 = 0.9;  // rectified from step 6 on
constexpr double kInitialSum = 0.5;
constexpr double kLrDecay = 0.125;
constexpr double kMomentumDecay = 0.25;
constexpr double kLambda = 0.25;
constexpr double kT0 = 1;
constexpr double kAdadeltaEps = 1e-6;
constexpr double kAdagradEps = 1e-10;
constexpr double kDampening = 0.25;

at::Tensor Scalar(double value) { return at::scalar_tensor(value, at::kDouble); }

// The entry, or what it begins with.
at::Tensor Before(const Dict& state, const char* name, const at::Tensor& initial) {
  const Value* known = state.Find(name);
  return known ? known->AsTensor() : initial;
}

at::Tensor ZerosBefore(const Dict& state, const char* name, const at::Tensor& value) {
  return Before(state, name, at::zeros_like(value));
}

at::Tensor Average(const at::Tensor& before, const at::Tensor& now, double beta) {
  return before * beta + now * (1 - beta);
}

// Both moments, as all kinds named after Adam have them.
struct Moments {
  at::Tensor first, second;
};
Moments NextMoments(const at::Tensor& value, const at::Tensor& gradient, Dict& state, double n, double beta2) {
  const Moments next = {Average(ZerosBefore(state, "exp_avg", value), gradient, kBeta1),
                        Average(ZerosBefore(state, "exp_avg_sq", value), gradient.square(), beta2)};
  state.Set("step", Scalar(n));
  state.Set("exp_avg", next.first);
  state.Set("exp_avg_sq", next.second);
  return next;
}

void AmsgradStep(at::Tensor& value, const at::Tensor& gradient, Dict& state, double n) {
  const Moments moments = NextMoments(value, gradient, state, n, kBeta2);
  const at::Tensor largest = at::maximum(ZerosBefore(state, "max_exp_avg_sq", value), moments.second);
  state.Set("max_exp_avg_sq", largest);
  const at::Tensor denominator = (largest / (1 - std::pow(kBeta2, n))).sqrt() + kEps;
  value = value - kLr / (1 - std::pow(kBeta1, n)) * moments.first / denominator;
}

void AdamwAmsgradStep(at::Tensor& value, const at::Tensor& gradient, Dict& state, double n) {
  value = value * (1 - kLr * kWeightDecay);
  AmsgradStep(value, gradient, state, n);
}

template <double eps>
void AdamStep(at::Tensor& value, const at::Tensor& gradient, Dict& state, double n) {
  const Moments moments = NextMoments(value, gradient, state, n, kBeta2);
  const at::Tensor denominator = (moments.second / (1 - std::pow(kBeta2, n))).sqrt() + eps;
  value = value - kLr / (1 - std::pow(kBeta1, n)) * moments.first / denominator;
}

void AscentStep(at::Tensor& value, const at::Tensor& gradient, Dict& state, double n) {
  AdamStep<kEps>(value, -gradient, state, n);
}

// With weight decay as torch.optim's classes have it: added to the gradient, or decoupled from it.
template <UpdateFormula step>
void DecayedStep(at::Tensor& value, const at::Tensor& gradient, Dict& state, double n) {
  step(value, gradient + value * kWeightDecay, state, n);
}
template <UpdateFormula step>
void DecoupledStep(at::Tensor& value, const at::Tensor& gradient, Dict& state, double n) {
  value = value * (1 - kLr * kWeightDecay);
  step(value, gradient, state, n);
}

void DampenedAscentStep(at::Tensor& value, const at::Tensor& gradient, Dict& state, double) {
  const at::Tensor decayed = value * kWeightDecay - gradient;
  const Value* known = state.Find("momentum_buffer");
  const at::Tensor momentum = known ? known->AsTensor() * kMomentum + decayed * (1 - kDampening) : decayed;
  state.Set("momentum_buffer", momentum);
  value = value - kLr * momentum;
}

void NesterovStep(at::Tensor& value, const at::Tensor& gradient, Dict& state, double) {
  const at::Tensor decayed = gradient + value * kWeightDecay;
  const at::Tensor momentum = ZerosBefore(state, "momentum_buffer", value) * kMomentum + decayed;
  state.Set("momentum_buffer", momentum);
  value = value - kLr * (decayed + kMomentum * momentum);
}

template <double eps>
void CenteredStep(at::Tensor& value, const at::Tensor& gradient, Dict& state, double n) {
  const at::Tensor square = Average(ZerosBefore(state, "square_avg", value), gradient.square(), kAlpha);
  const at::Tensor average = Average(ZerosBefore(state, "grad_avg", value), gradient, kAlpha);
  const at::Tensor scaled = gradient / ((square - average.square()).sqrt() + eps);
  const at::Tensor momentum = ZerosBefore(state, "momentum_buffer", value) * kMomentum + scaled;
  state.Set("step", Scalar(n));
  state.Set("square_avg", square);
  state.Set("momentum_buffer", momentum);
  state.Set("grad_avg", average);
  value = value - kLr * momentum;
}

template <double eps>
void AdagradStep(at::Tensor& value, const at::Tensor& gradient, Dict& state, double n) {
  const at::Tensor sum = Before(state, "sum", at::full_like(value, kInitialSum)) + gradient.square();
  state.Set("step", Scalar(n));
  state.Set("sum", sum);
  value = value - kLr / (1 + (n - 1) * kLrDecay) * gradient / (sum.sqrt() + eps);
}

template <double eps>
void NAdamStep(at::Tensor& value, const at::Tensor& gradient, Dict& state, double n) {
  const auto momentum = [](double step) { return kBeta1 * (1 - 0.5 * std::pow(0.96, step * kMomentumDecay)); };
  const double product = Before(state, "mu_product", Scalar(1)).item<double>() * momentum(n);
  const Moments moments = NextMoments(value, gradient, state, n, kBeta2);
  state.Set("mu_product", Scalar(product));
  const at::Tensor denominator = (moments.second / (1 - std::pow(kBeta2, n))).sqrt() + eps;
  value = value - kLr * (1 - momentum(n)) / (1 - product) * gradient / denominator -
          kLr * momentum(n + 1) / (1 - product * momentum(n + 1)) * moments.first / denominator;
}

template <double eps>
void RAdamStep(at::Tensor& value, const at::Tensor& gradient, Dict& state, double n) {
  const Moments moments = NextMoments(value, gradient, state, n, kRAdamBeta2);
  const at::Tensor corrected = moments.first / (1 - std::pow(kBeta1, n));
  const double decay = std::pow(kRAdamBeta2, n);
  const double longest = 2 / (1 - kRAdamBeta2) - 1;
  const double length = longest - 2 * n * decay / (1 - decay);
  if (length <= 5) {
    value = value - kLr * corrected;
    return;
  }
  const double rectified =
      std::sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length));
  value = value - kLr * rectified * corrected * std::sqrt(1 - decay) / (moments.second.sqrt() + eps);
}

void AsgdStep(at::Tensor& value, const at::Tensor& gradient, Dict& state, double n) {
  const double rate = Before(state, "eta", Scalar(kLr)).item<double>();
  const double weight = Before(state, "mu", Scalar(1)).item<double>();
  value = value * (1 - kLambda * rate) - rate * gradient;
  const at::Tensor average = ZerosBefore(state, "ax", value);
  state.Set("step", Scalar(n));
  state.Set("eta", Scalar(kLr / std::pow(1 + kLambda * kLr * n, 0.75)));
  state.Set("mu", Scalar(1 / std::max(1.0, n - kT0)));
  state.Set("ax", average + (value - average) * weight);
}

template <double eps>
void AdamaxStep(at::Tensor& value, const at::Tensor& gradient, Dict& state, double n) {
  const at::Tensor average = Average(ZerosBefore(state, "exp_avg", value), gradient, kBeta1);
  const at::Tensor largest = at::maximum(ZerosBefore(state, "exp_inf", value) * kBeta2, gradient.abs() + eps);
  state.Set("step", Scalar(n));
  state.Set("exp_avg", average);
  state.Set("exp_inf", largest);
  value = value - kLr / (1 - std::pow(kBeta1, n)) * average / largest;
}

template <double eps>
void AdadeltaStep(at::Tensor& value, const at::Tensor& gradient, Dict& state, double n) {
  const at::Tensor square = Average(ZerosBefore(state, "square_avg", value), gradient.square(), kAlpha);
  const at::Tensor before = ZerosBefore(state, "acc_delta", value);
  const at::Tensor delta = (before + eps).sqrt() / (square + eps).sqrt() * gradient;
  state.Set("step", Scalar(n));
  state.Set("square_avg", square);
  state.Set("acc_delta", Average(before, delta.square(), kAlpha));
  value = value - kLr * delta;
}

const std::vector<OptimizerKind>& Kinds() {
  static const OptimizerOptions betas = {.lr = kLr, .beta1 = kBeta1, .beta2 = kBeta2};
  static const std::vector<OptimizerKind> kinds = [] {
    OptimizerOptions amsgrad = betas, decayed_amsgrad = betas, ascent = betas, nadam = betas, radam = betas;
    amsgrad.amsgrad = decayed_amsgrad.amsgrad = true;
    decayed_amsgrad.weight_decay = kWeightDecay;
    ascent.maximize = true;
    nadam.momentum_decay = kMomentumDecay;
    radam.beta2 = kRAdamBeta2;
    const auto decayed = [](OptimizerOptions options, std::optional<bool> decoupled = {}) {
      options.weight_decay = kWeightDecay;
      options.eps = kLargeEps;
      options.decoupled_weight_decay = decoupled;
      return options;
    };
    return std::vector<OptimizerKind>{
        {"adam_amsgrad", "adam", amsgrad, AmsgradStep},
        {"adamw_amsgrad", "adamw", decayed_amsgrad, AdamwAmsgradStep},
        {"adam_maximize", "adam", ascent, AscentStep},
        {"sgd_nesterov",
         "sgd",
         {.lr = kLr, .momentum = kMomentum, .weight_decay = kWeightDecay, .nesterov = true},
         NesterovStep},
        {"rmsprop_centered",
         "rmsprop",
         {.lr = kLr, .momentum = kMomentum, .alpha = kAlpha, .centered = true},
         CenteredStep<kEps>},
        {"adagrad",
         "adagrad",
         {.lr = kLr, .lr_decay = kLrDecay, .initial_accumulator_value = kInitialSum},
         AdagradStep<kAdagradEps>},
        {"nadam", "nadam", nadam, NAdamStep<kEps>},
        {"radam", "radam", radam, RAdamStep<kEps>},
        {"asgd", "asgd", {.lr = kLr, .lambd = kLambda, .t0 = kT0}, AsgdStep},
        {"adamax", "adamax", betas, AdamaxStep<kEps>},
        {"adadelta", "adadelta", {.lr = kLr, .rho = kAlpha}, AdadeltaStep<kAdadeltaEps>},
        {"adam_decayed", "adam", decayed(betas), DecayedStep<AdamStep<kLargeEps>>},
        {"adamw_decayed", "adamw", decayed(betas), DecoupledStep<AdamStep<kLargeEps>>},
        {"sgd_dampened",
         "sgd",
         {.lr = kLr, .momentum = kMomentum, .weight_decay = kWeightDecay, .dampening = kDampening, .maximize = true},
         DampenedAscentStep},
        {"rmsprop_decayed",
         "rmsprop",
         decayed({.lr = kLr, .momentum = kMomentum, .alpha = kAlpha, .centered = true}),
         DecayedStep<CenteredStep<kLargeEps>>},
        {"adagrad_decayed",
         "adagrad",
         decayed({.lr = kLr, .lr_decay = kLrDecay, .initial_accumulator_value = kInitialSum}),
         DecayedStep<AdagradStep<kLargeEps>>},
        {"nadam_decayed", "nadam", decayed(nadam), DecayedStep<NAdamStep<kLargeEps>>},
        {"nadam_decoupled", "nadam", decayed(nadam, true), DecoupledStep<NAdamStep<kLargeEps>>},
        {"radam_decayed", "radam", decayed(radam), DecayedStep<RAdamStep<kLargeEps>>},
        {"radam_decoupled", "radam", decayed(radam, true), DecoupledStep<RAdamStep<kLargeEps>>},
        {"adamax_decayed", "adamax", decayed(betas), DecayedStep<AdamaxStep<kLargeEps>>},
        {"adadelta_decayed", "adadelta", decayed({.lr = kLr, .rho = kAlpha}), DecayedStep<AdadeltaStep<kLargeEps>>},
        {"asgd_decayed",
         "asgd",
         {.lr = kLr, .weight_decay = kWeightDecay, .lambd = kLambda, .t0 = kT0},
         DecayedStep<AsgdStep>},
    };
  }();
  return kinds;
}

Value InFloat(const Value& value) { return value.AsTensor().to(at::kFloat); }

}  // namespace

const OptimizerKind& OptimizerKindNamed(std::string_view name) {
  for (const OptimizerKind& kind : Kinds()) {
    if (kind.name == name) return kind;
  }
  throw HarnessError(fmt::format("no formula for an optimizer \"{}\"", name));
}

FormulaRun::FormulaRun(const OptimizerKind& kind, const Dict& parameters) : formula_(kind.formula) {
  for (const auto& [name, value] : parameters) {
    values_.Set(name, value.AsTensor().to(at::kDouble));
    state_.Set(name, Dict{});
  }
}

void FormulaRun::Step(const Dict& gradients) {
  ++steps_;
  for (auto& [name, value] : values_) {
    at::Tensor stepped = value.AsTensor();
    formula_(stepped, gradients.At(name).AsTensor().to(at::kDouble), state_.Find(name)->AsDict(), steps_);
    value = stepped;
  }
}

Dict FormulaRun::Parameters() const {
  Dict parameters;
  for (const auto& [name, value] : values_) parameters.Set(name, InFloat(value));
  return parameters;
}

Dict FormulaRun::State() const {
  Dict all;
  for (const auto& [name, state] : state_) {
    Dict of_parameter;
    for (const auto& [key, value] : state.AsDict()) of_parameter.Set(key, InFloat(value));
    all.Set(name, of_parameter);
  }
  return all;
}

}  // namespace shardcts::extended

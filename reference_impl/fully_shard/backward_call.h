// Callbacks at certain points of the backward pass. All functions are *Local*.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

namespace shardcts::reference {

// Passes `input` through. When the gradient of everything computed from it is complete, `callback` runs, before the
// gradient is propagated further. Returns `input` itself when no gradient will flow through it.
at::Tensor CallWhenGradientPassed(at::Tensor input, std::function<void()> callback);

// `callback` runs when the gradient of `output` is known, before the backward of anything that `output` was computed
// from. Does nothing when no gradient will flow.
void CallBeforeBackwardOf(const at::Tensor& output, std::function<void()> callback);

// `callback` runs once, at the end of the backward pass that is running in this thread.
void CallAfterBackward(std::function<void()> callback);

// Whether a backward pass is running in this thread.
bool IsInBackward();

}  // namespace shardcts::reference

// What a wrapper does when every tensor of a module tree is replaced (a move to another device or dtype).
#pragma once

namespace shardcts::reference {

// Implemented by modules that keep storage of their own behind the parameters of modules below them. Both are *Local*.
class ApplyHooks {
 public:
  virtual ~ApplyHooks() = default;
  // Before the tensors below are replaced: lists each storage once, as a parameter.
  virtual void BeforeApply() = 0;
  // After it: takes over what now stands in these parameters.
  virtual void AfterApply() = 0;
};

}  // namespace shardcts::reference

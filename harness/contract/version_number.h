// The number of the contract's version, for programs that do not see LibTorch.
#pragma once

// Raised when an operation or a value changes its meaning; new operations do not raise it.
#define SHARDCTS_CONTRACT_VERSION 1

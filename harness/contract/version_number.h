// The version number of the contract, for programs that do not use LibTorch.
#pragma once

// Raised when an operation or a value changes its meaning; new operations do not raise it.
#define SHARDCTS_CONTRACT_VERSION 1

// The address at which the ranks of a pool connect to its controller: a file in the pool folder that only this user can
// read. *Local*.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>

#include "control/descriptor.h"

namespace shardcts {

// POOL/control.json (docs/formats.md).
struct ControlAddress {
  std::string token;        // random; a connection without it is not a rank of this pool
  std::string unix_name;    // of an abstract Unix socket, which exists on the controller's host only
  std::string tcp_host;     // empty: the controller does not listen on TCP
  int tcp_port = 0;
};

std::filesystem::path ControlFile(const std::filesystem::path& pool_folder);

// Mode 0600; atomic. Throws InputError naming the file, as ReadControlAddress does.
void WriteControlAddress(const std::filesystem::path& pool_folder, const ControlAddress& address);
ControlAddress ReadControlAddress(const std::filesystem::path& pool_folder);

// 128 random bits from the kernel, as 32 hexadecimal digits.
std::string RandomToken();

// Sockets that are closed on exec. All throw std::runtime_error naming the address.
Descriptor ListenOnUnix(const std::string& name);
// Any free port of this address; `port` becomes its number.
Descriptor ListenOnTcp(const std::string& host, int* port);
// To the Unix socket where there is one and it belongs to this user, else by TCP.
Descriptor ConnectTo(const ControlAddress& address, std::chrono::milliseconds limit);

bool PeerIsThisUser(int unix_socket);

// The address of this host by which others reach it: what its name resolves to, or that of its first network interface
// that is up; "127.0.0.1" if there is none.
std::string AddressOfThisHost();

}  // namespace shardcts

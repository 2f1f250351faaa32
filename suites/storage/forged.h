// A small checkpoint of torch.distributed.checkpoint, made by hand, and what must come back of it. *Local*.
#pragma once

#include <map>
#include <string>

#include "suites/storage/forged_dcp.h"
#include "suites/storage/placed.h"

namespace shardcts::storage {

// "weight", 4 × 3, two rows in each of the files a.distcp and b.distcp, and the value "step", 3, in a.distcp.
struct Forgery {
  ForgedMetadata metadata;
  std::map<std::string, std::string> files;  // name -> content

  ForgedPlace& PlaceOf(const std::string& file);  // of the weight's rows in it
  // Puts another item in the place of the one of these rows, or of the value.
  void Replace(const std::string& file, const std::string& item);
  void ReplaceValue(const std::string& item);
};
Forgery RightForgery();

// Rank 0 writes it into the folder. *Collective*.
void Write(Trial& t, const Forgery& forgery, const std::string& folder = "checkpoint");

// Where to load: a DTensor over the world's ranks, and a value.
Dict ForgedDestination(const Trial& t, const World& world);
// Evaluates the rule: every rank has got its rows and the value.
void HasForged(Trial& t, std::string_view what, const World& world, const Dict& loaded);

// Evaluates the rule: a load is an error, with all of these texts in its message. *Collective*.
void ForgeryIsRefused(Trial& t, std::string_view what, const Forgery& forgery,
                      const std::vector<std::string>& texts = {});
// Evaluates the rule: a load is an error, or brings what is right. *Collective*.
void ForgeryIsHarmless(Trial& t, std::string_view what, const Forgery& forgery);

}  // namespace shardcts::storage

// Checkpoints that somebody has made to do harm.
#include <ATen/ATen.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "suites/storage/forged.h"
#include "suites/storage/rule.h"

namespace shardcts::storage {
namespace {

namespace fs = std::filesystem;

constexpr double kLongestLoad = 20;  // seconds, of a checkpoint of some KB

std::string Repeated(const std::string& text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

// Lists of which each has the one before twice: 2^60 elements for whoever copies the last one.
std::string MemoBomb() {
  const std::string put("q\0", 2), get("h\0", 2);
  return "(](NNe" + put + Repeated("](" + get + get + "e" + put, 60) + "t";
}

// Where a file or folder of this name, outside of the checkpoint, has the weight's last rows.
void PutOutside(Trial& t, const std::string& way) {
  const fs::path folder = t.Folder("checkpoint"), outside = t.Folder("outside");
  fs::create_directories(outside);
  fs::rename(folder / "b.distcp", outside / "b.distcp");
  if (way == "link_to_file") fs::create_symlink(outside / "b.distcp", folder / "b.distcp");
  if (way == "link_to_folder") fs::create_directory_symlink(outside, folder / "inner");
}

}  // namespace

RULE(HX1) {
  const std::string place = t.TextParam("place"), made = t.Folder("made");
  const std::string attack = PickledAttack(made);
  Forgery forgery = RightForgery();
  if (place == "metadata") forgery.metadata.more = {{"storage_meta", attack}};
  if (place == "properties") forgery.metadata.tensors[0].properties = attack;
  if (place == "value") forgery.ReplaceValue(ForgedValueItem(attack));
  if (place == "tensor") forgery.Replace("b.distcp", ForgedItem("\x80\x02" + attack + ".", nullptr));
  Write(t, forgery);
  const World world = FirstRanks(t);
  try {
    world.Load(ForgedDestination(t, world), "checkpoint", {.format = "dcp"});
  } catch (const OperationFailed&) {  // refused, or not: nothing must have been run
  }
  t.AllGather(Value());
  t.Rule(Holds(!fs::exists(made), "the attack in the " + place, "was run: it has made a folder"));
}

RULE(HX2) {
  const std::string way = t.TextParam("way");
  Forgery forgery = RightForgery();
  std::string& file = forgery.PlaceOf("b.distcp").file;
  if (way == "absolute") file = t.Folder("outside/b.distcp");
  if (way == "up") file = "../outside/b.distcp";
  if (way == "link_to_folder") file = "inner/b.distcp";
  Write(t, forgery);
  Rank0Does(t, [&] { PutOutside(t, way); });
  const World world = FirstRanks(t);
  IsRefused(t, "a file outside of the folder", {},
            [&] { world.Load(ForgedDestination(t, world), "checkpoint", {.format = "dcp"}); });
}

RULE(HX5) {
  const std::string wrong = t.TextParam("wrong");
  Forgery forgery = RightForgery();
  ForgedPlace& place = forgery.PlaceOf("b.distcp");
  const int64_t size = static_cast<int64_t>(forgery.files.at("b.distcp").size());
  if (wrong == "negative_offset") place.offset = -size;
  if (wrong == "negative_length") place.length = -1;
  if (wrong == "offset_behind_file") place.offset = size + 1000;
  if (wrong == "length_behind_file") place.length = size + 1000;
  if (wrong == "overflow") place.offset = INT64_MAX - 10;
  if (wrong == "overlap") place = {"weight", {2, 0}, false, "a.distcp", forgery.PlaceOf("a.distcp").offset, size};
  ForgeryIsRefused(t, wrong, forgery);
}

RULE(HX6) {
  const std::string where = t.TextParam("where");
  const int64_t huge = int64_t{1} << 58;
  Forgery forgery = RightForgery();
  ForgedTensor& weight = forgery.metadata.tensors[0];
  if (where == "shape") weight.shape = {huge, 3};
  if (where == "shape_and_chunk") weight.shape = {2 + huge, 3}, weight.chunks[1].second = {huge, 3};
  if (where == "overflow") weight.shape = {huge, huge}, weight.chunks[1].second = {huge - 2, huge};
  Write(t, forgery);
  IsRefused(t, "a read of 2^60 bytes that are not there", {}, [&] { ReadCheckpoint(t.caller(), "checkpoint"); });
}

RULE(HX7) {
  const std::string bomb = t.TextParam("bomb");
  Forgery forgery = RightForgery();
  if (bomb == "nested") forgery.metadata.more = {{"note", Repeated("(", 200'000) + "N" + Repeated("t", 200'000)}};
  if (bomb == "memo") forgery.metadata.more = {{"note", MemoBomb()}};
  if (bomb == "length_of_text") forgery.metadata.more = {{"note", "X\xff\xff\xff\x7f"}};
  if (bomb == "memo_number") forgery.metadata.more = {{"note", "Nr\xff\xff\xff\x7f"}};
  if (bomb == "name_twice") forgery.metadata.tensors.push_back({"weight", {4, 3}, {{{0, 0}, {4, 3}}}, ""});
  const auto begin = std::chrono::steady_clock::now();
  ForgeryIsHarmless(t, bomb, forgery);
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  t.Rule(Holds(taken.count() < kLongestLoad, bomb, fmt::format("took {:.0f} s", taken.count())));
}

RULE(HX8) {
  const std::string other = t.TextParam("other");
  Forgery forgery = RightForgery();
  if (other == "version") forgery.metadata.version = "9.9.9";
  if (other == "no_zip") forgery.Replace("b.distcp", "\x93NUMPY and so on, no archive of torch.save");
  if (other == "no_pickle") {
    Write(t, forgery);
    Rank0Does(t, [&] { std::ofstream(t.Folder("checkpoint/.metadata")) << R"({"format": "another", "version": 3})"; });
    const World world = FirstRanks(t);
    return IsRefused(t, "metadata of another format", {".metadata"},
                     [&] { world.Load(ForgedDestination(t, world), "checkpoint", {.format = "dcp"}); });
  }
  ForgeryIsRefused(t, other, forgery, {other == "version" ? "9.9.9" : "b.distcp"});
}

RULE(HX9) {
  Forgery forgery = RightForgery();
  forgery.files.erase("b.distcp");
  ForgeryIsRefused(t, "a missing file", forgery, {"b.distcp"});
}

// What PyTorch of several versions has written.
RULE(FM6) {
  const std::string form = t.TextParam("form");
  Forgery forgery = RightForgery();
  if (form == "no_version") forgery.metadata.version = "";
  if (form == "old_properties") {
    const std::string module = "torch.distributed._shard.sharded_tensor.metadata ";
    const std::string layout =
        PickledCall("torch.serialization _get_layout", PickledTuple({PickledText("torch.strided")}));
    const std::string order = PickledCall(module + "MEM_FORMAT_ENCODING", PickledTuple({PickledInt(0)}));
    forgery.metadata.version = "";
    forgery.metadata.tensors[0].properties = PickledObject(
        module + "TensorProperties", PickledTuple({"ctorch\nfloat32\n", layout, "\x89", order, "\x89"}));
  }
  Write(t, forgery);
  const World world = FirstRanks(t);
  HasForged(t, form, world, world.Load(ForgedDestination(t, world), "checkpoint", {.format = "dcp"}));
}

RULE(FM10) {
  Forgery forgery = RightForgery();
  forgery.Replace("b.distcp", ForgedTensorItem(at::arange(6, 12, at::kFloat).view({2, 3}).t().contiguous().t()));
  Write(t, forgery);
  const World world = FirstRanks(t);
  HasForged(t, "rows stored by columns", world, world.Load(ForgedDestination(t, world), "checkpoint", {.format = "dcp"}));
}

}  // namespace shardcts::storage

#include "storage/torch_names.h"

#include <algorithm>
#include <array>

namespace shardcts::reference {
namespace {

constexpr std::array kTorchDtypes = {
    TorchDtype{at::kDouble, "torch float64", "torch DoubleStorage"},
    TorchDtype{at::kFloat, "torch float32", "torch FloatStorage"},
    TorchDtype{at::kHalf, "torch float16", "torch HalfStorage"},
    TorchDtype{at::kBFloat16, "torch bfloat16", "torch BFloat16Storage"},
    TorchDtype{at::kLong, "torch int64", "torch LongStorage"},
    TorchDtype{at::kInt, "torch int32", "torch IntStorage"},
    TorchDtype{at::kShort, "torch int16", "torch ShortStorage"},
    TorchDtype{at::kChar, "torch int8", "torch CharStorage"},
    TorchDtype{at::kByte, "torch uint8", "torch ByteStorage"},
    TorchDtype{at::kBool, "torch bool", "torch BoolStorage"},
    TorchDtype{at::kComplexDouble, "torch complex128", "torch ComplexDoubleStorage"},
    TorchDtype{at::kComplexFloat, "torch complex64", "torch ComplexFloatStorage"},
    TorchDtype{at::kComplexHalf, "torch complex32", ""},
    TorchDtype{at::kUInt16, "torch uint16", ""},
    TorchDtype{at::kUInt32, "torch uint32", ""},
    TorchDtype{at::kUInt64, "torch uint64", ""},
    TorchDtype{at::kFloat8_e4m3fn, "torch float8_e4m3fn", ""},
    TorchDtype{at::kFloat8_e5m2, "torch float8_e5m2", ""},
    TorchDtype{at::kFloat8_e4m3fnuz, "torch float8_e4m3fnuz", ""},
    TorchDtype{at::kFloat8_e5m2fnuz, "torch float8_e5m2fnuz", ""},
    TorchDtype{at::kFloat8_e8m0fnu, "torch float8_e8m0fnu", ""},
};

template <class T>
const TorchDtype* FindBy(T TorchDtype::*field, const T& wanted) {
  const auto found = std::ranges::find(kTorchDtypes, wanted, field);
  return found == kTorchDtypes.end() ? nullptr : &*found;
}

}  // namespace

std::span<const TorchDtype> TorchDtypes() { return kTorchDtypes; }

const TorchDtype* DtypeOfName(std::string_view name) { return FindBy(&TorchDtype::name, name); }

const TorchDtype* DtypeOfStorage(std::string_view storage) {
  return storage.empty() ? nullptr : FindBy(&TorchDtype::storage, storage);
}

const TorchDtype* NamesOf(at::ScalarType dtype) { return FindBy(&TorchDtype::dtype, dtype); }

}  // namespace shardcts::reference

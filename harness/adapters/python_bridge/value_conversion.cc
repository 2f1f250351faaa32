#include "adapters/python_bridge/value_conversion.h"

#include "adapters/python_bridge/tensor_object.h"
#include "contract/tensor_bytes.h"

namespace shardcts {
namespace {

namespace py = pybind11;
using py::literals::operator""_a;

// Python texts may hold what is not Unicode (file names do); it survives the way there and back.
constexpr const char* kTextErrors = "surrogateescape";

py::object Checked(PyObject* object) {
  if (object == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(object);
}

py::object TextToPython(const std::string& text) {
  return Checked(PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), kTextErrors));
}

std::string TextFromPython(py::handle text) {
  PyObject* const bytes = PyUnicode_AsEncodedString(text.ptr(), "utf-8", kTextErrors);
  if (bytes == nullptr && PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
    PyErr_Clear();
    throw ContractViolation(": a text that is not Unicode");
  }
  return py::bytes(Checked(bytes));
}

py::object TensorToPython(const at::Tensor& tensor, bool is_parameter) {
  return Checked(WrapTensor(tensor, is_parameter));
}

py::list IntsToPython(const std::vector<int64_t>& values) {
  py::list result;
  for (int64_t value : values) result.append(value);
  return result;
}

py::list TextsToPython(const std::vector<std::string>& texts) {
  py::list result;
  for (const std::string& text : texts) result.append(TextToPython(text));
  return result;
}

std::string TypeName(py::handle object) { return py::str(py::type::of(object).attr("__name__")); }

int64_t IntFromPython(py::handle object) {
  int overflow = 0;
  const int64_t value = PyLong_AsLongLongAndOverflow(object.ptr(), &overflow);
  if (overflow != 0) throw ContractViolation(": an int of more than 64 bits");
  return value;
}

// A field of one of the classes of shardcts.values, with its path in error messages.
template <class Read>
auto Field(py::handle object, const char* name, Read read) {
  try {
    return read(object.attr(name));
  } catch (const ContractViolation& violation) {
    throw ContractViolation("." + std::string(name) + violation.what());
  }
}

std::vector<int64_t> IntsFromPython(py::handle object) {
  std::vector<int64_t> result;
  for (py::handle item : py::iter(object)) {
    if (!PyLong_Check(item.ptr())) throw ContractViolation(": a list of int is needed, not of " + TypeName(item));
    result.push_back(IntFromPython(item));
  }
  return result;
}

std::vector<std::string> TextsFromPython(py::handle object) {
  std::vector<std::string> result;
  for (py::handle item : py::iter(object)) {
    if (!PyUnicode_Check(item.ptr())) throw ContractViolation(": a list of str is needed, not of " + TypeName(item));
    result.push_back(TextFromPython(item));
  }
  return result;
}

at::Tensor TensorFromPython(py::handle object) {
  const std::optional<UnwrappedTensor> unwrapped = UnwrapTensor(object.ptr());
  if (!unwrapped) throw ContractViolation(": a torch.Tensor is needed, not a " + TypeName(object));
  if (unwrapped->has_python_dispatch) throw ContractViolation(": a plain tensor is needed, not a " + TypeName(object));
  return unwrapped->tensor;
}

std::vector<Placement> PlacementsFromPython(py::handle object) {
  std::vector<Placement> result;
  for (const std::string& text : TextsFromPython(object)) {
    const std::optional<Placement> placement = Placement::Parse(text);
    if (!placement) throw ContractViolation(": '" + text + "' is no placement");
    result.push_back(*placement);
  }
  return result;
}

MeshLayout MeshFromPython(py::handle object) {
  return {.device_type = Field(object, "device_type", TextFromPython),
          .shape = Field(object, "shape", IntsFromPython),
          .dim_names = Field(object, "dim_names", TextsFromPython),
          .ranks = Field(object, "ranks", IntsFromPython)};
}

ShardMetadata ShardMetadataFromPython(py::handle object) {
  return {.offsets = Field(object, "offsets", IntsFromPython),
          .sizes = Field(object, "sizes", IntsFromPython),
          .rank = Field(object, "rank", IntFromPython),
          .device = Field(object, "device", TextFromPython)};
}

Key KeyFromPython(py::handle key) {
  if (PyUnicode_Check(key.ptr())) return TextFromPython(key);
  if (PyLong_Check(key.ptr()) && !PyBool_Check(key.ptr())) return IntFromPython(key);
  throw ContractViolation(": a dict key must be str or int, not " + TypeName(key));
}

constexpr int kMaxDepth = 100;

// A list may contain itself.
class DepthGuard {
 public:
  explicit DepthGuard(int& depth) : depth_(depth) {
    if (depth_ == kMaxDepth) throw ContractViolation(": nested more than 100 deep");
    ++depth_;
  }
  ~DepthGuard() { --depth_; }

 private:
  int& depth_;
};

}  // namespace

ValueConversion::ValueConversion()
    : parameter_type_(py::module_::import("torch").attr("nn").attr("Parameter")) {
  py::module_ values = py::module_::import("shardcts.values");
  dtensor_type_ = values.attr("DTensorValue");
  mesh_type_ = values.attr("MeshLayout");
  sharded_tensor_type_ = values.attr("ShardedTensorValue");
  shard_metadata_type_ = values.attr("ShardMetadata");
  local_shard_type_ = values.attr("LocalShard");
  handle_type_ = values.attr("Handle");
}

py::object ValueConversion::ToPython(const Value& value) const {
  switch (value.type()) {
    case Value::Type::kNone: return py::none();
    case Value::Type::kBool: return py::bool_(value.AsBool());
    case Value::Type::kInt: return py::int_(value.AsInt());
    case Value::Type::kDouble: return py::float_(value.AsDouble());
    case Value::Type::kString: return TextToPython(value.AsString());
    case Value::Type::kBytes: return py::bytes(value.TryAs<Bytes>()->data);
    case Value::Type::kDict: return ToPython(value.AsDict());
    case Value::Type::kTensor: return TensorToPython(value.AsTensor(), value.TryAs<Tensor>()->is_parameter);
    case Value::Type::kDTensor: return ToPython(value.AsDTensor());
    case Value::Type::kShardedTensor: return ToPython(value.AsShardedTensor());
    case Value::Type::kHandle: return handle_type_(value.AsHandle().kind, value.AsHandle().id);
    case Value::Type::kList: break;
  }
  py::list result;
  for (const Value& item : value.AsList()) result.append(ToPython(item));
  return result;
}

py::object ValueConversion::ToPython(const Dict& dict) const {
  py::dict result;
  for (const auto& [key, value] : dict) {
    const auto* text = std::get_if<std::string>(&key);
    const py::object python_key = text ? TextToPython(*text) : py::int_(std::get<int64_t>(key));
    result[python_key] = ToPython(value);
  }
  return result;
}

py::object ValueConversion::ToPython(const DTensor& value) const {
  const MeshLayout& layout = value.mesh;
  const py::object mesh = mesh_type_("device_type"_a = layout.device_type, "shape"_a = IntsToPython(layout.shape),
                                     "dim_names"_a = TextsToPython(layout.dim_names),
                                     "ranks"_a = IntsToPython(layout.ranks));
  py::list placements;
  for (const Placement& placement : value.placements) placements.append(placement.ToString());
  return dtensor_type_("local"_a = TensorToPython(value.local, false), "mesh"_a = mesh, "placements"_a = placements,
                       "shape"_a = IntsToPython(value.shape), "stride"_a = IntsToPython(value.stride),
                       "requires_grad"_a = value.requires_grad, "is_parameter"_a = value.is_parameter);
}

py::object ValueConversion::ToPython(const ShardedTensor& value) const {
  const auto to_python = [this](const ShardMetadata& metadata) {
    return shard_metadata_type_("offsets"_a = IntsToPython(metadata.offsets), "sizes"_a = IntsToPython(metadata.sizes),
                                "rank"_a = metadata.rank, "device"_a = metadata.device);
  };
  py::list metadata, shards;
  for (const ShardMetadata& shard : value.metadata) metadata.append(to_python(shard));
  for (const LocalShard& shard : value.local_shards) {
    shards.append(local_shard_type_("metadata"_a = to_python(shard.metadata),
                                    "tensor"_a = TensorToPython(shard.tensor, false)));
  }
  return sharded_tensor_type_("shape"_a = IntsToPython(value.shape), "metadata"_a = metadata,
                              "local_shards"_a = shards, "dtype"_a = DtypeName(value.dtype),
                              "ranks"_a = IntsToPython(value.ranks));
}

Value ValueConversion::ToValue(py::handle object) const {
  const DepthGuard depth(depth_);
  PyObject* raw = object.ptr();
  if (object.is_none()) return {};
  if (PyBool_Check(raw)) return raw == Py_True;
  if (PyLong_Check(raw)) return IntFromPython(object);
  if (PyFloat_Check(raw)) return PyFloat_AsDouble(raw);
  if (PyUnicode_Check(raw)) return TextFromPython(object);
  if (PyBytes_Check(raw)) return Bytes{py::reinterpret_borrow<py::bytes>(object)};
  if (PyDict_Check(raw)) return DictToValue(py::reinterpret_borrow<py::dict>(object));
  if (PyList_Check(raw) || PyTuple_Check(raw)) return SequenceToValue(py::reinterpret_borrow<py::sequence>(object));
  if (UnwrapTensor(raw)) {
    return Tensor{TensorFromPython(object), py::isinstance(object, parameter_type_)};
  }
  if (py::isinstance(object, dtensor_type_)) return DTensorToValue(object);
  if (py::isinstance(object, sharded_tensor_type_)) return ShardedTensorToValue(object);
  if (py::isinstance(object, handle_type_)) {
    return Handle{Field(object, "kind", TextFromPython), Field(object, "id", IntFromPython)};
  }
  throw ContractViolation(": no value can hold a " + TypeName(object));
}

Value ValueConversion::DictToValue(py::dict dict) const {
  Dict result;
  for (const auto& [key, item] : dict) {
    Key converted = KeyFromPython(key);
    try {
      result.Set(std::move(converted), ToValue(item));
    } catch (const ContractViolation& violation) {
      throw ContractViolation("[" + std::string(py::repr(key)).substr(0, 200) + "]" + violation.what());
    }
  }
  return result;
}

Value ValueConversion::SequenceToValue(py::sequence sequence) const {
  List result;
  result.reserve(sequence.size());
  for (size_t i = 0; i < sequence.size(); ++i) {
    try {
      result.push_back(ToValue(py::object(sequence[i])));
    } catch (const ContractViolation& violation) {
      throw ContractViolation("[" + std::to_string(i) + "]" + violation.what());
    }
  }
  return result;
}

Value ValueConversion::DTensorToValue(py::handle object) const {
  const auto to_bool = [](py::handle flag) { return flag.cast<bool>(); };
  return DTensor{.local = Field(object, "local", TensorFromPython),
                 .mesh = Field(object, "mesh", MeshFromPython),
                 .placements = Field(object, "placements", PlacementsFromPython),
                 .shape = Field(object, "shape", IntsFromPython),
                 .stride = Field(object, "stride", IntsFromPython),
                 .requires_grad = Field(object, "requires_grad", to_bool),
                 .is_parameter = Field(object, "is_parameter", to_bool)};
}

Value ValueConversion::ShardedTensorToValue(py::handle object) const {
  const auto to_dtype = [](py::handle name) {
    const std::optional<at::ScalarType> dtype = ParseDtype(TextFromPython(name));
    if (!dtype) throw ContractViolation(": no dtype is called " + TextFromPython(name));
    return *dtype;
  };
  ShardedTensor result{.shape = Field(object, "shape", IntsFromPython),
                       .dtype = Field(object, "dtype", to_dtype),
                       .ranks = Field(object, "ranks", IntsFromPython)};
  for (py::handle shard : py::iter(object.attr("metadata"))) result.metadata.push_back(ShardMetadataFromPython(shard));
  for (py::handle shard : py::iter(object.attr("local_shards"))) {
    result.local_shards.push_back(
        {Field(shard, "metadata", ShardMetadataFromPython), Field(shard, "tensor", TensorFromPython)});
  }
  return result;
}

}  // namespace shardcts

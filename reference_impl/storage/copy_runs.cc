#include "storage/copy_runs.h"

#include <ATen/ATen.h>

#include <cstring>

#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

void Require(bool holds, const std::string& problem) {
  if (!holds) throw SemanticError("ValueError", problem);
}

int64_t PlaceInMemory(const std::vector<int64_t>& indices, const std::vector<int64_t>& sizes) {
  int64_t place = 0;
  for (size_t dim = 0; dim < sizes.size(); ++dim) place = place * sizes[dim] + indices[dim];
  return place;
}

// The indices of an element by its number.
std::vector<int64_t> IndicesOf(int64_t number, const std::vector<int64_t>& sizes) {
  std::vector<int64_t> indices(sizes.size());
  for (size_t dim = sizes.size(); dim-- > 0; number /= sizes[dim]) indices[dim] = number % sizes[dim];
  return indices;
}

}  // namespace

int64_t ContiguousRun(const std::vector<int64_t>& place, const std::vector<int64_t>& part,
                      const std::vector<int64_t>& shape) {
  Require(!place.empty() && !part.empty() && !shape.empty(), "a run needs a place, a part and a shape with dimensions");
  Require(place.size() == part.size() && part.size() == shape.size(),
          "place, part and shape have different numbers of dimensions");
  for (size_t dim = 0; dim < part.size(); ++dim) {
    const std::string of = " of dimension " + std::to_string(dim);
    Require(place[dim] >= 0 && place[dim] < part[dim], "the place is outside of the part's indices" + of);
    Require(part[dim] <= shape[dim], "the part is larger than the tensor's size" + of);
  }
  int64_t below = 1;  // elements of one index of the dimension
  for (size_t dim = part.size(); dim-- > 0; below *= part[dim]) {
    const bool whole = place[dim] == 0 && part[dim] == shape[dim];
    if (!whole || dim == 0) return (part[dim] - place[dim]) * below;
  }
  return below;
}

at::Tensor PlacePart(const at::Tensor& part, const std::vector<int64_t>& offsets, const std::vector<int64_t>& shape) {
  const std::vector<int64_t> sizes = part.sizes().vec();
  Require(offsets.size() == sizes.size() && shape.size() == sizes.size(),
          "part, offsets and shape have different numbers of dimensions");
  for (size_t dim = 0; dim < sizes.size(); ++dim) {
    Require(offsets[dim] >= 0 && offsets[dim] + sizes[dim] <= shape[dim],
            "the part leaves dimension " + std::to_string(dim) + " of the tensor");
  }
  const at::Tensor source = part.detach().cpu().contiguous();
  at::Tensor whole = at::zeros(shape, source.options());
  if (shape.empty()) return whole.copy_(source);
  const size_t element = source.element_size();
  const auto* from = static_cast<const char*>(source.const_data_ptr());
  auto* to = static_cast<char*>(whole.mutable_data_ptr());
  for (int64_t number = 0; number < source.numel();) {
    std::vector<int64_t> indices = IndicesOf(number, sizes);
    const int64_t run = ContiguousRun(indices, sizes, shape);
    for (size_t dim = 0; dim < sizes.size(); ++dim) indices[dim] += offsets[dim];
    std::memcpy(to + static_cast<size_t>(PlaceInMemory(indices, shape)) * element,
                from + static_cast<size_t>(number) * element, static_cast<size_t>(run) * element);
    number += run;
  }
  return whole;
}

}  // namespace shardcts::reference

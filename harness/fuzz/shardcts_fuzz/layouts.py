"""What the ranks' parts of a distributed tensor must be, and the whole tensor that they form (docs/contract.md, Layout)."""

import base64
import re
from itertools import product
from math import prod

PLACEMENT = re.compile(r"(_S|S)\((\d+)(?:,(\d+))?\)")


LARGEST = 10000  # elements of a tensor that is put together here


def contiguous(shape):
    """The strides of a tensor without gaps."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return strides[::-1]


def cut(items, parts, index):
    """The part of a list that ranks get in chunks of the same size, but for the last ones."""
    chunk = -(-len(items) // parts)
    return items[index * chunk : (index + 1) * chunk]


def owned(tensor, rank):
    """For each dimension of a DTensor the indices that a rank holds. A strided placement cuts what the others have cut."""
    mesh, cuts = tensor["mesh"], []
    place = mesh["ranks"].index(rank)
    for size in reversed(mesh["shape"]):
        place, coordinate = divmod(place, size)
        cuts.insert(0, (size, coordinate))
    indices = [list(range(size)) for size in tensor["shape"]]
    shards = [(PLACEMENT.fullmatch(placement), *at) for placement, at in zip(tensor["placements"], cuts)]
    for found, size, coordinate in sorted((one for one in shards if one[0]), key=lambda one: one[0][1] == "_S"):
        indices[int(found[2])] = cut(indices[int(found[2])], size, coordinate)
    return indices


def wrong_dtensor(tensor, shape, rank):
    """(rule, what is wrong) of a DTensor whose whole tensor has the shape, without gaps; or None."""
    if tensor["shape"] != shape:
        return "GE3", f"the shape {tensor['shape']} is not that of the whole tensor, {shape}"
    if 0 not in shape and tensor["stride"] != contiguous(shape):
        return "GE3", f"the stride {tensor['stride']} is not that of the whole tensor, {contiguous(shape)}"
    placements, sizes = tensor["placements"], tensor["mesh"]["shape"]
    shards = [PLACEMENT.fullmatch(placement) for placement in placements]
    for first, second, size in zip(shards, shards[1:], sizes[1:]):
        if first and second and first[2] == second[2] and size > 1 and placements[shards.index(first)] != f"_S({first[2]},{size})":
            return "GE7", f"two cuts of one dimension are labelled {placements} on a mesh of {sizes}"
    local = [len(one) for one in owned(tensor, rank)]
    if 0 not in shape and tensor["local"]["shape"] != local:
        return "GE1", f"the local shape {tensor['local']['shape']} of {shape} is not {local}"
    return None


def wrong_sharded(tensor, shape, rank):
    """The same of a ShardedTensor, which is cut by rows."""
    if tensor["shape"] != shape:
        return "GE3", f"the shape {tensor['shape']} is not that of the whole tensor, {shape}"
    if not shape or 0 in shape:
        return None
    ranks = tensor["ranks"]
    parts = [cut(list(range(shape[0])), len(ranks), index) for index in range(len(ranks))]
    expected = [([part[0]] + [0] * (len(shape) - 1), [len(part), *shape[1:]]) for part in parts if part]
    actual = [(one["offsets"], one["sizes"]) for one in tensor["metadata"]]
    if actual != expected:
        return "GE2", f"the parts {actual} are not {expected}"
    mine = [[len(part), *shape[1:]] for part in (parts[ranks.index(rank)],) if part]
    local = [one["tensor"]["shape"] for one in tensor["local_shards"]]
    return None if local == mine else ("GE1", f"the local shapes {local} of {shape} are not {mine}")


class NotWhole(Exception):
    """The parts do not form one tensor."""


def assembled(values, recording):
    """Of all ranks' DTensors with one name, or what else they have there: for each rank the whole tensor."""
    wholes, made = {}, []
    for rank, value in enumerate(values):
        tensor = value.get("$dtensor") if isinstance(value, dict) else None
        if tensor is None:
            made.append(value)
            continue
        if any(placement.startswith("P") for placement in tensor["placements"]):
            made.append(None)  # of a sum that is not done yet nothing is told
            continue
        ranks = tuple(tensor["mesh"]["ranks"])
        if ranks not in wholes:
            wholes[ranks] = _whole([(other, values[other]["$dtensor"]) for other in ranks], recording)
        made.append(wholes[ranks])
    return made


def _whole(parts, recording):
    shape, dtype = parts[0][1]["shape"], parts[0][1]["local"]["dtype"]
    if prod(shape) > LARGEST:
        return None
    strides, elements = contiguous(shape), {}
    for rank, tensor in parts:
        data = recording.bytes_of(tensor["local"])
        places = [sum(i * stride for i, stride in zip(index, strides)) for index in product(*owned(tensor, rank))]
        if data is None:
            return None
        width = len(data) // len(places) if places else 1
        if places and len(data) != width * len(places) or not places and data:
            raise NotWhole(f"rank {rank} has {len(data)} bytes of {len(places)} elements")
        for i, place in enumerate(places):
            element = data[i * width : (i + 1) * width]
            if elements.setdefault(place, element) != element:
                raise NotWhole(f"element {place} is another on rank {rank} than on a rank before it")
    data = b"".join(elements[place] for place in sorted(elements))
    return {"$tensor": {"shape": shape, "dtype": dtype, "data": base64.b64encode(data).decode()}}

"""Parts of distributed tensors: the expected numbers are those of the contract's formulas, worked out by hand."""

import base64

import pytest
from shardcts_fuzz.layouts import NotWhole, assembled, contiguous, owned, wrong_dtensor, wrong_sharded


class Kept:
    @staticmethod
    def bytes_of(tensor):
        return base64.b64decode(tensor["data"])


def dtensor(shape, mesh, placements, local, data=b"", **more):
    ranks = list(range(mesh[0] if len(mesh) == 1 else mesh[0] * mesh[1]))
    text = base64.b64encode(data).decode()
    return {"shape": shape, "stride": contiguous(shape), "placements": placements, "mesh": {"shape": mesh, "ranks": ranks},
            "local": {"shape": local, "dtype": "uint8", "data": text}, **more}  # fmt: skip


def test_strides_are_those_of_rows():
    assert contiguous([2, 3, 4]) == [12, 4, 1]
    assert contiguous([]) == []


@pytest.mark.parametrize("rows, ranks, expected", [(7, 3, [[0, 1, 2], [3, 4, 5], [6]]), (4, 3, [[0, 1], [2, 3], []]), (1, 2, [[0], []])])
def test_rows_are_cut_into_chunks_of_one_size(rows, ranks, expected):
    assert [owned(dtensor([rows], [ranks], ["S(0)"], []), rank)[0] for rank in range(ranks)] == expected


def test_a_strided_cut_comes_after_the_other_one():
    """Six rows on 2 x 2 ranks: first over the last dimension of the mesh, 0-2 and 3-5, and each of these over the first."""
    rows = [owned(dtensor([6], [2, 2], ["_S(0,2)", "S(0)"], []), rank)[0] for rank in range(4)]
    assert rows == [[0, 1], [3, 4], [2], [5]]


@pytest.mark.parametrize("tensor, rule", [
    (dtensor([5, 2], [2], ["S(0)"], [3, 2]), None),
    (dtensor([5, 2], [2], ["S(0)"], [2, 2]), "GE1"),
    (dtensor([6, 2], [2], ["S(0)"], [3, 2]), "GE3"),
    (dtensor([5, 2], [2], ["S(0)"], [3, 2], stride=[1, 1]), "GE3"),
    (dtensor([5, 2], [1, 2], ["S(0)", "S(0)"], [3, 2]), "GE7"),
    (dtensor([5, 2], [1, 2], ["_S(0,2)", "S(0)"], [3, 2]), None),
    (dtensor([5, 2], [2, 1], ["S(0)", "S(0)"], [3, 2]), None),
    (dtensor([5, 2], [1, 2], ["R", "S(0)"], [3, 2]), None),
])  # fmt: skip
def test_a_dtensor_is_cut_as_its_placements_say(tensor, rule):
    assert (wrong_dtensor(tensor, [5, 2], 0) or (None,))[0] == rule


def sharded(parts, local, ranks=3):
    metadata = [{"offsets": [begin, 0], "sizes": [rows, 2]} for begin, rows in parts]
    return {"shape": [4, 2], "ranks": list(range(ranks)), "metadata": metadata, "local_shards": [{"tensor": {"shape": one}} for one in local]}


@pytest.mark.parametrize("tensor, rank, rule", [
    (sharded([(0, 2), (2, 2)], [[2, 2]]), 1, None),
    (sharded([(0, 2), (2, 2)], []), 2, None),
    (sharded([(0, 2), (2, 2)], [[0, 2]]), 2, "GE1"),
    (sharded([(0, 2), (2, 2), (4, 0)], []), 2, "GE2"),
    (sharded([(0, 2), (2, 1), (3, 1)], [[1, 2]]), 2, "GE2"),
])  # fmt: skip
def test_a_sharded_tensor_has_a_part_for_each_rank_with_rows(tensor, rank, rule):
    assert (wrong_sharded(tensor, [4, 2], rank) or (None,))[0] == rule


def test_parts_are_put_together():
    parts = [{"$dtensor": dtensor([6], [2, 2], ["_S(0,2)", "S(0)"], [len(data)], data)} for data in (b"ab", b"de", b"c", b"f")]
    wholes = assembled(parts, Kept)
    assert [Kept.bytes_of(whole["$tensor"]) for whole in wholes] == [b"abcdef"] * 4


def test_replicas_that_differ_are_told():
    parts = [{"$dtensor": dtensor([2], [2], ["R"], [2], data)} for data in (b"ab", b"ac")]
    with pytest.raises(NotWhole, match="element 1 is another on rank 1"):
        assembled(parts, Kept)


def test_what_is_no_dtensor_stays():
    assert assembled([None, None], Kept) == [None, None]

"""What a run folder holds after a second run, and that fresh ranks say the same as shared ones."""

from conftest import CACHED, SAVE_LOAD


def test_second_run_replaces_the_first(run_shardcts, tmp_path):
    run_shardcts("reference", "--filter", CACHED.format(2))
    stale = list((tmp_path / "out/traces/reference").glob("*mlp_dim=5*"))
    assert stale
    _, run = run_shardcts("reference", "--filter", "*test_cached_state_dict/world_size=2,mlp_dim=2,*=false")
    assert len(run.tests) == 1
    assert not any(file.exists() for file in stale)
    assert {pool.name for pool in (tmp_path / "out/runs/reference/world-2").iterdir()} == {"pool-0"}


def test_fresh_pools_give_the_verdicts_of_a_shared_one(run_shardcts):
    select = [word for size in "235" for word in ("--filter", CACHED.format(2).replace("?", size))]
    implementation = "reference+mutant=training_moves_storage"
    _, shared = run_shardcts(implementation, *select, out="shared")
    _, fresh = run_shardcts(implementation, *select, "--pool=fresh", out="fresh")
    assert shared.verdicts == fresh.verdicts == ["fail"] * 3
    assert (shared.starts(), fresh.starts()) == (1, 3)


def blobs(folder):
    return {blob.name: blob.read_bytes() for blob in (folder / "blobs").iterdir()}


def test_bytes_stand_once_however_many_implementations_give_them(run_shardcts, tmp_path):
    select = ("--filter", SAVE_LOAD)
    run_shardcts("reference", *select, out="one")
    run_shardcts("reference", "--impl", "reference,timings=1", *select, out="two")
    once = blobs(tmp_path / "one")
    assert blobs(tmp_path / "two") == once
    assert len(set(once.values())) == len(once) > 50
    lines = sum(trace.stat().st_size for trace in (tmp_path / "one").glob("traces/*/*/*.jsonl"))
    assert lines < 40_000, "a line has no bytes and no long values"


def test_digests_alone_leave_no_blobs(run_shardcts, tmp_path):
    run_shardcts("reference", "--filter", SAVE_LOAD, "--trace", "digest")
    assert not (tmp_path / "out/blobs").exists()

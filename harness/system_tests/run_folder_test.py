"""What a run folder holds after a second run, and that fresh ranks say the same as shared ones."""

from conftest import CACHED


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

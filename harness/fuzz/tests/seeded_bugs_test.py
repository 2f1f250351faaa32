"""The draw of seeded bugs and the table of what was found."""

import seeded_bugs


def test_the_draw_depends_on_the_seed_alone():
    names = {f"bug_{i}" for i in range(90)}
    drawn = seeded_bugs.draw(names, 40, 1)
    assert drawn == seeded_bugs.draw(sorted(names, reverse=True), 40, 1) != seeded_bugs.draw(names, 40, 2)
    assert len(set(drawn)) == 40
    assert len(seeded_bugs.draw(names, 400, 1)) == 90


def test_bugs_of_storage_are_left_out():
    bugs = seeded_bugs.bugs()
    assert "extra_state_not_restored" in bugs and "unnoticed" in bugs["moment_of_other_shape"]
    assert not any(change["file"].startswith("storage/") for bug in bugs.values() for change in bug["change"])


def test_a_bug_that_nothing_shows_is_not_looked_for():
    bugs = seeded_bugs.bugs()
    assert seeded_bugs.is_hidden(bugs["loaded_moments_shared"]) and seeded_bugs.is_hidden(bugs["gathered_everywhere"])
    assert not seeded_bugs.is_hidden(bugs["entries_not_agreed"]) and not seeded_bugs.is_hidden(bugs["extra_state_not_restored"])


def test_the_table_tells_what_was_not_found():
    known = {"a": {"breaks": "x"}, "b": {"breaks": "y", "unnoticed": "z"}, "c": {"breaks": "w"}}
    lines = [{"bug": "a", "found": True, "by": ["LO10"], "programs": 60, "seconds": 4.0},
             {"bug": "b", "found": False, "by": [], "programs": 900, "seconds": 120.0}, {"bug": "c", "error": "no ranks"}]  # fmt: skip
    text = "\n".join(seeded_bugs.table(lines, known))
    assert "Noticed by no test: 0 of 1 found." in text and "Drawn at random: 1 of 2 found, median 4 s." in text
    assert "| `a`: x | LO10 | 60 | 4.0 |" in text and "| `b`: y | **not found** | 900 | 120.0 |" in text
    assert "| `c`: w | no ranks |  |  |" in text

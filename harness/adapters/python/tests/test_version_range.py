"""Ranges of versions mean what they mean in waivers (harness/results/version_range_test.cc)."""

import pytest

from shardcts.version_range import VersionRange, version_numbers


@pytest.mark.parametrize("text, version", [
    (">=2.13, <2.15", "2.13.0+cpu"), (">=2.13,<2.15", "2.14.1"), (">2.9", "2.10"), ("==2.14", "2.14.0"),
    ("<=2.14.1", "2.14.1+cu130"), ("<2.14", "2.13.0a0+git1234"), (">2.13,<2.13.1", "2.13.0.1")])
def test_versions_in_a_range(text, version):
    assert version in VersionRange(text)


@pytest.mark.parametrize("text, version", [
    (">=2.13,<2.15", "2.15.0+cu132"), (">=2.13,<2.15", "2.12.9"), ("<2.9", "2.10"), ("==2.14", "2.14.1"),
    (">2.14", "2.14.0"), (">=0", ""), ("<3", "main")])
def test_versions_that_are_in_none(text, version):
    assert version not in VersionRange(text)


@pytest.mark.parametrize("text", ["", "2.13", ">=", ">=2.", ">=.1", ">=2..1", "~=2.13", ">=2.13,", ",<3", ">=2.13 <2.15",
                                  ">=a", "!=2"])
def test_text_that_is_no_range_is_one_line(text):
    with pytest.raises(ValueError, match="^'.*' is no range of versions such as '>=2.13, <2.15'$"):
        VersionRange(text)


@pytest.mark.parametrize("text", [">=2.15,<2.13", ">2.13,<2.13", "==2.13,==2.14", "==2.13,>2.13"])
def test_range_without_a_version_is_one_line(text):
    with pytest.raises(ValueError, match="^no version can be in the range '.*'$"):
        VersionRange(text)


def test_numbers_at_the_beginning():
    assert [version_numbers(text) for text in ("2.13.0+cpu", "2.14.1", "", "main", "2.")] == [(2, 13), (2, 14, 1), (), (), (2,)]

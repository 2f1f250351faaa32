"""The site of bundles: what is on which page, and that what bundles say stays text."""
import re

import pytest

import bad_bundles
import example_bundle as example
from command_test import assert_one_line_error, run_module
from shardcts_reports.site import read_bundles, render
from shardcts_verify import profiles
from shardcts_verify.archive import write_archive

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def bundles(tmp_path, monkeypatch):
    """A good bundle, one with a finding, and one that is none."""
    example.write_lists(tmp_path / "lists")
    monkeypatch.setattr(profiles, "CONFORMANCE", tmp_path / "lists")
    members = example.make_members()
    bad = bad_bundles.open_bundle(members)
    bad.members["statement.toml"] = bad.members["statement.toml"].replace(b'"Mine"', f'"{HOSTILE}"'.encode())
    bad.document["waivers"] = []
    write_archive(tmp_path / "bad.zip", example.seal(bad.members, bad.document))
    (tmp_path / "none.zip").write_bytes(b"x")
    return [example.write_bundle(tmp_path / "good.zip", members), tmp_path / "bad.zip", tmp_path / "none.zip"]


def test_each_product_has_a_row_and_each_bundle_and_rule_a_page(bundles):
    pages = render(read_bundles(bundles))
    assert {"index.html", "bundle-1.html", "bundle-2.html", "bundle-3.html", "alpha_1.0-GE1.html", "alpha_1.0-test_waived.html"} <= set(pages)
    assert "conforms with waivers" in pages["index.html"] and "does not conform" in pages["index.html"]
    assert example.WAIVED in pages["bundle-1.html"] and "mutant_" in pages["bundle-1.html"]
    assert "verdict.red" in pages["bundle-2.html"] and "archive.form" in pages["bundle-3.html"]
    assert "SHOULD" in pages["alpha_1.0-GE1.html"] and "world_size=2" in pages["alpha_1.0-GE1.html"]


def test_links_lead_to_pages(bundles):
    pages = render(read_bundles(bundles))
    for name, text in pages.items():
        targets = {target for target in re.findall(r'href="([^"#]+)"', text) if not target.startswith("data:")}
        assert targets <= set(pages), name


def test_what_bundles_say_stays_text(bundles):
    pages = render(read_bundles(bundles))
    assert not [name for name, text in pages.items() if HOSTILE in text]
    assert "&lt;img" in pages["index.html"]


def test_wrong_input(tmp_path):
    assert_one_line_error(run_module("shardcts_reports.site", *["x.zip"] * 201, "--out", tmp_path), "201 bundles")

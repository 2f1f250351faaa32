"""The verifier of bundles, tested with bad ones."""
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bad_bundles
import example_bundle as example
import findings_page
from bad_archives import RAW
from shardcts_verify import __main__ as command
from shardcts_verify import profiles
from shardcts_verify.archive import Archive, write_archive
from shardcts_verify.documents import Fields, parse_json
from shardcts_verify.findings import MEANINGS, Rejected
from shardcts_verify.signature import sign
from shardcts_verify.verify import verify

VERIFIER = Path(__file__).resolve().parents[1] / "verify"


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """Of a good bundle; the verifier's lists are those of the example."""
    folder = tmp_path_factory.mktemp("conformance") / "lists"
    example.write_lists(folder)
    before, profiles.CONFORMANCE = profiles.CONFORMANCE, folder
    yield example.make_members()
    profiles.CONFORMANCE = before


@pytest.fixture
def good(members, tmp_path):
    return example.write_bundle(tmp_path / "good.zip", members)


def names_of(bundle: Path) -> list[str]:
    return [finding.name for finding in verify(bundle).findings]


def test_a_good_bundle_conforms(good):
    result = verify(good)
    assert result.findings == []
    assert result.counts == {"pass": 6, "not_applicable": 1, "waived": 1}
    assert len(result.canaries) == 3
    assert (result.patches, result.waived) == (["torch.x"], [example.WAIVED])
    assert result.sha256 == hashlib.sha256(good.read_bytes()).hexdigest()


def test_the_same_members_give_the_same_bytes(good, members, tmp_path):
    shuffled = dict(sorted(members.items(), key=lambda item: hashlib.sha256(item[0].encode()).digest()))
    assert example.write_bundle(tmp_path / "again.zip", shuffled).read_bytes() == good.read_bytes()


@pytest.mark.parametrize("what", bad_bundles.FORGED)
def test_what_is_forged_and_sealed_again_has_its_finding(what, members, tmp_path):
    found = set(names_of(bad_bundles.forge(members, what, tmp_path / "bad.zip")))
    assert found == {bad_bundles.FORGED[what][0]}


@pytest.mark.parametrize("what", RAW)
def test_what_was_changed_afterwards_has_its_finding(what, members, tmp_path):
    RAW[what][1](members, tmp_path / "bad.zip")
    assert names_of(tmp_path / "bad.zip") == [RAW[what][0]]


def test_every_finding_is_provoked():
    """Those of signatures, of the verifier's own lists and of large files have tests of their own below."""
    provoked = {finding for finding, _ in [*bad_bundles.FORGED.values(), *RAW.values()]}
    assert set(MEANINGS) - provoked == {"signature.missing", "signature.bad", "signature.tool"}
    assert len(bad_bundles.FORGED) + len(RAW) >= 60


def test_a_finding_names_the_place(members, tmp_path):
    bundle = bad_bundles.forge(members, "a clock that runs backwards", tmp_path / "bad.zip")
    finding = verify(bundle).findings[0]
    assert finding.place == f"{bad_bundles.RUN2}/rank-0.events.jsonl:6"


def test_foreign_texts_are_one_printable_line(members, tmp_path):
    bundle = bad_bundles.open_bundle(members)
    bundle.document["profile"]["name"] = "beta\n\x1b[31mconforms" + "x" * 5000
    write_archive(tmp_path / "bad.zip", example.seal(bundle.members, bundle.document))
    text = str(verify(tmp_path / "bad.zip").findings[0])
    assert text.isprintable() and len(text) < 700


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_of_any_member_is_noticed(data, members, tmp_path):
    name = data.draw(st.sampled_from(sorted(members)))
    place = data.draw(st.integers(0, len(members[name]) - 1))
    changed = bytearray(members[name])
    changed[place] ^= data.draw(st.integers(1, 255))
    write_archive(tmp_path / "bad.zip", members | {name: bytes(changed)})
    assert verify(tmp_path / "bad.zip").findings


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_byte_of_the_file_is_noticed_or_changes_no_member(data, good, members, tmp_path):
    """Bits that pad the last byte of packed data belong to nobody."""
    raw = bytearray(good.read_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    bad = tmp_path / "bad.zip"
    bad.write_bytes(bytes(raw))
    if not verify(bad).findings:
        archive = Archive(bad)
        assert {name: archive.read(name) for name in archive.names} == members


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_bytes_that_are_cut_moved_or_doubled_end_in_findings(data, good, tmp_path):
    """A fuzzer over the file: never an exception, and never conformance."""
    raw = good.read_bytes()
    a, b = sorted((data.draw(st.integers(0, len(raw))), data.draw(st.integers(0, len(raw)))))
    kind = data.draw(st.sampled_from(["cut", "double", "move", "fill"]))
    made = {"cut": raw[:a] + raw[b:], "double": raw[:b] + raw[a:], "move": raw[b:] + raw[:b],
            "fill": raw[:a] + bytes(b - a) + raw[b:]}[kind]
    bad = tmp_path / "bad.zip"
    bad.write_bytes(made)
    assert verify(bad).findings or made == raw


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_json_is_refused_or_read(data):
    try:
        Fields(parse_json(data, "x"), "x", "member.form")
    except Rejected:
        pass


def places_of(document, path=()) -> list[tuple]:
    """Of every value in a JSON document."""
    inner = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    return [path, *(place for key, value in inner for place in places_of(value, (*path, key)))]


def put(document, path: tuple, value):
    if not path:
        return value
    document[path[0]] = put(document[path[0]], path[1:], value)
    return document


any_json = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([10**19, -10**19, 1e300, -1e300, 0.5]) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2), max_leaves=4)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_value_anywhere_is_an_error_of_the_verifier(data, members, tmp_path):
    """One value of the manifest, a plan, results, recordings or an event is replaced by any other, and sealed again."""
    bundle = bad_bundles.open_bundle(dict(members))
    name = data.draw(st.sampled_from(["manifest.json", *(name for name in sorted(bundle.members) if ".json" in name)]))
    if name == "manifest.json":
        bundle.document = put(bundle.document, data.draw(st.sampled_from(places_of(bundle.document)[1:])), data.draw(any_json))
    else:
        lines = bundle.members[name].splitlines() if name.endswith(".jsonl") else [bundle.members[name]]
        number = data.draw(st.integers(0, len(lines) - 1))
        document = json.loads(lines[number])
        lines[number] = json.dumps(put(document, data.draw(st.sampled_from(places_of(document))), data.draw(any_json))).encode()
        bundle.members[name] = b"\n".join(lines) + b"\n"
    write_archive(tmp_path / "bad.zip", example.seal(bundle.members, bundle.document))
    for finding in verify(tmp_path / "bad.zip").findings:
        assert finding.name in MEANINGS and str(finding).isprintable()


def test_a_copy_of_the_package_alone_says_that_it_has_no_lists(good, tmp_path):
    """Its lists are a link into the tree."""
    package = Path(command.__file__).parent
    shutil.copytree(package, tmp_path / "apart/a/b/shardcts_verify", ignore=shutil.ignore_patterns("conformance", "__pycache__"))
    ended = subprocess.run([sys.executable, "-B", "-m", "shardcts_verify", good], cwd=tmp_path / "apart/a/b", text=True,
                           capture_output=True, timeout=60, env={})
    assert (ended.returncode, ended.stderr.count("\n")) == (3, 1) and "the lists of tests are missing" in ended.stderr, ended


def test_a_list_of_the_verifier_that_was_changed(good):
    path = profiles.CONFORMANCE / "1.0/alpha.json"
    text = path.read_text()
    path.write_text(text + " ")
    try:
        assert names_of(good) == ["profile.hash"]
    finally:
        path.write_text(text)


@pytest.fixture
def keys(tmp_path):
    """Two keys, and a file that allows the first."""
    for name in ("vendor", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", tmp_path / name], check=True)
    public = (tmp_path / "vendor.pub").read_text()
    (tmp_path / "allowed").write_text(f"vendor@example.org {public}")
    return tmp_path


def signed_by(bundle: Path, keys: Path, signer: str = "vendor@example.org") -> int:
    return command.main([str(bundle), "--allowed-signers", str(keys / "allowed"), "--signer", signer])


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="there is no ssh-keygen")
def test_signatures(good, keys, capsys):
    assert signed_by(good, keys) == 1
    assert "signature.missing" in capsys.readouterr().out
    sign(good, keys / "vendor")
    assert signed_by(good, keys) == 0
    assert "signed by vendor@example.org" in capsys.readouterr().out
    assert signed_by(good, keys, "someone@else.org") == 1
    sign(good, keys / "other")
    assert signed_by(good, keys) == 1
    assert "signature.bad" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="there is no ssh-keygen")
def test_the_signature_of_another_bundle(good, keys, members, capsys):
    """A forger who seals again has all hashes right, but not the signature."""
    sign(good, keys / "vendor")
    other = bad_bundles.open_bundle(members)
    other.document["environment"]["os"] = "Minix"
    write_archive(good, example.seal(other.members, other.document))
    assert command.main([str(good)]) == 0
    assert signed_by(good, keys) == 1
    assert "signature.bad" in capsys.readouterr().out


def test_no_ssh_keygen(good, keys, monkeypatch, capsys):
    sign(good, keys / "vendor")
    monkeypatch.setenv("PATH", str(keys))
    assert signed_by(good, keys) == 1
    assert "signature.tool" in capsys.readouterr().out


def test_the_verifier_needs_nothing_but_python():
    """No module of it imports a package that is not Python's own."""
    code = ("import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p]; "
            f"sys.path.insert(0, {str(VERIFIER)!r}); import shardcts_verify.__main__ as m; sys.exit(m.main(['--explain']))")
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(MEANINGS)


def test_what_a_reader_must_know_is_said(good, members, tmp_path, capsys):
    assert command.main([str(good)]) == 0
    said = capsys.readouterr().out
    assert "patched for the run: torch.x\n" in said and "signature not checked" in said
    assert said.endswith("conforms, with 1 waived tests\n")
    bundle = bad_bundles.open_bundle(members)
    for number in range(30):
        bundle.members[f"run/{number}.sh"] = b""
    write_archive(tmp_path / "bad.zip", example.seal(bundle.members, bundle.document))
    assert command.main([str(tmp_path / "bad.zip")]) == 1
    assert "\nand 10 more\n" in capsys.readouterr().out


def test_json_for_programs(good, capsys):
    assert command.main([str(good), "--format", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["conforms"] is True and said["signed_by"] is None


def test_the_page_of_findings_is_current(request):
    if request.config.getoption("--update-baselines"):
        findings_page.PAGE.write_text(findings_page.render(), encoding="utf-8")
    assert findings_page.PAGE.read_text(encoding="utf-8") == findings_page.render()

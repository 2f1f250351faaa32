"""What may be done to a sealed bundle: bytes of its members, or of the file, that were changed afterwards."""
import copy
import io
import json
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import example_bundle as example
from bad_bundles import RUN2
from shardcts_verify.archive import write_archive

RAW: dict[str, tuple[str, Callable[[dict[str, bytes], Path], None]]] = {}


def raw(finding: str, what: str):
    def register(change):
        assert what not in RAW, what
        RAW[what] = (finding, change)
        return change
    return register


@raw("manifest.missing", "no manifest")
def _(members, path):
    write_archive(path, {name: data for name, data in members.items() if name != "manifest.json"})


@raw("manifest.missing", "no hash of the manifest")
def _(members, path):
    write_archive(path, {name: data for name, data in members.items() if name != "manifest.sha256"})


@raw("manifest.hash", "a manifest that was changed")
def _(members, path):
    write_archive(path, members | {"manifest.json": members["manifest.json"].replace(b'"Linux"', b'"Minix"')})


@raw("manifest.form", "a manifest in another style")
def _(members, path):
    text = json.dumps(json.loads(members["manifest.json"])).encode()
    write_archive(path, members | {"manifest.json": text, "manifest.sha256": f"{example.sha256(text)}\n".encode()})


@raw("member.hash", "a result that was changed")
def _(members, path):
    write_archive(path, members | {"run/results.json": members["run/results.json"].replace(b'"pass"', b'"fail"', 1)})


@raw("member.hash", "events that were changed")
def _(members, path):
    write_archive(path, members | {f"{RUN2}/rank-0.events.jsonl": members[f"{RUN2}/rank-0.events.jsonl"] + b"\n"})


@raw("member.missing", "a file that the manifest lists and that is gone")
def _(members, path):
    write_archive(path, {name: data for name, data in members.items() if name != f"{RUN2}/rank-0.events.jsonl"})


@raw("member.unknown", "a file that the manifest does not list")
def _(members, path):
    write_archive(path, members | {"run/extra.json": b"{}"})


@raw("archive.unreadable", "no file")
def _(members, path):
    path.unlink(missing_ok=True)


@raw("archive.unreadable", "a link in place of the file")
def _(members, path):
    write_archive(path.with_name("real"), members)
    path.unlink(missing_ok=True)
    path.symlink_to(path.with_name("real"))


@raw("archive.unreadable", "a folder in place of the file")
def _(members, path):
    path.unlink(missing_ok=True)
    path.mkdir()


@raw("archive.form", "an empty file")
def _(members, path):
    path.write_bytes(b"")


@raw("archive.form", "a file that is cut off")
def _(members, path):
    write_archive(path, members)
    path.write_bytes(path.read_bytes()[:-100])


@raw("archive.form", "a comment at the end")
def _(members, path):
    write_archive(path, members)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"hello"


@raw("archive.form", "bytes before the first member")
def _(members, path):
    write_archive(path, members)
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())


@raw("archive.form", "a gap that no member owns")
def _(members, path):
    write_archive(path, members)
    data = path.read_bytes()
    start = struct.unpack_from("<L", data, len(data) - 6)[0]
    end = data[start:-6] + struct.pack("<L", start + 4) + data[-2:]
    path.write_bytes(data[:start] + b"gap!" + end)


def zipped(path: Path, entries: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for info, data in entries:
            archive.writestr(info, data)
    path.write_bytes(buffer.getvalue())


def entry(name: str, mode: int = stat.S_IFREG | 0o644, **fields) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.external_attr, info.create_system, info.compress_type = mode << 16, 3, zipfile.ZIP_DEFLATED
    for key, value in fields.items():
        setattr(info, key, value)
    return info


ENTRIES = [
    ("archive.path", "a path to the root", [entry("/etc/passwd")]),
    ("archive.path", "a path out of the bundle", [entry("run/../../x")]),
    ("archive.path", "a path with a backslash", [entry("run\\x")]),
    ("archive.path", "a name with a control character", [entry("run/\x1b[2J")]),
    ("archive.path", "a folder", [entry("run/", stat.S_IFDIR | 0o755)]),
    ("archive.link", "a symbolic link", [entry("run/results.json", stat.S_IFLNK | 0o777)]),
    ("archive.link", "a device", [entry("run/results.json", stat.S_IFCHR | 0o666)]),
    ("archive.link", "a program", [entry("run/results.json", stat.S_IFREG | 0o755)]),
    ("archive.repeated", "two members of one name", [entry("a.json"), entry("a.json")]),
    ("archive.form", "members in another order", [entry("b.json"), entry("a.json")]),
    ("archive.form", "a member of another time", [entry("a.json", date_time=(2024, 1, 1, 0, 0, 0))]),
    ("archive.form", "a member with an extra field", [entry("a.json", extra=b"\x99\x99\4\0abcd")]),
    ("archive.form", "a member with a comment", [entry("a.json", comment=b"x")]),
    ("archive.form", "a member that is not packed", [entry("a.json", compress_type=zipfile.ZIP_STORED)]),
]
for finding_, what_, entries_ in ENTRIES:
    raw(finding_, what_)(lambda members, path, entries=entries_: zipped(path, [(copy.copy(info), b"{}") for info in entries]))


@raw("archive.ratio", "a zip bomb")
def _(members, path):
    zipped(path, [(entry("run/results.json"), b"0" * (8 << 20))])


@raw("archive.too-large", "a member that announces more than is read")
def _(members, path):
    zipped(path, [(entry("a.json"), b"0")])
    data = bytearray(path.read_bytes())
    start = struct.unpack_from("<L", data, len(data) - 6)[0]
    struct.pack_into("<L", data, start + 24, 1 << 30)
    path.write_bytes(bytes(data))


@raw("archive.damaged", "a packed byte that was changed")
def _(members, path):
    write_archive(path, members)
    data = bytearray(path.read_bytes())
    at = data.index(b"manifest.json") + len("manifest.json") + 40
    data[at] ^= 0xFF
    path.write_bytes(bytes(data))


@raw("archive.form", "a name that differs between header and directory")
def _(members, path):
    write_archive(path, members)
    path.write_bytes(path.read_bytes().replace(b"manifest.json", b"manifest.jsoN", 1))

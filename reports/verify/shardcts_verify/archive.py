"""The file of a bundle: a zip archive of exactly one form, written here and read here, so that a byte which nobody reads
does not exist. Whoever reads checks names, kinds, sizes and places of all members before any is unpacked."""
import os
import re
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from .findings import reject

MAX_FILE_BYTES = 256 << 20
MAX_MEMBERS = 50_000
MAX_MEMBER_BYTES = 128 << 20
MAX_TOTAL_BYTES = 1 << 30
MAX_RATIO = 400  # of the size of a member to its packed bytes
MAX_NAME = 600
_LEVEL = 6
_TIME = (1980, 1, 1, 0, 0, 0)
_MODE = (stat.S_IFREG | 0o644) << 16
_NAME = re.compile(r"(?!\.{1,2}(/|$))[A-Za-z0-9._=+-]+(/(?!\.{1,2}(/|$))[A-Za-z0-9._=+-]+)*")
_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s2B5H3L5H2L")
_END = struct.Struct("<4s4H2LH")


def write_archive(path: Path, members: dict[str, bytes]) -> None:
    """The same members give the same bytes, whenever they are written."""
    temporary = path.with_name(path.name + ".tmp")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, allowZip64=False, compresslevel=_LEVEL) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, _TIME)
            info.external_attr, info.create_system, info.compress_type = _MODE, 3, zipfile.ZIP_DEFLATED
            archive.writestr(info, members[name])
    os.replace(temporary, path)


@dataclass(frozen=True)
class InMemory:
    """Members that are in no file yet; for those who make a bundle."""
    members: dict[str, bytes]

    @property
    def names(self) -> list[str]:
        return list(self.members)

    def read(self, name: str) -> bytes:
        return self.members[name]


@dataclass(frozen=True)
class _Entry:
    name: str
    start: int  # of the packed bytes
    packed: int
    size: int
    crc: int


class Archive:
    """A bundle whose directory is checked. Raises Rejected."""

    def __init__(self, path: Path):
        self.path = path
        self.data = _read_file(path)
        self._entries = {entry.name: entry for entry in self._read_directory()}

    @property
    def names(self) -> list[str]:
        return list(self._entries)

    def read(self, name: str) -> bytes:
        entry = self._entries.get(name)
        if entry is None:
            reject("member.missing", name, "is not in the bundle")
        unpack = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = unpack.decompress(self.data[entry.start:entry.start + entry.packed], entry.size + 1)
        except zlib.error as error:
            reject("archive.damaged", name, str(error))
        if len(data) != entry.size or not unpack.eof or unpack.unused_data or zlib.crc32(data) != entry.crc:
            reject("archive.damaged", name, f"does not unpack to the {entry.size} bytes that it announces")
        return data

    def _read_directory(self) -> list[_Entry]:
        data, end = self.data, len(self.data) - _END.size
        if end < 0:
            reject("archive.form", self.path.name, "is no zip archive")
        magic, disk, start_disk, here, count, size, start, comment = _END.unpack_from(data, end)
        if magic != b"PK\5\6" or comment or disk or start_disk or here != count or start + size != end:
            reject("archive.form", self.path.name, "does not end as a zip archive without comment and further parts")
        if count > MAX_MEMBERS:
            reject("archive.too-large", self.path.name, f"{count} members, at most {MAX_MEMBERS} are read")
        entries, place, offset = [], start, 0
        for _ in range(count):
            entry, place, offset = self._read_entry(place, offset, end)
            if entries and entry.name == entries[-1].name:
                reject("archive.repeated", entry.name, "stands twice")
            if entries and entry.name < entries[-1].name:
                reject("archive.form", entry.name, "members are not in the order of their names")
            entries.append(entry)
        if place != end or offset != start:
            reject("archive.form", self.path.name, "has bytes that belong to no member")
        total = sum(entry.size for entry in entries)
        if total > MAX_TOTAL_BYTES:
            reject("archive.too-large", self.path.name, f"unpacks to {total} bytes, at most {MAX_TOTAL_BYTES} are read")
        return entries

    def _read_entry(self, place: int, offset: int, end: int) -> tuple[_Entry, int, int]:
        data = self.data
        if place + _CENTRAL.size > end:
            reject("archive.form", self.path.name, "its directory is cut off")
        (magic, made, system, needs, flags, method, time, date, crc, packed, size, length, extra, comment, disk, internal,
         external, at) = _CENTRAL.unpack_from(data, place)
        if magic != b"PK\1\2" or place + _CENTRAL.size + length > end or length > MAX_NAME:
            reject("archive.form", self.path.name, "its directory is damaged")
        raw = data[place + _CENTRAL.size:place + _CENTRAL.size + length]
        name = raw.decode("ascii", "replace")
        if not _NAME.fullmatch(name):
            reject("archive.path", ascii(name), "is no name of a member")
        if external != _MODE:
            reject("archive.link", name, f"is no regular file (mode {external >> 16:o})")
        if size > MAX_MEMBER_BYTES:
            reject("archive.too-large", name, f"{size} bytes, at most {MAX_MEMBER_BYTES} are read")
        if size > packed * MAX_RATIO + 1024:
            reject("archive.ratio", name, f"{packed} bytes unpack to {size}")
        fixed = (made, system, needs, flags, method, time, date, extra, comment, disk, internal, at)
        if fixed != (20, 3, 20, 0, zipfile.ZIP_DEFLATED, 0, 33, 0, 0, 0, 0, offset):
            reject("archive.form", name, "its entry is not one that certify writes")
        local = _LOCAL.pack(b"PK\3\4", 20, 0, zipfile.ZIP_DEFLATED, 0, 33, crc, packed, size, length, 0) + raw
        if data[offset:offset + len(local)] != local:
            reject("archive.form", name, "its header is not that of its entry")
        start = offset + len(local)
        return _Entry(name, start, packed, size, crc), place + _CENTRAL.size + length, start + packed


def _read_file(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        reject("archive.unreadable", path, error.strerror or str(error))
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        reject("archive.unreadable", path, "is no regular file")
    with open(descriptor, "rb") as file:
        if found.st_size > MAX_FILE_BYTES:
            reject("archive.too-large", path, f"{found.st_size} bytes, at most {MAX_FILE_BYTES} are read")
        return file.read(MAX_FILE_BYTES + 1)

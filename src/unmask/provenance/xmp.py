"""XMP packets, where other programs look for IPTC's digital source type, and where they lie in PNG and MP4 files.

The places are those of the XMP specification, part 3 (ISO 16684-1); in a JPEG and a WebP, Pillow knows them.
"""

import os
import re
import struct
from pathlib import Path

PNG_KEYWORD = "XML:com.adobe.xmp"
_UUID = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")  # of the MP4 box that holds a packet
_LENGTH = 1024  # bytes of a packet, whatever it says: a file's size must not tell
_LARGEST = 1 << 20  # bytes of a packet that is read
_BEGIN = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
"""
_END = """</rdf:Description></rdf:RDF></x:xmpmeta>
{blanks}<?xpacket end="w"?>"""
# As an attribute, an element, or an element that names a resource, under any prefix.
_TERM = re.compile(rb"""DigitalSourceType(?:\s+[\w:]+)?\s*(?:=\s*["']|>\s*)([^"'<>\s]{1,512})""")


def packet(term: str) -> bytes:
    """An XMP packet of 1,024 bytes.

    Args:
        term: the address of a digital source type; an empty one gives a packet of the same length that says nothing.
    """
    said = f"<Iptc4xmpExt:DigitalSourceType>{term}</Iptc4xmpExt:DigitalSourceType>\n" if term else ""
    blanks = _LENGTH - len((_BEGIN + said + _END.format(blanks="")).encode())
    return (_BEGIN + said + _END.format(blanks=" " * blanks)).encode()


def source_type(content: bytes) -> str:
    """The digital source type that a packet names, empty if it names none. No XML parser sees a stranger's file."""
    found = _TERM.search(content[:_LARGEST])
    return found.group(1).decode("utf-8", "replace") if found else ""


def png_chunk(content: bytes) -> bytes:
    """Type and data of the chunk that holds a packet: international text, not compressed, of no language."""
    return b"iTXt" + PNG_KEYWORD.encode() + b"\0\0\0\0\0" + content


def append_to_mp4(path: Path, content: bytes) -> None:
    """Put a packet behind all that an MP4 file holds; no offset in the file changes."""
    whole = path.stat().st_size
    try:
        with path.open("ab", buffering=0) as file:
            file.write(struct.pack(">I", 8 + len(_UUID) + len(content)) + b"uuid" + _UUID + content)
    except OSError:
        os.truncate(path, whole)  # no player opens a video that ends in half a box
        raise


def read_from_mp4(path: Path) -> bytes:
    """The packet of an MP4 file, empty if it has none; from one box to the next, without reading what they hold."""
    end = path.stat().st_size
    with path.open("rb") as file:
        at = 0
        while at + 8 <= end:
            file.seek(at)
            size, kind = struct.unpack(">I4s", file.read(8))
            header = 8
            if size == 1:  # the size follows in eight bytes
                size, header = int.from_bytes(file.read(8)), 16
            if kind == b"uuid" and file.read(16) == _UUID:
                return file.read(min(size - header - 16, _LARGEST)) if size > header + 16 else b""
            if size < header:  # 0: to the end of the file; less: broken
                break
            at += size
    return b""

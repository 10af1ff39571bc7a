"""Read and write XMP packets in PNG and MP4 files. Other programs read IPTC's digital source type from such packets.

The location of a packet follows the XMP specification, part 3 (ISO 16684-1). Pillow handles JPEG and WebP.
"""

import os
import re
import struct
from pathlib import Path

PNG_KEYWORD = "XML:com.adobe.xmp"
_UUID = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")  # UUID of the MP4 box that contains a packet
_LENGTH = 1024  # length of every packet in bytes; constant, so that a file's size does not reveal whether it is fake
_LARGEST = 1 << 20  # maximum number of bytes read from a packet
_BEGIN = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
"""
_END = """</rdf:Description></rdf:RDF></x:xmpmeta>
{blanks}<?xpacket end="w"?>"""
# The source type may be an attribute, an element, or an element's resource attribute; its prefix is arbitrary.
_TERM = re.compile(rb"""DigitalSourceType(?:\s+[\w:]+)?\s*(?:=\s*["']|>\s*)([^"'<>\s]{1,512})""")


def packet(term: str) -> bytes:
    """Return an XMP packet of 1,024 bytes that states a digital source type.

    Args:
        term: the URI of a digital source type; if empty, the packet has the same length and no content.
    """
    said = f"<Iptc4xmpExt:DigitalSourceType>{term}</Iptc4xmpExt:DigitalSourceType>\n" if term else ""
    blanks = _LENGTH - len((_BEGIN + said + _END.format(blanks="")).encode())
    return (_BEGIN + said + _END.format(blanks=" " * blanks)).encode()


def source_type(content: bytes) -> str:
    """Return the digital source type in an XMP packet, or "". No XML parser is used, because the file is untrusted."""
    found = _TERM.search(content[:_LARGEST])
    return found.group(1).decode("utf-8", "replace") if found else ""


def png_chunk(content: bytes) -> bytes:
    """Return the type and data of a PNG text chunk (iTXt, uncompressed, no language) that contains an XMP packet."""
    return b"iTXt" + PNG_KEYWORD.encode() + b"\0\0\0\0\0" + content


def append_to_mp4(path: Path, content: bytes) -> None:
    """Append an XMP packet to an MP4 file; all offsets stored in the file stay valid."""
    whole = path.stat().st_size
    try:
        with path.open("ab", buffering=0) as file:
            file.write(struct.pack(">I", 8 + len(_UUID) + len(content)) + b"uuid" + _UUID + content)
    except OSError:
        os.truncate(path, whole)  # players do not open a video that ends in an incomplete box
        raise


def read_from_mp4(path: Path) -> bytes:
    """Return the XMP packet of an MP4 file, or b"" if it has none; the content of other boxes is skipped."""
    end = path.stat().st_size
    with path.open("rb") as file:
        at = 0
        while at + 8 <= end:
            file.seek(at)
            size, kind = struct.unpack(">I4s", file.read(8))
            header = 8
            if size == 1:  # a 64-bit size follows
                size, header = int.from_bytes(file.read(8)), 16
            if kind == b"uuid" and file.read(16) == _UUID:
                return file.read(min(size - header - 16, _LARGEST)) if size > header + 16 else b""
            if size < header:  # 0 means up to the end of the file; other values are damaged
                break
            at += size
    return b""

"""Limits of the server: for one file, for one client and for the queue."""

from dataclasses import asdict, dataclass

MB, GB = 10**6, 10**9
OVERHEAD = 16_384  # bytes of an upload besides the file: the multipart boundaries and headers
LARGEST_REPLY = 256 * MB  # bytes that a child process may send about one file


@dataclass(frozen=True)
class Limits:
    """Limits of the server. A file that exceeds a limit is refused with a reason; the server keeps running.

    Args:
        upload: largest upload, MB.
        upload_time: time in which an upload must be complete, s.
        time: time for the examination of one file, s; after it, the process that examines the file is killed.
        memory: memory for one file, GB, in addition to what a process uses before its first file.
        pixels: pixels of a picture or of a video frame, millions.
        duration: duration of a video, s.
        frames: number of frames of a video.
        queue: number of files that wait or are being uploaded; further uploads get the status 503.
        per_client: number of unfinished files of one client; further uploads get the status 429.
        keep: time for which the result of a file is kept, s.
        kept: number of finished files whose results are kept; the oldest results are deleted first.

    Raises:
        ValueError: a limit is not positive.
    """

    upload: float = 200
    upload_time: float = 300
    time: float = 300
    memory: float = 3
    pixels: float = 50
    duration: float = 600
    frames: int = 20_000
    queue: int = 16
    per_client: int = 4
    keep: float = 900
    kept: int = 100

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value > 0:
                raise ValueError(f"limits.{name}={value}: expected a positive number")

    @property
    def bytes(self) -> int:
        """Largest file, bytes."""
        return int(self.upload * MB)

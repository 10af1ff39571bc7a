"""Public import path of `open_media` and `MediaError`."""

from unmask.media.kinds import MediaError as MediaError
from unmask.media.reader import open_media as open_media

"""The media reader under its public name."""

from unmask.media.kinds import MediaError as MediaError
from unmask.media.reader import open_media as open_media

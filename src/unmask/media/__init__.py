"""A media file to frames and faces, and frames to a media file. Knows no data set."""

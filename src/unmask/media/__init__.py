"""Read frames and faces from media files, and write frames to media files; no module here depends on a data set."""

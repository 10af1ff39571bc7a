"""Read frames and faces from media files, and write frames to media files; this does not depend on a data set."""

"""Read frames and faces from media files, and write frames to media files. Independent of any data set."""

"""What is known of each data set's disk and protocol, one a file."""

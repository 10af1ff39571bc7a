"""What happens to pictures and videos between their making and their checking. Independent of any data set."""

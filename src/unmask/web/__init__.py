"""The web server: an HTTP API and one page that examine uploaded files in child processes."""

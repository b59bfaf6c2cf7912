"""One file a container format; content, not the file's extension, decides which one reads a file."""

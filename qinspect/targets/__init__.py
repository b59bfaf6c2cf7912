"""One file a device target: what is written, and the proof that it decodes the same."""

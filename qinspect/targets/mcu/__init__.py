"""What the C target is made of: matrices as a device holds them, their file, the C around it, and the checks."""

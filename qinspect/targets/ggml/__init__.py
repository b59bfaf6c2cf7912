"""The GGUF target: which block type carries a scheme, blocks from codes, and the file around them."""

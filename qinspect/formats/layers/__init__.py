"""How other programs store packed layers, one file each."""

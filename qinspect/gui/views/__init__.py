"""One file a view; each bids for what is selected and draws it."""

"""What to choose for a whole model: points of many schemes, a budget shared out among layers, and the recipe of it."""

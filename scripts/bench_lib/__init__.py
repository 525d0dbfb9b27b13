"""What scripts/bench is made of: one module a kind of figure, and what they share."""

"""The copy graph: pairs of near-identical descriptors (exact), and the groups they form (components)."""

"""The copy graph: pairs of near-identical descriptors (exact, by cells, by Faiss), and the groups they form (components)."""

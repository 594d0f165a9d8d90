"""How good frozen features are: k-NN, linear heads, logistic regression, retrieval, segmentation, depth."""

"""The DINOv2 trainer: a manifest in, an encoder out. Start reading at train.py."""

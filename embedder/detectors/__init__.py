"""Detectors of what must not be used as it is: NSFW images and faces. Frozen networks from packages or local files.

Each carries the SHA-256 of its weights and its licence (see README.md beside this file). Nothing is downloaded.
"""

from __future__ import annotations

from pathlib import Path

from curation.stages.sanitized import FaceDetector, Scorer

__all__ = ["load_faces", "load_scorer"]


def load_scorer(name: str, device: str = "cpu") -> Scorer:
    """An NSFW detector: "nudenet", an ONNX or TorchScript classifier, a Hugging Face folder, "clip-head:FOLDER".

    Raises ValueError, saying what to install or which file is missing.
    """
    from embedder.detectors import classifiers, clip_head, nudenet

    if name == "nudenet":
        return nudenet.load(device)
    if name.startswith("clip-head:"):
        return clip_head.load(name.removeprefix("clip-head:"), device)
    path = Path(name).expanduser()
    if path.is_dir():
        return classifiers.load_folder(path, device)
    if path.suffix in (".onnx", ".pt", ".torchscript") and path.exists():
        return classifiers.load_file(path, device)
    raise ValueError(f'no NSFW detector "{name}": use nudenet, a local .onnx or .pt file, a folder, or clip-head:FOLDER')


def load_faces(name: str, device: str = "cpu") -> FaceDetector:
    """A face detector: "centerface", or a TorchScript file of EgoBlur's kind. Raises ValueError as `load_scorer` does."""
    from embedder.detectors import centerface, egoblur

    if name == "centerface":
        return centerface.load(device)
    path = Path(name).expanduser()
    if path.suffix in (".pt", ".jit", ".torchscript") and path.exists():
        return egoblur.load(path, device)
    raise ValueError(f'no face detector "{name}": use centerface, or a local TorchScript file of EgoBlur')

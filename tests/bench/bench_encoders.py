"""How fast the shipped networks run on this device: images/s by batch size, pixels already decoded.

python -m tests.bench.bench_encoders --json
"""

from __future__ import annotations

import argparse
import json
import time

import torch

from embedder.encoder import Encoder, load_encoder

NETWORKS = ("vitti16-small", "copy-small")
SECONDS = 3.0


def rate(encoder: Encoder, batch: int) -> float:
    """Images per second over about SECONDS, after one batch that is not counted."""
    pixels = torch.randint(0, 256, (batch, 3, encoder.side, encoder.side), dtype=torch.uint8)
    encoder(pixels)
    done, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        encoder(pixels)
        done += batch
    return done / (time.monotonic() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoders = {name: load_encoder(name, device) for name in NETWORKS}
    rates = {name: {batch: round(rate(encoder, batch), 1) for batch in (64, 512)} for name, encoder in encoders.items()}
    print(json.dumps({"device": device, "images_per_s": rates}))


if __name__ == "__main__":
    main()

"""How good is retrieval: does the embedder find a seed's own class, and does the index find what exact search finds.

    python -m tests.bench.bench_retrieval --seeds DIR --pool DIR --labels FILE --json

DIR holds tars of KEY.jpg (in --seeds also KEY.cls); FILE is Parquet with columns key, wnid: the pool's classes. Seeds
whose class is not in the pool ask nothing. Random: the share that pool images drawn blindly would have. Raw pixels:
32 x 32, first 256 principal axes. The index is measured on --rows vectors, each a mixture of two neighbouring pool
embeddings and a little noise, since web-sized sets of real ones are not at hand; queries are seeds' and pool images' own.
The last line printed is one JSON object.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from curation import index
from curation.index import Limits, search, shape
from curation.index.inverted import GIB
from embedder.encoder import load_encoder
from embedder.pictures import read_tars
from tests.bench.bench_knn import AXES, embedded, principal_axes, read

K, PART, NOISE = 4, 100_000, 0.02


def unit(rows_ND: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows_ND / np.linalg.norm(rows_ND, axis=1, keepdims=True), np.float32)


def precision(seeds: np.ndarray, truth: np.ndarray, pool: np.ndarray, classes: np.ndarray) -> float:
    """Share of the K nearest pool rows that are of the seed's class; rows of unit length."""
    rows = search(seeds, [(0, pool)], K)[2]
    return float((classes[rows] == truth[:, None]).mean())


def grown(pool: np.ndarray, count: int) -> np.ndarray:
    """`count` rows like the pool's: between a row and one of its 8 nearest, with noise."""
    random = np.random.default_rng(0)
    near = search(pool, [(0, pool)], 9)[2][:, 1:]
    one = random.integers(0, len(pool), count)
    other = near[one, random.integers(0, 8, count)]
    share = random.random((count, 1), np.float32)
    out = pool[one] * share + pool[other] * (1 - share)
    return unit(out + NOISE * random.standard_normal(out.shape, np.float32))


def index_figures(base: np.ndarray, queries: np.ndarray, limits: Limits) -> dict[str, Any]:
    """Recall and speed of the index that the limits give for as many queries as rows, beside exact search."""
    parts = {at: base[at * PART : (at + 1) * PART] for at in range(-(-len(base) // PART))}
    sizes = {part: len(rows) for part, rows in parts.items()}
    plan = shape(len(base), sizes, base.shape[1], limits)
    if plan.kind == "flat":
        raise ValueError("this index would be exact: nothing to measure")
    began = time.perf_counter()
    truth = search(queries, iter(parts.items()), K)
    exact_s = time.perf_counter() - began
    build_s, search_s, taken, best, probes = 0.0, 0.0, 0, index.nothing(len(queries), K), 0
    asked = queries[: index.ASKED]
    for shard in plan.shards:
        began = time.perf_counter()
        made = index.build(shard, parts.__getitem__, sum(sizes[p] for p in shard), plan)
        exact = search(asked, ((p, parts[p]) for p in shard), K)
        how = index.setting(made, asked, exact[1:], limits.recall)
        if how is None:
            raise ValueError(f"no setting of {plan.kind} reaches a recall of {limits.recall}")
        with tempfile.NamedTemporaryFile() as file:
            size, _ = index.write(made, file)
            file.flush()
            build_s += time.perf_counter() - began
            taken, probes = max(taken, size), max(probes, how.probes)
            began = time.perf_counter()
            best = index.merge(K, *best, *index.look(index.read(file.name), queries, K, how, parts.__getitem__))
            search_s += time.perf_counter() - began
    key, true = (h[1] * 10**9 + h[2] for h in (best, truth))
    recall = float((key[:, :, None] == true[:, None, :]).any(axis=1).mean())
    return {
        "kind": plan.kind,
        "shards": len(plan.shards),
        "index_recall_at_4": round(recall, 4),
        "index_speed_vs_exact": round(exact_s / search_s, 2),
        "exact_queries_per_s": round(len(queries) / exact_s, 1),
        "index_queries_per_s": round(len(queries) / search_s, 1),
        "build_s": round(build_s, 1),
        "breaks_even_at_queries": round(build_s / max(1e-9, (exact_s - search_s) / len(queries))),
        "index_gib": round(taken / GIB, 4),
        "budget_gib": limits.memory_gib,
        "budget_kept": taken <= limits.memory_gib * GIB,
        "probes": probes,
    }


def main() -> None:
    """Embed, retrieve, count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=Path, required=True)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--encoder", default="vitti16-small")
    parser.add_argument("--rows", type=int, default=1_000_000, help="vectors to index; 0: do not measure the index")
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--memory-gib", type=float, default=2.0)
    parser.add_argument("--recall", type=float, default=0.99, help="what the settings are chosen for, on 256 queries")
    parser.add_argument("--json", action="store_true", help="print only the JSON object")
    args = parser.parse_args()
    wnids = {row["key"]: row["wnid"] for row in pq.read_table(args.labels).to_pylist()}
    own = {key: data.decode().strip() for key, data in read_tars(args.seeds, ".cls")}
    number = {wnid: n for n, wnid in enumerate(sorted(set(wnids.values())))}
    encoder = load_encoder(args.encoder)
    seed, images = (read(folder, encoder) for folder in (args.seeds, args.pool))
    seed_ND, pool_ND = (embedded(one.picture_N3SS, encoder) for one in (seed, images))
    asking = torch.tensor([own.get(key) in number for key in seed.keys])
    truth = np.array([number[own[key]] for key in seed.keys if own.get(key) in number])
    classes = np.array([number[wnids[key]] for key in images.keys])
    seeds, pool = unit(seed_ND[asking].numpy()), unit(pool_ND.numpy())
    mean, axes = principal_axes(images.pixels, min(AXES, len(images.keys) - 1))
    raw_seeds, raw_pool = (unit(((x - mean) @ axes).numpy()) for x in (seed.pixels[asking], images.pixels))
    shipped, raw = precision(seeds, truth, pool, classes), precision(raw_seeds, truth, raw_pool, classes)
    blind = float(np.mean([(classes == c).mean() for c in truth]))
    result: dict[str, Any] = {
        "precision_at_4": round(shipped, 4),
        "precision_at_4_random": round(blind, 4),
        "precision_at_4_raw_pixels": round(raw, 4),
        "precision_at_4_vs_random": round(shipped / blind, 2),
        "precision_at_4_vs_raw_pixels": round(shipped / raw, 2) if raw else None,
        "encoder": args.encoder,
        "seeds_asking": len(truth),
        "pool_images": len(images.keys),
    }
    if args.rows:
        queries = unit(np.concatenate([seed_ND.numpy(), pool_ND.numpy()]))
        picked = np.random.default_rng(1).permutation(len(queries))[: args.queries]
        limits = Limits(memory_gib=args.memory_gib, recall=args.recall)
        result |= index_figures(grown(pool, args.rows), queries[picked], limits) | {"rows": args.rows}
    if not args.json:
        print(f"precision@4 {shipped:.4f}; random {blind:.4f}; raw pixels {raw:.4f}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()

"""Pictures of a run, as SVG in RUN/report: cluster sizes, similarity by rank, hits per image, the funnel of seed sets."""

from __future__ import annotations

from typing import Any

from curation.store import Store
from pipelines.plots_svg import Series, bars, lines
from pipelines.queries import query

CLUSTERS = """
    with pool as (
        select cluster, count(*) as n from clusters
        semi join (select image_id from survivors where list_contains(sets, 'pool')) using (image_id)
        where drop_reason is null group by cluster
    ), chosen as (select cluster, count(*) as n from manifest where cluster is not null group by cluster)
    select pool.n as before, coalesce(chosen.n, 0) as after from pool left join chosen using (cluster) order by before desc
"""
RANKS = """
    select seed_set, rank, count(*) as pairs, quantile_cont(similarity, [0.1, 0.5, 0.9]) as similarity
    from neighbors group by seed_set, rank order by seed_set, rank
"""
HITS = """
    select seed_set, hits, count(*) as images
    from (select seed_set, image_id, count(*) as hits from neighbors group by seed_set, image_id)
    group by seed_set, hits order by seed_set, hits
"""
FUNNEL = """
    with named as (select unnest(sets) as name, image_id from images where drop_reason is null),
    seeds as (select substr(name, 6) as seed_set, count(*) as n from named where name like 'seed:%' group by name),
    kept as (select substr(name, 6) as seed_set, count(*) as n from named semi join
        (select image_id from survivors where drop_reason is null and usable) using (image_id)
        where name like 'seed:%' group by name),
    found as (select seed_set, count(*) as n, count(distinct image_id) as own from neighbors group by seed_set),
    chosen as (select seed_set, count(*) as n from manifest group by seed_set)
    select seed_set, seeds.n as seeds, coalesce(kept.n, 0) as usable, coalesce(found.n, 0) as neighbours,
        coalesce(found.own, 0) as images_found, coalesce(chosen.n, 0) as chosen
    from seeds left join kept using (seed_set) left join found using (seed_set) left join chosen using (seed_set)
    order by seed_set
"""
MOST = 200  # points of a line


def draw(run: str) -> list[str]:
    """Write the pictures of a finished run; their paths. Raises ValueError if `run` is no run folder."""
    store = Store(run)
    pictures = {
        "clusters": clusters_picture(query(run, CLUSTERS).to_pylist()),
        "similarity_by_rank": ranks_picture(query(run, RANKS).to_pylist()),
        "hits_per_image": hits_picture(query(run, HITS).to_pylist()),
        "seed_sets": funnel_picture(query(run, FUNNEL).to_pylist()),
    }
    for name, svg in pictures.items():
        store.write_bytes(svg.encode(), "report", f"{name}.svg")
    return [store.path("report", f"{name}.svg") for name in pictures]


def clusters_picture(rows: list[dict[str, Any]]) -> str:
    """Clusters by size in the pool, and the same clusters, by their own order of size, in the manifest."""
    before, after = ([row[key] for row in rows] for key in ("before", "after"))
    series = [
        Series(f"pool: {sum(before):,} images", _thinned(sorted(before, reverse=True))),
        Series(f"manifest: {sum(after):,} images", _thinned([n for n in sorted(after, reverse=True) if n])),
    ]
    return lines("Cluster sizes before and after selection", series, "cluster, largest first", "images", log=True)


def ranks_picture(rows: list[dict[str, Any]]) -> str:
    """Median similarity by rank, with the middle 80% as a band."""
    series = []
    for name in dict.fromkeys(row["seed_set"] for row in rows):
        own = [row for row in rows if row["seed_set"] == name]
        low, middle, high = ([(row["rank"], row["similarity"][at]) for row in own] for at in range(3))
        series.append(Series(name, middle, list(zip(low, high, strict=True))))
    return lines("Similarity of retrieved images by rank (median, and 80% of them)", series, "rank", "cosine")


def hits_picture(rows: list[dict[str, Any]]) -> str:
    """How many pool images were among the neighbours of 1, 2, 3, ... seed images."""
    series = []
    for name in dict.fromkeys(row["seed_set"] for row in rows):
        points = [(float(row["hits"]), float(row["images"])) for row in rows if row["seed_set"] == name]
        series.append(Series(name, points))
    return lines("Hits per pool image", series, "seed images that have it among their neighbours", "pool images", log=True)


def funnel_picture(rows: list[dict[str, Any]]) -> str:
    """Of every seed set: its images, those that are usable, what they found, what was chosen."""
    steps = {"seeds": "seed images", "usable": "usable", "neighbours": "neighbours", "images_found": "different images found",
             "chosen": "chosen"}  # fmt: skip
    return bars("Seed sets", [(row["seed_set"], [(name, row[key]) for key, name in steps.items()]) for row in rows])


def _thinned(values: list[int]) -> list[tuple[float, float]]:
    step = max(1, len(values) // MOST)
    return [(float(at + 1), float(values[at])) for at in range(0, len(values), step)]

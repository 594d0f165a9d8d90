"""The recipe: every stage's own Config under one roof, read from and written to TOML.

Layers: defaults <- file <- `--set section.key=value`. A key that no section has is an error with a suggestion. What
one section needs of another (which seed sets are as-is, say) is derived here, once, and never written down twice.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import tomli_w

from curation.stages.cells import CellsConfig
from curation.stages.centroids import ClustersConfig
from curation.stages.descriptors import DescriptorsConfig
from curation.stages.edges import EdgesConfig
from curation.stages.embeddings import EmbeddingsConfig
from curation.stages.images import ImagesConfig
from curation.stages.links import LinksConfig
from curation.stages.manifest import ManifestConfig
from curation.stages.neighbors import NeighborsConfig
from curation.stages.sanitized import SanitizedConfig
from curation.stages.screened import ScreenedConfig
from curation.stages.selection import SeedPlan, SelectionConfig
from curation.stages.sources import SourcesConfig
from curation.stages.survivors import SurvivorsConfig
from curation.stages.whitening import WhiteningConfig
from curation.web.policy import CrawlPolicy


class RecipeError(ValueError):
    """A recipe that cannot be meant; the message names the section and the key."""


@dataclass(frozen=True, kw_only=True)
class PoolSection:
    """Where the pool is."""

    sources: tuple[str, ...] = ()
    """Directories, tars, Parquet files, globs; any fsspec path."""
    part_rows: int = 0
    """Images per part; 0: a 64th of the pool, between 250 and 100,000."""


@dataclass(frozen=True, kw_only=True)
class SeedSection(SeedPlan):
    """A seed set: where it is and how it chooses."""

    path: str


@dataclass(frozen=True, kw_only=True)
class ProtectSection:
    """An evaluation set that must not leak into the manifest."""

    name: str
    path: str
    similarity: float | None = None
    """Cosine from which an image is alleged to copy one of this set; None: survivors.reference_similarity."""

    def __post_init__(self) -> None:
        if self.similarity is not None and not -1 <= self.similarity <= 1:
            raise ValueError(f"similarity is a cosine, -1 to 1, not {self.similarity}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a run's result. The order of the fields is the order of the flow."""

    pool: PoolSection = field(default_factory=PoolSection)
    seeds: tuple[SeedSection, ...] = ()
    protect: tuple[ProtectSection, ...] = ()
    links: LinksConfig = field(default_factory=LinksConfig)
    crawl: CrawlPolicy = field(default_factory=CrawlPolicy)
    images: ImagesConfig = field(default_factory=ImagesConfig)
    screened: ScreenedConfig = field(default_factory=ScreenedConfig)
    sanitized: SanitizedConfig = field(default_factory=SanitizedConfig)
    descriptors: DescriptorsConfig = field(default_factory=DescriptorsConfig)
    edges: EdgesConfig = field(default_factory=EdgesConfig)
    survivors: SurvivorsConfig = field(default_factory=SurvivorsConfig)
    embeddings: EmbeddingsConfig = field(default_factory=EmbeddingsConfig)
    clusters: ClustersConfig = field(default_factory=ClustersConfig)
    neighbors: NeighborsConfig = field(default_factory=NeighborsConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    manifest: ManifestConfig = field(default_factory=ManifestConfig)

    def __post_init__(self) -> None:
        for kind in ("seeds", "protect"):
            names = [s.name for s in getattr(self, kind)]
            for name in {n for n in names if names.count(n) > 1}:
                raise RecipeError(f'two [[{kind}]] are called "{name}"')

    @property
    def sources_config(self) -> SourcesConfig:
        return SourcesConfig(
            sources=self.pool.sources,
            seeds=tuple((s.name, s.path) for s in self.seeds),
            protect=tuple((p.name, p.path) for p in self.protect),
            part_rows=self.pool.part_rows,
        )

    @property
    def links_config(self) -> LinksConfig:
        policy = self.crawl
        return replace(self.links, lists=self.pool.sources, block=policy.block, allow=policy.allow, opt_outs=policy.opt_outs)

    @property
    def as_is(self) -> tuple[str, ...]:
        """Seed sets that enter the manifest as they are."""
        return tuple(s.name for s in self.seeds if "as_is" in s.mode)

    @property
    def described_config(self) -> DescriptorsConfig:
        """What the network's own descriptors depend on."""
        return replace(self.descriptors, whiten="none", whiten_sample=1)

    @property
    def whitening_config(self) -> WhiteningConfig:
        return WhiteningConfig(whiten=self.descriptors.whiten, sample=self.descriptors.whiten_sample)

    @property
    def edges_config(self) -> EdgesConfig:
        """Pairs are stored from the floors on; `survivors` holds them against its own thresholds."""
        seen = bool(self.survivors.shared)
        return replace(self.edges, as_is=self.as_is, shared=seen, k=self.survivors.k, **self.floors)

    @property
    def floors(self) -> dict[str, float | None]:
        """Cosines from which pairs are stored: of the pool, and with protected images."""
        own, edges = self.survivors, self.edges
        return {
            "self_similarity": own.self_similarity if edges.floor is None else edges.floor,
            "reference_similarity": self.lowest_reference if edges.reference_floor is None else edges.reference_floor,
        }

    @property
    def lowest_reference(self) -> float | None:
        """The lowest threshold of any protected set; None where the network has to say."""
        common = self.survivors.reference_similarity
        if common is None:
            return None
        return min([p.similarity for p in self.protect if p.similarity is not None] + [common])

    @property
    def cells_config(self) -> CellsConfig:
        return CellsConfig(**{f.name: getattr(self.edges_config, f.name) for f in fields(CellsConfig)})

    @property
    def survivors_config(self) -> SurvivorsConfig:
        own = tuple((p.name, p.similarity) for p in self.protect if p.similarity is not None)
        return replace(self.survivors, as_is=self.as_is, protect=own)

    @property
    def neighbors_config(self) -> NeighborsConfig:
        return replace(self.neighbors, k=tuple((s.name, s.k) for s in self.seeds if "sample" in s.mode))

    @property
    def selection_config(self) -> SelectionConfig:
        plans = ({f.name: getattr(s, f.name) for f in fields(SeedPlan)} for s in self.seeds)
        return replace(self.selection, seeds=tuple(SeedPlan(**plan) for plan in plans))


def load_recipe(path: str | Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """The recipe in a TOML file. Raises RecipeError for a file, section, key or value that cannot be used."""
    return parse(read_table(path), overrides)


def read_table(path: str | Path) -> dict[str, Any]:
    """A TOML file as it stands. Raises RecipeError if there is none, or if it is not TOML."""
    try:
        return tomllib.loads(Path(path).read_text())
    except FileNotFoundError:
        raise RecipeError(f"no recipe at {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not TOML: {error}") from error


def parse(table: Mapping[str, Any], overrides: tuple[str, ...] = ()) -> Recipe:
    """A recipe from parsed TOML and `section.key=value` overrides. `[resolved]`, what a run adds, is passed over."""
    return build(Recipe, {key: value for key, value in table.items() if key != "resolved"}, overrides)


def build(cls: type, table: Mapping[str, Any], overrides: tuple[str, ...] = ()) -> Any:
    """A dataclass of sections from parsed TOML and `section.key=value` overrides. Raises RecipeError."""
    merged = {key: dict(value) if isinstance(value, Mapping) else value for key, value in table.items()}
    for text in overrides:
        _override(merged, text)
    return _build(cls, merged, "")


def _override(table: dict[str, Any], text: str) -> None:
    path, equals, value = text.partition("=")
    section, dot, key = path.strip().partition(".")
    if not (equals and dot and key):
        raise RecipeError(f'--set takes section.key=value, not "{text}"')
    try:
        parsed = tomllib.loads(f"value = {value.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    target = table.setdefault(section, {})
    if not isinstance(target, dict):
        raise RecipeError(f"--set cannot reach into [[{section}]]; write it in a recipe file")
    target[key] = parsed


def _build(cls: type, values: Mapping[str, Any], where: str) -> Any:
    hints = get_type_hints(cls)
    known = {f.name: f for f in fields(cls) if not f.metadata.get("derived")}
    for key in values:
        if key not in known:
            raise RecipeError(
                f"[{where}] has no key {key}{_meant(key, known)}" if where else f"no section [{key}]{_meant(key, known)}"
            )
    for name, f in known.items():
        if f.default is MISSING and f.default_factory is MISSING and name not in values:
            raise RecipeError(f"[{where}] needs {name}")
    try:
        return cls(**{key: _convert(hints[key], value, f"{where}.{key}".strip(".")) for key, value in values.items()})
    except (TypeError, ValueError) as error:
        raise error if isinstance(error, RecipeError) else RecipeError(f"[{where}]: {error}") from error


def _meant(key: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(key, known, 1)
    return f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(known)}"


def _convert(kind: Any, value: Any, where: str) -> Any:
    """`value` as the annotated type of its field, or RecipeError."""
    if is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise RecipeError(f"{where} must be a section, [{where}]")
        return _build(kind, value, where)  # type: ignore[arg-type]
    if get_origin(kind) is dict:
        if not isinstance(value, Mapping):
            raise RecipeError(f"{where} must be a table, not {value!r}")
        return {key: _convert(get_args(kind)[1], item, f"{where}.{key}") for key, item in value.items()}
    if get_origin(kind) is tuple:
        value = [value] if isinstance(value, str) else value  # one value may stand for a list of one
        if not isinstance(value, list | tuple):
            raise RecipeError(f"{where} must be a list, not {value!r}")
        kinds = get_args(kind)
        if Ellipsis not in kinds and len(value) != len(kinds):
            raise RecipeError(f"{where} must be a list of {len(kinds)}, not {value!r}")
        return tuple(_convert(kinds[0], item, where) for item in value)
    options = get_args(kind) or (kind,)
    if float in options and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    plain = tuple(o for o in options if isinstance(o, type))
    if plain and (not isinstance(value, plain) or (isinstance(value, bool) and bool not in plain)):
        raise RecipeError(f"{where} must be {' or '.join(o.__name__ for o in plain if o is not type(None))}, not {value!r}")
    return value


def absolute(recipe: Recipe) -> Recipe:
    """Local paths made absolute, so that a run folder means the same from anywhere."""
    seeds = tuple(replace(s, path=absolute_path(s.path)) for s in recipe.seeds)
    protect = tuple(replace(p, path=absolute_path(p.path)) for p in recipe.protect)
    pool = replace(recipe.pool, sources=tuple(absolute_path(s) for s in recipe.pool.sources))
    return replace(recipe, pool=pool, seeds=seeds, protect=protect)


def absolute_path(path: str) -> str:
    return path if "://" in path else os.path.abspath(os.path.expanduser(path))


def as_toml(recipe: Recipe, resolved: Mapping[str, Any]) -> str:
    """The recipe as TOML, every value written out; `resolved` (versions, weight hashes) goes into its own section."""
    return tomli_w.dumps(_plain(recipe) | {"resolved": dict(resolved)})


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        own = {f.name: getattr(value, f.name) for f in fields(value) if not f.metadata.get("derived")}
        return {key: _plain(item) for key, item in own.items() if item is not None}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def plain(config: Any) -> dict[str, Any]:
    """A stage's config as the JSON that its fingerprint is taken from."""
    return asdict(config)

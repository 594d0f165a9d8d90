"""The command line: a table of verbs. A verb parses, calls the library, prints."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich",
                  help="Build pretraining sets for vision models the way LVD-142M was built.")  # fmt: skip
seeds_app = typer.Typer(no_args_is_help=True, help="Seed sets and evaluation sets by name.")
app.add_typer(seeds_app, name="seeds")
weights_app = typer.Typer(no_args_is_help=True, help="Official weights by name: DINOv2, DINOv3, I-JEPA, MAE, SSCD.")
app.add_typer(weights_app, name="weights")
console = Console(highlight=False)

RunDir = Annotated[str, typer.Argument(help="Run folder.", metavar="RUN")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value, for programs.")]


@app.command()
def run(
    pool: Annotated[list[str] | None, typer.Option(help="Directory, tar, Parquet file or glob; again for more.")] = None,
    seeds: Annotated[list[str] | None, typer.Option(help="Seed set by name or path; again for more.")] = None,
    protect: Annotated[list[str] | None, typer.Option(help="Evaluation set that must not leak, by name or path.")] = None,
    out: Annotated[str, typer.Option(help="Run folder, made if needed; an unfinished run goes on.")] = "run",
    recipe: Annotated[Path | None, typer.Option(help="TOML recipe; the other options add to it.")] = None,
    embedder: Annotated[str | None, typer.Option(help="Encoder: a name, or a weights file such as train's.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one value.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes; default: one per GPU, else per core.")] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster to join; default: a private one here.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    as_json: AsJson = False,
) -> None:
    """Curate a pool: the whole flow, resumable.

    [dim]curate run --seeds imagenet --pool crawl/ --out RUN[/dim]
    """
    from pipelines.compose import compose
    from pipelines.progress import Progress
    from pipelines.run import execute
    from pipelines.summary import summarise

    changes = (*(set_ or ()), *([f'embeddings.network="{embedder}"'] if embedder else []))
    chosen = compose(recipe, tuple(pool or ()), tuple(seeds or ()), tuple(protect or ()), changes)
    execute(chosen, out, workers=workers, address=address, progress=Progress(quiet=quiet or as_json))
    summary = summarise(out)
    print(json.dumps(summary.facts)) if as_json else console.print(summary.text())


@app.command()
def crawl(
    lists: Annotated[
        list[str] | None, typer.Argument(help="URL lists (txt, csv, jsonl, Parquet), WARC, WAT; files, folders, globs.")
    ] = None,
    out: Annotated[str, typer.Option(help="Crawl folder, made if needed; an unfinished crawl goes on.")] = "crawl",
    contact: Annotated[
        str | None, typer.Option(help="Mail address or page for the owners of hosts; in the user agent.")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="TOML recipe; its [links] and [crawl] are used.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one value.")] = None,
    retry_failed: Annotated[
        list[str] | None, typer.Option(metavar="CLASS", help="Try rows of this error class again; again for more.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Crawler processes; default: one per core.")] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster to join; default: a private one here.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch the images that lists, pages and archives link to: politely, safely, resumable at the row.

    [dim]curate crawl urls.parquet --contact me@example.org --out crawl[/dim]
    """
    from pipelines.compose import compose_crawl
    from pipelines.crawl import crawl as fetch
    from pipelines.progress import Progress
    from pipelines.summary import crawl_text

    chosen = compose_crawl(recipe, tuple(lists or ()), contact, tuple(set_ or ()))
    progress, again = Progress(quiet=quiet or as_json), tuple(retry_failed or ())
    facts = fetch(chosen, out, again=again, workers=workers, address=address, progress=progress)
    print(json.dumps(facts)) if as_json else console.print(crawl_text(facts))


@app.command()
def status(run_dir: RunDir, as_json: AsJson = False) -> None:
    """How far a run has come, noun by noun.

    [dim]curate status RUN[/dim]
    """
    from pipelines.summary import progress_of, render_progress

    rows = progress_of(run_dir)
    print(json.dumps(rows)) if as_json else console.print(render_progress(rows))


@app.command()
def query(
    run_dir: RunDir,
    sql: Annotated[str, typer.Argument(help="One SELECT over the views: images, survivors, manifest, ...")],
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask a run anything, in DuckDB's SQL.

    [dim]curate query RUN "select seed_set, count(*) from manifest group by 1"[/dim]
    """
    from pipelines.queries import query as ask
    from pipelines.tables import render

    print(render(ask(run_dir, sql), "json" if as_json else "csv" if csv else "table"))


@app.command()
def report(
    run_dir: RunDir,
    name: Annotated[str | None, typer.Argument(help="Which report; without it, their names.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ready answers: drops by reason, copy groups, what each seed set chose, ...; plan: what was planned, and what it took.

    [dim]curate report RUN drops_by_reason[/dim]
    """
    from pipelines.queries import report as ask
    from pipelines.queries import report_names
    from pipelines.tables import render

    if name == "plan":
        plan(beside=run_dir, as_json=as_json)
        return
    names = [*report_names(), "plan"]
    print("\n".join(names) if name is None else render(ask(run_dir, name), "json" if as_json else "table"))


@app.command()
def plots(run_dir: RunDir, as_json: AsJson = False) -> None:
    """Pictures of a run, as SVG in RUN/report: cluster sizes, similarity by rank, hits per image, seed sets.

    [dim]curate plots RUN[/dim]
    """
    from pipelines.plots import draw

    paths = draw(run_dir)
    print(json.dumps(paths) if as_json else "\n".join(paths))


@app.command()
def check(run_dir: RunDir, as_json: AsJson = False) -> None:
    """Every promise of a run as a query that must come back empty; exit 1 if one does not.

    [dim]curate check RUN[/dim]
    """
    from pipelines.queries import run_checks

    broken = run_checks(run_dir)
    if as_json:
        print(json.dumps(broken))
    else:
        for name, rows in broken.items():
            console.print(f"[green]ok[/green]  {name}" if not rows else f"[red]no[/red]  {name}: {rows} rows")
    raise typer.Exit(int(any(broken.values())))


@app.command()
def plan(
    pool: Annotated[list[str] | None, typer.Option(help="Directory, tar, Parquet file or glob; again for more.")] = None,
    seeds: Annotated[list[str] | None, typer.Option(help="Seed set by name or path; again for more.")] = None,
    protect: Annotated[list[str] | None, typer.Option(help="Evaluation set that must not leak, by name or path.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="TOML recipe; the other options add to it.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one value.")] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Images to plan for; default: all of the pool.")] = None,
    sample: Annotated[int, typer.Option(min=200, help="Images to try, in runs of a quarter, a half and all of them.")] = 2000,
    cluster: Annotated[str | None, typer.Option(help="Plan the paper's recipe for a cluster, such as 8xH200.")] = None,
    profile: Annotated[Path | None, typer.Option(help="The same for the hardware in a TOML file (plan_profile.py).")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes of the run.")] = None,
    out: Annotated[Path | None, typer.Option(help="Keep the plan: in FILE.json, or in the run folder that is to be.")] = None,
    beside: Annotated[str | None, typer.Option(metavar="RUN", help="The plan (--out, else RUN's own) beside this run.")] = None,
    as_json: AsJson = False,
) -> None:
    """Hours, disk and what binds, before a run: from a sample of the pool here, or by arithmetic for a cluster.

    [dim]curate plan --pool crawl/ --seeds imagenet --out RUN[/dim]
    """
    from pipelines import plan as plans
    from pipelines.compose import compose
    from pipelines.plan_profile import load_profile, named

    if beside is not None:
        rows = plans.beside(plans.plan_file(out or Path(beside)), beside)
        print(json.dumps(rows)) if as_json else console.print(plans.render_beside(rows))
        return
    if cluster is not None or profile is not None:
        hardware = load_profile(profile) if profile else named(cluster or "")
        made, render = plans.plan_there(hardware, images), plans.render_there
    else:
        chosen = compose(recipe, tuple(pool or ()), tuple(seeds or ()), tuple(protect or ()), tuple(set_ or ()))
        made, render = plans.plan_here(chosen, sample, images, workers), plans.render_here
    if out is not None:
        plans.write(made, plans.plan_file(out))
    print(json.dumps(made)) if as_json else console.print(render(made))


@app.command()
def calibrate(
    pool: Annotated[list[str], typer.Option(help="Directory, tar, Parquet file or glob of your images; again for more.")],
    network: Annotated[str, typer.Option(help="Copy network: a shipped name, or a weights file.")] = "copy-small",
    images: Annotated[int, typer.Option(min=60, help="Images to draw; one in three is edited.")] = 3000,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw and the edits.")] = 0,
    pool_size: Annotated[
        int | None, typer.Option(min=2, help="Images that precision is stated for; default: all found.")
    ] = None,
    copies: Annotated[float, typer.Option(min=0.001, max=0.5, help="Share of the pool that are edited copies.")] = 0.1,
    labels: Annotated[Path | None, typer.Option(help="CSV of uri_a, uri_b, same: what borderline pairs are.")] = None,
    ask: Annotated[Path | None, typer.Option(help="Write the borderline pairs to this CSV file, to be labelled.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write a recipe with the values to this TOML file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Thresholds for telling copies among your own images, with precision and recall, from edits of a sample.

    [dim]curate calibrate --pool crawl/ --out calibrated.toml[/dim]
    """
    from pipelines.calibrate import Question
    from pipelines.calibrate import calibrate as measure
    from pipelines.calibrated import facts, report, write

    asked = Question(sources=tuple(pool), network=network, images=images, seed=seed, pool_size=pool_size, copies=copies)
    found = measure(asked, labels)
    write(found, out, ask)
    print(json.dumps(facts(found)) if as_json else report(found))


@app.command()
def leaks(
    run_dir: RunDir,
    against: Annotated[str, typer.Option(help="Name of the protected set.")],
    at: Annotated[float | None, typer.Option(min=-1, max=1, help="Every stored pair from this cosine on.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: AsJson = False,
) -> None:
    """Which images of the pool touch which images of an evaluation set, and whether they were dropped.

    [dim]curate leaks RUN --against imagenet-val[/dim]
    """
    from pipelines.leaks import leaks as ask
    from pipelines.tables import render

    print(render(ask(run_dir, against, at), "json" if as_json else "csv" if csv else "table"))


@app.command()
def rethreshold(
    run_dir: RunDir,
    self_similarity: Annotated[float | None, typer.Option(min=-1, max=1, help="Cosine of copies in the pool.")] = None,
    reference_similarity: Annotated[float | None, typer.Option(min=-1, max=1, help="Cosine to protected images.")] = None,
    confirm: Annotated[float | None, typer.Option(help="Cosine + agreement from which a pair is believed.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes; default: one per GPU, else per core.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    as_json: AsJson = False,
) -> None:
    """Other copy thresholds for a run, from the similarities it has stored; only newly kept images are read.

    [dim]curate rethreshold RUN --self-similarity 0.75[/dim]
    """
    from pipelines.progress import Progress
    from pipelines.rethreshold import rethreshold as change
    from pipelines.summary import summarise

    progress = Progress(quiet=quiet or as_json)
    change(run_dir, self_similarity, reference_similarity, confirm, workers=workers, progress=progress)
    summary = summarise(run_dir)
    print(json.dumps(summary.facts)) if as_json else console.print(summary.text())


@app.command()
def train(
    run_dir: RunDir,
    config: Annotated[str, typer.Option(help="A shipped config by name, or a TOML file.")] = "vits16",
    data: Annotated[str | None, typer.Option(help="SQL over the view manifest: which rows to train on.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the training; default: RUN/train/CONFIG.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one value.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Processes of this machine or cluster, one per GPU.")] = 1,
    address: Annotated[str | None, typer.Option(help="Train on this Ray cluster; local starts one.")] = None,
) -> None:
    """Train DINOv2 on a run's manifest; a training that was stopped goes on.

    [dim]curate train RUN --config vits16[/dim]
    """
    from pipelines.train import train as learn

    console.print(f"encoder: {learn(run_dir, config, out, data, tuple(set_ or ()), processes, address)}")


@app.command()
def distill(
    run_dir: RunDir,
    teacher: Annotated[str, typer.Option(help="Folder of a finished training: its backbone and heads are the teacher.")],
    config: Annotated[str, typer.Option(help="A shipped config by name, or a TOML file.")] = "distill",
    data: Annotated[str | None, typer.Option(help="SQL over the view manifest: which rows to train on.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the training; default: RUN/train/CONFIG.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one value.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Processes of this machine, one per GPU.")] = 1,
) -> None:
    """A small model from a larger frozen one, by the same loop.

    [dim]curate distill RUN --teacher RUN/train/vitg14[/dim]
    """
    from pipelines.train import train as learn

    changes = (*(set_ or ()), f'loop.teacher="{teacher}"')
    console.print(f"encoder: {learn(run_dir, config, out, data, changes, processes)}")


@app.command()
def evaluate(
    weights: Annotated[str, typer.Argument(help="Encoder: a shipped name, or a weights file.")],
    train: Annotated[Path, typer.Option(help="DIR/CLASS/image, tars with .cls, CSV file,label; or images/ and masks/, depth/")],
    val: Annotated[Path, typer.Option(help="Labelled images to score on; for retrieval, the queries.")],
    task: Annotated[str, typer.Option(help="knn, linear, logistic, retrieval, segmentation or depth.")] = "knn",
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="linear.* or dense.*")] = None,
    as_json: AsJson = False,
) -> None:
    """How good an encoder's frozen features are.

    [dim]curate evaluate RUN/train/vits16/encoder.safetensors --train imagenet/train --val imagenet/val[/dim]
    """
    from pipelines.evaluate import evaluate as score
    from pipelines.evaluate import text

    facts = score(weights, train, val, task, tuple(set_ or ()))
    print(json.dumps(facts)) if as_json else console.print(text(facts))


@seeds_app.command("add")
def seeds_add(
    name: Annotated[str, typer.Argument(help="The name to use in --seeds or --protect.")],
    path: Annotated[str, typer.Argument(help="Directory, tar, Parquet file or glob.")],
    protect: Annotated[bool, typer.Option("--protect", help="An evaluation set, for --protect.")] = False,
) -> None:
    """Give a seed set (or an evaluation set) a name.

    [dim]curate seeds add imagenet /data/imagenet/train[/dim]
    """
    from pipelines.catalogue import add

    entry = add("protect" if protect else "seeds", name, path)
    console.print(f"{entry.name} -> {entry.path}")


@seeds_app.command("list")
def seeds_list(as_json: AsJson = False) -> None:
    """Every named set.

    [dim]curate seeds list[/dim]
    """
    from pipelines.catalogue import listing

    entries = listing()
    if as_json:
        print(json.dumps([vars(entry) for entry in entries]))
    for entry in [] if as_json else entries:
        console.print(f"{entry.kind:>8}  {entry.name}  {entry.path}")


AcceptLicence = Annotated[bool, typer.Option("--accept-licence", help="You have read its licence and accept it.")]


@weights_app.command("list")
def weights_list(as_json: AsJson = False) -> None:
    """Every official checkpoint, its licence, and whether it is here.

    [dim]curate weights list[/dim]
    """
    from pipelines.weights import listing

    rows = listing()
    if as_json:
        print(json.dumps(rows))
    for row in [] if as_json else rows:
        console.print(f"{'here' if row['here'] else '':>5}  {row['name']:<18} {row['licence']}  {row['url']}", soft_wrap=True)


@weights_app.command("fetch")
def weights_fetch(
    name: Annotated[str, typer.Argument(help="A name of `curate weights list`.")],
    accept_licence: AcceptLicence = False,
    url: Annotated[str, typer.Option(help="Address that the authors sent you, where they give weights out by request.")] = "",
) -> None:
    """Download a checkpoint from its official address; a download that broke off goes on.

    [dim]curate weights fetch dinov2_vitl14_reg --accept-licence[/dim]
    """
    from pipelines.weights import fetch, record

    path = fetch(name, accepted=accept_licence, url=url)
    console.print(f"{path}\nsha256 {(record(name) or {})['sha256']}", soft_wrap=True)


@weights_app.command("add")
def weights_add(
    name: Annotated[str, typer.Argument(help="A name of `curate weights list`.")],
    path: Annotated[Path, typer.Argument(help="The file.")],
    accept_licence: AcceptLicence = False,
) -> None:
    """Take a checkpoint that you have already, checked like a fetched one.

    [dim]curate weights add dinov3_vitl16 Downloads/dinov3_vitl16_pretrain_lvd1689m-8aa4cbdd.pth --accept-licence[/dim]
    """
    from pipelines.weights import add, record

    kept = add(name, path, accepted=accept_licence)
    console.print(f"{kept}\nsha256 {(record(name) or {})['sha256']}", soft_wrap=True)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the drawn world and its run; must be new or a demo's.")] = Path("demo"),
    images: Annotated[int, typer.Option(min=200, help="Distinct images to draw.")] = 2000,
    seed: Annotated[int, typer.Option(help="Of the drawing.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Draw a dirty pool with a known truth, curate it, and compare.

    [dim]curate demo[/dim]
    """
    from pipelines.demo import play

    play(out, images, seed, as_json)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """What is installed, which devices, how much disk; each problem with its remedy.

    [dim]curate doctor[/dim]
    """
    from pipelines.doctor import diagnose, render

    findings = diagnose()
    print(json.dumps([vars(f) for f in findings])) if as_json else console.print(render(findings))
    raise typer.Exit(int(any(not f.ok for f in findings)))


def main(arguments: list[str] | None = None) -> None:
    """Run a verb. What a user can cause is one line on stderr and exit 1 (`--debug` shows the traceback)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        app([a for a in given if a != "--debug"], standalone_mode=True)
    except (ValueError, OSError, RuntimeError, FloatingPointError) as error:
        if debug:
            raise
        reason = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) and error.strerror else str(error)
        print(f"curate: {reason or type(error).__name__}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("curate: stopped; run the same command to go on", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()

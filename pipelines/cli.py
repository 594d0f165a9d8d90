"""The command line: verbs of a run, and of other files a table. A verb parses, calls the library, prints."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipelines import cli_copies, cli_names, cli_train
from pipelines.cli_words import AsJson, Changes, Quiet, RunDir, Workers, console

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich",
                  help="Build pretraining sets for vision models the way LVD-142M was built.")  # fmt: skip


@app.command()
def run(
    pool: Annotated[list[str] | None, typer.Option(help="Directory, tar, Parquet file or glob; again for more.")] = None,
    seeds: Annotated[list[str] | None, typer.Option(help="Seed set by name or path; again for more.")] = None,
    protect: Annotated[list[str] | None, typer.Option(help="Evaluation set that must not leak, by name or path.")] = None,
    out: Annotated[str, typer.Option(help="Run folder, made if needed; an unfinished run goes on.")] = "run",
    recipe: Annotated[Path | None, typer.Option(help="TOML recipe; the other options add to it.")] = None,
    embedder: Annotated[str | None, typer.Option(help="Encoder: a name, or a weights file such as train's.")] = None,
    set_: Changes = None,
    workers: Workers = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster to join; default: a private one here.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Curate a pool: the whole flow, resumable.

    [dim]curate run --seeds imagenet --pool crawl/ --out RUN[/dim]
    """
    from pipelines.compose import compose
    from pipelines.progress import Progress
    from pipelines.run import execute
    from pipelines.summary import summarise

    changes = (*(set_ or ()), *([f"embeddings.network={json.dumps(embedder)}"] if embedder else []))
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
    set_: Changes = None,
    retry_failed: Annotated[
        list[str] | None, typer.Option(metavar="CLASS", help="Try rows of this error class again; again for more.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Crawler processes; default: one per core.")] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster to join; default: a private one here.")] = None,
    quiet: Quiet = False,
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
    set_: Changes = None,
    images: Annotated[int | None, typer.Option(min=1, help="Images to plan for; default: all of the pool.")] = None,
    sample: Annotated[int, typer.Option(min=200, help="Images to try, in runs of an eighth, a half and all of them.")] = 6000,
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


for verb in (
    cli_copies.calibrate,
    cli_copies.leaks,
    cli_copies.rethreshold,
    cli_train.train,
    cli_train.distill,
    cli_train.evaluate,
):
    app.command()(verb)
app.add_typer(cli_names.seeds, name="seeds")
app.add_typer(cli_names.weights, name="weights")


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

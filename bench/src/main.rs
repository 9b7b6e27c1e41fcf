//! The benchmark: measures the server beside its limits, in turns, and writes a report. `README.md` explains each row.

mod children;
mod database;
mod directory;
mod http;
mod limits;
mod load;
mod machine;
mod pocketbase;
mod report;
mod requests;
mod rows;
mod socket;
mod sqlite;

use std::{cell::RefCell, io::Write, path::PathBuf, process::ExitCode, time::Instant};

use chrono::Utc;
use clap::{Parser, Subcommand, builder::PossibleValuesParser};
use dragoman_load::{Error, Result};
use tokio::signal::unix::{SignalKind, signal};

use database::Databases;
use machine::Machine;
use report::{Results, Run};
use rows::Benchmark;

/// Measures Dragoman beside its limits.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    /// Take about two minutes instead of many.
    #[arg(long)]
    quick: bool,
    /// Directory of the report. Results of rows that this run does not measure stay in it.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/report"), hide_default_value = true)]
    report: PathBuf,
    /// Measure only these rows.
    #[arg(value_parser = PossibleValuesParser::new(rows::ROW_NAMES))]
    only: Vec<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the bare handlers to which the server is compared.
    #[command(hide = true)]
    Limits { database: Option<String> },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        // poem's usual runtime.
        Some(Command::Limits { database }) => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(Into::into)
            .and_then(|runtime| runtime.block_on(limits::serve(database.as_deref()))),
        None => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Into::into)
            .and_then(|runtime| runtime.block_on(run(&cli))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // An error on the standard error stream cannot be reported anywhere.
            let _ = writeln!(std::io::stderr(), "dragoman-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli) -> Result<()> {
    let program = children::build_server()?;
    let (at, begun) = (Utc::now().format("%Y-%m-%d %H:%M").to_string(), Instant::now());
    let (databases, postgres) = match std::env::var("DRAGOMAN_TEST_POSTGRES") {
        Ok(admin) => {
            let databases = Databases::create(&admin, &program).await?;
            let version = databases.version().await?;
            (Some(databases), Some(version))
        }
        Err(_) => (None, None),
    };
    let bench = Benchmark { cli, program, databases, rows: RefCell::default(), growth: RefCell::default() };
    // Rows measured before an error or a signal are saved.
    let measured = tokio::select! {
        measured = bench.measure() => measured,
        stopped = stop_signal() => stopped.and(Err("stopped by a signal".into())),
    };
    let command = ["bench/run"].into_iter().chain(cli.quick.then_some("--quick")).chain(cli.only.iter().map(String::as_str));
    let command = command.collect::<Vec<_>>().join(" ");
    let run = Run { at, command, seconds: begun.elapsed().as_secs(), machine: Machine::this(postgres)? };
    print_line(&format!("\nIt took {} s.", run.seconds))?;
    let mut results = Results::load(&cli.report)?;
    results.merge(run, bench.rows.into_inner(), bench.growth.into_inner());
    results.save(&cli.report)?;
    if let Some(databases) = bench.databases {
        databases.drop().await?;
    }
    measured
}

/// Resolves at SIGTERM or SIGINT.
async fn stop_signal() -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn print_line(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

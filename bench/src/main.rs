//! Measures the server beside the limits it is held to, in turns, and prints a table. `README.md` says what each row means.

mod children;
mod database;
mod http;
mod limits;
mod load;
mod report;
mod requests;
mod rows;
mod socket;

use std::{io::Write, process::ExitCode};

use clap::{Parser, Subcommand};

use database::Databases;
use report::Row;
use rows::Bench;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T, E = Error> = std::result::Result<T, E>;

/// Measures Dragoman beside the limits it is held to.
#[derive(Parser)]
struct Cli {
    /// Two to three minutes instead of many.
    #[arg(long)]
    quick: bool,
    /// Only the rows that go by these words: count, send, lone, poll, memory, fanout, sockets, room, scale, nodes.
    only: Vec<String>,
    #[command(subcommand)]
    command: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// Serves the bare handlers beside which the server is measured.
    #[command(hide = true)]
    Limits { database: Option<String> },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        // poem as it is usually run.
        Some(Role::Limits { database }) => tokio::runtime::Builder::new_multi_thread()
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
            // There is nobody left to tell that this cannot be told.
            let _ = writeln!(std::io::stderr(), "dragoman-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli) -> Result<()> {
    let program = children::build_server()?;
    let databases = match std::env::var("DRAGOMAN_TEST_POSTGRES") {
        Ok(admin) => Some(Databases::create(&admin, &program).await?),
        Err(_) => None,
    };
    let bench = Bench { cli, program, databases };
    let measured = bench.measure().await;
    if let Some(databases) = bench.databases {
        databases.drop().await?;
    }
    measured
}

impl Row {
    fn print(&self) -> Result<()> {
        say(&self.to_string())
    }
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

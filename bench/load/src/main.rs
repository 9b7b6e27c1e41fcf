//! The program of the load generator: `load` sends virtual users to a server, `people` generates accounts for them.

use std::{io::Write, process::ExitCode};

use clap::{Parser, Subcommand};
use dragoman_load::{GenerateAccounts, Load, Result};

/// Sends virtual users to a server, and reports what they saw.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Load(Box<Load>),
    People(GenerateAccounts),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Load(load) => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(Into::into)
            .and_then(|runtime| runtime.block_on(run_load(load))),
        Command::People(people) => people.generate().and_then(|lines| print_line(lines.trim_end())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // An error on the standard error stream cannot be reported anywhere.
            let _ = writeln!(std::io::stderr(), "dragoman-load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the load generator, and reports even after Ctrl-C.
async fn run_load(load: &Load) -> Result<()> {
    let report = load
        .run(async {
            // Without a signal handler the run goes on to its end.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending().await
            }
        })
        .await?;
    print_line(report.to_string().trim_end())?;
    report.write(load)?;
    if report.is_flawless() { Ok(()) } else { Err("messages were lost, doubled or out of order".into()) }
}

fn print_line(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

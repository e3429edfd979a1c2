//! The command line: one file a subcommand. Floor 4.

/// Prints a line of the command's answer. Whoever closed the pipe has read enough.
macro_rules! say {
    ($($words:tt)*) => { $crate::cli::print(format_args!($($words)*)) };
}

mod check;
mod client;
mod demo;
mod health;
mod push;
mod sandbox;
mod serve;
mod table;
mod why;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::config::ConfigError;

/// Rings phones: offline-message events in, push notifications out through every vendor.
#[derive(Parser)]
#[command(
    name = "posthorn",
    version,
    after_help = "\
Start with `posthorn demo`: a gateway, simulated vendors and virtual phones, in one process.
Then `posthorn serve --config config/posthorn.toml`; `posthorn check` tells what is missing."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show it: sandbox and gateway on a temporary store, alice, bob and bob's phones
    Demo(demo::Arguments),
    /// Run the gateway
    Serve(serve::Arguments),
    /// Run every vendor's simulator, with a configuration that `serve` takes as it is
    Sandbox(sandbox::Arguments),
    /// Check a configuration, and with --probe each vendor's credential
    Check(check::Arguments),
    /// Tell what became of an event, or of a user's events
    Why(why::Arguments),
    /// Send one test push through the running gateway
    Push(push::Arguments),
    /// Say whether the running gateway is ready (exit 0) or not (exit 1)
    Health(health::Arguments),
}

/// Why a command failed, which decides its exit code.
enum Failure {
    /// The command line or the configuration: exit 2.
    Usage(String),
    /// Anything else: exit 1.
    Failed(String),
    /// The command has said so itself: exit 1.
    Told,
}

impl From<ConfigError> for Failure {
    fn from(err: ConfigError) -> Self {
        Failure::Usage(err.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(err: anyhow::Error) -> Self {
        Failure::Failed(format!("{err:#}"))
    }
}

/// Runs the command that the process was called with.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    // rustls wants to know its provider where a library builds a configuration of its own.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider is installed already");
    }
    let answered = match arguments.command {
        Command::Demo(arguments) => demo::run(arguments),
        Command::Serve(arguments) => serve::run(arguments),
        Command::Sandbox(arguments) => sandbox::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Why(arguments) => why::run(arguments),
        Command::Push(arguments) => push::run(arguments),
        Command::Health(arguments) => health::run(arguments),
    };
    match answered {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(why)) => {
            eprintln!("posthorn: {why}");
            ExitCode::from(2)
        }
        Err(Failure::Failed(why)) => {
            eprintln!("posthorn: {why}");
            ExitCode::FAILURE
        }
        Err(Failure::Told) => ExitCode::FAILURE,
    }
}

/// Runs `work` on the runtime that every command uses.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|err| Failure::Failed(format!("could not start: {err}")))?;
    runtime.block_on(work)
}

/// Logs go to stderr: as JSON for machines, or in one line for people. `POSTHORN_LOG` filters, in
/// the form of tracing's EnvFilter.
fn log(json: bool, default: &str) {
    let filter =
        EnvFilter::try_from_env("POSTHORN_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        builder.with_ansi(is_terminal).try_init()
    };
    if set.is_err() {
        eprintln!("posthorn: logging was set up already");
    }
}

fn print(line: std::fmt::Arguments<'_>) {
    use std::io::Write;
    if let Err(err) = writeln!(std::io::stdout(), "{line}") {
        tracing::debug!(error = %err, "nobody reads the answer");
    }
}

/// Waits for Ctrl-C or SIGTERM.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let term = async {
        match signal(SignalKind::terminate()) {
            Ok(mut term) => {
                term.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = term => {}
    }
}

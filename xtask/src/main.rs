//! `cargo xtask`: everything that a fresh machine needs, and then the work.
//!
//! A person types one command and it does its own set-up, so that nobody has to read an installation guide first. What a
//! command would install or run is printed before it happens, as a line that can be typed by hand.
//!
//! The tool is built twice. The plain binary has two small dependencies and builds in seconds, because `cargo xtask bench` is
//! the first thing that anyone runs. `web`, `test` and `setup web` need wasm-bindgen and a server: asked for one of these, the
//! plain binary starts itself again with the cargo feature `web`.

// Printing is what this program is for; the library must not.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod bench;
mod chart;
mod debian;
mod describe;
mod process;
mod registers;
mod report;
mod setup;
mod vulkan;
mod workspace;

#[cfg(feature = "web")]
mod devices;
#[cfg(feature = "web")]
mod serve;
#[cfg(feature = "web")]
mod steps;
#[cfg(feature = "web")]
mod test;
#[cfg(feature = "web")]
mod web;

use std::process::ExitCode;

use args::Command;
use workspace::Workspace;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(code) => code,
        Err(reason) => {
            eprintln!("xtask: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<ExitCode, String> {
    let command = args::parse(args)?;
    if let Command::Help = command {
        print!("{}", args::USAGE);
        return Ok(ExitCode::SUCCESS);
    }
    let workspace = Workspace::read()?;
    if command.needs_web() && !cfg!(feature = "web") {
        return again_with_web(&workspace, args);
    }
    match command {
        Command::Help => {}
        Command::Setup(piece) => setup::run(&workspace, piece)?,
        Command::Bench(args) => bench::run(&workspace, &args)?,
        Command::Registers(args) => registers::run(&workspace, &args)?,
        Command::Report => report::run(&workspace)?,
        Command::Describe(file) => describe::run(&workspace, &file)?,
        #[cfg(feature = "web")]
        Command::Web { build_only, port } => web::run(&workspace, build_only, port)?,
        #[cfg(feature = "web")]
        Command::Test { quick } => test::run(&workspace, quick)?,
        #[cfg(not(feature = "web"))]
        Command::Web { .. } | Command::Test { .. } => return again_with_web(&workspace, args),
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs this same command in a build of xtask that has the feature `web`. Cargo shows its progress meanwhile: the first time it
/// compiles wasm-bindgen, which is how that tool comes to have exactly the version in Cargo.lock.
fn again_with_web(workspace: &Workspace, args: &[String]) -> Result<ExitCode, String> {
    let mut cargo = process::cargo(workspace, "run --package xtask --features web");
    if cfg!(windows) {
        // Windows cannot replace a program while it runs, and both builds would be `target/debug/xtask.exe`.
        cargo.arg("--target-dir").arg(workspace.target.join("xtask-web"));
    }
    cargo.arg("--").args(args);
    let status = cargo.status().map_err(|e| format!("cannot start {}: {e}", process::shown(&cargo)))?;
    // The other process has printed its own error.
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

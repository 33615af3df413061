//! Lists what a checkpoint holds: `cargo xtask describe FILE`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program says what it found")]

use std::process::ExitCode;

use gristmill::checkpoint::{Checkpoint, describe};

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("describe: name a GGUF or safetensors file, an index of shards, or a directory");
        return ExitCode::FAILURE;
    };
    let said = Checkpoint::open(path).and_then(|checkpoint| {
        print!("{}", describe(&checkpoint));
        if checkpoint.is_adapter() {
            print!("\n{}", checkpoint.adapters()?);
        }
        Ok(())
    });
    match said {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

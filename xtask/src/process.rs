//! Running other programs, and saying which one failed.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::workspace::Workspace;

/// The cargo that runs us, in the root of the workspace, with these words as its first arguments.
pub fn cargo(workspace: &Workspace, words: &str) -> Command {
    let mut cargo = Command::new(cargo_program());
    cargo.current_dir(&workspace.root).args(words.split_whitespace());
    cargo
}

/// Cargo says in `CARGO` which one it is; another one on the path may be of another toolchain.
pub fn cargo_program() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Prints the command, runs it with our own input and output, and fails unless it succeeds. It is printed as an error message
/// would be: the standard output belongs to the command (`cargo xtask bench --json > file`).
pub fn run(command: &mut Command) -> Result<(), String> {
    let shown = shown(command);
    eprintln!("$ {shown}");
    let status = command.status().map_err(|e| format!("cannot start `{shown}`: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{shown}` failed ({status})")) }
}

/// Makes cargo run what it builds by another program, with arguments.
pub fn run_by(cargo: &mut Command, runner: &[String]) {
    // Cargo's variable is named for the target, which is this program's own.
    let name = format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER", std::env::consts::ARCH.to_uppercase());
    cargo.env(name, runner.join(" "));
}

/// What the command prints to its standard output. An error carries what it printed to the other one.
pub fn read(command: &mut Command) -> Result<String, String> {
    let shown = shown(command);
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("cannot start `{shown}`: {e}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let reason = String::from_utf8_lossy(&output.stderr);
        Err(format!("`{shown}` failed ({}): {}", output.status, reason.trim()))
    }
}

/// The command as a line for a shell, with the environment that it sets: what a person types to run it again.
pub fn shown(command: &Command) -> String {
    let mut words = Vec::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!("{}={}", name.to_string_lossy(), quoted(value)));
        }
    }
    let program = Path::new(command.get_program());
    words.push(quoted(program.file_name().unwrap_or(program.as_os_str())));
    words.extend(command.get_args().map(quoted));
    words.join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Where a program is, if it is on the path.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_is_typed() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["test", "--", "a case", ""]).env("GRISTMILL_CAPS", "baseline");
        assert_eq!(shown(&command), "GRISTMILL_CAPS=baseline cargo test -- 'a case' ''");
    }

    #[test]
    fn an_error_names_the_command() {
        let mut command = Command::new("gristmill-has-no-such-program");
        let reason = run(&mut command).expect_err("there is no such program");
        assert!(reason.contains("`gristmill-has-no-such-program`"), "{reason}");
    }
}

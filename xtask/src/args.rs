//! What was typed, as data.

use std::path::PathBuf;

/// Printed by `cargo xtask help`, and named by every error about the command line.
pub const USAGE: &str = "\
cargo xtask: set-up, benchmarks, tests and the page of Gristmill

  cargo xtask bench [FILTER] [--json] [...]
      Finds a Vulkan driver (or installs a software one), then times every case on this device:
      runs `cargo bench --bench ops`, which takes the arguments as they are. FILTER is a part of `case storage plan`, or
      `fused`, `skipping` or `swapping`, which are timed beside the cases; `cargo xtask bench --help` lists the rest.

  cargo xtask test [--quick]
      Sets everything up, then runs every check: format, clippy, rustdoc, tests, golden cases, and the page in a browser,
      on each device of the matrix with full and with baseline capabilities. A failure does not stop the other steps.
      --quick: native checks, and the first device with its full capabilities; no page.
      GRISTMILL_GOLDEN=dir[:dir] adds directories of golden cases; GRISTMILL_ADAPTER=none leaves the devices out.

  cargo xtask web [--build-only] [--port N]
      Builds the page and serves it on http://localhost:8080/.
      --build-only: builds it in target/page and checks its size, and does not serve it; any server of files can, by https.

  cargo xtask registers [FILTER] [--all-plans] [--check]
      Compiles the kernels of the real cases for an AMD GPU that need not be there, and shows their registers, spills and
      waves: runs `cargo bench --bench registers` by a driver in a root of its own (Debian's, on Linux).

  cargo xtask report
      Draws benches/results/*.csv: an SVG chart for each adapter, and the measured tables of README.md.

  cargo xtask describe FILE
      Lists what a checkpoint holds: a GGUF or safetensors file, an index of shards, or a directory with one of these.

  cargo xtask setup [driver | web | browser | checks | lavapipe | all]
      Installs what is missing, and only that; the commands above do this themselves.
      driver: a Vulkan driver       web: the wasm target and wasm-bindgen       browser: Chromium and ChromeDriver
      checks: rustfmt and clippy    lavapipe: the newest software driver, which has matrix units, in a root of its own
      all: these five (the default)
";

/// A command with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Help,
    Setup(Piece),
    /// The arguments belong to the benchmark.
    Bench(Vec<String>),
    Test {
        quick: bool,
    },
    Web {
        build_only: bool,
        port: u16,
    },
    /// The arguments belong to the program.
    Registers(Vec<String>),
    Report,
    /// A checkpoint.
    Describe(PathBuf),
}

/// A part of the set-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    Driver,
    Web,
    Browser,
    Checks,
    Lavapipe,
    All,
}

impl Command {
    /// Whether only a build with the feature `web` can do this.
    pub fn needs_web(&self) -> bool {
        matches!(self, Command::Web { .. } | Command::Test { .. } | Command::Setup(Piece::Web | Piece::All))
    }
}

/// Reads a command line, without the program's name.
pub fn parse(args: &[String]) -> Result<Command, String> {
    let Some((name, rest)) = args.split_first() else {
        return Ok(Command::Help);
    };
    let asks_for_help = |arg: &String| matches!(arg.as_str(), "-h" | "--help");
    if name == "help" || asks_for_help(name) {
        return Ok(Command::Help);
    }
    // These answer `--help` for themselves.
    if !["bench", "registers"].contains(&name.as_str()) && rest.iter().any(asks_for_help) {
        return Ok(Command::Help);
    }
    let mut rest = rest.iter().map(String::as_str);
    let command = match name.as_str() {
        "bench" => return Ok(Command::Bench(rest.map(String::from).collect())),
        "registers" => return Ok(Command::Registers(rest.map(String::from).collect())),
        "setup" => Command::Setup(match rest.next() {
            None | Some("all") => Piece::All,
            Some("driver") => Piece::Driver,
            Some("web") => Piece::Web,
            Some("browser") => Piece::Browser,
            Some("checks") => Piece::Checks,
            Some("lavapipe") => Piece::Lavapipe,
            Some(other) => {
                return Err(wrong(format!("setup: `{other}` is none of driver, web, browser, checks, lavapipe, all")));
            }
        }),
        "test" => {
            let mut quick = false;
            for arg in rest.by_ref() {
                match arg {
                    "--quick" => quick = true,
                    other => return Err(wrong(format!("test: unknown argument `{other}`"))),
                }
            }
            Command::Test { quick }
        }
        "web" => {
            let (mut build_only, mut port) = (false, 8080);
            while let Some(arg) = rest.next() {
                match arg {
                    "--build-only" => build_only = true,
                    "--port" => {
                        let given = rest.next().unwrap_or("nothing");
                        port = given
                            .parse()
                            .map_err(|_| wrong(format!("web: --port takes a number from 0 to 65535, not `{given}`")))?;
                    }
                    other => return Err(wrong(format!("web: unknown argument `{other}`"))),
                }
            }
            Command::Web { build_only, port }
        }
        "report" => Command::Report,
        "describe" => match rest.next() {
            Some(file) => Command::Describe(file.into()),
            None => return Err(wrong("describe: name a file or a directory, not `nothing`".into())),
        },
        other => return Err(wrong(format!("unknown command `{other}`"))),
    };
    match rest.next() {
        None => Ok(command),
        Some(extra) => Err(wrong(format!("{name}: unknown argument `{extra}`"))),
    }
}

fn wrong(what: String) -> String {
    format!("{what} (`cargo xtask help` lists what there is)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, String> {
        parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn every_command_of_the_usage_text() {
        assert_eq!(read(""), Ok(Command::Help));
        assert_eq!(read("web --help"), Ok(Command::Help));
        assert_eq!(read("setup"), Ok(Command::Setup(Piece::All)));
        assert_eq!(read("setup driver"), Ok(Command::Setup(Piece::Driver)));
        assert_eq!(read("test --quick"), Ok(Command::Test { quick: true }));
        assert_eq!(read("web"), Ok(Command::Web { build_only: false, port: 8080 }));
        assert_eq!(read("web --port 9 --build-only"), Ok(Command::Web { build_only: true, port: 9 }));
        assert_eq!(read("report"), Ok(Command::Report));
        assert_eq!(read("describe model.gguf"), Ok(Command::Describe("model.gguf".into())));
    }

    #[test]
    fn the_benchmark_gets_its_arguments_untouched() {
        let args = ["rms_norm", "--json", "--help"].map(String::from).to_vec();
        assert_eq!(read("bench rms_norm --json --help"), Ok(Command::Bench(args)));
    }

    #[test]
    fn errors_name_the_argument() {
        for (line, named) in [
            ("mill", "`mill`"),
            ("setup gpu", "`gpu`"),
            ("setup web now", "`now`"),
            ("test --slow", "`--slow`"),
            ("web --port x", "`x`"),
            ("web --port", "`nothing`"),
            ("web --port 65536", "`65536`"),
            ("report all", "`all`"),
            ("describe", "`nothing`"),
            ("describe a b", "`b`"),
        ] {
            let reason = read(line).expect_err(line);
            assert!(reason.contains(named), "{line}: {reason}");
        }
    }
}

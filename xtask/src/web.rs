//! `cargo xtask web`: builds the page, checks its size, and serves it.

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::{Compression, write::GzEncoder};
use wasm_bindgen_cli_support::Bindgen;

use crate::serve::{self, Server, Site};
use crate::workspace::{self, Workspace};
use crate::{process, setup};

/// A wasm of the page, and the promise to whoever loads it. Both are built of the crate in `www/`.
struct Wasm {
    /// Its files are `NAME.js` and `NAME_bg.wasm`.
    name: &'static str,
    /// Features of the crate.
    features: &'static str,
    max_bytes: usize,
    max_gzipped_bytes: usize,
}

/// What everyone who opens the page loads.
const FIRST: Wasm = Wasm { name: "gristmill", features: "", max_bytes: 580_000, max_gzipped_bytes: 200_000 };

/// What the page loads when somebody asks for cases with weights, or for the section on them: everything.
const WHOLE: Wasm = Wasm { name: "whole", features: "whole", max_bytes: 1_350_000, max_gzipped_bytes: 560_000 };

/// Sets up, builds, and serves until it is stopped.
pub fn run(workspace: &Workspace, build_only: bool, port: u16) -> Result<(), String> {
    // A port that is taken is said before the long part.
    let server = if build_only { None } else { Some(Server::bind(port)?) };
    setup::web(workspace)?;
    let site = build(workspace)?;
    if let Some(server) = server {
        println!("serving {} (stop with Ctrl-C)", server.address());
        server.serve(&site);
    }
    Ok(())
}

/// Builds the page into the target directory.
pub fn build(workspace: &Workspace) -> Result<Site, String> {
    // Not `web`: cargo keeps the build scripts of the profile of that name there.
    let out = workspace.target.join("page");
    if out.exists() {
        // Else a file that the page no longer has would be served on.
        std::fs::remove_dir_all(&out).map_err(|e| format!("cannot remove {}: {e}", out.display()))?;
    }
    create_dir(&out)?;
    for wasm in [FIRST, WHOLE] {
        let build = "build --package gristmill-www --lib --target wasm32-unknown-unknown --profile web --features";
        process::run(process::cargo(workspace, build).arg(wasm.features))?;
        bind(&workspace.target.join("wasm32-unknown-unknown/web/gristmill_www.wasm"), wasm.name, &out)?;
    }
    copy_static(&workspace.root.join("www"), &out)?;
    copy_results(&workspace.results(), &out.join("results"))?;
    write_shaders(&workspace.root.join("shaders"), &out.join("shaders.json"))?;
    if !out.join("index.html").is_file() {
        return Err("www/index.html is missing".to_string());
    }
    // Both sizes are said before one that is too large ends it.
    let told = [FIRST, WHOLE].map(|wasm| check_size(&out, &wasm));
    told.into_iter().collect::<Result<(), String>>()?;
    println!("built {}", out.display());
    Site::open(&out)
}

/// wasm-bindgen, as a library of the version in Cargo.lock.
fn bind(wasm: &Path, name: &str, out: &Path) -> Result<(), String> {
    let bound = || {
        Bindgen::new()
            .input_path(wasm)
            .web(true)?
            .typescript(false)
            .out_name(name)
            // Unlike the command line, the library leaves the path of the wasm out unless it is told not to.
            .omit_default_module_path(false)
            .remove_name_section(true)
            .remove_producers_section(true)
            .generate(out)
    };
    bound().map_err(|e| format!("wasm-bindgen on {}: {e:#}", wasm.display()))
}

/// Copies what a browser can be served; the Rust side of `www/` stays.
fn copy_static(from: &Path, to: &Path) -> Result<(), String> {
    for file in entries(from)? {
        let name = file.file_name().unwrap_or_default();
        if file.is_dir() {
            if name != "src" {
                copy_static(&file, &to.join(name))?;
            }
        } else if serve::mime(&name.to_string_lossy()).is_some() {
            create_dir(to)?;
            copy(&file, &to.join(name))?;
        } else if name != "Cargo.toml" {
            eprintln!("not part of the page: {} (no MIME type is known)", file.display());
        }
    }
    Ok(())
}

/// The recorded rows, for a browser without WebGPU, and a list of them, because a static server cannot be asked what it has.
fn copy_results(from: &Path, to: &Path) -> Result<(), String> {
    create_dir(to)?;
    let mut names = Vec::new();
    for file in workspace::files_with_extension(from, "csv") {
        let name = file.file_name().unwrap_or_default();
        copy(&file, &to.join(name))?;
        names.push(name.to_string_lossy().into_owned());
    }
    workspace::write(&to.join("index.json"), &serde_json::Value::from(names).to_string())
}

/// All shaders in one file, which the page fetches: an object of texts by the names that the library would embed them under.
fn write_shaders(from: &Path, to: &Path) -> Result<(), String> {
    let mut texts = serde_json::Map::new();
    collect_shaders(from, "", &mut texts)?;
    workspace::write(to, &serde_json::Value::from(texts).to_string())
}

fn collect_shaders(
    dir: &Path,
    prefix: &str,
    texts: &mut serde_json::Map<String, serde_json::Value>,
) -> Result<(), String> {
    for file in entries(dir)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if file.is_dir() {
            collect_shaders(&file, &format!("{prefix}{name}/"), texts)?;
        } else if let Some(stem) = name.strip_suffix(".wgsl") {
            texts.insert(format!("{prefix}{stem}"), workspace::read_text(&file)?.into());
        }
    }
    Ok(())
}

fn check_size(out: &Path, wasm: &Wasm) -> Result<(), String> {
    let file = out.join(format!("{}_bg.wasm", wasm.name));
    let bytes = std::fs::read(&file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    let gzipped = gzip
        .write_all(&bytes)
        .and_then(|()| gzip.finish())
        .map_err(|e| format!("cannot gzip {}: {e}", file.display()))?;
    let sizes = wasm.size_line(bytes.len(), gzipped.len());
    println!("{sizes}");
    if bytes.len() > wasm.max_bytes || gzipped.len() > wasm.max_gzipped_bytes {
        return Err(format!("a wasm of the page is too large: {sizes}"));
    }
    Ok(())
}

impl Wasm {
    fn size_line(&self, bytes: usize, gzipped: usize) -> String {
        let kb = |bytes: usize| bytes as f64 / 1000.0;
        format!(
            "{}.wasm: {:.1} kB (at most {:.0}), gzipped {:.1} kB (at most {:.0})",
            self.name,
            kb(bytes),
            kb(self.max_bytes),
            kb(gzipped),
            kb(self.max_gzipped_bytes)
        )
    }
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let listed =
        || -> std::io::Result<Vec<PathBuf>> { std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect() };
    listed().map_err(|e| format!("cannot list {}: {e}", dir.display()))
}

fn create_dir(dir: &Path) -> Result<(), String> {
    std::fs::create_dir_all(dir).map_err(|e| format!("cannot create {}: {e}", dir.display()))
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    std::fs::copy(from, to).map(drop).map_err(|e| format!("cannot copy {} to {}: {e}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_a_browser_can_be_served() {
        let dir = std::env::temp_dir().join(format!("gristmill-page-{}", std::process::id()));
        let (www, results, out) = (dir.join("www"), dir.join("results"), dir.join("out"));
        for folder in ["www/src", "www/icons", "results"] {
            create_dir(&dir.join(folder)).expect("a directory");
        }
        for file in [
            "www/index.html",
            "www/Cargo.toml",
            "www/src/lib.js",
            "www/icons/mill.svg",
            "results/b.csv",
            "results/a.csv",
            "results/a.svg",
        ] {
            std::fs::write(dir.join(file), "x").expect("a file");
        }
        copy_static(&www, &out).expect("it can be copied");
        copy_results(&results, &out.join("results")).expect("they can be copied");
        assert!(out.join("index.html").is_file() && out.join("icons/mill.svg").is_file());
        assert!(!out.join("Cargo.toml").exists() && !out.join("src").exists());
        let index = workspace::read_text(&out.join("results/index.json")).expect("it was written");
        assert_eq!(index, r#"["a.csv","b.csv"]"#);
        assert!(out.join("results/a.csv").is_file() && !out.join("results/a.svg").exists());
        std::fs::remove_dir_all(&dir).expect("it was there");
    }

    #[test]
    fn shaders_are_one_file_by_their_names() {
        let dir = std::env::temp_dir().join(format!("gristmill-shaders-{}", std::process::id()));
        create_dir(&dir.join("slot/read")).expect("a directory");
        for (file, text) in [("slot/read/f32.wgsl", "// \"é\"\n"), ("b.wgsl", "b"), ("README.md", "x")] {
            std::fs::write(dir.join(file), text).expect("a file");
        }
        let out = dir.join("shaders.json");
        write_shaders(&dir, &out).expect("they can be read");
        let texts: serde_json::Value =
            serde_json::from_str(&workspace::read_text(&out).expect("it was written")).expect("it is JSON");
        assert_eq!(texts, serde_json::json!({ "b": "b", "slot/read/f32": "// \"é\"\n" }));
        std::fs::remove_dir_all(&dir).expect("it was there");
    }

    #[test]
    fn a_wasm_that_is_too_large_is_an_error_with_both_numbers() {
        let dir = std::env::temp_dir().join(format!("gristmill-size-{}", std::process::id()));
        create_dir(&dir).expect("a directory");
        let write = |name: &str, bytes| std::fs::write(dir.join(name), vec![0; bytes]).expect("a file");
        write("gristmill_bg.wasm", 500_000);
        write("whole_bg.wasm", 600_001);
        assert_eq!((check_size(&dir, &FIRST), check_size(&dir, &WHOLE)), (Ok(()), Ok(())));
        write("gristmill_bg.wasm", 600_001);
        let reason = check_size(&dir, &FIRST).expect_err("it is too large");
        assert!(
            reason.contains("gristmill.wasm: 600.0 kB (at most 580)") && reason.contains("(at most 200)"),
            "{reason}"
        );
        std::fs::remove_dir_all(&dir).expect("it was there");
    }
}

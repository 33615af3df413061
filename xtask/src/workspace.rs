//! What cargo knows about this workspace.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::process;

/// Where things are, and which integration tests the library has.
pub struct Workspace {
    pub root: PathBuf,
    /// Cargo's target directory, wherever the person keeps it.
    pub target: PathBuf,
    /// The names of the test targets of the package `gristmill`.
    #[cfg_attr(not(feature = "web"), allow(dead_code, reason = "only `test` asks"))]
    pub tests: Vec<String>,
}

impl Workspace {
    /// Asks cargo.
    pub fn read() -> Result<Self, String> {
        let mut command = Command::new(process::cargo_program());
        command.args(["metadata", "--no-deps", "--format-version", "1"]);
        let text = process::read(&mut command)?;
        Self::from_metadata(&text).map_err(|e| format!("`{}`: {e}", process::shown(&command)))
    }

    fn from_metadata(text: &str) -> Result<Self, String> {
        let metadata: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let path = |key: &str| match metadata[key].as_str() {
            Some(path) => Ok(PathBuf::from(path)),
            None => Err(format!("`{key}` is missing")),
        };
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let tests = list(&metadata["packages"])
            .iter()
            .filter(|package| package["name"] == "gristmill")
            .flat_map(|package| list(&package["targets"]))
            .filter(|target| list(&target["kind"]).iter().any(|kind| kind == "test"))
            .filter_map(|target| target["name"].as_str().map(String::from))
            .collect();
        Ok(Self { root: path("workspace_root")?, target: path("target_directory")?, tests })
    }

    /// The committed results of the benchmark.
    pub fn results(&self) -> PathBuf {
        self.root.join("benches").join("results")
    }
}

/// The version of a package in Cargo.lock.
pub fn locked_version(lock: &str, package: &str) -> Option<String> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| line.trim() != name);
    lines.next()?;
    let version = lines.next()?.trim().strip_prefix("version = ")?;
    Some(version.trim_matches('"').to_string())
}

/// The contents of a file; an error names it.
pub fn read_text(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|e| format!("cannot read {}: {e}", file.display()))
}

/// Writes a file; an error names it. It is written beside its place and then moved there, so that what is there is always whole.
pub fn write(file: &Path, contents: &str) -> Result<(), String> {
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    std::fs::write(&part, contents).and_then(|()| std::fs::rename(&part, file)).map_err(|e| {
        // The reason is told; that this may fail too says nothing more.
        let _ = std::fs::remove_file(&part);
        format!("cannot write {}: {e}", file.display())
    })
}

/// The files of a directory that have this extension, in the order of their names. A directory that is not there has none.
pub fn files_with_extension(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|file| file.extension().is_some_and(|e| e == extension))
        .collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_integration_tests_of_the_library_count() {
        let text = r#"{
            "workspace_root": "/mill", "target_directory": "/mill/target",
            "packages": [
                {"name": "xtask", "targets": [{"name": "other", "kind": ["test"]}]},
                {"name": "gristmill", "targets": [
                    {"name": "gristmill", "kind": ["lib"]},
                    {"name": "ops", "kind": ["bench"]},
                    {"name": "golden", "kind": ["test"]},
                    {"name": "laws", "kind": ["test"]}]}]}"#;
        let workspace = Workspace::from_metadata(text).expect("it is complete");
        assert_eq!(workspace.target, Path::new("/mill/target"));
        assert_eq!(workspace.tests, ["golden", "laws"]);
        assert!(Workspace::from_metadata("{}").is_err());
        assert!(Workspace::from_metadata("no json").is_err());
    }

    #[test]
    fn a_file_that_cannot_be_written_whole_stays_as_it_was() {
        let dir = std::env::temp_dir().join(format!("gristmill-write-{}", std::process::id()));
        let (file, part) = (dir.join("a.txt"), dir.join("a.txt.part"));
        std::fs::create_dir_all(&part).expect("a directory");
        std::fs::write(&file, "old").expect("a file");
        let text = || read_text(&file).expect("it is there");
        // Where a directory is, no file can be.
        let reason = write(&file, "new").expect_err("no room for it");
        assert!(reason.contains("cannot write") && reason.contains("a.txt: "), "{reason}");
        assert_eq!(text(), "old");
        std::fs::remove_dir(&part).expect("it was there");
        write(&file, "new").expect("there is room");
        assert_eq!((text().as_str(), part.exists()), ("new", false));
        // Nor is anything left beside a place that is taken.
        assert!(write(&dir, "new").is_err());
        assert!(!dir.with_extension("part").exists());
        std::fs::remove_dir_all(&dir).expect("it was there");
    }

    #[test]
    fn versions_come_from_the_lock() {
        let lock = "[[package]]\nname = \"wasm-bindgen-shared\"\nversion = \"0.1.0\"\n\n\
                    [[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.130\"\nsource = \"x\"\n";
        assert_eq!(locked_version(lock, "wasm-bindgen").as_deref(), Some("0.2.130"));
        assert_eq!(locked_version(lock, "bindgen"), None);
    }
}

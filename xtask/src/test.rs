//! `cargo xtask test`: everything that must hold, on every device of the matrix.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::Command;

use crate::devices::{self, Device, Place};
use crate::serve::Server;
use crate::setup::{self, Browser};
use crate::steps::Steps;
use crate::workspace::Workspace;
use crate::{debian, process, registers, web};

/// Need no device, and are run where none can be found.
const WITHOUT_GPU: [&str; 5] = ["laws", "shaders", "plans", "formats", "checkpoint"];
/// Run with full and, on the first device, with baseline capabilities: what a plan computes may not depend on what the device has.
const WITH_EACH_CAPS: [&str; 2] = ["correctness", "golden"];
/// Run on a device with full capabilities; so does every integration test that is named nowhere here.
const WITH_FULL_CAPS: [&str; 1] = ["dispatch"];
/// Run on the newest lavapipe, the only device of the matrix with matrix units: the plans that need them, by a part of their names, what of caches
/// is about them, the golden cases of linear layers of 17 rows, among whose plans they are, and that the device has such units at all. Those of attention are too few
/// with so many queries for the seconds that each of its pipelines takes to compile.
const WITH_MATRIX_UNITS: [(&str, &str); 4] =
    [("probe", "matri"), ("correctness", "tiled_coop"), ("cache", "matri"), ("golden", "m17-")];
/// Run on the first device once more as GPUs get them, with loops over registers written out: cases by many kernels, but few enough, since a processor
/// compiles them three times as long.
const UNROLLED: [&str; 5] = [
    "linear/q4_0-m",
    "linear/q4_0-codes-m",
    "attention/q8_0-decode",
    "attention/q8_0-tiles",
    "adapter_linear/dora-q4_0",
];
/// The variables that tests are given as the person has set them: more golden cases, and what changes nothing of what is tested. Any other
/// of the library or its tests, left in a shell, would make less of a test than its step says, or something else.
const KEPT: [&str; 3] = ["GRISTMILL_GOLDEN", "GRISTMILL_CACHE", "GRISTMILL_DUMP"];
/// Needs the page, served.
const BROWSER: &str = "browser";

/// Runs all steps and prints their table.
pub fn run(workspace: &Workspace, quick: bool) -> Result<(), String> {
    let groups = Groups::of(&workspace.tests);
    let mut steps = Steps::new();

    steps.run("set-up: rustfmt and clippy", setup::checks);
    steps.run("set-up: Vulkan driver", setup::software_driver);
    let mut browser = None;
    if !quick {
        steps.run("set-up: wasm", || setup::web(workspace));
        // The browser also brings the second driver.
        browser = steps.run("set-up: browser", setup::browser);
    }

    source(&mut steps, workspace, quick);
    without_gpu(&mut steps, workspace, &groups);

    let mut devices = devices::matrix(browser.as_ref());
    if quick {
        devices.truncate(1);
    }
    if std::env::var("GRISTMILL_ADAPTER").is_ok_and(|name| name == "none") {
        steps.leave_out("tests on devices", "GRISTMILL_ADAPTER=none");
    } else {
        let mut first = true;
        for (name, place) in devices {
            match place {
                Place::Here(device) => {
                    on_device(&mut steps, workspace, &groups, &device, first, quick);
                    first = false;
                }
                Place::Missing(reason) => {
                    steps.run(&name, || Err::<(), _>(reason));
                }
                Place::LeftOut(reason) => steps.leave_out(&name, &reason),
            }
        }
    }

    newest_lavapipe(&mut steps, workspace, quick);
    registers(&mut steps, workspace, quick);

    if quick {
        steps.leave_out("page", "--quick");
    } else {
        page(&mut steps, workspace, &groups, browser.as_ref());
    }
    steps.end()
}

/// What can be said of the source without running it. The feature is the part of this program that runs now.
fn source(steps: &mut Steps, workspace: &Workspace, quick: bool) {
    let cargo = |words: &str| process::cargo(workspace, words);
    steps.run("format", || process::run(&mut cargo("fmt --all -- --check")));
    steps.run("clippy", || {
        process::run(&mut cargo(
            "clippy --keep-going --workspace --all-targets --features xtask/web -- --deny warnings",
        ))
    });
    if !quick {
        steps.run("clippy for wasm", || {
            process::run(&mut cargo(
                "clippy --package gristmill --package gristmill-www --lib --features gristmill-www/whole \
                 --target wasm32-unknown-unknown -- --deny warnings",
            ))
        });
    }
    steps.run("rustdoc", || {
        let mut doc = cargo("doc --no-deps --workspace --features xtask/web");
        process::run(doc.env("RUSTDOCFLAGS", "--deny warnings"))
    });
}

fn without_gpu(steps: &mut Steps, workspace: &Workspace, groups: &Groups) {
    for name in &groups.missing {
        steps.run(&format!("tests/{name}"), || {
            Err::<(), _>(format!("the package gristmill has no integration test `{name}`"))
        });
    }
    steps.run("tests without a GPU", || {
        let mut test = cargo_test(workspace, &groups.without_gpu);
        test.arg("--lib");
        devices::hide_all(&mut test);
        process::run(&mut test)
    });
    steps.run("tests of xtask", || {
        let words = "test --package xtask --features web";
        process::run(&mut process::cargo(workspace, words))
    });
}

fn on_device(steps: &mut Steps, workspace: &Workspace, groups: &Groups, device: &Device, first: bool, quick: bool) {
    let name = device.name;
    steps.run(&format!("{name}, full caps"), || {
        let mut test = cargo_test(workspace, &groups.with_full_caps);
        device.choose(&mut test)?;
        // On one processor all of it is run. What is another's own is told by each kernel and each storage now and then; the browser, which
        // has the same SwiftShader, runs more of the table. A GPU runs all, and quickly.
        if !first && device.is_software() {
            test.env("GRISTMILL_PLANS", "some");
        }
        process::run(&mut test)
    });
    if first {
        // The same text on every device, and each example is a program to link: once is enough.
        for (what, targets) in [("examples in the documentation", "--doc"), ("examples", "--examples")] {
            steps.run(&format!("{name}, {what}"), || {
                let mut test = process::cargo(workspace, &format!("{TEST} {targets}"));
                forget(&mut test, std::env::vars_os());
                device.choose(&mut test)?;
                process::run(&mut test)
            });
        }
    }
    if first && !quick {
        steps.run(&format!("{name}, loops unrolled"), || {
            UNROLLED.iter().try_for_each(|filter| {
                let mut test = cargo_test(workspace, &["correctness".to_owned()]);
                device.choose(&mut test)?;
                test.env("GRISTMILL_LOOPS", "unrolled").args(["--", filter]);
                process::run(&mut test)
            })
        });
    }
    // Once is enough here too: with the least that a device has, kernels ask it for nothing in which devices differ.
    if first && !quick {
        steps.run(&format!("{name}, baseline caps"), || {
            let mut test = cargo_test(workspace, &groups.with_each_caps);
            device.choose(&mut test)?;
            process::run(test.env("GRISTMILL_CAPS", "baseline"))
        });
    }
}

fn newest_lavapipe(steps: &mut Steps, workspace: &Workspace, quick: bool) {
    const NAME: &str = "newest lavapipe, matrix units";
    if quick {
        return steps.leave_out(NAME, "--quick");
    }
    if std::env::var("GRISTMILL_ADAPTER").is_ok_and(|name| name == "none") {
        return steps.leave_out(NAME, "GRISTMILL_ADAPTER=none");
    }
    if let Some(reason) = debian::missing(debian::LAVAPIPE) {
        return steps.leave_out(NAME, &reason);
    }
    let Some(root) = steps.run("set-up: newest lavapipe", || debian::root(debian::LAVAPIPE)) else {
        return steps.leave_out(NAME, "it could not be made");
    };
    let device = devices::newest_lavapipe(root);
    for (test, filter) in WITH_MATRIX_UNITS {
        steps.run(&format!("{NAME}: {test}"), || {
            let mut command = cargo_test(workspace, &[test.to_owned()]);
            device.choose(&mut command)?;
            // A filter that finds nothing fails nothing: so the first of these must find the units.
            command.env("GRISTMILL_MATRIX", "must").args(["--", filter]);
            process::run(&mut command)
        });
    }
}

/// A kernel that spills its registers is slow on any GPU, and no test on a software device would tell.
fn registers(steps: &mut Steps, workspace: &Workspace, quick: bool) {
    const NAME: &str = "no kernel of a real case spills";
    if quick {
        return steps.leave_out(NAME, "--quick");
    }
    if let Some(reason) = debian::missing(debian::RADV) {
        return steps.leave_out(NAME, &reason);
    }
    let Some(root) = steps.run("set-up: RADV without a GPU", || debian::root(debian::RADV)) else {
        return steps.leave_out(NAME, "its compiler could not be set up");
    };
    steps.run(NAME, || {
        let mut check = registers::command(workspace, root, &["--check".to_owned()])?;
        forget(&mut check, std::env::vars_os());
        process::run(&mut check)
    });
}

/// Builds the page, serves it, and lets the browser test drive a real browser there.
fn page(steps: &mut Steps, workspace: &Workspace, groups: &Groups, browser: Option<&Browser>) {
    const IN_BROWSER: &str = "page in the browser";
    let Some(site) = steps.run("page", || web::build(workspace)) else {
        return steps.leave_out(IN_BROWSER, "the page was not built");
    };
    let Some(browser) = browser else {
        return steps.leave_out(IN_BROWSER, "there is no browser");
    };
    if groups.browser.is_empty() {
        return steps.leave_out(IN_BROWSER, "there is no test");
    }
    steps.run(IN_BROWSER, || {
        let server = Server::bind(0)?;
        let mut test = cargo_test(workspace, &groups.browser);
        test.env("GRISTMILL_PAGE", server.address())
            .env("GRISTMILL_CHROMIUM", &browser.chromium)
            .env("GRISTMILL_CHROMEDRIVER", &browser.chromedriver);
        server.serve_while(&site, || process::run(&mut test))
    });
}

/// Both crates each time, whether or not the page's has such tests: cargo chooses features for what is built together, and another
/// choice would build wgpu once more.
const TEST: &str = "test --package gristmill --package gristmill-www";

/// `cargo test` of these integration tests. A failure in one file does not keep the next from running. Its environment says nothing of what
/// is tested: what a step is about, it sets afterwards.
fn cargo_test(workspace: &Workspace, names: &[String]) -> Command {
    let mut test = process::cargo(workspace, &format!("{TEST} --no-fail-fast"));
    forget(&mut test, std::env::vars_os());
    for name in names {
        test.args(["--test", name]);
    }
    test
}

/// Keeps our variables in this environment from a command, but for those that are [`KEPT`].
fn forget(command: &mut Command, environment: impl Iterator<Item = (OsString, OsString)>) {
    for (name, _) in environment {
        let text = name.to_string_lossy();
        if text.starts_with("GRISTMILL_") && !KEPT.contains(&&*text) {
            command.env_remove(&name);
        }
    }
}

/// The integration tests by what they need.
#[derive(Debug, Default, PartialEq, Eq)]
struct Groups {
    without_gpu: Vec<String>,
    with_each_caps: Vec<String>,
    /// These and those of `with_each_caps`.
    with_full_caps: Vec<String>,
    browser: Vec<String>,
    /// Named above, but not there: that is an error, never a silent skip.
    missing: Vec<String>,
}

impl Groups {
    fn of(there: &[String]) -> Self {
        let mut groups = Self::default();
        for name in there {
            let is = |names: &[&str]| names.contains(&name.as_str());
            if is(&WITHOUT_GPU) {
                groups.without_gpu.push(name.clone());
            } else if is(&[BROWSER]) {
                groups.browser.push(name.clone());
            } else {
                groups.with_full_caps.push(name.clone());
                if is(&WITH_EACH_CAPS) {
                    groups.with_each_caps.push(name.clone());
                }
            }
        }
        let there: BTreeSet<&str> = there.iter().map(String::as_str).collect();
        groups.missing = [&WITHOUT_GPU[..], &WITH_EACH_CAPS, &WITH_FULL_CAPS, &[BROWSER]]
            .concat()
            .into_iter()
            .filter(|name| !there.contains(name))
            .map(String::from)
            .collect();
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(line: &str) -> Vec<String> {
        line.split_whitespace().map(String::from).collect()
    }

    #[test]
    fn what_is_tested_does_not_depend_on_the_shell() {
        let ours = ["ADAPTER", "BLESS", "CAPS", "FUZZ", "GOLDEN", "LOOPS", "PLAN", "PLANS", "SHADERS"];
        let shell = ours.map(|name| format!("GRISTMILL_{name}")).into_iter().chain(["HOME".to_owned()]);
        let mut command = Command::new("cargo");
        forget(&mut command, shell.map(|name| (name.into(), "some".into())));
        command.env("GRISTMILL_PLANS", "all");
        let left: Vec<_> = command.get_envs().map(|(name, value)| (name.to_str(), value.is_some())).collect();
        let gone = ours.into_iter().filter(|name| *name != "GOLDEN");
        let names: Vec<_> = gone.map(|name| (format!("GRISTMILL_{name}"), name == "PLANS")).collect();
        assert_eq!(left, names.iter().map(|(name, set)| (Some(name.as_str()), *set)).collect::<Vec<_>>());
    }

    #[test]
    fn every_test_is_in_a_group() {
        let groups =
            Groups::of(&names("browser checkpoint correctness dispatch formats golden laws plans shaders soak"));
        assert_eq!(
            groups,
            Groups {
                without_gpu: names("checkpoint formats laws plans shaders"),
                with_each_caps: names("correctness golden"),
                with_full_caps: names("correctness dispatch golden soak"),
                browser: names("browser"),
                missing: Vec::new(),
            }
        );
    }

    #[test]
    fn a_named_test_that_is_not_there_is_missing() {
        let groups = Groups::of(&names("correctness laws"));
        assert_eq!(groups.missing, names("shaders plans formats checkpoint golden dispatch browser"));
    }
}

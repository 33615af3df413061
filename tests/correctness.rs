//! Every case × storage × plan against the reference, one named test each.
//!
//! `cargo test --test correctness -- rms_norm/llama` runs some; `GRISTMILL_ADAPTER=substring` chooses the device and
//! `GRISTMILL_CAPS=baseline` makes it act as the least one. `GRISTMILL_PLANS=some` runs each case in one of its storages, by its best plan and one
//! of the others, which take turns: what is left of all of it where another device runs the whole.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test runner talks to whoever runs it")]

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use gristmill::proof::cases::{self, Case};
use gristmill::proof::{Prepared, Verdict};
use gristmill::{DeviceKind, Dispatcher, Elem};
use libtest_mimic::{Arguments, Failed, Trial};

type Key = (String, Elem);

/// The last few cases that were prepared: the plans of a case are neighbours in the list of tests, and its reference need not be
/// computed for each. A device compiles one kernel at a time, so that there is one with a shelf for each test that runs at the same time.
struct Shelf {
    gpu: Dispatcher,
    cases: VecDeque<(Key, Prepared)>,
}

/// The shelves that no test has.
static FREE: Mutex<Vec<Shelf>> = Mutex::new(Vec::new());

impl Shelf {
    fn get(&mut self, case: &Case, storage: Elem) -> Result<&Prepared, Failed> {
        let key = (case.name.clone(), storage);
        let at = match self.cases.iter().position(|(k, _)| *k == key) {
            Some(at) => at,
            None => {
                self.cases.truncate(2);
                self.cases.push_front((key, Prepared::new(&self.gpu, case, storage)?));
                0
            }
        };
        Ok(&self.cases[at].1)
    }
}

/// Runs a case by a plan, on a device that is free.
fn judge(case: &Case, storage: Elem, plan: &str) -> Result<Verdict, Failed> {
    let free = || FREE.lock().map_err(|e| e.to_string());
    let taken = {
        let mut free = free()?;
        let has = |shelf: &Shelf| shelf.cases.iter().any(|((name, of), _)| *name == case.name && *of == storage);
        let at = free.iter().position(has).unwrap_or(0);
        (at < free.len()).then(|| free.swap_remove(at))
    };
    let mut shelf = match taken {
        Some(shelf) => shelf,
        None => Shelf { gpu: pollster::block_on(Dispatcher::request())?, cases: VecDeque::new() },
    };
    let verdict = pollster::block_on(shelf.get(case, storage)?.run(plan));
    free()?.push(shelf);
    Ok(verdict?)
}

/// Real cases of more bytes take a software device seconds by each plan.
const LARGE_BYTES: u64 = 4 << 20;

/// A large case of a real model in another storage than its first: small cases run its kernels in all of them.
fn large_elsewhere(case: &Case, storage: Elem) -> bool {
    case.real && case.storages.first() != Some(&storage) && case.bytes(storage) > LARGE_BYTES
}

/// Why a case is not run in this storage on a processor.
fn too_much(case: &Case, storage: Elem) -> Option<&'static str> {
    match () {
        () if case.heavy() => Some("too much for a software device"),
        () if large_elsewhere(case, storage) => Some("large, and run in its first storage"),
        () => None,
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let gpu = match pollster::block_on(Dispatcher::request()) {
        Ok(gpu) => gpu,
        Err(error) => {
            eprintln!("correctness: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("device: {} ({}), {:?}", gpu.info().name, gpu.info().driver, gpu.caps());
    let some = std::env::var("GRISTMILL_PLANS").is_ok_and(|plans| plans == "some");
    let cpu = gpu.caps().kind == DeviceKind::Cpu;
    let mut trials = Vec::new();
    for (number, case) in cases::all().into_iter().enumerate() {
        let case = Arc::new(case);
        let of_device = |storage: &Elem| if cpu { too_much(&case, *storage) } else { None };
        for (storage, why) in case.storages.iter().filter_map(|storage| Some((storage, of_device(storage)?))) {
            let name = format!("{} {}: {why}", case.name, storage.name());
            trials.push(Trial::test(name, || Err("it was to be ignored".into())).with_ignored_flag(true));
        }
        let mut storages: Vec<Elem> =
            case.storages.iter().copied().filter(|storage| of_device(storage).is_none()).collect();
        // What has its turn: a storage, and once each has had one, another plan.
        let (turn, round) = (number % storages.len().max(1), number / storages.len().max(1));
        if some && !storages.is_empty() {
            storages = vec![storages[turn]];
        }
        for storage in storages {
            let plans = match case.plans(storage, gpu.caps()) {
                Ok(plans) => plans,
                Err(error) => {
                    let name = format!("{} {}", case.name, storage.name());
                    trials.push(Trial::test(name, move || Err(error.into())));
                    continue;
                }
            };
            let other = 1 + round % plans.len().saturating_sub(1).max(1);
            for (at, plan) in plans.into_iter().enumerate() {
                if some && at > 0 && at != other {
                    continue;
                }
                let case = case.clone();
                let name = format!("{} {} {}", case.name, storage.name(), plan.name);
                trials.push(Trial::test(name, move || {
                    let verdict = judge(&case, storage, &plan.name)?;
                    if verdict.ok() {
                        return Ok(());
                    }
                    let again = format!(
                        "cargo test --test correctness -- --exact '{} {} {}'",
                        case.name,
                        storage.name(),
                        plan.name
                    );
                    Err(format!("{plan}{verdict}again: {again}").into())
                }));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

//! Every case × storage × plan against the reference, one named test each.
//!
//! `cargo test --test correctness -- rms_norm/llama` runs some; `GRISTMILL_ADAPTER=substring` chooses the device and
//! `GRISTMILL_CAPS=baseline` makes it act as the least one.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test runner talks to whoever runs it")]

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use gristmill::proof::Prepared;
use gristmill::proof::cases::{self, Case};
use gristmill::{DeviceKind, Dispatcher, Elem};
use libtest_mimic::{Arguments, Failed, Trial};

type Key = (String, Elem);

/// The last few cases that were prepared: the plans of a case are neighbours in the list of tests, and its reference need not be
/// computed for each.
#[derive(Default)]
struct Shelf(Mutex<VecDeque<(Key, Arc<Mutex<Prepared>>)>>);

impl Shelf {
    fn get(&self, gpu: &Dispatcher, case: &Case, storage: Elem) -> Result<Arc<Mutex<Prepared>>, Failed> {
        let key = (case.name.clone(), storage);
        // The lock is held while a case is prepared, so that two threads do not prepare the same.
        let mut shelf = self.0.lock().map_err(|e| e.to_string())?;
        if let Some((_, found)) = shelf.iter().find(|(k, _)| *k == key) {
            return Ok(found.clone());
        }
        let made = Arc::new(Mutex::new(Prepared::new(gpu, case, storage)?));
        shelf.push_back((key, made.clone()));
        if shelf.len() > 3 {
            shelf.pop_front();
        }
        Ok(made)
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
    let shelf = Arc::new(Shelf::default());
    let mut trials = Vec::new();
    for case in cases::all() {
        let case = Arc::new(case);
        for &storage in &case.storages {
            if case.heavy() && gpu.caps().kind == DeviceKind::Cpu {
                let name = format!("{} {}: too much for a software device", case.name, storage.name());
                trials.push(Trial::test(name, || Err("it was to be ignored".into())).with_ignored_flag(true));
                continue;
            }
            let plans = match case.plans(storage, gpu.caps()) {
                Ok(plans) => plans,
                Err(error) => {
                    let name = format!("{} {}", case.name, storage.name());
                    trials.push(Trial::test(name, move || Err(error.into())));
                    continue;
                }
            };
            for plan in plans {
                let (gpu, case, shelf) = (gpu.clone(), case.clone(), shelf.clone());
                let name = format!("{} {} {}", case.name, storage.name(), plan.name);
                trials.push(Trial::test(name, move || {
                    let prepared = shelf.get(&gpu, &case, storage)?;
                    // Plans of a case write to the same outputs.
                    let prepared = prepared.lock().map_err(|e| e.to_string())?;
                    let verdict = pollster::block_on(prepared.run(&plan.name))?;
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

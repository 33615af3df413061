//! The probe of subgroups: true where the driver promises them, false where it is told a size that the device does not have.

#![allow(clippy::print_stdout, reason = "a device may have nothing to prove, and says so")]

use gristmill::{Dispatcher, Subgroups};

fn device() -> Dispatcher {
    pollster::block_on(Dispatcher::request()).expect("a device")
}

#[test]
fn subgroups_are_what_kernels_take_them_for() {
    let gpu = device();
    let Some(sizes) = gpu.caps().subgroups else {
        println!("{} has no subgroups", gpu.info().name);
        return;
    };
    assert_eq!(pollster::block_on(gpu.proves(sizes)), Ok(true), "{sizes:?} on {}", gpu.info().name);
}

#[test]
fn a_size_that_the_device_does_not_have_is_found_out() {
    let gpu = device();
    let Some(Subgroups { max, .. }) = gpu.caps().subgroups else {
        println!("{} has no subgroups", gpu.info().name);
        return;
    };
    let too_large = Subgroups { min: 2 * max, max: 2 * max };
    assert_eq!(pollster::block_on(gpu.proves(too_large)), Ok(false), "{too_large:?} on {}", gpu.info().name);
    let no_size = Subgroups { min: 0, max: 0 };
    assert_eq!(pollster::block_on(gpu.proves(no_size)), Ok(false));
}

//! The probes of subgroups and matrix units: true where the driver promises them, false where it is told a size that the device does not have.

#![allow(clippy::print_stdout, reason = "a device may have nothing to prove, and says so")]

use gristmill::proof::measure::{Number, Rate};
use gristmill::{Dispatcher, Elem, Subgroups};

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

/// On the newest lavapipe, where they must be there, `GRISTMILL_MATRIX=must` is set.
#[test]
fn matrix_units_compute_matrices() {
    let gpu = device();
    let units = gpu.caps().matrix_units();
    let must = std::env::var("GRISTMILL_MATRIX").is_ok_and(|v| v == "must");
    assert!(units.is_some() || !must, "{} must have matrix units, but has {:?}", gpu.info().name, gpu.caps());
    if units.is_none() {
        println!("{} has no matrix units", gpu.info().name);
    }
    assert_eq!(pollster::block_on(gpu.proves_matrices()), Ok(units.is_some()), "{units:?} on {}", gpu.info().name);
}

/// The roof of matrix units makes the products that it counts: each of 4 chains, 8 / 4 a round, adds `size · 3/4 · 1/4` to every sum.
#[test]
fn the_roof_of_matrix_units_makes_the_products_that_it_counts() {
    let gpu = device();
    let Some(units) = gpu.caps().matrix_units() else {
        println!("{} has no matrix units", gpu.info().name);
        return;
    };
    let (rounds, lanes) = (5, 256);
    let y = gpu.zeros([2 * lanes, 4], Elem::F32).expect("y");
    gpu.run(Rate { number: Number::Matrix(units), rounds, y: &y }).expect("run");
    let quads = (lanes / units.subgroup as usize * (units.size * units.size) as usize / 4 / lanes) as f32;
    let sum = 2.0 * rounds as f32 * units.size as f32 * 0.1875;
    // The first sums are 0, 1, 2, 3.
    let wanted: Vec<f32> = (0..8 * lanes).map(|i| 4.0 * quads * (sum + (i % 4) as f32)).collect();
    assert_eq!(pollster::block_on(y.read()), Ok(wanted), "{units:?} on {}", gpu.info().name);
}

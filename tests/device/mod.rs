//! A device, and tensors on it.

#![allow(dead_code, reason = "each test takes what it needs")]

use gristmill::{Dispatcher, Elem, Tensor};
use pollster::block_on;

pub fn gpu() -> Dispatcher {
    block_on(Dispatcher::request()).expect("a device")
}

pub fn read(tensor: &Tensor) -> Vec<f32> {
    block_on(tensor.read()).expect("numbers")
}

/// Numbers between −1 and 1, the same everywhere, others for another seed.
pub fn values(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
}

pub fn tensor(gpu: &Dispatcher, shape: &[usize], seed: usize) -> Tensor {
    gpu.upload(&values(shape.iter().product(), seed), shape, Elem::F32).expect("a tensor")
}

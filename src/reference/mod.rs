//! The specification: every op in f64, as short and obvious as its formula. Never optimised.
//!
//! If a kernel and its reference disagree, the kernel is wrong.

mod adapter;
mod attention;
mod decoder;
mod depth;
mod linear;
mod norm;
mod prepare;
mod prologue;
mod quantize;
mod rope;
mod weight_merge;

pub use adapter::{Adapter, Judged, adapter_linear, adapter_merge, low_rank, magnitude_factors, magnitudes};
pub use attention::{Attended, Attention, HeadMix, Seen, Weighed, attention};
pub use decoder::{DecoderLayer, Matrix, decoder_layer};
pub use depth::{Selected, gates, mod_combine, mod_route, mod_select, mod_take};
pub use linear::{Linear, activation, dequantize, encode, linear, linear_epilogue, matmul};
pub use norm::{
    Normed, batch_channel_norm, batch_norm, crms_norm, group_norm, hyperspherical_step, l2_norm, layer_norm,
    power_norm, rms_norm, scaler, unified_norm,
};
pub use prepare::{Factor, Rescaling, matrix_stats, matrix_vector, pick, prune, rescale, scale_factors};
pub use prologue::{PrologueRow, RowNorm, qkv_prologue, statistics};
pub use quantize::{Quantized, quantize_rows};
pub use rope::{rope, rotate, table_row};
pub use weight_merge::{Merge, differences, softmax, stock, weight_merge};

/// A row-major array.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The dimensions.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: Vec<f64>,
}

impl Array {
    /// The elements `0 .. n` of an optional array, or this value where there is none.
    pub fn or(array: Option<&Self>, value: f64, n: usize) -> Vec<f64> {
        array.map_or_else(|| vec![value; n], |a| a.data.clone())
    }

    /// The same shape with other elements.
    pub fn with(&self, data: Vec<f64>) -> Self {
        Self { shape: self.shape.clone(), data }
    }
}

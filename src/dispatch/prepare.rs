//! Preparation of weights, put together from the ops of [`crate::ops::prepare`]: recorded like any op, with nothing read back.
//!
//! | function | result |
//! |---|---|
//! | [`weight_norm`] | `w = gain·v/‖v‖`, a norm for each row |
//! | [`standardise`] | rows of mean 0 and deviation 1, by four conventions |
//! | [`spectral_norm`], [`sigma_reparam`] | `w/σ`, `γ·w/σ`, with σ the largest singular value by power iteration |
//! | [`kept_norm`], [`fold_before`], [`fold_after`] | BatchNorm, Unified and PowerNorm, and the affine part of any norm, in the linear layer beside them |
//! | [`recentre`], [`without_last`] | Pre-LN as Pre-RMSNorm, and as Pre-CRMSNorm |
//! | [`equalise`], [`correct_bias`] | ranges alike across layers; what quantisation does to a mean, in the bias |
//! | [`input_scale`] | factors of inputs by their activations |
//! | [`wanda`], [`clip_rows`], [`hold_out`] | n:m patterns, clipping, numbers kept apart |
//!
//! All that an output must be is judged before anything is recorded. What sums columns, or picks numbers, takes a matrix that fits one binding
//! of the device. Vectors in between are buffers of their own: a few thousand numbers,
//! once at load.

use super::{Dispatcher, Encoder, Recorder};
use crate::error::{Error, Result, shape_error};
use crate::ops::Op as _;
use crate::ops::norm::L2Norm;
use crate::ops::prepare::{Along, Factors, MatrixStats, MatrixVector, Pick, Prune, Rescale, Rule, Standard};
use crate::tensor::{Elem, Tensor};

/// A linear layer: its weight `[N,K]` and its bias `[N]`, f32, f16 or bf16.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// The weight.
    pub w: &'a Tensor,
    /// The bias.
    pub bias: Option<&'a Tensor>,
}

/// Statistics of rows or columns, each a vector of f32.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Means.
    pub mean: Tensor,
    /// Squares about the means.
    pub squares: Tensor,
    /// Mean magnitudes.
    pub magnitude: Tensor,
    /// Largest magnitudes.
    pub largest: Tensor,
    /// How many numbers each is of.
    pub count: u32,
}

fn sizes(op: &'static str, w: &Tensor) -> Result<[usize; 2]> {
    match *w.shape().dims() {
        [n, k] => Ok([n, k]),
        _ => Err(shape_error!(op, "w has shape {}, but a matrix has two dimensions", w.shape())),
    }
}

fn numbers(gpu: &Dispatcher, count: usize) -> Result<Tensor> {
    gpu.zeros([count], Elem::F32)
}

/// A vector as a matrix of one column.
fn column(v: &Tensor) -> Result<Tensor> {
    v.reshape([v.elements(), 1])
}

/// A vector as a matrix of one row.
fn row(v: &Tensor) -> Result<Tensor> {
    v.reshape([1, v.elements()])
}

/// Statistics of the rows or columns of a matrix.
///
/// # Errors
/// As [`MatrixStats`].
pub fn stats<E: Encoder>(rec: &mut Recorder<E>, w: &Tensor, along: Along) -> Result<Stats> {
    let [n, k] = sizes("matrix_stats", w)?;
    let (count, len) = if along == Along::Rows { (n, k) } else { (k, n) };
    let stats = rec.dispatcher().zeros([4, count], Elem::F32)?;
    rec.run(MatrixStats { w, along, stats: &stats })?;
    let each = |i: usize| stats.view(i * count, [count]);
    Ok(Stats { mean: each(0)?, squares: each(1)?, magnitude: each(2)?, largest: each(3)?, count: len as u32 })
}

fn factors<E: Encoder>(rec: &mut Recorder<E>, rule: Rule<'_>, count: usize) -> Result<[Tensor; 2]> {
    let gpu = rec.dispatcher();
    let made = [numbers(gpu, count)?, numbers(gpu, count)?];
    rec.run(Factors { rule, scale: &made[0], shift: Some(&made[1]) })?;
    Ok(made)
}

/// `y = gain·v/‖v‖`, a norm for each row; a row of zeros stays one. Without gains rows become as long as 1.
///
/// Source: Salimans and Kingma, "Weight Normalization", arXiv 1602.07868.
///
/// # Errors
/// v and y are not matrices of one shape; the gains are not `[N]`.
pub fn weight_norm<E: Encoder>(rec: &mut Recorder<E>, v: &Tensor, gain: Option<&Tensor>, y: &Tensor) -> Result<()> {
    rec.together(|rec| {
        // A gain is judged as the vector that it becomes.
        Rescale { row: gain, ..Rescale::new(v, y) }.problem()?;
        let [n, _] = sizes("weight_norm", v)?;
        let of = stats(rec, v, Along::Rows)?;
        let rule = Rule::Unit { mean: &of.mean, squares: &of.squares, length: gain, count: of.count };
        let [scale, _] = factors(rec, rule, n)?;
        rec.run(Rescale { row: Some(&scale), ..Rescale::new(v, y) })
    })
}

/// `y = gain·factor·(w − mean)/deviation`, of each row; a row without a deviation becomes 0.
///
/// # Errors
/// w and y are not matrices of one shape; the gains are not `[N]`; numbers of [`Standard`] out of range; one column, and a deviation that is unbiased.
pub fn standardise<E: Encoder>(
    rec: &mut Recorder<E>,
    w: &Tensor,
    by: Standard,
    factor: f32,
    gain: Option<&Tensor>,
    y: &Tensor,
) -> Result<()> {
    rec.together(|rec| {
        Rescale { row: gain, ..Rescale::new(w, y) }.problem()?;
        let [n, _] = sizes("standardise", w)?;
        let of = stats(rec, w, Along::Rows)?;
        let rule = Rule::Standard { mean: &of.mean, squares: &of.squares, gain, count: of.count, by, factor };
        let [scale, mean] = factors(rec, rule, n)?;
        rec.run(Rescale { row_shift: Some(&mean), row: Some(&scale), ..Rescale::new(w, y) })
    })
}

/// `w·x` or `wᵀ·x`.
fn product<E: Encoder>(rec: &mut Recorder<E>, w: &Tensor, along: Along, x: &Tensor) -> Result<Tensor> {
    let [n, k] = sizes("matrix_vector", w)?;
    let y = numbers(rec.dispatcher(), if along == Along::Rows { n } else { k })?;
    rec.run(MatrixVector { along, ..MatrixVector::new(w, x, &y) })?;
    Ok(y)
}

/// As long as 1, unless it is shorter than 1e-12.
fn unit<E: Encoder>(rec: &mut Recorder<E>, x: &Tensor) -> Result<Tensor> {
    let y = numbers(rec.dispatcher(), x.elements())?;
    rec.run(L2Norm::new(x, &y))?;
    Ok(y)
}

/// `y = over·w/(u·w·v)`, and σ.
fn over_sigma<E: Encoder>(
    rec: &mut Recorder<E>,
    w: &Tensor,
    [u, v]: [&Tensor; 2],
    over: Option<&Tensor>,
    y: &Tensor,
) -> Result<Tensor> {
    let along = product(rec, w, Along::Rows, v)?;
    let sigma = product(rec, &row(u)?, Along::Rows, &along)?;
    let [scale, _] = factors(rec, Rule::Ratio { over, under: &sigma }, 1)?;
    rec.run(Rescale { row: Some(&scale), ..Rescale::new(w, y) })?;
    Ok(sigma)
}

/// `y = w/σ` with `σ = uᵀ·w·v`, after `steps` steps of power iteration: `v = wᵀ·u/‖wᵀ·u‖`, `u = w·v/‖w·v‖`. A checkpoint that has kept
/// u and v wants none. Gives σ, `[1]`.
///
/// Source: Miyato et al., "Spectral Normalization", arXiv 1802.05957; `torch.nn.utils.parametrizations.spectral_norm`.
///
/// # Errors
/// w and y are not matrices of one shape; u is not `[N]` or v not `[K]`, of floats.
pub fn spectral_norm<E: Encoder>(
    rec: &mut Recorder<E>,
    w: &Tensor,
    u: &Tensor,
    v: &Tensor,
    steps: u32,
    y: &Tensor,
) -> Result<Tensor> {
    rec.together(|rec| {
        Rescale { row_shift: Some(u), col: Some(v), ..Rescale::new(w, y) }.problem()?;
        let (mut u, mut v) = (u.clone(), v.clone());
        for _ in 0..steps {
            let along = product(rec, w, Along::Columns, &u)?;
            v = unit(rec, &along)?;
            let along = product(rec, w, Along::Rows, &v)?;
            u = unit(rec, &along)?;
        }
        over_sigma(rec, w, [&u, &v], None, y)
    })
}

/// `y = γ·w/σ`, with σ by one step from the stored u: `v = w·u/‖w·u‖`, `u' = wᵀ·v/‖wᵀ·v‖`, `σ = vᵀ·w·u'`. The step belongs to the
/// model, which takes it at inference too. Gives σ, `[1]`.
///
/// Source: Zhai et al., "Stabilizing Transformer Training by Preventing Attention Entropy Collapse" (σReparam), arXiv 2303.06296.
///
/// # Errors
/// w and y are not matrices of one shape; u is not `[K]` or gamma not `[1]`, of floats.
pub fn sigma_reparam<E: Encoder>(
    rec: &mut Recorder<E>,
    w: &Tensor,
    u: &Tensor,
    gamma: &Tensor,
    y: &Tensor,
) -> Result<Tensor> {
    rec.together(|rec| {
        Rescale { col: Some(u), ..Rescale::new(w, y) }.problem()?;
        if gamma.shape().dims() != [1] {
            return Err(shape_error!("sigma_reparam", "gamma has shape {}, but must be one number", gamma.shape()));
        }
        let along = product(rec, w, Along::Rows, u)?;
        let v = unit(rec, &along)?;
        let along = product(rec, w, Along::Columns, &v)?;
        let u = unit(rec, &along)?;
        over_sigma(rec, w, [&v, &u], Some(gamma), y)
    })
}

/// A norm whose statistics are kept, as `x·scale + shift` for each channel: `scale = weight/sqrt(variance + eps)`, `shift = bias −
/// mean·scale`. Of BatchNorm with a mean; of Unified Normalization, and of the second stage of PowerNorm with its `phi`, without.
///
/// # Errors
/// As [`Factors`].
pub fn kept_norm<E: Encoder>(
    rec: &mut Recorder<E>,
    variance: &Tensor,
    mean: Option<&Tensor>,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f32,
) -> Result<[Tensor; 2]> {
    factors(rec, Rule::Affine { variance, mean, weight, bias, eps }, variance.elements())
}

/// The outputs of a layer that is folded are all there.
fn whole(op: &'static str, from: Layer<'_>, into: Layer<'_>, shifted: bool) -> Result<()> {
    if into.bias.is_none() && (shifted || from.bias.is_some()) {
        return Err(shape_error!(op, "the result has a bias, but there is none to write it to"));
    }
    if let Some(bias) = into.bias {
        let [n, _] = sizes(op, from.w)?;
        if bias.shape().dims() != [n] {
            return Err(shape_error!(op, "the bias of the result has shape {}, but w has N = {n}", bias.shape()));
        }
    }
    Ok(())
}

/// A layer that is fed by `x·scale + shift` as one that is fed by x: `w' = w·diag(scale)`, `bias' = bias + w·shift`. With γ and β of a
/// LayerNorm, that has no affine part any more.
///
/// # Errors
/// w and `into.w` are not matrices of one shape; scale and shift are not `[K]`, biases not `[N]`; `into.bias` is missing where there is a
/// bias to write, or is not f32.
pub fn fold_before<E: Encoder>(
    rec: &mut Recorder<E>,
    from: Layer<'_>,
    scale: Option<&Tensor>,
    shift: Option<&Tensor>,
    into: Layer<'_>,
) -> Result<()> {
    rec.together(|rec| {
        whole("fold_before", from, into, shift.is_some())?;
        let scaled = Rescale { col: scale, ..Rescale::new(from.w, into.w) };
        scaled.problem()?;
        match (into.bias, shift) {
            (Some(y), Some(shift)) => {
                rec.run(MatrixVector { bias: from.bias, ..MatrixVector::new(from.w, shift, y) })?;
            }
            (Some(y), None) => copy(rec, from.bias, y)?,
            (None, _) => {}
        }
        rec.run(scaled)
    })
}

/// A bias as it is, or zeros.
fn copy<E: Encoder>(rec: &mut Recorder<E>, bias: Option<&Tensor>, y: &Tensor) -> Result<()> {
    let zeros = numbers(rec.dispatcher(), y.elements())?;
    rec.run(Rescale::new(&column(bias.unwrap_or(&zeros))?, &column(y)?))
}

/// A layer whose output becomes `y·scale + shift`: `w' = diag(scale)·w`, `bias' = bias·scale + shift`.
///
/// # Errors
/// As [`fold_before`], with shift `[N]`, scale `[N]` or `[1]` for all outputs; `into.bias` may have any floating storage.
pub fn fold_after<E: Encoder>(
    rec: &mut Recorder<E>,
    from: Layer<'_>,
    scale: &Tensor,
    shift: Option<&Tensor>,
    into: Layer<'_>,
) -> Result<()> {
    rec.together(|rec| {
        whole("fold_after", from, into, shift.is_some())?;
        let scaled = Rescale { row: Some(scale), ..Rescale::new(from.w, into.w) };
        // The shift is a vector of the same length.
        Rescale { add: shift, ..scaled }.problem()?;
        if let Some(y) = into.bias {
            let zeros = numbers(rec.dispatcher(), y.elements())?;
            let bias = column(from.bias.unwrap_or(&zeros))?;
            rec.run(Rescale { row: Some(scale), add: shift, ..Rescale::new(&bias, &column(y)?) })?;
        }
        rec.run(scaled)
    })
}

/// Outputs whose mean over features is 0: what a LayerNorm would take away. Along columns, of a layer that writes to the residual stream:
/// the mean of every column, and of the bias. Along rows, of an embedding, whose rows are written.
///
/// When all that writes to the stream is so, and norms have no affine part ([`fold_before`]), LayerNorm is RMSNorm with the same eps.
/// Wrong for post-norm models, for an embedding that is also the head, and where a norm feeds two layers with different affine parts.
/// Source: Jiang et al., "Pre-RMSNorm and Pre-CRMSNorm Transformers", arXiv 2305.14858.
///
/// # Errors
/// Matrices that are not of one shape; biases that are not `[N]`, or a bias without one to write it to; a bias along rows; a
/// matrix that does not fit one binding, along columns.
pub fn recentre<E: Encoder>(rec: &mut Recorder<E>, from: Layer<'_>, along: Along, into: Layer<'_>) -> Result<()> {
    rec.together(|rec| {
        let op = "recentre";
        whole(op, from, into, false)?;
        if along == Along::Rows && into.bias.is_some() {
            return Err(shape_error!(op, "rows that are outputs themselves have no bias"));
        }
        Rescale::new(from.w, into.w).problem()?;
        if let Some(y) = into.bias {
            match from.bias {
                None => copy(rec, None, y)?,
                Some(bias) => {
                    let (bias, y) = (row(bias)?, row(y)?);
                    Rescale::new(&bias, &y).problem()?;
                    let of = stats(rec, &bias, Along::Rows)?;
                    rec.run(Rescale { row_shift: Some(&of.mean), ..Rescale::new(&bias, &y) })?;
                }
            }
        }
        let of = stats(rec, from.w, along)?;
        let plain = Rescale::new(from.w, into.w);
        rec.run(match along {
            Along::Rows => Rescale { row_shift: Some(&of.mean), ..plain },
            Along::Columns => Rescale { col_shift: Some(&of.mean), ..plain },
        })
    })
}

/// A layer whose inputs add up to 0, without the last of them: `y = w[:, ..K−1] − w[:, K−1]`. Of a layer that writes such a stream the last row is
/// left out, which [`Tensor::view`] does. Together they make Pre-RMSNorm Pre-CRMSNorm; source as [`recentre`].
///
/// # Errors
/// w is not `[N,K]` of finite floats, K at least 2; y is not `[N,K−1]`.
pub fn without_last<E: Encoder>(rec: &mut Recorder<E>, w: &Tensor, y: &Tensor) -> Result<()> {
    rec.together(|rec| {
        let op = "without_last";
        let [n, k] = sizes(op, w)?;
        if k < 2 || y.shape().dims() != [n, k - 1] {
            return Err(shape_error!(op, "y has shape {}, but w without a column of {}", y.shape(), w.shape()));
        }
        Rescale::new(w, y).problem()?;
        let mut one = vec![0.0; k];
        one[k - 1] = 1.0;
        let one = rec.dispatcher().upload(&one, [k], Elem::F32)?;
        let last = product(rec, w, Along::Rows, &one)?;
        rec.run(Rescale { row_shift: Some(&last), ..Rescale::new(w, y) })
    })
}

/// Two layers with `relu`, or nothing else than multiples pass through, between them, with the ranges of each channel alike:
/// `s = sqrt(max|w1 row| / max|w2 column|)`, rows of the first and its bias over s, columns of the second times s. Channels with a range of no more
/// than `least` are left alone. What the two compute is the same.
///
/// Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv 1906.04721. Wrong for gelu and silu.
///
/// # Errors
/// The first has not as many rows as the second columns; results of another shape, or without a bias where there is one; the second's bias,
/// which does not change, is given; a second that does not fit one binding.
pub fn equalise<E: Encoder>(
    rec: &mut Recorder<E>,
    first: Layer<'_>,
    second: &Tensor,
    least: f32,
    into: (Layer<'_>, &Tensor),
) -> Result<()> {
    rec.together(|rec| {
        let op = "equalise";
        let ([channels, _], [_, k]) = (sizes(op, first.w)?, sizes(op, second)?);
        if channels != k {
            return Err(shape_error!(op, "the first has {channels} outputs, but the second {k} inputs"));
        }
        whole(op, first, into.0, false)?;
        Rescale::new(first.w, into.0.w).problem()?;
        Rescale::new(second, into.1).problem()?;
        let (before, after) = (stats(rec, first.w, Along::Rows)?, stats(rec, second, Along::Columns)?);
        let rule = Rule::Equal { before: &before.largest, after: &after.largest, least };
        let [less, more] = factors(rec, rule, k)?;
        fold_after(rec, first, &less, None, into.0)?;
        rec.run(Rescale { col: Some(&more), ..Rescale::new(second, into.1) })
    })
}

/// `y = bias − (quantised − w)·mean`: what a quantised weight does to the mean of the outputs is taken out of the bias, where `mean` is that
/// of the inputs. Source as [`equalise`].
///
/// # Errors
/// Matrices of two shapes; `mean` is not `[K]`; bias is not `[N]`; y is not f32 `[N]`.
pub fn correct_bias<E: Encoder>(
    rec: &mut Recorder<E>,
    w: &Tensor,
    quantised: &Tensor,
    mean: &Tensor,
    bias: Option<&Tensor>,
    y: &Tensor,
) -> Result<()> {
    rec.run(MatrixVector { minus: Some(quantised), bias, ..MatrixVector::new(w, mean, y) })
}

/// Factors of a layer's inputs by how large they are, `s = max(mean|x|, least)^power` over rows of x, and `1/s`. Columns of the weight times s and
/// what comes before it over s compute the same, and the weight keeps most bits where inputs are largest. A factor for all channels
/// together changes nothing, and is left out.
///
/// Source: Lin et al., "AWQ: Activation-aware Weight Quantization", arXiv 2306.00978.
///
/// # Errors
/// x is not `[M,K]`; numbers as [`Rule::Power`].
pub fn input_scale<E: Encoder>(rec: &mut Recorder<E>, x: &Tensor, power: f32, least: f32) -> Result<[Tensor; 2]> {
    rec.together(|rec| {
        let [_, k] = sizes("input_scale", x)?;
        let of = stats(rec, x, Along::Columns)?;
        factors(rec, Rule::Power { magnitude: &of.magnitude, power, least }, k)
    })
}

/// [`Prune`] with the norms of a layer's inputs `x[M,K]` over its tokens: Wanda. A mean over tokens would rank the same.
///
/// # Errors
/// As [`Prune`]; x is not a matrix of as many columns as w, or does not fit one binding.
pub fn wanda<E: Encoder>(
    rec: &mut Recorder<E>,
    w: &Tensor,
    x: &Tensor,
    [drop, of]: [u32; 2],
    y: &Tensor,
) -> Result<()> {
    rec.together(|rec| {
        let plain = Prune { w, norm: None, drop, of, y };
        plain.problem()?;
        let ([_, k], [_, inputs]) = (sizes("wanda", w)?, sizes("wanda", x)?);
        if inputs != k {
            return Err(shape_error!("wanda", "x has K = {inputs}, but w has K = {k}"));
        }
        let columns = stats(rec, x, Along::Columns)?;
        let rule = Rule::Norm { mean: &columns.mean, squares: &columns.squares, count: columns.count };
        let [norm, _] = factors(rec, rule, k)?;
        rec.run(Prune { norm: Some(&norm), ..plain })
    })
}

/// `y = w`, but no number further from 0 than the mean magnitude of its row and so many deviations of magnitudes: what is done before
/// quantisation to a weight whose largest numbers are held out ([`hold_out`]). For blocks of a row, or a whole matrix as one, reshape w and y.
///
/// Source: Yu et al., "The Super Weight in Large Language Models", arXiv 2411.07191.
///
/// # Errors
/// w and y are not matrices of one shape; deviations are negative.
pub fn clip_rows<E: Encoder>(rec: &mut Recorder<E>, w: &Tensor, deviations: f32, y: &Tensor) -> Result<()> {
    rec.together(|rec| {
        Rescale::new(w, y).problem()?;
        let [n, _] = sizes("clip_rows", w)?;
        let of = stats(rec, w, Along::Rows)?;
        let (mean, squares, magnitude) = (&of.mean, &of.squares, &of.magnitude);
        let rule = Rule::Limit { mean, squares, magnitude, count: of.count, deviations };
        let [limit, _] = factors(rec, rule, n)?;
        rec.run(Rescale { limit: Some(&limit), ..Rescale::new(w, y) })
    })
}

/// What is missing of some numbers of w in `kept`, or the numbers themselves: f32, `[P]`, the values of a sparse side list beside a weight in
/// few bits. Places are rows and columns.
///
/// # Errors
/// A place outside w; matrices of two shapes, or that do not fit one binding.
pub fn hold_out<E: Encoder>(
    rec: &mut Recorder<E>,
    w: &Tensor,
    kept: Option<&Tensor>,
    places: &[[u32; 2]],
) -> Result<Tensor> {
    let op = "hold_out";
    let [n, k] = sizes(op, w)?;
    if let Some([row, column]) = places.iter().find(|[row, column]| *row as usize >= n || *column as usize >= k) {
        let value = format!("({row}, {column})");
        return Err(Error::Value { op, name: "places", value, rule: "each must be a row and a column of w" });
    }
    let gpu = rec.dispatcher();
    let bytes: Vec<u8> = places.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
    let places = gpu.upload_bytes(&bytes, [places.len(), 2], Elem::U32)?;
    let value = numbers(gpu, places.shape().dims()[0])?;
    rec.run(Pick { w, minus: kept, places: &places, value: &value })?;
    Ok(value)
}

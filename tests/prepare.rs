//! Preparation of weights on a device: what must hold whatever the reference says. Norms are as long as they should be, and networks compute
//! what they computed before.

#![allow(clippy::panic, reason = "a test fails by it")]

use gristmill::dispatch::prepare::{self, Layer};
use gristmill::formats::{Format, Packed};
use gristmill::ops::prepare::{Along, Factors, MatrixStats, MatrixVector, Pick, Prune, Rescale, Rule, Standard};
use gristmill::{Dispatcher, Elem, Error, Op as _, Recorder, Result, Tensor};
use pollster::block_on;

/// Results of f32 next to numbers of about 1.
const NEAR: f64 = 2e-5;

struct Bench(Dispatcher);

impl Bench {
    fn new() -> Self {
        Self(block_on(Dispatcher::request()).expect("a device"))
    }

    fn up(&self, values: &[f64], shape: &[usize]) -> Tensor {
        let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
        self.0.upload(&values, shape, Elem::F32).expect("a tensor")
    }

    fn zeros(&self, shape: &[usize]) -> Tensor {
        // What is not written is seen.
        self.0.upload(&vec![f32::NAN; shape.iter().product()], shape, Elem::F32).expect("a tensor")
    }

    /// Random numbers, and the tensor of them.
    fn random(&self, shape: &[usize], seed: u64) -> (Vec<f64>, Tensor) {
        let values = random(shape.iter().product(), seed);
        let tensor = self.up(&values, shape);
        (values, tensor)
    }

    fn run<T>(&self, work: impl FnOnce(&mut Recorder<wgpu::CommandEncoder>) -> Result<T>) -> T {
        let mut rec = self.0.record().expect("a recorder");
        let made = work(&mut rec).unwrap_or_else(|e| panic!("{e}"));
        rec.submit().unwrap_or_else(|e| panic!("{e}"));
        made
    }

    fn error<T>(&self, work: impl FnOnce(&mut Recorder<wgpu::CommandEncoder>) -> Result<T>) -> String {
        let mut rec = self.0.record().expect("a recorder");
        let error = work(&mut rec).map(drop).expect_err("there is a fault").to_string();
        assert_eq!(rec.dispatches(), 0, "{error}: and yet something was recorded");
        error
    }
}

fn read(tensor: &Tensor) -> Vec<f64> {
    block_on(tensor.read()).expect("numbers").into_iter().map(f64::from).collect()
}

/// Numbers around 0, the same everywhere, exact in f32.
fn random(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 44) as f64 / f64::from(1 << 20)
    };
    (0..count).map(|_| f64::from((next() + next() + next() - 1.5) as f32)).collect()
}

/// `x·wᵀ + b` of rows of x.
fn linear(x: &[f64], w: &[f64], b: Option<&[f64]>, k: usize) -> Vec<f64> {
    let n = w.len() / k;
    let dot = |x: &[f64], w: &[f64]| x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>();
    x.chunks(k).flat_map(|x| (0..n).map(move |i| dot(x, &w[i * k..(i + 1) * k]) + b.map_or(0.0, |b| b[i]))).collect()
}

/// `(x − mean)/sqrt(var + eps)`, or without the mean, of rows of k.
fn norm(x: &[f64], k: usize, centre: bool, eps: f64) -> Vec<f64> {
    let row = |x: &[f64]| {
        let mean = if centre { x.iter().sum::<f64>() / k as f64 } else { 0.0 };
        let var = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / k as f64;
        x.iter().map(|v| (v - mean) / (var + eps).sqrt()).collect::<Vec<_>>()
    };
    x.chunks(k).flat_map(row).collect()
}

fn near(what: &str, have: &[f64], want: &[f64], bound: f64) {
    assert_eq!(have.len(), want.len(), "{what}");
    for (i, (have, want)) in have.iter().zip(want).enumerate() {
        assert!((have - want).abs() <= bound * want.abs().max(1.0), "{what}, {i}: {have}, but {want}");
    }
}

fn length(row: &[f64]) -> f64 {
    row.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// The largest singular value.
fn sigma(w: &[f64], k: usize) -> f64 {
    let (n, mut v) = (w.len() / k, random(k, 99));
    let mut size = 0.0;
    for _ in 0..3000 {
        let u = linear(&v, w, None, k);
        size = length(&u) / length(&v);
        v = (0..k).map(|column| (0..n).map(|row| w[row * k + column] * u[row]).sum()).collect();
        let by = length(&v);
        v.iter_mut().for_each(|v| *v /= by);
    }
    size
}

#[test]
fn rows_of_a_weight_norm_are_as_long_as_their_gains() {
    let bench = Bench::new();
    for [n, k] in [[5, 3], [33, 127], [2, 9000]] {
        let ((v, w), (gain, g), y) = (bench.random(&[n, k], 1), bench.random(&[n], 2), bench.zeros(&[n, k]));
        bench.run(|rec| prepare::weight_norm(rec, &w, Some(&g), &y));
        let y = read(&y);
        let lengths: Vec<f64> = y.chunks(k).map(length).collect();
        near("lengths", &lengths, &gain.iter().map(|g| g.abs()).collect::<Vec<_>>(), NEAR);
        // The direction stays.
        let of =
            |row: usize, i: usize| y[row * k + i] * length(&v[row * k..(row + 1) * k]) - gain[row] * v[row * k + i];
        assert!((0..n * k).all(|i| of(i / k, i % k).abs() < 1e-4));
    }
}

#[test]
fn the_largest_singular_value_of_a_spectral_norm_is_1() {
    let bench = Bench::new();
    let [n, k] = [37, 21];
    let ((w, tensor), (_, u), (_, v)) = (bench.random(&[n, k], 3), bench.random(&[n], 4), bench.random(&[k], 5));
    let y = bench.zeros(&[n, k]);
    let found = bench.run(|rec| prepare::spectral_norm(rec, &tensor, &u, &v, 400, &y));
    let want = sigma(&w, k);
    near("sigma", &read(&found), &[want], 1e-4);
    near("of the result", &[sigma(&read(&y), k)], &[1.0], 1e-4);

    // σReparam from any u: one step, by which σ is no more than the true one. From the one that was found it is gamma that is left.
    let gamma = bench.up(&[1.75], &[1]);
    let found = bench.run(|rec| prepare::sigma_reparam(rec, &tensor, &v, &gamma, &y));
    let sigma_now = read(&found)[0];
    assert!(sigma_now <= want * (1.0 + NEAR) && sigma_now > 0.2 * want, "{sigma_now} and {want}");
    near("over sigma", &[sigma(&read(&y), k)], &[1.75 * want / sigma_now], 1e-4);
    // No steps: of vectors that are kept, σ is their product.
    let found = bench.run(|rec| prepare::spectral_norm(rec, &tensor, &u, &v, 0, &y));
    let along = linear(&read(&v), &w, None, k);
    let product: f64 = read(&u).iter().zip(&along).map(|(u, w)| u * w).sum();
    near("a product", &read(&found), &[product], NEAR);
}

#[test]
fn standardised_rows_have_mean_0_and_deviation_1() {
    let bench = Bench::new();
    let [n, k] = [19, 27];
    // Far from zero, where one walk would lose everything.
    let w: Vec<f64> = random(n * k, 6).into_iter().map(|v| f64::from((v + 300.0) as f32)).collect();
    let (w, y) = (bench.up(&w, &[n, k]), bench.zeros(&[n, k]));
    for (by, divisor) in [
        (Standard::Outside(1e-5), k - 1),
        (Standard::Unbiased(1e-5), k - 1),
        (Standard::Biased(1e-6), k),
        (Standard::Scaled(1e-4), 1),
    ] {
        bench.run(|rec| prepare::standardise(rec, &w, by, 0.5, None, &y));
        for row in read(&y).chunks(k) {
            let mean = row.iter().sum::<f64>() / k as f64;
            let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / divisor as f64;
            assert!(mean.abs() < 1e-4 && (variance.sqrt() - 0.5).abs() < 2e-4, "{by:?}: {mean}, {variance}");
        }
    }
}

#[test]
fn kept_norms_fold_into_the_layers_beside_them() {
    let bench = Bench::new();
    let ([n, k], m) = ([13, 30], 7);
    let ((w, weight), (b, bias), (x, _)) = (bench.random(&[n, k], 7), bench.random(&[n], 8), bench.random(&[m, k], 9));
    let (y, z) = (bench.zeros(&[n, k]), bench.zeros(&[n]));
    let from = Layer { w: &weight, bias: Some(&bias) };
    let into = Layer { w: &y, bias: Some(&z) };
    let normed = |x: &[f64], [var, mean, gamma, beta]: &[Vec<f64>; 4], c: usize| -> Vec<f64> {
        let one = |i: usize| (x[i] - mean[i % c]) / (var[i % c] + 1e-3).sqrt() * gamma[i % c] + beta[i % c];
        (0..x.len()).map(one).collect()
    };
    // BatchNorm, and what has no mean: Unified Normalization, and PowerNorm behind its group norm.
    for with_mean in [true, false] {
        for before in [true, false] {
            let c = if before { k } else { n };
            let var: Vec<f64> = random(c, 10).iter().map(|v| f64::from((v.abs() + 0.25) as f32)).collect();
            let mean = if with_mean { random(c, 11) } else { vec![0.0; c] };
            let all = [var, mean, random(c, 12), random(c, 13)];
            let [v, mu, gamma, beta] = all.each_ref().map(|values| bench.up(values, &[c]));
            bench.run(|rec| {
                let mu = with_mean.then_some(&mu);
                let [scale, shift] = prepare::kept_norm(rec, &v, mu, Some(&gamma), Some(&beta), 1e-3)?;
                match before {
                    true => prepare::fold_before(rec, from, Some(&scale), Some(&shift), into),
                    false => prepare::fold_after(rec, from, &scale, Some(&shift), into),
                }
            });
            let folded = linear(&x, &read(&y), Some(&read(&z)), k);
            let want = match before {
                true => linear(&normed(&x, &all, k), &w, Some(&b), k),
                false => normed(&linear(&x, &w, Some(&b), k), &all, n),
            };
            near(&format!("mean {with_mean}, before {before}"), &folded, &want, 5.0 * NEAR);
        }
    }
}

/// Embedding, a block of norm, two linears and relu on a residual stream, a last norm and a head: with LayerNorm, with RMSNorm, with CRMSNorm.
#[test]
fn a_pre_norm_network_computes_the_same_without_means_and_without_a_feature() {
    let bench = Bench::new();
    let ([d, hidden, out, tokens], eps) = ([24, 31, 9, 6], 1e-3);
    let random = |shape: &[usize], seed| bench.random(shape, seed);
    let (embedding, e) = random(&[tokens, d], 20);
    let ((up, w1), (b1, bias1)) = (random(&[hidden, d], 21), random(&[hidden], 22));
    let ((down, w2), (b2, bias2)) = (random(&[d, hidden], 23), random(&[d], 24));
    let ((head, w3), (gamma, g), (beta, b)) = (random(&[out, d], 25), random(&[d], 26), random(&[d], 27));
    let network =
        |e: &[f64], [w1, w2, w3]: [&[f64]; 3], [b1, b2, b3]: [&[f64]; 3], norm: &dyn Fn(&[f64]) -> Vec<f64>| {
            let width = w1.len() / hidden;
            let mut inner = linear(&norm(e), w1, Some(b1), width);
            inner.iter_mut().for_each(|v| *v = v.max(0.0));
            let stream: Vec<f64> = linear(&inner, w2, Some(b2), hidden).iter().zip(e).map(|(v, e)| v + e).collect();
            linear(&norm(&stream), w3, Some(b3), width)
        };
    let affine = |x: Vec<f64>| x.iter().enumerate().map(|(i, v)| v * gamma[i % d] + beta[i % d]).collect::<Vec<_>>();
    let want = network(&embedding, [&up, &down, &head], [&b1, &b2, &[0.0; 9]], &|x| affine(norm(x, d, true, eps)));

    let (e_rms, up_rms, up_b) = (bench.zeros(&[tokens, d]), bench.zeros(&[hidden, d]), bench.zeros(&[hidden]));
    let (down_rms, down_b) = (bench.zeros(&[d, hidden]), bench.zeros(&[d]));
    let (head_rms, head_b) = (bench.zeros(&[out, d]), bench.zeros(&[out]));
    let layer = |w, bias| Layer { w, bias };
    bench.run(|rec| {
        prepare::fold_before(rec, layer(&w1, Some(&bias1)), Some(&g), Some(&b), layer(&up_rms, Some(&up_b)))?;
        prepare::fold_before(rec, layer(&w3, None), Some(&g), Some(&b), layer(&head_rms, Some(&head_b)))?;
        prepare::recentre(rec, layer(&e, None), Along::Rows, layer(&e_rms, None))?;
        prepare::recentre(rec, layer(&w2, Some(&bias2)), Along::Columns, layer(&down_rms, Some(&down_b)))
    });
    let [e1, u1, ub, d1, db, h1, hb] = [&e_rms, &up_rms, &up_b, &down_rms, &down_b, &head_rms, &head_b].map(read);
    let rms = network(&e1, [&u1, &d1, &h1], [&ub, &db, &hb], &|x| norm(x, d, false, eps));
    near("RMSNorm", &rms, &want, 1e-4);

    // One feature less: of producers the last row is left out, of consumers the last column is taken from the others.
    let (up_crms, head_crms) = (bench.zeros(&[hidden, d - 1]), bench.zeros(&[out, d - 1]));
    bench.run(|rec| {
        prepare::without_last(rec, &up_rms, &up_crms)?;
        prepare::without_last(rec, &head_rms, &head_crms)
    });
    let less: Vec<f64> = e1.chunks(d).flat_map(|row| row[..d - 1].to_vec()).collect();
    let (d2, db2) = (&d1[..(d - 1) * hidden], &db[..d - 1]);
    let crms = |x: &[f64]| {
        let row = |z: &[f64]| {
            let (sum, squares) = (z.iter().sum::<f64>(), z.iter().map(|v| v * v).sum::<f64>());
            let by = ((squares + sum * sum) / d as f64 + eps).sqrt();
            z.iter().map(|v| v / by).collect::<Vec<_>>()
        };
        x.chunks(d - 1).flat_map(row).collect()
    };
    let crms = network(&less, [&read(&up_crms), d2, &read(&head_crms)], [&ub, db2, &hb], &crms);
    near("CRMSNorm", &crms, &want, 1e-4);
}

#[test]
fn equalised_layers_have_equal_ranges_and_compute_the_same() {
    let bench = Bench::new();
    let ([k, channels, n], m) = ([15, 33, 10], 5);
    let ((mut w1, _), (b1, bias), (w2, second)) =
        (bench.random(&[channels, k], 30), bench.random(&[channels], 31), bench.random(&[n, channels], 32));
    // Ranges that are far apart, and a channel of zeros, which is left alone.
    for (row, values) in w1.chunks_mut(k).enumerate() {
        values.iter_mut().for_each(|v| *v = f64::from((*v * [1.0, 100.0, 0.01][row % 3]) as f32));
    }
    w1[4 * k..5 * k].fill(0.0);
    let first = bench.up(&w1, &[channels, k]);
    let (y1, z1, y2) = (bench.zeros(&[channels, k]), bench.zeros(&[channels]), bench.zeros(&[n, channels]));
    let into = (Layer { w: &y1, bias: Some(&z1) }, &y2);
    bench.run(|rec| prepare::equalise(rec, Layer { w: &first, bias: Some(&bias) }, &second, 1e-9, into));
    let (y1, z1, y2) = (read(&y1), read(&z1), read(&y2));
    for channel in (0..channels).filter(|c| *c != 4) {
        let before = y1[channel * k..(channel + 1) * k].iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let after = (0..n).fold(0.0f64, |m, row| m.max(y2[row * channels + channel].abs()));
        near("ranges", &[before / after], &[1.0], NEAR);
    }
    let x = random(m * k, 33);
    let relu = |v: Vec<f64>| v.into_iter().map(|v| v.max(0.0)).collect::<Vec<_>>();
    let was = linear(&relu(linear(&x, &w1, Some(&b1), k)), &w2, None, channels);
    let is = linear(&relu(linear(&x, &y1, Some(&z1), k)), &y2, None, channels);
    let size = was.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    near(
        "outputs",
        &is.iter().map(|v| v / size).collect::<Vec<_>>(),
        &was.iter().map(|v| v / size).collect::<Vec<_>>(),
        NEAR,
    );
}

#[test]
fn a_corrected_bias_keeps_the_mean_of_the_outputs() {
    let bench = Bench::new();
    let ([n, k], m) = ([14, 64], 20);
    let ((w, weight), (b, bias), (x, inputs)) =
        (bench.random(&[n, k], 40), bench.random(&[n], 41), bench.random(&[m, k], 42));
    let values: Vec<f32> = w.iter().map(|v| *v as f32).collect();
    let coded = Packed::encode(Format::Q4_0, n, k, &values).expect("codes").decode();
    let (quantised, z) = (bench.0.upload(&coded, [n, k], Elem::F32).expect("a tensor"), bench.zeros(&[n]));
    bench.run(|rec| {
        let of = prepare::stats(rec, &inputs, Along::Columns)?;
        prepare::correct_bias(rec, &weight, &quantised, &of.mean, Some(&bias), &z)
    });
    let coded: Vec<f64> = coded.into_iter().map(f64::from).collect();
    let means = |y: Vec<f64>| (0..n).map(|i| y.iter().skip(i).step_by(n).sum::<f64>() / m as f64).collect::<Vec<_>>();
    let (was, is) = (means(linear(&x, &w, Some(&b), k)), means(linear(&x, &coded, Some(&read(&z)), k)));
    near("means", &is, &was, NEAR);
    let plain = means(linear(&x, &coded, Some(&b), k));
    assert!(plain.iter().zip(&was).any(|(p, w)| (p - w).abs() > 20.0 * NEAR), "the codes lose nothing");
}

#[test]
fn scaled_inputs_and_columns_compute_the_same() {
    let bench = Bench::new();
    let ([n, k], m) = ([11, 40], 16);
    let ((w, weight), (x, inputs)) = (bench.random(&[n, k], 50), bench.random(&[m, k], 51));
    let y = bench.zeros(&[n, k]);
    let less = bench.run(|rec| {
        let [more, less] = prepare::input_scale(rec, &inputs, 0.5, 1e-4)?;
        rec.run(Rescale { col: Some(&more), ..Rescale::new(&weight, &y) })?;
        Ok(less)
    });
    let less = read(&less);
    let scaled: Vec<f64> = x.iter().enumerate().map(|(i, v)| v * less[i % k]).collect();
    near("outputs", &linear(&scaled, &read(&y), None, k), &linear(&x, &w, None, k), NEAR);
    // The square of a factor over the mean magnitude is 1.
    let mean = |i: usize| x.iter().skip(i).step_by(k).map(|v| v.abs()).sum::<f64>() / m as f64;
    near("factors", &(0..k).map(|i| less[i].powi(2) * mean(i)).collect::<Vec<_>>(), &vec![1.0; k], NEAR);
}

#[test]
fn wanda_leaves_the_two_of_four_that_matter() {
    let bench = Bench::new();
    let ([n, k], m) = ([17, 64], 9);
    let ((w, weight), (x, inputs)) = (bench.random(&[n, k], 60), bench.random(&[m, k], 61));
    let y = bench.zeros(&[n, k]);
    bench.run(|rec| prepare::wanda(rec, &weight, &inputs, [2, 4], &y));
    let y = read(&y);
    let size = |i: usize| x.iter().skip(i % k).step_by(k).map(|v| v * v).sum::<f64>().sqrt() * w[i].abs();
    for group in 0..n * k / 4 {
        let all: Vec<usize> = (group * 4..group * 4 + 4).collect();
        let (kept, gone): (Vec<usize>, Vec<usize>) = all.iter().partition(|i| y[**i] != 0.0);
        assert_eq!(kept.len(), 2, "group {group}");
        assert!(kept.iter().all(|i| y[*i] == w[*i]));
        let least = kept.iter().map(|i| size(*i)).fold(f64::INFINITY, f64::min);
        assert!(gone.iter().all(|i| size(*i) <= least * (1.0 + 1e-5)), "group {group}");
    }
    // The format that has two of four holds it without loss.
    let y: Vec<f32> = y.into_iter().map(|v| v as f32).collect();
    assert_eq!(Packed::encode(Format::Sparse24, n, k, &y).expect("two of four").decode(), y);
}

#[test]
fn what_is_held_out_is_what_clipping_took() {
    let bench = Bench::new();
    let [n, k] = [9, 200];
    let (mut w, _) = bench.random(&[n, k], 70);
    (w[3 * k + 7], w[8 * k + 199]) = (40.0, -60.0);
    let (weight, y) = (bench.up(&w, &[n, k]), bench.zeros(&[n, k]));
    let places = [[3, 7], [8, 199], [0, 0]];
    let [whole, lost] = bench.run(|rec| {
        prepare::clip_rows(rec, &weight, 3.0, &y)?;
        Ok([prepare::hold_out(rec, &weight, None, &places)?, prepare::hold_out(rec, &weight, Some(&y), &places)?])
    });
    let y = read(&y);
    assert_eq!(read(&whole), [40.0, -60.0, w[0]]);
    for (row, (w, y)) in w.chunks(k).zip(y.chunks(k)).enumerate() {
        let mean = w.iter().map(|v| v.abs()).sum::<f64>() / k as f64;
        let deviation = (w.iter().map(|v| (v.abs() - mean).powi(2)).sum::<f64>() / (k - 1) as f64).sqrt();
        let limit = mean + 3.0 * deviation;
        near(&format!("row {row}"), y, &w.iter().map(|v| v.clamp(-limit, limit)).collect::<Vec<_>>(), NEAR);
    }
    assert!(y[3 * k + 7] < 20.0 && y[8 * k + 199] > -30.0);
    // What is kept and what was lost make what was there.
    let lost = read(&lost);
    near("sums", &[y[3 * k + 7] + lost[0], y[8 * k + 199] + lost[1]], &[40.0, -60.0], NEAR);
}

#[test]
fn rows_of_one_sign_are_clipped_at_their_own_deviation() {
    let bench = Bench::new();
    let (n, k) = (40, 4096);
    // Far from zero beside how far they are apart; of such sums a few are far out.
    let parts = random(4 * n * k, 7);
    let near_one = |four: &[f64]| f64::from((1.0 + 3e-4 * four.iter().sum::<f64>()) as f32);
    let w: Vec<f64> = parts.chunks(4).enumerate().map(|(i, four)| near_one(four) * [1.0, -1.0][i / k % 2]).collect();
    let (weight, y) = (bench.up(&w, &[n, k]), bench.zeros(&[n, k]));
    bench.run(|rec| prepare::clip_rows(rec, &weight, 3.0, &y));
    for (row, (w, y)) in w.chunks(k).zip(read(&y).chunks(k)).enumerate() {
        let changed = w.iter().zip(y).filter(|(w, y)| w != y).count();
        assert!((1..k / 100).contains(&changed), "row {row}: {changed} of {k} are clipped");
    }
}

#[test]
fn bad_input_is_an_error_and_records_nothing() {
    let bench = Bench::new();
    let t = |shape: &[usize]| bench.zeros(shape);
    let (w, y, v, u, one) = (t(&[6, 8]), t(&[6, 8]), t(&[8]), t(&[6]), t(&[1]));
    let codes = bench.0.zeros([6, 8], Elem::I8).expect("codes");
    let layer = |w, bias| Layer { w, bias };
    let says = |error: String, words: &[&str]| {
        for word in words {
            assert!(error.contains(word), "{error:?} does not say {word:?}");
        }
    };
    says(bench.error(|r| prepare::weight_norm(r, &w, Some(&v), &y)), &["rescale: row has shape [8]", "6"]);
    says(bench.error(|r| prepare::weight_norm(r, &v, None, &y)), &["w has shape [8]", "two dimensions"]);
    says(bench.error(|r| prepare::weight_norm(r, &codes, None, &y)), &["w is stored as i8"]);
    says(
        bench.error(|r| prepare::standardise(r, &w, Standard::Biased(1e-5), 1.0, None, &t(&[6, 9]))),
        &["y has shape [6, 9]"],
    );
    let narrow = t(&[6, 1]);
    says(
        bench.error(|r| prepare::standardise(r, &narrow, Standard::Outside(1e-5), 1.0, None, &narrow)),
        &["count = 1, but an unbiased variance needs at least 2"],
    );
    says(bench.error(|r| prepare::clip_rows(r, &w, -1.0, &y)), &["deviations = -1"]);
    says(bench.error(|r| prepare::input_scale(r, &w, 9.0, 1e-4)), &["power = 9"]);
    says(bench.error(|r| prepare::spectral_norm(r, &w, &v, &v, 1, &y)), &["row_shift has shape [8]"]);
    says(bench.error(|r| prepare::sigma_reparam(r, &w, &v, &u, &y)), &["gamma has shape [6]", "one number"]);
    says(
        bench.error(|r| prepare::fold_before(r, layer(&w, None), None, Some(&v), layer(&y, None))),
        &["none to write it to"],
    );
    says(
        bench.error(|r| prepare::fold_after(r, layer(&w, None), &v, None, layer(&y, None))),
        &["row has shape [8], but w has rows 6"],
    );
    says(
        bench.error(|r| prepare::recentre(r, layer(&w, None), Along::Columns, layer(&y, Some(&v)))),
        &["the bias of the result has shape [8], but w has N = 6"],
    );
    says(bench.error(|r| prepare::without_last(r, &w, &y)), &["without_last", "[6, 8]"]);
    says(
        bench.error(|r| prepare::equalise(r, layer(&w, None), &t(&[3, 5]), 0.0, (layer(&y, None), &t(&[3, 5])))),
        &["6 outputs, but the second 5 inputs"],
    );
    says(bench.error(|r| prepare::correct_bias(r, &w, &t(&[5, 8]), &v, None, &u)), &["minus has shape [5, 8]"]);
    says(bench.error(|r| prepare::wanda(r, &w, &t(&[3, 7]), [2, 4], &y)), &["x has K = 7, but w has K = 8"]);
    says(bench.error(|r| prepare::wanda(r, &w, &w, [2, 5], &y)), &["of = 5", "4, 8 or 16"]);
    says(bench.error(|r| prepare::wanda(r, &w, &w, [5, 4], &y)), &["drop = 5"]);
    says(bench.error(|r| r.run(Prune { w: &w, norm: None, drop: 2, of: 16, y: &y })), &["K = 8", "multiple of 16"]);
    says(bench.error(|r| prepare::hold_out(r, &w, None, &[[0, 7], [6, 0]])), &["places = (6, 0)"]);
    says(
        bench.error(|r| r.run(Pick { w: &w, minus: None, places: &w, value: &u })),
        &["places is stored as f32, but must be u32"],
    );
    says(
        bench.error(|r| r.run(MatrixStats { w: &w, along: Along::Columns, stats: &t(&[4, 6]) })),
        &["stats has shape [4, 6]", "8 columns"],
    );
    says(
        bench.error(|r| r.run(MatrixStats { w: &t(&[0, 8]), along: Along::Rows, stats: &t(&[4, 0]) })),
        &["no numbers"],
    );
    says(
        bench.error(|r| r.run(MatrixVector { alpha: f32::NAN, ..MatrixVector::new(&w, &v, &u) })),
        &["alpha = NaN, but it must be a finite number"],
    );
    says(bench.error(|r| r.run(MatrixVector::new(&w, &u, &u))), &["x has shape [6]"]);
    let of = |rule: Rule<'_>| Factors { rule, scale: &u, shift: None }.problem().map(drop).expect_err("a fault");
    let by = Standard::Unbiased(1e-5);
    let rule = Rule::Standard { mean: &u, squares: &u, gain: None, count: 1, by, factor: 1.0 };
    says(of(rule).to_string(), &["count = 1, but an unbiased variance needs at least 2"]);
    says(of(Rule::Ratio { over: Some(&one), under: &u }).to_string(), &["over has shape [1], but scale has 6"]);
    says(of(Rule::Power { magnitude: &u, power: f32::INFINITY, least: 1e-4 }).to_string(), &["power = inf"]);
    let rule = Rule::Affine { variance: &u, mean: None, weight: None, bias: None, eps: -1.0 };
    assert!(matches!(of(rule), Error::Value { name: "eps", .. }));
    // A bias would fit, but not the matrix by columns.
    let small = Bench(bench.0.restricted(|caps| caps.storage_binding_bytes = 8 << 10));
    let [w, into] = [small.zeros(&[64, 64]), small.zeros(&[64, 64])];
    let [bias, into_bias] = [small.zeros(&[64]), small.zeros(&[64])];
    let (from, to) = (layer(&w, Some(&bias)), layer(&into, Some(&into_bias)));
    says(small.error(|r| prepare::recentre(r, from, Along::Columns, to)), &["storage_binding_bytes"]);
    // Nothing was written.
    assert!(read(&y).iter().all(|v| v.is_nan()));
}

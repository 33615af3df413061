//! Token skipping: what holds whatever the numbers are, and what is told of bad input.

#![allow(clippy::panic, reason = "a test fails by it")]

use gristmill::formats::{Format, Packed};
use gristmill::ops::Op;
use gristmill::ops::attention::Order;
use gristmill::ops::attention::prologue::{Projection, Prologue};
use gristmill::ops::depth::{Choose, Combine, GRIDS, GateOn, Route, Select, Take};
use gristmill::ops::linear::Linear;
use gristmill::ops::norm::{LayerNorm, RmsNorm};
use gristmill::{Dispatcher, Elem, Error, Tensor};
use pollster::block_on;

mod device;

use device::{gpu, read};

fn words(tensor: &Tensor) -> Vec<u32> {
    block_on(tensor.read_words()).unwrap_or_else(|e| panic!("{e}"))
}

/// Numbers between −1 and 1, the same every time.
fn noise(n: usize, seed: u32) -> Vec<f32> {
    let of = |i: usize| (i as u32 ^ seed).wrapping_mul(0x9e37_79b9).rotate_left(13).wrapping_mul(0x85eb_ca6b) >> 8;
    (0..n).map(|i| of(i) as f32 / (1 << 23) as f32 - 1.0).collect()
}

/// What a layer without attention does to a batch: routed, selected, its rows doubled with a third more as the MLP's, and ended.
struct Skipped {
    y: Vec<f32>,
    index: Vec<u32>,
    count: Vec<u32>,
}

fn skipped(gpu: &Dispatcher, [b, t, c]: [usize; 3], values: &[f32], target: &[f32], choose: Choose) -> Skipped {
    let made = || -> gristmill::Result<Skipped> {
        let x = gpu.upload(values, [b, t, c], Elem::F32)?;
        let target = gpu.upload(target, [b, t], Elem::U8)?;
        let weight = gpu.upload(&noise(c, 7), [c], Elem::F32)?;
        let (score, gate) = (gpu.zeros([b, t], Elem::F32)?, gpu.zeros([b, t], Elem::F32)?);
        let (count, index) = (gpu.zeros([b], Elem::U32)?, gpu.zeros([b, t], Elem::U32)?);
        let place = gpu.zeros([b, t], Elem::U32)?;
        let mut rec = gpu.record()?;
        rec.run(Route { gate: Some(&gate), ..Route::new(&x, &weight, &score) })?;
        let select = Select::new(&score, choose, &count);
        rec.run(Select { target: Some(&target), index: Some(&index), place: Some(&place), ..select })?;
        rec.submit()?;
        let rows: Vec<usize> = words(&index).into_iter().map(|i| i as usize).collect();
        // Places past the count have no row.
        let of = |scale: f32| {
            let row = |r: &usize| values.get(r * c..).map_or(vec![f32::NAN; c], |row| row[..c].to_vec());
            rows.iter().flat_map(row).map(|v| v * scale).collect()
        };
        let (h, m): (Vec<f32>, Vec<f32>) = (of(2.0), of(0.34));
        let (h, m) = (gpu.upload(&h, [b * t, c], Elem::F32)?, gpu.upload(&m, [b * t, c], Elem::F32)?);
        let y = gpu.zeros([b, t, c], Elem::F32)?;
        gpu.run(Combine::new(&x, &h, &m, &gate, &place, &y))?;
        Ok(Skipped { y: read(&y), index: words(&index), count: words(&count) })
    };
    made().unwrap_or_else(|e| panic!("{e}"))
}

/// Samples of unequal numbers, one of them of padding alone, one after the other: the same tokens in the same order, without places between.
#[test]
fn samples_follow_each_other_where_that_is_asked_for() {
    let made = || -> gristmill::Result<()> {
        let gpu = gpu();
        for (b, t, places) in [(3, 50, 50), (4, 3000, 3100), (1, 7, 7)] {
            let score = gpu.upload(&noise(b * t, 3), [b, t], Elem::F32)?;
            let valid: Vec<f32> = (0..b * t).map(|i| if i / t == 1 || i % 11 == 3 { 0.0 } else { 1.0 }).collect();
            let valid = gpu.upload(&valid, [b, t], Elem::U8)?;
            let (count, grids) = (gpu.zeros([b], Elem::I32)?, gpu.zeros([GRIDS, 3], Elem::U32)?);
            let (index, place) = (gpu.zeros([b, places], Elem::U32)?, gpu.zeros([b, t], Elem::U32)?);
            let starts = gpu.zeros([b + 1], Elem::I32)?;
            let (valid, index_of, place_of, grids_of) = (Some(&valid), Some(&index), Some(&place), Some(&grids));
            let apart = Select {
                valid,
                index: index_of,
                place: place_of,
                grids: grids_of,
                ..Select::new(&score, Choose::Above(0.1), &count)
            };
            gpu.run(apart)?;
            let (counts, apart_index, apart_place) = (words(&count), words(&index), words(&place));
            let mut want_starts = vec![0];
            counts.iter().for_each(|n| want_starts.push(want_starts[want_starts.len() - 1] + n));
            let all = want_starts[b];
            let mut want_index: Vec<u32> =
                (0..b).flat_map(|s| apart_index[s * places..][..counts[s] as usize].to_vec()).collect();
            want_index.resize(b * places, u32::MAX);
            let row = |at: usize, word: u32| match word & 3 {
                0 | 1 => word,
                kind => (word / 4 - (at / t * places) as u32 + want_starts[at / t]) * 4 + kind,
            };
            let want_place: Vec<u32> = apart_place.iter().enumerate().map(|(at, word)| row(at, *word)).collect();
            let close = Select { starts: Some(&starts), ..apart };
            for plan in gpu.plans(close)? {
                let mut rec = gpu.record()?;
                rec.run_plan(close, &plan.name)?;
                rec.submit()?;
                let got = (words(&starts), words(&index), words(&place), words(&grids));
                assert_eq!((&got.0, &got.1, &got.2), (&want_starts, &want_index, &want_place), "{b} by {t}: {plan}");
                assert_eq!((got.3[0], got.3[3 * (GRIDS - 1)]), (all, all), "{b} by {t}: {plan}");
            }
            let told = |op: Select<'_>| gpu.run(op).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(told(Select { place: None, ..close }).contains("without index and place"));
            assert!(told(Select { starts: Some(&count), ..close }).contains("starts has shape"));
        }
        Ok(())
    };
    made().unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn permuting_skipped_tokens_changes_nothing_but_their_own_rows() {
    let gpu = gpu();
    for (t, c) in [(50, 20), (3000, 8)] {
        let x = noise(2 * t * c, 1);
        let target: Vec<f32> = noise(2 * t, 2).iter().map(|v| if *v > -0.5 { 1.0 } else { 0.0 }).collect();
        let a = skipped(&gpu, [2, t, c], &x, &target, Choose::Ratio(0.4));
        let kept = |b: usize, run: &Skipped| run.index[b * t..][..run.count[b] as usize].to_vec();
        let all_kept: Vec<u32> = [kept(0, &a), kept(1, &a)].concat();
        let skipped_of =
            |b: usize| -> Vec<usize> { (b * t..(b + 1) * t).filter(|i| !all_kept.contains(&(*i as u32))).collect() };
        // Each skipped token's row goes to the next one.
        let (mut turned, mut from) = (x.clone(), (0..2 * t).collect::<Vec<_>>());
        for b in 0..2 {
            let some = skipped_of(b);
            assert!(some.len() > 10, "{} skipped", some.len());
            for (i, to) in some.iter().enumerate() {
                from[*to] = some[(i + 1) % some.len()];
                turned[to * c..][..c].copy_from_slice(&x[from[*to] * c..][..c]);
            }
        }
        let b = skipped(&gpu, [2, t, c], &turned, &target, Choose::Ratio(0.4));
        assert_eq!((&a.index, &a.count), (&b.index, &b.count));
        for (i, from) in from.iter().enumerate() {
            let bits = |y: &[f32], i: usize| y[i * c..][..c].iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&b.y, i), bits(&a.y, *from), "token {i}");
        }
    }
}

#[test]
fn keeping_every_token_changes_nothing_but_by_the_gate() {
    let gpu = gpu();
    let (t, c) = (70, 12);
    let x = noise(t * c, 3);
    let no_target = skipped(&gpu, [1, t, c], &x, &vec![0.0; t], Choose::Ratio(0.3));
    let want: Vec<u32> = x.iter().map(|v| (v * 2.0 + v * 0.34).to_bits()).collect();
    assert_eq!(no_target.y.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), want);
    for (choose, target) in [(Choose::Ratio(1.0), 1.0), (Choose::Count(t), 1.0), (Choose::Ratio(0.5), 0.0)] {
        let all = skipped(&gpu, [1, t, c], &x, &vec![target; t], choose);
        assert_eq!(all.index, (0..t as u32).collect::<Vec<_>>());
        assert_eq!(all.count, [t as u32]);
    }
}

/// The only operands of a selection that every caller has.
fn selection(gpu: &Dispatcher, b: usize, t: usize) -> gristmill::Result<(Tensor, Tensor)> {
    Ok((gpu.zeros([b, t], Elem::F32)?, gpu.zeros([b], Elem::U32)?))
}

#[test]
fn bad_input_is_told() {
    let gpu = gpu();
    let (score, count) = selection(&gpu, 2, 12).unwrap_or_else(|e| panic!("{e}"));
    let select = |choose| Select::new(&score, choose, &count);
    let told = |select: Select<'_>| match gpu.run(select) {
        Err(e) => e.to_string(),
        Ok(()) => panic!("no error of {select:?}"),
    };
    assert_eq!(told(select(Choose::Count(13))), "mod_select: k = 13 of 12, but there must be as many tokens");
    assert_eq!(
        told(Select { candidates: Some(&[7, 5]), ..select(Choose::Count(6)) }),
        "mod_select: k = 6 of 5, but no sample may have fewer candidates"
    );
    for ratio in [1.5, -0.1, f32::NAN, f32::INFINITY] {
        let want = format!("mod_select: ratio = {ratio}, but it must be from 0 to 1");
        assert_eq!(told(select(Choose::Ratio(ratio))), want);
    }
    assert_eq!(told(select(Choose::Above(f32::NAN))), "mod_select: threshold = NaN, but it must be a number");
    assert!(told(Select { candidates: Some(&[7]), ..select(Choose::Count(6)) }).contains("told of 1 samples"));
    assert!(told(Select { candidates: Some(&[7, 13]), ..select(Choose::Count(6)) }).contains("candidates = 13"));
    let few = gpu.zeros([2, 9], Elem::U32).expect("index");
    assert_eq!(
        told(Select { index: Some(&few), ..select(Choose::Count(3)) }),
        "mod_select: index has 9 places for a sample, but may need 12"
    );
    // 3 of 6 candidates and 6 others are 9.
    gpu.run(Select { index: Some(&few), candidates: Some(&[6, 7]), ..select(Choose::Count(3)) }).expect("enough");
    let flags = gpu.zeros([2, 12], Elem::F32).expect("flags");
    assert!(matches!(gpu.run(Select { target: Some(&flags), ..select(Choose::Count(3)) }), Err(Error::Storage { .. })));

    let x = gpu.zeros([2, 12, 8], Elem::F32).expect("x");
    let narrow = gpu.zeros([7], Elem::F32).expect("a router");
    let told = |r: gristmill::Result<()>| r.expect_err("bad input").to_string();
    assert_eq!(told(gpu.run(Route::new(&x, &narrow, &score))), "mod_route: weight has shape [7], but x has 8 features");
    let (h, y) = (gpu.zeros([20, 8], Elem::F32).expect("h"), gpu.zeros([2, 12, 8], Elem::F32).expect("y"));
    let place = gpu.zeros([2, 12], Elem::U32).expect("places");
    let combine = Combine::new(&x, &h, &h, &score, &place, &y);
    gpu.run(combine).expect("good");
    let ungated = Combine { gate: None, gate_on: GateOn::Layer, ..combine };
    assert_eq!(told(gpu.run(ungated)), "mod_combine: gate is missing, but something is multiplied by it");
    assert!(told(gpu.run(Combine { m: Some(&y), ..combine })).starts_with("mod_combine: m has shape"));
}

/// Runs every plan of an op for all rows and for those that the device has counted: what is made of the latter is the same, and what lies
/// further behind than a workgroup may reach is left alone. Gives the number of plans.
fn counts(gpu: &Dispatcher, rows: usize, width: usize, y: &Tensor, all: impl Op, counted: impl Op) -> usize {
    let run = |op: &dyn Fn(&mut gristmill::dispatch::Recorder<wgpu::CommandEncoder>) -> gristmill::Result<()>| {
        y.write(&vec![7.5; y.elements()])?;
        let mut rec = gpu.record()?;
        op(&mut rec)?;
        rec.submit()?;
        Ok::<_, Error>(read(y))
    };
    let plans = gpu.plans(&counted).unwrap_or_else(|e| panic!("{e}"));
    for plan in &plans {
        let made = || -> gristmill::Result<()> {
            let want = run(&|rec| rec.run_plan(&all, &plan.name))?;
            let got = run(&|rec| rec.run_plan(&counted, &plan.name))?;
            assert!(plan.steps.iter().any(|s| s.indirect.is_some()), "{plan}");
            let (bits, reach) =
                (|v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), if rows == 0 { 0 } else { rows + 255 });
            assert_eq!(bits(&got[..rows * width]), bits(&want[..rows * width]), "{plan}");
            // A grid that is folded ends with a whole fold.
            let folded = plan.steps.iter().any(|s| s.grid[1] > 1);
            let rest = got.get(reach * width..).filter(|_| !folded).unwrap_or_default();
            assert!(rest.iter().all(|v| *v == 7.5), "{plan}: rows past {rows} are written");
            Ok(())
        };
        made().unwrap_or_else(|e| panic!("{plan}: {e}"));
    }
    plans.len()
}

#[test]
fn ops_run_for_the_rows_that_the_device_has_counted() {
    let gpu = gpu();
    // Grids that are folded, and rows in several steps.
    let folded = gpu.restricted(|caps| caps.workgroups = 20);
    let parts = gpu.restricted(|caps| caps.storage_binding_bytes = 1 << 18);
    // More steps than a dispatch finds grids for.
    let many = gpu.restricted(|caps| caps.storage_binding_bytes = 1 << 16);
    for (gpu, [b, t, c], threshold) in [
        (&gpu, [1, 1200, 36], 0.6),
        (&gpu, [1, 600, 36], 1.5),
        (&gpu, [1, 1, 64], 1.5),
        (&gpu, [1, 1, 64], -1.5),
        (&gpu, [2, 3, 64], 0.0),
        (&gpu, [1, 20, 8200], 0.0),
        (&folded, [2, 700, 36], 0.3),
        (&parts, [1, 4000, 36], 0.0),
        (&many, [1, 2000, 36], 0.0),
    ] {
        let made = || -> gristmill::Result<()> {
            let score = gpu.upload(&noise(b * t, 5), [b, t], Elem::F32)?;
            let (count, index) = (gpu.zeros([b], Elem::I32)?, gpu.zeros([b, t], Elem::U32)?);
            // Not at the beginning of its buffer.
            let grids = gpu.zeros([3 + GRIDS * 3], Elem::U32)?.view(3, [GRIDS, 3])?;
            let select = Select::new(&score, Choose::Above(threshold), &count);
            gpu.run(Select { index: Some(&index), grids: Some(&grids), ..select })?;
            let rows = (b - 1) * t + words(&count)[b - 1] as usize;
            let x = gpu.upload(&noise(b * t * c, 1), [b, t, c], Elem::F32)?;
            let (y, sum) = (gpu.zeros([b, t, c], Elem::F32)?, gpu.zeros([b, t, c], Elem::F32)?);
            // The list may be read from anywhere, and a small binding does not have all.
            let list = (x.bytes() < gpu.caps().storage_binding_bytes).then_some(&index);
            let norm = RmsNorm { rows: list, sum: list.map(|_| &sum), ..RmsNorm::new(&x, &y) };
            counts(gpu, rows, c, &y, norm, RmsNorm { grids: Some(&grids), ..norm });
            if let Some(list) = list {
                counts(gpu, rows, c, &sum, norm, RmsNorm { grids: Some(&grids), rows: Some(list), ..norm });
            }
            let layer = LayerNorm { rows: list, ..LayerNorm::new(&x, &y) };
            counts(gpu, rows, c, &y, layer, LayerNorm { grids: Some(&grids), ..layer });
            let n = 100;
            let packed = Packed::encode(Format::Dense, n, c, &noise(n * c, 2)).expect("encoded");
            let w = gpu.weight(&packed)?;
            let y = gpu.zeros([b, t, n], Elem::F32)?;
            let linear = Linear::new(&x, &w, &y);
            counts(gpu, rows, n, &y, linear, Linear { grids: Some(&grids), ..linear });
            if list.is_some() && c < 100 {
                let y = gpu.zeros([b, t, c], Elem::F32)?;
                let from = Projection::Apart { q: Some(&x), k: None, v: None };
                let heads = (if c % 3 == 0 { 3 } else { 4 }, 1);
                let prologue = Prologue { y: Some(&y), order: Order::TokensFirst, ..Prologue::of(from, heads) };
                counts(gpu, rows, c, &y, prologue, Prologue { grids: Some(&grids), ..prologue });
            }
            Ok(())
        };
        made().unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn bad_grids_are_told() {
    let gpu = gpu();
    let told = |r: gristmill::Result<()>| r.expect_err("bad input").to_string();
    let zeros = |dims: &[usize], elem| gpu.zeros(dims, elem).expect("zeros");
    let (x, y) = (zeros(&[12, 8], Elem::F32), zeros(&[12, 8], Elem::F32));
    let norm = |grids: &Tensor| gpu.run(RmsNorm { grids: Some(grids), ..RmsNorm::new(&x, &y) });
    assert_eq!(told(norm(&zeros(&[9, 3], Elem::U32))), "rms_norm: grids has shape [9, 3], but must have [10, 3]");
    assert_eq!(told(norm(&zeros(&[10, 3], Elem::I32))), "rms_norm: grids is stored as i32, but must be u32");
    let plain = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 120,
        usage: wgpu::BufferUsages::STORAGE,
        mapped_at_creation: false,
    });
    let plain = gpu.wrap(&plain, 0, [GRIDS, 3], Elem::U32).expect("wrapped");
    let want =
        "rms_norm: grids has the grid of a dispatch, but its buffer's usage BufferUsages(STORAGE) lacks INDIRECT";
    assert_eq!(told(norm(&plain)), want);
}

#[test]
fn bad_lists_are_told() {
    let gpu = gpu();
    let told = |r: gristmill::Result<()>| r.expect_err("bad input").to_string();
    let zeros = |dims: &[usize], elem| gpu.zeros(dims, elem).expect("zeros");
    let (x, list) = (zeros(&[2, 12, 8], Elem::F32), zeros(&[2, 5], Elem::U32));
    let (y, sum) = (zeros(&[2, 5, 8], Elem::F32), zeros(&[2, 5, 8], Elem::F32));
    let norm = RmsNorm { rows: Some(&list), sum: Some(&sum), ..RmsNorm::new(&x, &y) };
    gpu.run(norm).expect("good");
    let signed = zeros(&[2, 5], Elem::I32);
    assert_eq!(
        told(gpu.run(RmsNorm { rows: Some(&signed), ..norm })),
        "rms_norm: rows is stored as i32, but must be u32"
    );
    let short = zeros(&[2, 4], Elem::U32);
    let want = "rms_norm: y has shape [2, 5, 8], but listed rows have [2, 4, 8]";
    assert_eq!(told(gpu.run(RmsNorm { rows: Some(&short), ..norm })), want);
    let want = "layer_norm: sum has shape [2, 12, 8], but listed rows have [2, 5, 8]";
    let layer = LayerNorm { rows: Some(&list), ..LayerNorm::new(&x, &y) };
    assert_eq!(told(gpu.run(LayerNorm { sum: Some(&x), ..layer })), want);
    let stats = zeros(&[10, 2], Elem::F32);
    let want = "layer_norm: stats cannot be had of listed rows";
    assert_eq!(told(gpu.run(LayerNorm { stats: Some(&stats), ..layer })), want);
    let nothing = zeros(&[0, 8], Elem::F32);
    let want = "rms_norm: rows are listed, but there are none";
    assert_eq!(told(gpu.run(RmsNorm { x: &nothing, sum: None, ..norm })), want);
    let take = Take { x: &x, len: 8, rows: &list, y: &y };
    gpu.run(take).expect("good");
    assert_eq!(told(gpu.run(Take { rows: &signed, ..take })), "mod_take: rows is stored as i32, but must be u32");
    assert!(told(gpu.run(Take { len: 7, ..take })).contains("not of rows of 7"));
    assert!(told(gpu.run(Take { rows: &short, ..take })).contains("but 8 rows of 8 are listed"));
    let (odd, of_odd) = (zeros(&[4, 3], Elem::F16), zeros(&[10, 3], Elem::F16));
    let want = "mod_take: rows of 6 bytes from byte 0 and 0 on are not whole words";
    assert_eq!(told(gpu.run(Take { x: &odd, len: 3, rows: &list, y: &of_odd })), want);
}

#[test]
fn rows_wider_than_a_binding_are_split() {
    let gpu = gpu();
    // 10 tokens and 5 or 10 kept rows a binding.
    let small = gpu.restricted(|caps| caps.storage_binding_bytes = 4400);
    let run = |gpu: &Dispatcher| {
        let made = || -> gristmill::Result<(Vec<f32>, Vec<f32>)> {
            let (x, h) = (noise(70 * 100, 1), noise(40 * 100, 2));
            let x = gpu.upload(&x, [70, 100], Elem::F32)?;
            let h = gpu.upload(&h, [40, 100], Elem::F32)?;
            let place: Vec<f32> = (0..70).map(|i| (i * 37 % 40 * 4 + i % 4) as f32).collect();
            let place = gpu.upload(&place, [70], Elem::U32)?;
            let weight = gpu.upload(&noise(100, 3), [100], Elem::F32)?;
            let (score, gate, y) =
                (gpu.zeros([70], Elem::F32)?, gpu.zeros([70], Elem::F32)?, gpu.zeros([70, 100], Elem::F32)?);
            let mut rec = gpu.record()?;
            rec.run(Route { gate: Some(&gate), ..Route::new(&x, &weight, &score) })?;
            rec.run(Combine::new(&x, &h, &h, &gate, &place, &y))?;
            rec.submit()?;
            Ok((read(&gate), read(&y)))
        };
        made().unwrap_or_else(|e| panic!("{e}"))
    };
    // Few rows have more lanes each, which add in another order.
    let ((gate, y), (of_small, y_small)) = (run(&gpu), run(&small));
    let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(close(&gate, &of_small) && close(&y, &y_small) && y.len() == y_small.len());
    let x = small.zeros([70, 100], Elem::F32).expect("x");
    let (score, place) = (small.zeros([70], Elem::F32).expect("score"), small.zeros([70], Elem::U32).expect("place"));
    let y = small.zeros([70, 100], Elem::F32).expect("y");
    let plans = small.plans(Combine::new(&x, &x, &x, &score, &place, &y)).expect("plans");
    assert!(plans[0].steps.len() >= 49, "{}", plans[0]);
}

//! Rows of a cache in every format, and caches that grow, are cut and fork, against a model on the host.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by it")]

use gristmill::kv_cache::{Coming, KvCache, KvRoom, KvShape};
use gristmill::kv_steps::{KvCopy, KvNumbers, NOWHERE};
use gristmill::ops::attention::prologue::{Angles, Projection, Prologue, Start, Turn};
use gristmill::ops::attention::rope::Rope;
use gristmill::ops::attention::{Attention, Order};
use gristmill::ops::depth::{Choose, GRIDS, Select, Take};
use gristmill::{Dispatcher, Elem, Error, KvFormat, KvRows, Op, Place, Recorder, Result, wgpu};
use pollster::block_on;

/// Numbers that differ, of both signs and several sizes; the same for the same seed.
fn numbers(n: usize, seed: usize) -> Vec<f32> {
    let of = |i: usize| {
        let mixed = (i + 1 + seed * 7919).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as usize) >> 40;
        (mixed % 4001) as f32 / 1000.0 - 2.0
    };
    (0..n).map(of).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn run_plan(gpu: &Dispatcher, op: impl Op, name: &str) -> Result<()> {
    let mut recorder = gpu.record()?;
    recorder.run_plan(op, name)?;
    recorder.submit()
}

#[test]
fn a_device_decodes_what_the_host_encodes() -> Result<()> {
    let gpu = block_on(Dispatcher::request())?;
    for (format, scale) in KvFormat::ALL.map(|format| (format, 1.0)).into_iter().chain([(KvFormat::E4m3, 0.375)]) {
        for width in [1, 31, 33, 64, 80, 129] {
            let rows = gpu.kv(format, 3, width)?;
            let rows = if scale == 1.0 { rows } else { rows.with_scale(scale)? };
            assert!(block_on(rows.read())?.iter().all(|v| *v == 0.0), "{format:?}: rows that nobody wrote");
            let values = numbers(3 * width, width);
            rows.write(&values)?;
            let y = gpu.zeros([3, width], Elem::F32)?;
            gpu.run(KvNumbers { rows: &rows, y: &y })?;
            let (device, host) = (block_on(y.read())?, block_on(rows.read())?);
            assert_eq!(bits(&device), bits(&host), "{format:?} by {width}");
            // Of a block's largest magnitude, 2 at most: half a step of each format, and a whole one where a code is at the end of its range.
            let step = match format {
                KvFormat::F32 => 0.0,
                KvFormat::F16 => 1e-3,
                KvFormat::Bf16 => 8e-3,
                KvFormat::Q8_0 => 2.0 / 127.0 * 0.51,
                KvFormat::Q4_0 => 2.0 / 8.0 * 1.01,
                KvFormat::E4m3 => 2.0 / 16.0,
            };
            for (got, want) in host.iter().zip(&values) {
                assert!((got - want).abs() <= step, "{format:?} by {width}: {got} for {want}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_prologue_writes_what_the_host_would() -> Result<()> {
    let gpu = block_on(Dispatcher::request())?;
    let (batch, tokens, groups, room) = (2, 3, 2, 5);
    for (keys, values) in KvFormat::ALL.into_iter().zip(KvFormat::ALL.into_iter().rev()) {
        for (d, e) in [(64, 64), (33, 80)] {
            // A power of two, by which any device divides as the host.
            let make = |format, width| match gpu.kv(format, batch * groups * room, width)? {
                rows if format == KvFormat::E4m3 => rows.with_scale(0.25),
                rows => Ok(rows),
            };
            let (k, v) = (numbers(batch * tokens * groups * d, 1), numbers(batch * tokens * groups * e, 2));
            let upload = |v: &[f32], w| gpu.upload(v, [batch, tokens, groups * w], Elem::F32);
            let (k_tensor, v_tensor) = (upload(&k, d)?, upload(&v, e)?);
            let from = Projection::Apart { q: None, k: Some(&k_tensor), v: Some(&v_tensor) };
            let (keys, values) = (make(keys, d)?, make(values, e)?);
            let want = [(make(keys.format(), d)?, &k, d), (make(values.format(), e)?, &v, e)];
            for (rows, x, width) in &want {
                // Token l of element b, head g: row (b·G + g)·room + 1 + l.
                let mut all = vec![0.0; batch * groups * room * width];
                for (t, token) in x.chunks(groups * width).enumerate() {
                    for (g, row) in token.chunks(*width).enumerate() {
                        let to = (t / tokens * groups + g) * room + 1 + t % tokens;
                        all[to * width..][..*width].copy_from_slice(row);
                    }
                }
                rows.write(&all)?;
            }
            let start = Start::At(1);
            let op =
                Prologue { keys: Some(&keys), values: Some(&values), start, ..Prologue::of(from, (groups, groups)) };
            for plan in gpu.plans(op)? {
                for rows in [&keys, &values] {
                    rows.write(&vec![0.0; rows.rows() * rows.width()])?;
                }
                run_plan(&gpu, op, &plan.name)?;
                for (got, (want, ..)) in [&keys, &values].into_iter().zip(&want) {
                    // A block that nobody writes has codes for 0 all the same.
                    let (bytes, host) = (block_on(got.tensor().read_bytes())?, block_on(want.tensor().read_bytes())?);
                    assert!(
                        bytes == host,
                        "{:?} by {}, {}: not the host's bytes",
                        got.format(),
                        got.width(),
                        plan.name
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn rows_are_copied_with_their_scales() -> Result<()> {
    let gpu = block_on(Dispatcher::request())?;
    for format in KvFormat::ALL {
        let rows = gpu.kv(format, 8, 96)?;
        let values = numbers(8 * 96, 3);
        rows.write(&values)?;
        let before = block_on(rows.read())?;
        gpu.run(KvCopy { rows: &rows, from: 1, to: 5, count: 3 })?;
        let mut want = before.clone();
        want.copy_within(96..4 * 96, 5 * 96);
        assert_eq!(bits(&block_on(rows.read())?), bits(&want), "{format:?}");
    }
    let odd = gpu.kv(KvFormat::F16, 8, 3)?;
    let told = gpu.run(KvCopy { rows: &odd, from: 1, to: 5, count: 2 }).unwrap_err().to_string();
    assert!(told.contains("not whole words"), "{told}");
    let told = gpu.run(KvCopy { rows: &odd, from: 0, to: 1, count: 2 }).unwrap_err().to_string();
    assert!(told.contains("overlap"), "{told}");
    Ok(())
}

/// A cache, and what each layer and sequence of it must hold: the number that each token was written with.
struct Model {
    gpu: Dispatcher,
    cache: KvCache,
    held: Vec<Vec<Vec<f32>>>,
    next: f32,
}

const LAYERS: usize = 2;
const BATCH: usize = 3;
const GROUPS: usize = 2;
const D: usize = 4;

/// Keys or values of tokens with these numbers: times so much, and a half more in the second head.
fn spread(tags: &[f32], width: usize, times: f32) -> Vec<f32> {
    let of = |t: &f32| (0..GROUPS * width).map(|i| t * times + if i < width { 0.0 } else { 0.5 }).collect::<Vec<_>>();
    tags.iter().flat_map(of).collect()
}

impl Model {
    fn new(room: KvRoom) -> Result<Self> {
        let gpu = block_on(Dispatcher::request())?;
        let (keys, values) = (KvFormat::F32, KvFormat::F16);
        let shape = KvShape { layers: LAYERS, batch: BATCH, groups: GROUPS, d: D, e: 2 * D, keys, values };
        let cache = KvCache::new(&gpu, shape, room)?;
        Ok(Self { gpu, cache, held: vec![vec![Vec::new(); BATCH]; LAYERS], next: 1.0 })
    }

    /// Tokens to all sequences in a layer, by the prologue.
    fn write(&mut self, recorder: &mut Recorder<wgpu::CommandEncoder>, layer: usize, n: &[usize]) -> Result<()> {
        self.write_padded(recorder, layer, n, 0)
    }

    fn write_padded(
        &mut self,
        recorder: &mut Recorder<wgpu::CommandEncoder>,
        layer: usize,
        n: &[usize],
        padding: usize,
    ) -> Result<()> {
        // As many as the most; the others have no room for what is too much, or it is past their length.
        let each = n.iter().copied().max().unwrap_or(0) + padding;
        let mut tags = vec![0.0; BATCH * each];
        for (b, n) in n.iter().enumerate() {
            for l in 0..*n {
                tags[b * each + l] = self.next;
                self.held[layer][b].push(self.next);
                self.next += 1.0;
            }
        }
        let k = self.gpu.upload(&spread(&tags, D, 1.0), [BATCH, each, GROUPS * D], Elem::F32)?;
        let v = self.gpu.upload(&spread(&tags, 2 * D, 2.0), [BATCH, each, GROUPS * 2 * D], Elem::F32)?;
        let of = self.cache.layer(layer)?;
        let from = Projection::Apart { q: None, k: Some(&k), v: Some(&v) };
        recorder.run(Prologue {
            keys: Some(of.keys),
            values: Some(of.values),
            place: of.place,
            start: of.start(),
            ..Prologue::of(from, (GROUPS, GROUPS))
        })
    }

    /// The device holds what the model says.
    fn check(&self, what: &str) -> Result<()> {
        for layer in 0..LAYERS {
            let of = self.cache.layer(layer)?;
            let lengths = block_on(of.lengths.read())?;
            let table = match of.place {
                gristmill::Place::Paged { table, page } => {
                    Some((block_on(table.read())?, page, table.shape().dims()[1]))
                }
                _ => None,
            };
            let (keys, values) = (block_on(of.keys.read())?, block_on(of.values.read())?);
            for b in 0..BATCH {
                let held = &self.held[layer][b];
                assert_eq!(lengths[b] as usize, held.len(), "{what}: layer {layer}, sequence {b}");
                if let Some(told) = self.cache.length(layer, b) {
                    assert_eq!(told, held.len(), "{what}: what the host knows of layer {layer}, sequence {b}");
                }
                for (j, tag) in held.iter().enumerate() {
                    for g in 0..GROUPS {
                        let row = match &table {
                            Some((table, page, each)) => {
                                (table[b * each + j / page] as usize * GROUPS + g) * page + j % page
                            }
                            None => (b * GROUPS + g) * self.cache.room() + j,
                        };
                        let half = g as f32 * 0.5;
                        let at = format!("{what}: layer {layer}, sequence {b}, token {j}, head {g}");
                        assert_eq!(keys[row * D..][..D], [tag + half; D], "{at}");
                        assert_eq!(values[row * 2 * D..][..2 * D], [2.0 * tag + half; 2 * D], "{at}");
                    }
                }
            }
        }
        Ok(())
    }
}

#[test]
fn padding_is_not_written_to_pages_that_a_fork_shares() -> Result<()> {
    let mut m = Model::new(KvRoom::Paged { page: 4, pages: 40, each: 8 })?;
    let mut rec = m.gpu.record()?;
    // The second layer has fewer tokens, so that cutting the longer first one leaves it pages that it does not reach.
    m.cache.append(&mut rec, 0..1, Coming::To { sequence: 0, tokens: 11 })?;
    m.write(&mut rec, 0, &[11, 0, 0])?;
    let counts = m.gpu.upload(&[5.0, 0.0, 0.0], [BATCH], Elem::I32)?;
    m.cache.append(&mut rec, 1..2, Coming::Kept { counts: &counts, tokens: &[5, 0, 0] })?;
    m.write(&mut rec, 1, &[5, 0, 0])?;
    for _ in 0..10 {
        m.cache.append(&mut rec, 0..LAYERS, Coming::To { sequence: 0, tokens: 1 })?;
        (0..LAYERS).try_for_each(|l| m.write(&mut rec, l, &[1, 0, 0]))?;
    }
    m.cache.fork(&mut rec, 0, 1)?;
    (0..LAYERS).for_each(|l| m.held[l][1] = m.held[l][0].clone());
    m.cache.take_back(&mut rec, 0, 5)?;
    (0..LAYERS).for_each(|l| {
        let left = m.held[l][0].len() - 5;
        m.held[l][0].truncate(left);
    });
    m.cache.append(&mut rec, 1..2, Coming::Listed(&[1, 0, 0]))?;
    m.write_padded(&mut rec, 1, &[1, 0, 0], 3)?;
    rec.submit()?;
    m.check("a fork beside padding")
}

/// Grows, forks, cuts and grows again, all in one submission where `at_once`.
fn grow_fork_cut(room: KvRoom, at_once: bool) -> Result<()> {
    let mut m = Model::new(room)?;
    let mut recorder = m.gpu.record()?;
    let step = |m: &mut Model, recorder: &mut Recorder<wgpu::CommandEncoder>, what: &str| -> Result<()> {
        if at_once {
            return Ok(());
        }
        let done = std::mem::replace(recorder, m.gpu.record()?);
        done.submit()?;
        m.check(what)
    };
    m.cache.append(&mut recorder, 0..LAYERS, Coming::Each(5))?;
    (0..LAYERS).try_for_each(|l| m.write(&mut recorder, l, &[5; BATCH]))?;
    step(&mut m, &mut recorder, "prefill")?;
    m.cache.fork(&mut recorder, 0, 2)?;
    (0..LAYERS).for_each(|l| m.held[l][2] = m.held[l][0].clone());
    step(&mut m, &mut recorder, "fork")?;
    // Layer by layer, as a decoder runs.
    for l in 0..LAYERS {
        m.cache.append(&mut recorder, l..l + 1, Coming::Each(2))?;
        m.write(&mut recorder, l, &[2; BATCH])?;
    }
    step(&mut m, &mut recorder, "both go on")?;
    m.cache.truncate(&mut recorder, 2, 3)?;
    (0..LAYERS).for_each(|l| m.held[l][2].truncate(3));
    step(&mut m, &mut recorder, "cut")?;
    m.cache.fork(&mut recorder, 2, 1)?;
    (0..LAYERS).for_each(|l| m.held[l][1] = m.held[l][2].clone());
    m.cache.append(&mut recorder, 0..LAYERS, Coming::Each(1))?;
    (0..LAYERS).try_for_each(|l| m.write(&mut recorder, l, &[1; BATCH]))?;
    step(&mut m, &mut recorder, "a fork of what was cut")?;
    // A device knows how many are left of four in layer 1; the host knows no more than that.
    let counts = m.gpu.upload(&[2.0, 0.0, -1.0], [BATCH], Elem::I32)?;
    m.cache.append(&mut recorder, 1..2, Coming::Counted { counts: &counts, most: 2 })?;
    m.write(&mut recorder, 1, &[2, 0, 0])?;
    assert_eq!((m.cache.length(0, 0), m.cache.length(1, 0)), (Some(8), None));
    recorder.submit()?;
    m.check("counts")
}

#[test]
fn a_static_cache_grows_forks_and_is_cut() -> Result<()> {
    grow_fork_cut(KvRoom::Static { tokens: 12 }, false)?;
    grow_fork_cut(KvRoom::Static { tokens: 12 }, true)
}

#[test]
fn a_paged_cache_grows_forks_and_is_cut() -> Result<()> {
    for page in [1, 4] {
        grow_fork_cut(KvRoom::Paged { page, pages: 48 / page, each: 12 / page }, false)?;
    }
    Ok(())
}

#[test]
fn what_is_recorded_runs_in_its_order() -> Result<()> {
    grow_fork_cut(KvRoom::Paged { page: 4, pages: 12, each: 3 }, true)
}

#[test]
fn forks_share_pages_until_one_writes() -> Result<()> {
    let mut m = Model::new(KvRoom::Paged { page: 4, pages: 7, each: 3 })?;
    let mut recorder = m.gpu.record()?;
    m.cache.append(&mut recorder, 0..LAYERS, Coming::To { sequence: 0, tokens: 6 })?;
    assert_eq!(m.cache.free_pages(), 5);
    m.cache.fork(&mut recorder, 0, 1)?;
    m.cache.fork(&mut recorder, 0, 2)?;
    assert_eq!(m.cache.free_pages(), 5);
    // The page that is begun is copied by two of three; the last keeps it.
    m.cache.append(&mut recorder, 0..LAYERS, Coming::Each(1))?;
    assert_eq!(m.cache.free_pages(), 3);
    m.cache.truncate(&mut recorder, 1, 4)?;
    assert_eq!(m.cache.free_pages(), 4);
    m.cache.clear(&mut recorder)?;
    assert_eq!(m.cache.free_pages(), 7);
    recorder.submit()?;
    m.check("cleared")
}

/// What a caller's encoder would have done to the table that was never submitted only the host believes, until the cache is cleared.
#[test]
fn a_cleared_table_names_no_page_whatever_was_dropped() -> Result<()> {
    let mut m = Model::new(KvRoom::Paged { page: 4, pages: 7, each: 3 })?;
    let mut recorder = m.gpu.record()?;
    m.cache.append(&mut recorder, 0..LAYERS, Coming::To { sequence: 0, tokens: 12 })?;
    recorder.submit()?;
    let mut dropped = m.gpu.device().create_command_encoder(&Default::default());
    m.cache.truncate(&mut m.gpu.record_into(&mut dropped)?, 0, 4)?;
    drop(dropped);
    let mut recorder = m.gpu.record()?;
    m.cache.clear(&mut recorder)?;
    // Of nothing anything can be taken, and nothing is.
    m.cache.take_back(&mut recorder, 0, usize::MAX)?;
    recorder.submit()?;
    let Place::Paged { table, .. } = m.cache.layer(0)?.place else { panic!("it has pages") };
    assert!(block_on(table.read_words())?.iter().all(|word| *word == u32::MAX));
    assert_eq!(block_on(m.cache.layer(0)?.lengths.read_words())?[0], 0);
    Ok(())
}

type Change = fn(&mut KvCache, &mut Recorder<wgpu::CommandEncoder>) -> Result<()>;

/// What the host believed by a recorder of its own encoder that is dropped it believes no more, and goes on with the device.
#[test]
fn what_a_dropped_recorder_has_changed_is_undone() -> Result<()> {
    let changes: [(&str, Change); 8] = [
        ("a token", |cache, rec| cache.append(rec, 0..LAYERS, Coming::Each(1)).map(drop)),
        ("pages", |cache, rec| cache.append(rec, 0..1, Coming::Listed(&[6, 5, 1])).map(drop)),
        ("a cut", |cache, rec| cache.truncate(rec, 0, 1)),
        ("the last", |cache, rec| cache.take_back(rec, 1, 2)),
        ("a fork", |cache, rec| cache.fork(rec, 0, 2)),
        ("a fork that is written to", |cache, rec| {
            cache.fork(rec, 1, 0)?;
            cache.append(rec, 0..LAYERS, Coming::To { sequence: 0, tokens: 2 })?;
            cache.take_back(rec, 0, 5)
        }),
        ("all", |cache, rec| cache.clear(rec)),
        ("what fails", |cache, rec| {
            cache.append(rec, 0..LAYERS, Coming::Each(1))?;
            cache.fork(rec, 1, 1).or(Ok(()))
        }),
    ];
    for room in [KvRoom::Static { tokens: 12 }, KvRoom::Paged { page: 4, pages: 14, each: 4 }] {
        let mut m = Model::new(room)?;
        for (what, change) in changes {
            let mut recorder = m.gpu.record()?;
            m.cache.append(&mut recorder, 0..LAYERS, Coming::Listed(&[1, 1, 0]))?;
            (0..LAYERS).try_for_each(|l| m.write(&mut recorder, l, &[1, 1, 0]))?;
            recorder.submit()?;
            let known = |m: &Model| {
                let lengths = (0..LAYERS * BATCH).map(|i| m.cache.length(i / BATCH, i % BATCH)).collect::<Vec<_>>();
                (lengths, m.cache.free_pages())
            };
            let before = known(&m);
            for kept in [false, true] {
                if kept {
                    let gpu = m.gpu.clone();
                    let told = gpu.keep(|rec| change(&mut m.cache, rec).and(Err(Error::Lost { reason: what.into() })));
                    assert!(told.is_err());
                } else {
                    let mut dropped = m.gpu.record()?;
                    // Early on there is less than is taken back; what was changed until then is undone all the same.
                    let _ = change(&mut m.cache, &mut dropped);
                    drop(dropped);
                }
                assert_eq!(known(&m), before, "{room:?}, {what}");
                m.check(&format!("{room:?}, {what}"))?;
            }
        }
        // To the end of the room, as though none of these had been.
        let (mut recorder, left) = (m.gpu.record()?, [4, 4, 0]);
        m.cache.append(&mut recorder, 0..LAYERS, Coming::Listed(&left))?;
        (0..LAYERS).try_for_each(|l| m.write(&mut recorder, l, &left))?;
        recorder.submit()?;
        m.check("at last")?;
    }
    Ok(())
}

#[test]
fn what_is_full_says_so() -> Result<()> {
    let mut m = Model::new(KvRoom::Static { tokens: 12 })?;
    let mut recorder = m.gpu.record()?;
    m.cache.append(&mut recorder, 0..LAYERS, Coming::Each(10))?;
    let told = m.cache.append(&mut recorder, 1..2, Coming::To { sequence: 1, tokens: 3 }).unwrap_err().to_string();
    assert_eq!(told, "kv cache: needs 13 of room for tokens, but there are 12");
    let mut m = Model::new(KvRoom::Paged { page: 4, pages: 7, each: 12 })?;
    let mut recorder = m.gpu.record()?;
    m.cache.append(&mut recorder, 0..LAYERS, Coming::Each(5))?;
    let told = m.cache.append(&mut recorder, 0..1, Coming::To { sequence: 1, tokens: 8 }).unwrap_err().to_string();
    assert_eq!(told, "kv cache: needs 2 of free pages, but there are 1");
    // Nothing has changed by that.
    assert_eq!((m.cache.length(0, 1), m.cache.free_pages()), (Some(5), 1));
    m.cache.append(&mut recorder, 0..1, Coming::To { sequence: 1, tokens: 7 })?;
    assert_eq!((m.cache.length(0, 1), m.cache.free_pages()), (Some(12), 0));
    for told in [
        m.cache.append(&mut recorder, 1..3, Coming::Each(1)).unwrap_err(),
        m.cache.append(&mut recorder, 0..1, Coming::To { sequence: 3, tokens: 1 }).unwrap_err(),
        m.cache.truncate(&mut recorder, 3, 1).unwrap_err(),
        m.cache.fork(&mut recorder, 1, 1).unwrap_err(),
        m.cache.layer(2).unwrap_err(),
    ] {
        assert!(told.to_string().starts_with("kv cache: "), "{told}");
    }
    Ok(())
}

/// Whatever is wrong with what is told, neither the host nor the device has counted anything.
#[test]
fn what_fails_has_counted_nothing() -> Result<()> {
    let mut m = Model::new(KvRoom::Paged { page: 4, pages: 9, each: 3 })?;
    let (other, mut recorder) = (block_on(Dispatcher::request())?, m.gpu.record()?);
    m.cache.append(&mut recorder, 0..LAYERS, Coming::Each(2))?;
    (0..LAYERS).try_for_each(|l| m.write(&mut recorder, l, &[2; BATCH]))?;
    m.cache.fork(&mut recorder, 0, 1)?;
    (0..LAYERS).for_each(|l| m.held[l][1] = m.held[l][0].clone());
    let (words, short) = (m.gpu.zeros([BATCH], Elem::U32)?, m.gpu.zeros([BATCH - 1], Elem::I32)?);
    let foreign = other.zeros([BATCH], Elem::I32)?;
    let before = (recorder.dispatches(), m.cache.free_pages());
    for (counts, told) in [
        (&words, "kv_state: counts is stored as u32, but must be i32"),
        (&short, "kv_state: counts have shape [2], but the batch has 3 elements"),
        (&foreign, "kv_state: counts belongs to another dispatcher"),
    ] {
        for coming in [Coming::Counted { counts, most: 3 }, Coming::Kept { counts, tokens: &[3; BATCH] }] {
            assert_eq!(m.cache.append(&mut recorder, 0..1, coming).unwrap_err().to_string(), told);
        }
    }
    let counts = m.gpu.zeros([BATCH], Elem::I32)?;
    for coming in [Coming::Listed(&[1, 2]), Coming::Kept { counts: &counts, tokens: &[1] }] {
        let told = m.cache.append(&mut recorder, 0..1, coming).unwrap_err().to_string();
        assert!(told.ends_with("are listed for 3 sequences"), "{told}");
    }
    let mut theirs = other.record()?;
    for told in [
        m.cache.append(&mut theirs, 0..LAYERS, Coming::Each(3)).map(drop),
        m.cache.truncate(&mut theirs, 0, 1),
        m.cache.fork(&mut theirs, 0, 2),
    ] {
        assert!(matches!(told, Err(Error::Foreign { .. })), "{told:?}");
    }
    assert_eq!(theirs.dispatches(), 0);
    assert_eq!((recorder.dispatches(), m.cache.free_pages()), before);
    m.cache.append(&mut recorder, 0..LAYERS, Coming::Each(3))?;
    (0..LAYERS).try_for_each(|l| m.write(&mut recorder, l, &[3; BATCH]))?;
    recorder.submit()?;
    m.check("after errors")
}

/// Layers that are recorded without the append go on through pages, forks and cuts; a recorded append is refused where it would set pages
/// back, or copy them once more.
#[test]
fn replays_leave_pages_to_those_who_have_them() -> Result<()> {
    let mut m = Model::new(KvRoom::Paged { page: 4, pages: 12, each: 4 })?;
    let gpu = m.gpu.clone();
    let tokens = |width: usize| gpu.zeros([BATCH, 1, GROUPS * width], Elem::F32);
    let (k, v) = (tokens(D)?, tokens(2 * D)?);
    let layers = gpu.keep(|rec| {
        (0..LAYERS).try_for_each(|l| {
            let of = m.cache.layer(l)?;
            rec.run(Prologue {
                keys: Some(of.keys),
                values: Some(of.values),
                place: of.place,
                start: of.start(),
                ..Prologue::of(Projection::Apart { q: None, k: Some(&k), v: Some(&v) }, (GROUPS, GROUPS))
            })
        })
    })?;
    for step in 0..14 {
        let mut recorder = gpu.record()?;
        if step == 6 {
            m.cache.fork(&mut recorder, 0, 2)?;
            m.held.iter_mut().for_each(|held| held[2] = held[0].clone());
        }
        if step == 11 {
            m.cache.take_back(&mut recorder, 1, 4)?;
            m.held.iter_mut().for_each(|held| held[1].truncate(7));
        }
        m.cache.append(&mut recorder, 0..LAYERS, Coming::Each(1))?;
        let tags: Vec<f32> = (0..BATCH).map(|b| (step * BATCH + b + 1) as f32).collect();
        k.write(&spread(&tags, D, 1.0))?;
        v.write(&spread(&tags, 2 * D, 2.0))?;
        m.held.iter_mut().for_each(|held| held.iter_mut().zip(&tags).for_each(|(held, tag)| held.push(*tag)));
        recorder.replay(&layers)?;
        recorder.submit()?;
        m.check(&format!("step {step}"))?;
    }

    // The append takes no page, then one, then copies one; after each recording something happens.
    let of_room = || KvRoom::Paged { page: 4, pages: 12, each: 4 };
    let refused = "kv cache: pages are no longer as the recorded append sets them: append anew";
    for (before, after, want) in [
        (1, "", None),
        (4, "", None),
        (4, "fork", None),
        (4, "move", Some(refused)),
        (4, "cut", Some(refused)),
        (2, "copy", Some(refused)),
    ] {
        let mut m = Model::new(of_room())?;
        let mut recorder = m.gpu.record()?;
        m.cache.append(&mut recorder, 0..LAYERS, Coming::Each(before))?;
        if after == "copy" {
            m.cache.fork(&mut recorder, 0, 1)?;
        }
        let mut appended = None;
        let gpu = m.gpu.clone();
        let _step = gpu.keep(|rec| {
            appended = Some(m.cache.append(rec, 0..LAYERS, Coming::Each(1))?);
            Ok(())
        })?;
        match after {
            "fork" => m.cache.fork(&mut recorder, 2, 1)?,
            "move" => {
                m.cache.fork(&mut recorder, 2, 1)?;
                m.cache.append(&mut recorder, 0..LAYERS, Coming::Each(1)).map(drop)?;
            }
            "cut" => m.cache.truncate(&mut recorder, 1, 2)?,
            _ => {}
        }
        let known = m.cache.length(0, 0);
        let appended = appended.unwrap();
        let of_another = Model::new(of_room())?.cache.again(&appended).unwrap_err().to_string();
        assert_eq!(of_another, "kv cache: the append was to another cache");
        let told = m.cache.again(&appended).map_err(|e| e.to_string());
        // Whether a fork replaced pages or shares them, a page is wanted or has moved.
        match (after, want) {
            ("fork", _) => assert!(told.is_err(), "fork"),
            (_, want) => assert_eq!(told.as_ref().err().map(String::as_str), want, "{before} {after}"),
        }
        assert_eq!(m.cache.length(0, 0), known.map(|n| n + usize::from(told.is_ok())), "{before} {after}");
    }
    Ok(())
}

/// What comes to nobody, and what comes past the pages that a sequence has, is written nowhere.
#[test]
fn tokens_go_to_their_own_sequence_alone() -> Result<()> {
    for room in [KvRoom::Static { tokens: 12 }, KvRoom::Paged { page: 4, pages: 9, each: 3 }] {
        let mut m = Model::new(room)?;
        let mut recorder = m.gpu.record()?;
        // Sequences 0 and 1 have a page; they are told of 2 tokens, and 5 are made.
        m.cache.append(&mut recorder, 0..LAYERS, Coming::Listed(&[2, 1, 0]))?;
        (0..LAYERS).try_for_each(|l| m.write(&mut recorder, l, &[2, 1, 0]))?;
        let before = m.next;
        m.next = 100.0;
        let held = m.held.clone();
        m.write(&mut recorder, 0, &[5, 5, 5])?;
        (m.held, m.next) = (held, before);
        (0..2).for_each(|b| m.held[0][b].iter_mut().enumerate().for_each(|(i, tag)| *tag = (100 + 5 * b + i) as f32));
        // One prompt to one of them, and others in its batch.
        m.cache.append(&mut recorder, 0..LAYERS, Coming::To { sequence: 1, tokens: 4 })?;
        (0..LAYERS).try_for_each(|l| m.write(&mut recorder, l, &[0, 4, 0]))?;
        let of = m.cache.layer(0)?;
        let starts = of.starts;
        m.cache.fork(&mut recorder, 1, 2)?;
        (0..LAYERS).for_each(|l| m.held[l][2] = m.held[l][1].clone());
        recorder.submit()?;
        m.check(&format!("{room:?}"))?;
        assert_eq!(block_on(starts.read())?, [NOWHERE as f32, 1.0, NOWHERE as f32]);
        if let (Place::Paged { table, .. }, mut recorder) = (m.cache.layer(0)?.place, m.gpu.record()?) {
            assert_eq!(block_on(table.read())?, [0.0, -1.0, -1.0, 1.0, 2.0, -1.0, 1.0, 2.0, -1.0]);
            let table = table.clone();
            m.cache.truncate(&mut recorder, 1, 1)?;
            m.cache.fork(&mut recorder, 0, 2)?;
            recorder.submit()?;
            assert_eq!(block_on(table.read())?, [0.0, -1.0, -1.0, 1.0, -1.0, -1.0, 0.0, -1.0, -1.0]);
            assert_eq!(m.cache.free_pages(), 7);
        }
    }
    Ok(())
}

/// A layer that tokens skipped loses as many as the others, as far back as none skipped it; further back it is an error.
#[test]
fn layers_that_skipped_are_cut_where_that_is_known() -> Result<()> {
    let mut m = Model::new(KvRoom::Paged { page: 4, pages: 90, each: 30 })?;
    let mut recorder = m.gpu.record()?;
    let kept = m.gpu.upload(&[60.0, 7.0, 0.0], [BATCH], Elem::I32)?;
    m.cache.append(&mut recorder, 0..1, Coming::Each(100))?;
    m.cache.append(&mut recorder, 1..2, Coming::Counted { counts: &kept, most: 70 })?;
    m.cache.append(&mut recorder, 0..2, Coming::Each(10))?;
    let told = m.cache.truncate(&mut recorder, 0, 99).unwrap_err().to_string();
    let want = "kv cache: of the last 11 tokens of sequence 0 layer 1 surely holds 10, and may hold others before them";
    assert_eq!(told, want);
    assert_eq!(m.cache.take_back(&mut recorder, 0, 11).unwrap_err().to_string(), want);
    // A fork keeps what the host does not know.
    m.cache.fork(&mut recorder, 1, 2)?;
    m.cache.truncate(&mut recorder, 0, 105)?;
    m.cache.take_back(&mut recorder, 1, 10)?;
    m.cache.truncate(&mut recorder, 1, 100)?;
    let lengths = |m: &Model| (0..2).map(|l| block_on(m.cache.layer(l)?.lengths.read())).collect::<Result<Vec<_>>>();
    recorder.submit()?;
    assert_eq!(lengths(&m)?, [[105.0, 100.0, 110.0], [65.0, 7.0, 17.0]]);
    assert_eq!((m.cache.length(0, 0), m.cache.length(1, 0), m.cache.length(0, 1)), (Some(105), None, Some(100)));
    // Between the appends to each layer nobody knows which is right.
    let mut recorder = m.gpu.record()?;
    m.cache.clear(&mut recorder)?;
    m.cache.append(&mut recorder, 0..2, Coming::Each(3))?;
    m.cache.append(&mut recorder, 0..1, Coming::Each(1))?;
    let told = m.cache.truncate(&mut recorder, 0, 2).unwrap_err().to_string();
    assert_eq!(told, "kv cache: layer 1 holds 3 tokens of sequence 0, others 4, though none was skipped");
    // Where every layer is skipped there is no length to cut to.
    m.cache.clear(&mut recorder)?;
    m.cache.append(&mut recorder, 0..2, Coming::Kept { counts: &kept, tokens: &[60, 7, 0] })?;
    m.cache.append(&mut recorder, 0..2, Coming::Each(2))?;
    let told = m.cache.truncate(&mut recorder, 0, 61).unwrap_err().to_string();
    assert!(told.contains("skipped every layer"), "{told}");
    m.cache.take_back(&mut recorder, 0, 1)?;
    assert_eq!((m.cache.length(1, 0), m.cache.length(1, 1)), (Some(61), Some(9)));
    m.cache.truncate(&mut recorder, 1, 0)?;
    recorder.submit()?;
    assert_eq!(lengths(&m)?, [[61.0, 0.0, 2.0]; 2]);
    Ok(())
}

/// Forks go on sharing what is surely before the tokens that come, and pages that follow each other are copied at once.
#[test]
fn forks_share_what_a_layer_surely_holds() -> Result<()> {
    for known in [false, true] {
        let mut m = Model::new(KvRoom::Paged { page: 4, pages: 90, each: 30 })?;
        let mut recorder = m.gpu.record()?;
        m.cache.append(&mut recorder, 0..2, Coming::To { sequence: 0, tokens: 78 })?;
        let kept = m.gpu.upload(&[1.0, 0.0, 0.0], [BATCH], Elem::I32)?;
        let coming = if known {
            Coming::Kept { counts: &kept, tokens: &[1, 0, 0] }
        } else {
            Coming::Counted { counts: &kept, most: 2 }
        };
        m.cache.append(&mut recorder, 1..2, coming)?;
        assert_eq!(m.cache.length(1, 0), known.then_some(79));
        m.cache.fork(&mut recorder, 0, 1)?;
        let before = (m.cache.free_pages(), recorder.dispatches());
        m.cache.append(&mut recorder, 0..2, Coming::To { sequence: 1, tokens: 1 })?;
        // Tokens 76 to 79 are on the page that is copied, keys and values of two layers; unknown, a second page may be written to.
        assert_eq!(before.0 - m.cache.free_pages(), if known { 1 } else { 2 });
        assert!(recorder.dispatches() - before.1 <= 4 + 3, "{}", recorder.dispatches() - before.1);
    }
    // What nobody knows costs a copy of all pages, in as few dispatches as there are runs of them.
    let mut m = Model::new(KvRoom::Paged { page: 4, pages: 90, each: 30 })?;
    let mut recorder = m.gpu.record()?;
    let kept = m.gpu.upload(&[50.0, 0.0, 0.0], [BATCH], Elem::I32)?;
    m.cache.append(&mut recorder, 0..2, Coming::Counted { counts: &kept, most: 80 })?;
    m.cache.fork(&mut recorder, 0, 1)?;
    let before = (m.cache.free_pages(), recorder.dispatches());
    m.cache.append(&mut recorder, 0..2, Coming::To { sequence: 1, tokens: 1 })?;
    assert_eq!((before.0 - m.cache.free_pages(), recorder.dispatches() - before.1), (21, 4 + 3));
    Ok(())
}

#[test]
fn caches_that_cannot_be_are_errors() -> Result<()> {
    let gpu = block_on(Dispatcher::request())?;
    let of = |keys, values, d| KvShape { layers: 1, batch: 1, groups: 1, d, e: d, keys, values };
    let odd = of(KvFormat::F16, KvFormat::Bf16, 33);
    // A room that would end within a word is one token larger.
    assert_eq!(KvCache::new(&gpu, odd, KvRoom::Static { tokens: 7 })?.room(), 8);
    assert_eq!(KvCache::new(&gpu, odd, KvRoom::Paged { page: 7, pages: 2, each: 2 })?.room(), 16);
    assert_eq!(KvCache::new(&gpu, of(KvFormat::F32, KvFormat::Q8_0, 33), KvRoom::Static { tokens: 7 })?.room(), 7);
    let (most, one) = (usize::MAX, KvRoom::Static { tokens: 8 });
    for (shape, room) in [
        (KvShape { groups: most, ..odd }, one),
        (KvShape { layers: most, ..odd }, one),
        (KvShape { batch: most, ..odd }, one),
        (KvShape { d: most, ..odd }, one),
        (KvShape { e: most, values: KvFormat::Q4_0, ..odd }, one),
        (odd, KvRoom::Static { tokens: most }),
        (odd, KvRoom::Static { tokens: NOWHERE }),
        (odd, KvRoom::Paged { page: 2, pages: 2, each: most }),
        (odd, KvRoom::Paged { page: 2, pages: most, each: 2 }),
        (odd, KvRoom::Paged { page: most, pages: 2, each: 2 }),
    ] {
        let told = KvCache::new(&gpu, shape, room);
        assert!(matches!(told, Err(Error::Limit { .. })), "{shape:?}, {room:?}: {told:?}");
    }
    let mut cache = KvCache::new(&gpu, of(KvFormat::E4m3, KvFormat::F16, 32), KvRoom::Static { tokens: 2 })?;
    cache.scale(0, Some(0.5), None)?;
    let rows = cache.layer(0)?.keys.clone();
    rows.write(&[1000.0; 64])?;
    assert_eq!(block_on(cache.layer(0)?.keys.read())?, [224.0; 64]);
    assert!(cache.scale(0, None, Some(0.5)).unwrap_err().to_string().contains("the format e4m3"));
    assert!(cache.scale(1, None, None).unwrap_err().to_string().contains("no layer 1"));
    Ok(())
}

#[test]
fn rows_that_cannot_be_are_errors() -> Result<()> {
    let gpu = block_on(Dispatcher::request())?;
    let words = gpu.zeros([40], Elem::U32)?;
    // Two blocks of eight words and a word of scales: 17 a row, and the whole a multiple of four.
    assert_eq!(KvFormat::Q8_0.row_bytes(64), 68);
    assert_eq!((KvFormat::Q4_0.row_bytes(33), KvFormat::E4m3.row_bytes(33), KvFormat::F16.row_bytes(33)), (36, 64, 66));
    let told = KvRows::over(&words, KvFormat::Q8_0, 2, 64).unwrap_err().to_string();
    assert_eq!(told, "kv rows: 2 rows of 64 numbers in q8_0 are 144 bytes, not 160");
    let view = words.view(1, [36])?;
    let told = KvRows::over(&view, KvFormat::Q8_0, 2, 64).unwrap_err().to_string();
    assert_eq!(told, "kv rows: codes begin at byte 4, not at a multiple of 16");
    assert!(KvRows::over(&words.view(4, [36])?, KvFormat::Q8_0, 2, 64).is_ok());
    assert!(KvRows::of(&words).unwrap_err().to_string().contains("u32"));
    let rows = gpu.kv(KvFormat::Q8_0, 1, 32)?;
    assert!(rows.with_scale(2.0).unwrap_err().to_string().contains("the format e4m3"));
    let rows = gpu.kv(KvFormat::E4m3, 1, 2)?.with_scale(0.5)?;
    rows.write(&[1000.0, -0.75])?;
    assert_eq!(block_on(rows.read())?, [224.0, -0.75]);
    Ok(())
}

/// Where the host knows the place of a token it is held against the tables; of ragged sequences it knows their mean length.
#[test]
fn places_past_the_tables_are_told() -> Result<()> {
    let gpu = block_on(Dispatcher::request())?;
    let (tokens, d, rows) = (3, 8, 8);
    let x = gpu.upload(&numbers(tokens * d, 1), [1, tokens, d], Elem::F32)?;
    let (table, y) =
        (gpu.zeros([rows, d / 2], Elem::F32)?, gpu.upload(&numbers(tokens * d, 2), [tokens, d], Elem::F32)?);
    let turn = |angles| Turn { cos: &table, sin: &table, angles, interleaved: false, before_norm: false };
    let whole = y.view(0, [1, tokens, d])?;
    let of = Prologue {
        y: Some(&whole),
        order: Order::TokensFirst,
        rope: Some(turn(Angles::Appended)),
        ..Prologue::of(Projection::Apart { q: Some(&x), k: None, v: None }, (1, 1))
    };
    let told = |op: Prologue<'_>| gpu.run(op).unwrap_err().to_string();
    gpu.run(Prologue { start: Start::At(5), ..of })?;
    let before = bits(&block_on(y.read())?);
    // More heads than any memory has.
    let by_head = y.view(0, [1, 1, tokens, d])?;
    for heads in [usize::MAX, usize::MAX / d + 1] {
        let want = format!(
            "qkv_prologue: heads = {heads} and 1 of 8 and 0 numbers, but the numbers of a token must be fewer than 2^32"
        );
        assert_eq!(told(Prologue { heads, y: Some(&by_head), order: Order::HeadsFirst, ..of }), want);
    }
    let past = "qkv_prologue: the table has 8 rows, position";
    assert_eq!(told(Prologue { start: Start::At(6), ..of }), format!("{past} 8 is past it"));
    assert_eq!(told(Prologue { start: Start::At(4096), ..of }), format!("{past} 4098 is past it"));
    // Of three tokens of two sequences, one has two.
    let cu = gpu.upload(&[0.0, 1.0, 3.0], [3], Elem::I32)?;
    let flat = x.view(0, [tokens, d])?;
    let from = Projection::Apart { q: Some(&flat), k: None, v: None };
    let ragged = Prologue { from, y: Some(&y), cu: Some(&cu), ..of };
    assert_eq!(told(Prologue { start: Start::At(7), ..ragged }), format!("{past} 8 is past it"));
    // A table of a row for each token.
    let few = table.view(0, [2, d / 2])?;
    let by_token = Turn { cos: &few, sin: &few, ..turn(Angles::Tokens) };
    assert_eq!(
        told(Prologue { rope: Some(by_token), ..of }),
        "qkv_prologue: the table has 2 rows, position 2 is past it"
    );
    let heads = [&x, &whole].map(|t| t.view(0, [1, 1, tokens, d]));
    let [a, b] = heads;
    let (a, b) = (a?, b?);
    let rope = gpu.run(Rope::new(&a, &few, &few, &b)).unwrap_err().to_string();
    assert_eq!(rope, "rope: the table has 2 rows, position 2 is past it");
    assert_eq!(bits(&block_on(y.read())?), before);
    // Where the device counts the tokens, or has the lengths, the host cannot know; and what does not turn has no row.
    let lengths = gpu.upload(&[9.0], [1], Elem::I32)?;
    gpu.run(Prologue { start: Start::Lengths(&lengths), ..of })?;
    gpu.run(Prologue { start: Start::At(9), grids: Some(&gpu.zeros([GRIDS, 3], Elem::U32)?), ..of })?;
    gpu.run(Prologue { start: Start::At(9), rope: None, ..of })?;
    gpu.run(Prologue { start: Start::At(6), ..ragged })
}

/// Of prompts that are padded at their ends only the tokens need a row of the table.
#[test]
fn padding_turns_by_no_row() -> Result<()> {
    let gpu = block_on(Dispatcher::request())?;
    let (tokens, d, rows) = (10, 8, 96);
    let shape = KvShape { layers: 1, batch: 2, groups: 1, d, e: d, keys: KvFormat::F32, values: KvFormat::F32 };
    let table = gpu.zeros([rows, d / 2], Elem::F32)?;
    let turn = Turn { cos: &table, sin: &table, angles: Angles::Appended, interleaved: false, before_norm: false };
    let x = gpu.zeros([2, tokens, d], Elem::F32)?;
    let from = Projection::Apart { q: None, k: Some(&x), v: None };
    for (coming, past) in [
        (Coming::Listed(&[10, 2]), None),
        (Coming::To { sequence: 1, tokens: 6 }, None),
        (Coming::To { sequence: 1, tokens: 7 }, Some(96)),
        (Coming::Listed(&[10, 9]), Some(98)),
        (Coming::Each(10), Some(99)),
        // More than are there.
        (Coming::Listed(&[0, 20]), Some(99)),
    ] {
        let mut cache = KvCache::new(&gpu, shape, KvRoom::Static { tokens: 128 })?;
        let mut recorder = gpu.record()?;
        cache.append(&mut recorder, 0..1, Coming::To { sequence: 1, tokens: 90 })?;
        cache.append(&mut recorder, 0..1, coming)?;
        let layer = cache.layer(0)?;
        let op = Prologue { keys: Some(layer.keys), rope: Some(turn), ..Prologue::of(from, (1, 1)) };
        let told = recorder.run(Prologue { start: layer.start(), place: layer.place, ..op });
        let want = past.map(|position| Error::Position { op: "qkv_prologue", rows: rows as u64, position });
        assert_eq!(told.err(), want, "{coming:?}");
    }
    // What is of another shape than the tokens is nobody's position.
    let (positions, y) = (gpu.zeros([tokens, 2], Elem::I32)?, gpu.zeros([2, 1, tokens, d], Elem::F32)?);
    let heads = x.view(0, [2, 1, tokens, d])?;
    let turned = Rope { positions: Some(&positions), ..Rope::new(&heads, &table, &table, &y) };
    let told = gpu.run(turned).unwrap_err().to_string();
    assert_eq!(told, "rope: positions have shape [10, 2], but there are 2 · 10 tokens");
    let positions = positions.view(0, [2 * tokens])?;
    gpu.run(Rope { positions: Some(&positions), ..turned })
}

/// Layers that hold only the tokens that they kept, by a device that alone knows how many: lengths differ from layer to layer, positions
/// are those of the whole sequence, and one token at a time is kept or not.
#[test]
fn layers_hold_the_tokens_that_they_kept() -> Result<()> {
    let gpu = block_on(Dispatcher::request())?;
    let (batch, tokens, decoded, d) = (3, 12, 5, 8);
    for room in [KvRoom::Static { tokens: 20 }, KvRoom::Paged { page: 4, pages: 16, each: 5 }] {
        let (keys, values) = (KvFormat::F32, KvFormat::F32);
        // Layer 0 has every token.
        let shape = KvShape { layers: 2, batch, groups: 1, d, e: d, keys, values };
        let mut cache = KvCache::new(&gpu, shape, room)?;
        let angle = |p: usize| p as f32 * 0.37;
        let table = |of: fn(f32) -> f32| (0..20).map(|p| of(angle(p))).collect::<Vec<_>>();
        let (cos, sin) =
            (gpu.upload(&table(f32::cos), [20, 1], Elem::F32)?, gpu.upload(&table(f32::sin), [20, 1], Elem::F32)?);
        let mut held = vec![vec![Vec::<f32>::new(); batch]; 2];
        let mut values_held = vec![Vec::<f32>::new(); batch]; // of layer 1
        let mut written = 0;
        // A prompt, then token by token.
        for (step, n) in [tokens].into_iter().chain(vec![1; decoded]).enumerate() {
            let x = numbers(batch * n * d, 100 + step);
            // In the prompt the second sequence keeps nothing; of single tokens some are kept.
            let score: Vec<f32> = numbers(batch * n, 200 + step)
                .iter()
                .enumerate()
                .map(|(i, v)| if step == 0 && i / n == 1 { -9.0 } else { *v })
                .collect();
            let (x_tensor, score_tensor) =
                (gpu.upload(&x, [batch, n, d], Elem::F32)?, gpu.upload(&score, [batch, n], Elem::F32)?);
            let (count, index) = (gpu.zeros([batch], Elem::I32)?, gpu.zeros([batch, n], Elem::U32)?);
            let grids = gpu.zeros([GRIDS, 3], Elem::U32)?;
            let own: Vec<f32> = (0..batch * n).map(|i| (written + i % n) as f32).collect();
            let positions = gpu.upload(&own, [batch, n], Elem::I32)?;
            let (kept, kept_at) = (gpu.zeros([batch, n, d], Elem::F32)?, gpu.zeros([batch, n], Elem::I32)?);
            let (q, y) = (gpu.zeros([batch, 1, n, d], Elem::F32)?, gpu.zeros([batch, 1, n, d], Elem::F32)?);
            let mut rec = gpu.record()?;
            cache.append(&mut rec, 0..1, Coming::Each(n))?;
            let all = cache.layer(0)?;
            let turn = |angles| Turn { cos: &cos, sin: &sin, angles, interleaved: false, before_norm: false };
            let of = |x| Projection::Apart { q: Some(x), k: Some(x), v: Some(x) };
            rec.run(Prologue {
                y: Some(&q),
                keys: Some(all.keys),
                values: Some(all.values),
                place: all.place,
                start: all.start(),
                rope: Some(turn(Angles::Appended)),
                ..Prologue::of(of(&x_tensor), (1, 1))
            })?;
            rec.run(Select {
                index: Some(&index),
                grids: Some(&grids),
                ..Select::new(&score_tensor, Choose::Above(0.4), &count)
            })?;
            rec.run(Take { x: &x_tensor, len: d, rows: &index, y: &kept })?;
            rec.run(Take { x: &positions, len: 1, rows: &index, y: &kept_at })?;
            cache.append(&mut rec, 1..2, Coming::Counted { counts: &count, most: n })?;
            let some = cache.layer(1)?;
            rec.run(Prologue {
                y: Some(&q),
                keys: Some(some.keys),
                values: Some(some.values),
                place: some.place,
                start: some.start(),
                rope: Some(turn(Angles::Positions(&kept_at))),
                grids: Some(&grids),
                ..Prologue::of(of(&kept), (1, 1))
            })?;
            let attention = Attention {
                place: some.place,
                kv_heads: Some(1),
                kv_len: Some(&some.lengths),
                q_len: Some(&count),
                offsets: Some(&some.starts),
                causal: true,
                ..Attention::new(&q, some.keys, some.values, &y)
            };
            rec.run(attention)?;
            rec.submit()?;
            // What the host makes of it.
            let count = block_on(count.read())?;
            let got = block_on(y.read())?;
            let turned = |row: &[f32], p: usize| {
                let (c, s) = (angle(p).cos(), angle(p).sin());
                let mut row = row.to_vec();
                (row[0], row[1]) = (row[0] * c - row[1] * s, row[1] * c + row[0] * s);
                row
            };
            for b in 0..batch {
                let chosen: Vec<usize> = (0..n).filter(|i| score[b * n + i] > 0.4).collect();
                assert_eq!(count[b] as usize, chosen.len(), "sequence {b} at step {step}");
                let row = |i: usize| turned(&x[(b * n + i) * d..][..d], written + i);
                (0..n).for_each(|i| held[0][b].extend(row(i)));
                for (at, i) in chosen.iter().enumerate() {
                    held[1][b].extend(row(*i));
                    values_held[b].extend(&x[(b * n + i) * d..][..d]);
                    // This query attends to all that is kept up to it; values are as they came.
                    let logit = |k: &[f32]| row(*i).iter().zip(k).map(|(q, k)| q * k).sum::<f32>() / (d as f32).sqrt();
                    let weights: Vec<f32> = held[1][b].chunks(d).map(|k| logit(k).exp()).collect();
                    let sum: f32 = weights.iter().sum();
                    for (c, got) in got[(b * n + at) * d..][..d].iter().enumerate() {
                        let of_values = weights.iter().zip(values_held[b].chunks(d)).map(|(w, v)| w * v[c]);
                        let want = of_values.sum::<f32>() / sum;
                        assert!((got - want).abs() < 1e-4, "sequence {b}, token {i} at step {step}: {got}, not {want}");
                    }
                }
                // Who is not kept sees nothing.
                assert!(got[(b * n + chosen.len()) * d..(b + 1) * n * d].iter().all(|v| *v == 0.0));
            }
            written += n;
            for (layer, held) in held.iter().enumerate() {
                let layer_of = cache.layer(layer)?;
                let lengths = block_on(layer_of.lengths.read())?;
                let have = block_on(layer_of.keys.read())?;
                let pages = match layer_of.place {
                    Place::Paged { table, .. } => block_on(table.read())?,
                    _ => Vec::new(),
                };
                for (b, held) in held.iter().enumerate() {
                    assert_eq!(lengths[b] as usize, held.len() / d, "layer {layer}, sequence {b} at step {step}");
                    for (j, want) in held.chunks(d).enumerate() {
                        let row = if pages.is_empty() { b * 20 + j } else { pages[b * 5 + j / 4] as usize * 4 + j % 4 };
                        let got = &have[row * d..][..d];
                        let close = got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-5);
                        assert!(close, "layer {layer}, sequence {b}, token {j} at step {step}: {got:?}, not {want:?}");
                    }
                }
            }
        }
    }
    Ok(())
}

/// Rows of codes of two blocks, as words: codes that differ, and scales of about 0.05 but for those of some rows and blocks, which are these f16.
fn coded(gpu: &Dispatcher, format: KvFormat, rows: usize, odd: &[(usize, usize, u16)]) -> Result<KvRows> {
    let code_words = rows * 2 * if format == KvFormat::Q4_0 { 4 } else { 8 };
    let code = |i: usize| (i as u32 + 1).wrapping_mul(0x9e37_79b9) ^ 0x0f1e_2d3c;
    let mut words: Vec<u32> = (0..code_words).map(code).collect();
    let scale = |row: usize, block: usize| match odd.iter().find(|o| (o.0, o.1) == (row, block)) {
        Some(o) => u32::from(o.2),
        None => 0x2a66 + (row * 13 + block * 7) as u32 % 64,
    };
    words.extend((0..rows).map(|row| scale(row, 0) | scale(row, 1) << 16));
    words.resize(words.len().next_multiple_of(4), 0);
    let tensor = gpu.upload_bytes(bytemuck::cast_slice(&words), [words.len()], Elem::U32)?;
    KvRows::over(&tensor, format, rows, 64)
}

/// By powers of two, which change no digit of a sum: keys by half are queries by half, values by four are results by four.
#[test]
fn attention_multiplies_by_the_scales_of_a_cache() -> Result<()> {
    let gpu = block_on(Dispatcher::request())?;
    let (heads, keys, d, e) = (4, 75, 64, 40);
    let mut seen = Vec::new();
    for (queries, stored) in [(1, Elem::F32), (1, Elem::F16), (3, Elem::F32), (40, Elem::F16), (70, Elem::F32)] {
        let q = numbers(heads * queries * d, 5);
        let halves: Vec<f32> = q.iter().map(|v| v / 2.0).collect();
        let [q, halves] = [q, halves].map(|q| gpu.upload(&q, [1, heads, queries, d], stored));
        let (q, halves) = (q?, halves?);
        let [k, v] = [(d, 6), (e, 7)].map(|(width, seed)| {
            let rows = gpu.kv(KvFormat::E4m3, 2 * keys, width)?;
            rows.write(&numbers(2 * keys * width, seed)).map(|()| rows)
        });
        let (k, v) = (k?, v?);
        let (k_by_half, v_by_four) = (k.clone().with_scale(0.5)?, v.clone().with_scale(4.0)?);
        let y = gpu.zeros([1, heads, queries, e], Elem::F32)?;
        let of = |q, k, v| Attention { kv_heads: Some(2), ..Attention::new(q, k, v, &y) };
        for plan in gpu.plans(of(&q, &k, &v))? {
            let run = |op: Attention<'_>| {
                run_plan(&gpu, op, &plan.name)?;
                block_on(y.read())
            };
            let plain = run(of(&halves, &k, &v))?;
            let want: Vec<f32> = plain.iter().map(|v| v * 4.0).collect();
            assert_eq!(bits(&run(of(&q, &k_by_half, &v_by_four))?), bits(&want), "{queries} queries, {plan}");
            assert_ne!(bits(&run(of(&q, &k, &v))?), bits(&plain), "{queries} queries, {plan}: keys matter");
            seen.push(plan.name.clone());
        }
    }
    for family in ["naive", "split", "tiled"] {
        assert!(seen.iter().any(|name| name.contains(family)), "{family} is not among {seen:?}");
    }
    Ok(())
}

/// What a matrix holds of one row all rows of a tile would have; no encoder writes such scales, but a file may.
#[test]
fn matrix_units_too_leave_a_scale_that_is_no_number_to_who_sees_it() -> Result<()> {
    let gpu = block_on(Dispatcher::request())?;
    let (heads, queries, keys, offset) = (4, 12, 45, 33);
    let q = gpu.upload(&numbers(heads * queries * 64, 3), [1, heads, queries, 64], Elem::F16)?;
    let y = gpu.zeros([1, heads, queries, 64], Elem::F32)?;
    let (infinite, nan) = (0x7c00, 0x7e01);
    for (keys_as, values_as) in [(KvFormat::Q8_0, KvFormat::Q4_0), (KvFormat::Q4_0, KvFormat::Q8_0)] {
        let k = coded(&gpu, keys_as, keys, &[(41, 1, nan)])?;
        let v = coded(&gpu, values_as, keys, &[(36, 0, infinite), (38, 1, nan), (43, 0, nan)])?;
        let attention = Attention { causal: true, offset, kv_heads: Some(1), ..Attention::new(&q, &k, &v, &y) };
        let mut first: Option<Vec<f32>> = None;
        for plan in gpu.plans(attention)?.iter().rev() {
            run_plan(&gpu, attention, &plan.name)?;
            let got = block_on(y.read())?;
            let wrong = got.iter().filter(|v| !v.is_finite()).count();
            // Queries 3 and 4 see the first, 5 to 7 the second too; from 8 on a key has no number.
            assert_eq!(wrong, heads * (2 * 32 + 7 * 64), "{plan}: what is no number");
            let want = first.get_or_insert_with(|| got.clone());
            for (i, (got, want)) in got.iter().zip(want.iter()).enumerate() {
                let same =
                    (got - want).abs() <= 2e-3 * (1.0 + want.abs()) || got == want || got.is_nan() && want.is_nan();
                assert!(same, "{plan}: {got} for {want} at {i} of {keys_as:?} and {values_as:?}");
            }
        }
    }
    Ok(())
}

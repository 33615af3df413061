//! The dispatcher as an application meets it: its own device or a caller's, streams of ops, errors, loss, and long use.

use gristmill::checkpoint::Checkpoint;
use gristmill::ops::Op;
use gristmill::ops::attention::rope::Rope;
use gristmill::ops::attention::tables::{RopeTable, Sections};
use gristmill::ops::norm::{BatchChannelNorm, GroupNorm, L2Norm, LayerNorm, RmsNorm};
use gristmill::ops::quantize::QuantizeRows;
use gristmill::proof::measure::Effort;
use gristmill::proof::{Prepared, cases};
use gristmill::{Dispatcher, Elem, Error, Reading, Request, Result, Tensor, wgpu};
use pollster::block_on;

mod device;

use device::{gpu, read};

/// 1, 2, 3, …
fn counting(n: usize) -> Vec<f32> {
    (1..=n).map(|v| v as f32).collect()
}

/// Numbers that no op writes.
fn untouched(gpu: &Dispatcher, shape: [usize; 2]) -> Tensor {
    gpu.upload(&vec![7.5; shape[0] * shape[1]], shape, Elem::F32).expect("a tensor")
}

fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5 * b.abs().max(1.0))
}

/// RMS norm of each row, by the formula.
fn rms(rows: &[f32], len: usize) -> Vec<f32> {
    let of = |row: &[f32]| {
        let mean = row.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>() / len as f64;
        row.iter().map(|v| (f64::from(*v) / (mean + 1e-6).sqrt()) as f32).collect::<Vec<_>>()
    };
    rows.chunks(len).flat_map(of).collect()
}

#[test]
fn ops_of_a_stream_see_what_came_before() {
    let gpu = gpu();
    let x = gpu.upload(&counting(256), [4, 64], Elem::F32).expect("x");
    let (h, y) = (untouched(&gpu, [4, 64]), untouched(&gpu, [4, 64]));
    let mut recorder = gpu.record().expect("a recorder");
    recorder.run(RmsNorm::new(&x, &h)).expect("recorded");
    recorder.run(RmsNorm::new(&h, &y)).expect("recorded");
    assert_eq!(recorder.dispatches(), 2);
    recorder.submit().expect("submitted");
    assert!(close(&read(&y), &rms(&rms(&counting(256), 64), 64)));
}

#[test]
fn nothing_runs_before_it_is_submitted() {
    let gpu = gpu();
    let x = gpu.upload(&counting(64), [1, 64], Elem::F32).expect("x");
    let y = untouched(&gpu, [1, 64]);
    let mut recorder = gpu.record().expect("a recorder");
    recorder.run(RmsNorm::new(&x, &y)).expect("recorded");
    drop(recorder);
    assert_eq!(read(&y), vec![7.5; 64]);
}

/// A device of a caller without a single feature, at the default limits.
fn plain_device() -> (wgpu::Adapter, wgpu::Device, wgpu::Queue) {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    let adapter = adapters.into_iter().next().expect("an adapter");
    let (device, queue) = block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).expect("a device");
    (adapter, device, queue)
}

#[test]
fn a_caller_keeps_the_device_the_encoder_and_the_submission() {
    let (adapter, device, queue) = plain_device();
    let gpu = Dispatcher::new(&adapter, device.clone(), queue.clone());
    assert!(!gpu.caps().f16 && gpu.caps().subgroups.is_none() && gpu.caps().matrix.is_empty());

    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
    let buffer =
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 1024, usage, mapped_at_creation: false });
    let staged =
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 1024, usage, mapped_at_creation: false });
    queue.write_buffer(&staged, 0, bytemuck::cast_slice(&counting(256)));
    let x = gpu.wrap(&buffer, 256, [2, 96], Elem::F32).expect("x");
    let y = untouched(&gpu, [2, 96]);

    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    encoder.copy_buffer_to_buffer(&staged, 0, &buffer, 0, 1024); // the caller's work before ours
    let mut recorder = gpu.record_into(&mut encoder).expect("a recorder");
    recorder.run(RmsNorm::new(&x, &y)).expect("recorded");
    recorder.finish();
    encoder.clear_buffer(&buffer, 0, None); // and after
    queue.submit([encoder.finish()]);
    assert!(close(&read(&y), &rms(&counting(256)[64..], 96)));
    assert_eq!(read(&x), vec![0.0; 192]);
}

#[test]
fn two_tensors_over_one_buffer_share_it() {
    let gpu = gpu();
    let usage = wgpu::BufferUsages::STORAGE;
    let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 4096,
        usage,
        mapped_at_creation: false,
    });
    let [x, y] = [0, 2048].map(|at| gpu.wrap(&buffer, at, [4, 64], Elem::F32).expect("wrapped"));
    let error = gpu.run(RmsNorm::new(&x, &y)).expect_err("it is told");
    assert_eq!(error, Error::Shared { op: "rms_norm", output: "y".to_owned(), other: "x".to_owned() });
}

#[test]
fn a_dispatcher_that_is_dropped_lets_its_scratch_go() {
    let gpu = gpu();
    let device = gpu.device().clone();
    let of_scratch = || {
        device.poll(wgpu::PollType::wait_indefinitely()).expect("done");
        device
            .generate_allocator_report()
            .map(|report| report.allocations.iter().filter(|of| of.name.contains("scratch")).count())
    };
    // Wgpu's allocator is of these; elsewhere what the dispatcher itself counts must do.
    let is_told = [wgpu::Backend::Vulkan, wgpu::Backend::Dx12].contains(&gpu.info().backend);
    let x = gpu.upload(&counting(16_500), [1, 16_500], Elem::F32).expect("x");
    let y = untouched(&gpu, [1, 16_500]);
    gpu.run(LayerNorm::new(&x, &y)).expect("run");
    assert!(gpu.holdings().scratch > 0);
    assert_eq!(of_scratch().map(|held| held > 0), is_told.then_some(true));
    drop((x, y, gpu));
    assert_eq!(of_scratch(), is_told.then_some(0));
}

#[test]
fn recordings_into_several_encoders_keep_their_params() {
    let gpu = gpu();
    let x = gpu.upload(&counting(512), [512], Elem::F32).expect("x");
    let mut encoders = Vec::new();
    let mut outputs = Vec::new();
    for rows in 1..=8usize {
        let (part, y) = (x.view(0, [rows, 64]).expect("a view"), untouched(&gpu, [rows, 64]));
        let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut recorder = gpu.record_into(&mut encoder).expect("a recorder");
        recorder.run(RmsNorm::new(&part, &y)).expect("recorded");
        drop(recorder); // the same as finish
        encoders.push(encoder.finish());
        outputs.push(y);
    }
    // In another order than they were recorded, and all at once.
    encoders.reverse();
    gpu.queue().submit(encoders);
    for (rows, y) in (1..).zip(&outputs) {
        assert!(close(&read(y), &rms(&counting(rows * 64), 64)), "{rows} rows");
    }
}

#[test]
fn ten_thousand_dispatches_leave_memory_and_pipelines_flat() {
    let gpu = gpu();
    let x = gpu.upload(&counting(16_500), [1, 16_500], Elem::F32).expect("x");
    let y = untouched(&gpu, [1, 16_500]);
    let (short, out) = (x.view(0, [4, 64]).expect("a view"), untouched(&gpu, [4, 64]));
    let weight = gpu.upload(&[2.0; 64], [64], Elem::F32).expect("weight");
    let stream = |gpu: &Dispatcher| {
        let mut recorder = gpu.record().expect("a recorder");
        for _ in 0..50 {
            recorder.run(LayerNorm::new(&x, &y)).expect("recorded"); // three steps, with scratch
            recorder.run(RmsNorm { weight: Some(&weight), ..RmsNorm::new(&short, &out) }).expect("recorded");
        }
        let dispatches = recorder.dispatches();
        recorder.submit().expect("submitted");
        dispatches
    };
    let mut dispatches = stream(&gpu);
    block_on(gpu.wait()).expect("done");
    let (before, report) = (gpu.holdings(), gpu.device().generate_allocator_report());
    while dispatches < 10_000 {
        dispatches += stream(&gpu);
        block_on(gpu.wait()).expect("done");
    }
    assert_eq!(gpu.holdings(), before);
    // The driver's allocator may keep blocks, but must not hold more for us than after the first round.
    if let (Some(before), Some(after)) = (report, gpu.device().generate_allocator_report()) {
        assert!(after.total_reserved_bytes <= before.total_reserved_bytes, "{after:?}");
    }
}

#[test]
fn what_is_dropped_is_let_go() {
    let gpu = gpu();
    let x = gpu.upload(&counting(64), [1, 64], Elem::F32).expect("x");
    for _ in 0..20 {
        let y = untouched(&gpu, [1, 64]);
        gpu.run(RmsNorm::new(&x, &y)).expect("run");
    }
    block_on(gpu.wait()).expect("done");
    drop(gpu.record().expect("a recorder"));
    assert_eq!(gpu.holdings().bind_groups, 0);
}

#[test]
fn two_threads_with_two_dispatchers() {
    let work = |seed: usize| {
        let gpu = gpu();
        let values: Vec<f32> = counting(640).iter().map(|v| v + seed as f32).collect();
        let x = gpu.upload(&values, [10, 64], Elem::F32).expect("x");
        let y = untouched(&gpu, [10, 64]);
        for _ in 0..100 {
            gpu.run(RmsNorm::new(&x, &y)).expect("run");
        }
        close(&read(&y), &rms(&values, 64))
    };
    let threads: Vec<_> = (0..2).map(|seed| std::thread::spawn(move || work(seed))).collect();
    for thread in threads {
        assert!(thread.join().expect("no panic"));
    }
}

#[test]
fn one_dispatcher_on_many_threads() {
    let gpu = gpu();
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let gpu = gpu.clone();
            scope.spawn(move || {
                // Rows long enough for scratch, which all threads share.
                let values: Vec<f32> = counting(20_000).iter().map(|v| (v * (seed + 1) as f32).sin()).collect();
                let x = gpu.upload(&values, [2, 10_000], Elem::F32).expect("x");
                let y = untouched(&gpu, [2, 10_000]);
                for _ in 0..20 {
                    gpu.run(RmsNorm::new(&x, &y)).expect("run");
                }
                assert!(close(&read(&y), &rms(&values, 10_000)));
            });
        }
    });
}

#[test]
fn a_lost_device_says_so_and_a_new_one_can_be_made() {
    let gpu = gpu();
    let x = gpu.upload(&counting(64), [1, 64], Elem::F32).expect("x");
    let y = gpu.zeros([1, 64], Elem::F32).expect("y");
    gpu.run(RmsNorm::new(&x, &y)).expect("run");
    block_on(gpu.wait()).expect("done");
    gpu.device().destroy();
    let is_lost = |error: Error| assert!(matches!(error, Error::Lost { .. }), "{error}");
    is_lost(gpu.record().map(drop).expect_err("lost"));
    is_lost(gpu.run(RmsNorm::new(&x, &y)).expect_err("lost"));
    is_lost(gpu.zeros([4], Elem::F32).map(drop).expect_err("lost"));
    is_lost(x.write(&counting(64)).expect_err("lost"));
    is_lost(block_on(y.read()).expect_err("lost"));
    is_lost(block_on(gpu.wait()).expect_err("lost"));
    let again = self::gpu();
    let x = again.upload(&counting(64), [1, 64], Elem::F32).expect("x");
    let y = again.zeros([1, 64], Elem::F32).expect("y");
    again.run(RmsNorm::new(&x, &y)).expect("run");
    assert!(close(&read(&y), &rms(&counting(64), 64)));
}

#[test]
fn a_device_lost_with_work_in_flight_is_told_at_the_latest_by_the_read() {
    let gpu = gpu();
    let x = gpu.upload(&counting(64), [1, 64], Elem::F32).expect("x");
    let y = gpu.zeros([1, 64], Elem::F32).expect("y");
    let mut recorder = gpu.record().expect("a recorder");
    (0..100).for_each(|_| recorder.run(RmsNorm::new(&x, &y)).expect("recorded"));
    recorder.submit().expect("submitted");
    gpu.device().destroy();
    let error = block_on(y.read()).expect_err("lost");
    assert!(matches!(error, Error::Lost { .. }), "{error}");
}

#[test]
fn values_come_later_to_who_does_not_wait() {
    let gpu = gpu();
    let x = gpu.upload(&counting(192), [3, 64], Elem::F32).expect("x");
    let y = gpu.zeros([3, 64], Elem::F32).expect("y");
    gpu.run(RmsNorm::new(&x, &y)).expect("run");
    let mut row = y.view(64, [64]).expect("a row").read_later().expect("on the way");
    // What comes behind it is another's.
    y.write(&[0.0; 192]).expect("written");
    let mut zeros = y.read_later().expect("on the way");
    let came = |reading: &mut Reading| {
        let mut looks = (0..10_000).map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            reading.values().expect("no fault")
        });
        looks.find_map(|values| values).expect("something in ten seconds")
    };
    let want = &rms(&counting(192), 64)[64..128];
    assert!(close(&came(&mut row), want));
    assert!(close(&came(&mut row), want), "they stay");
    assert_eq!(came(&mut zeros), vec![0.0; 192]);
    assert_eq!(gpu.zeros([0], Elem::F32).and_then(|none| none.read_later()?.values()), Ok(Some(Vec::new())));

    let mut lost = y.read_later().expect("on the way");
    gpu.device().destroy();
    let told = (0..10_000).find_map(|_| lost.values().transpose());
    assert!(matches!(told, Some(Ok(_) | Err(Error::Lost { .. }))), "{told:?}");
    assert!(matches!(y.read_later(), Err(Error::Lost { .. })));
}

/// Nobody listens to a device that is the caller's: what is made on it is what tells.
#[test]
fn a_caller_s_device_that_is_destroyed_is_lost_at_the_latest_by_the_read() {
    let (adapter, device, queue) = plain_device();
    let gpu = Dispatcher::new(&adapter, device.clone(), queue);
    let x = gpu.upload(&counting(64), [1, 64], Elem::F32).expect("x");
    let y = gpu.zeros([1, 64], Elem::F32).expect("y");
    gpu.run(RmsNorm::new(&x, &y)).expect("run");
    device.destroy();
    for _ in 0..2 {
        let error = block_on(y.read()).expect_err("lost");
        assert!(matches!(error, Error::Lost { .. }), "{error}");
    }
    assert!(matches!(gpu.run(RmsNorm::new(&x, &y)), Err(Error::Lost { .. })));
}

#[test]
fn whole_numbers_are_uploaded_as_they_are() {
    let gpu = gpu();
    let words = [0, 16_777_217, u32::MAX];
    for elem in [Elem::U32, Elem::I32] {
        let x = gpu.upload_words(&words, [3], elem).expect("words");
        assert_eq!(block_on(x.read_words()).expect("words"), words);
    }
    let error = gpu.upload_words(&words, [3], Elem::F32).expect_err("floats");
    assert_eq!(error.to_string(), "upload_words: words is stored as f32, but must be u32 or i32");
}

#[test]
fn a_table_of_rope_without_room_is_refused_before_it_is_computed() {
    let gpu = gpu().restricted(|caps| caps.buffer_bytes = 1 << 20);
    let table = RopeTable::new(10_000.0, 128);
    let error = gpu.rope_table(&table, 1 << 40, Elem::F32).expect_err("no room");
    assert!(matches!(error, Error::Limit { limit: "buffer_bytes", .. }), "{error}");
    let error = gpu.rope_table(&table, 8, Elem::I32).expect_err("whole numbers");
    assert!(matches!(error, Error::Storage { have: "i32", .. }), "{error}");
    let of = |sections| table.rows_of_axes(sections, &[&[0.0], &[0.0]]);
    assert!(of(Sections::Blocks(&[usize::MAX, 9])).is_err());
}

#[test]
fn a_loss_that_the_caller_hears_of_is_told_on_every_call() {
    let gpu = gpu();
    gpu.mark_lost("the laptop went to sleep");
    for _ in 0..2 {
        let error = gpu.record().map(drop).expect_err("lost");
        assert_eq!(error.to_string(), "the device is lost: the laptop went to sleep");
    }
}

#[test]
fn bad_input_is_told_and_nothing_is_written() {
    let gpu = gpu();
    let (x, y) = (gpu.upload(&counting(192), [3, 64], Elem::F32).expect("x"), untouched(&gpu, [3, 64]));
    let short = gpu.zeros([63], Elem::F32).expect("a tensor");
    let codes = gpu.zeros([3, 64], Elem::I8).expect("a tensor");
    let scale = gpu.zeros([3], Elem::F32).expect("a tensor");
    let other = self::gpu().zeros([64], Elem::F32).expect("a tensor");
    let norm = RmsNorm::new(&x, &y);
    let told = [
        (
            RmsNorm { weight: Some(&short), ..norm },
            "rms_norm: weight has shape [63], but the normalised dimensions have [64]",
        ),
        (RmsNorm { eps: -1.0, ..norm }, "rms_norm: eps = -1, but it must be a number of at least 0"),
        (RmsNorm { eps: f32::NAN, ..norm }, "rms_norm: eps = NaN, but it must be a number of at least 0"),
        (RmsNorm { axis: 2, ..norm }, "rms_norm: axis = 2 for x of shape [3, 64], but it must name a dimension of x"),
        (
            RmsNorm { partial: 0.001, ..norm },
            "rms_norm: partial = 0.001 of 64 features, but it must be in (0, 1] and leave at least one feature",
        ),
        (RmsNorm { sum: Some(&x), ..norm }, "rms_norm: sum is given, but there is no residual to add"),
        (
            RmsNorm { y: &codes, ..norm },
            "rms_norm: y is stored as i8, but must be f32, f16 or bf16 (or i8 with a scale)",
        ),
        (RmsNorm { scale: Some(&scale), ..norm }, "rms_norm: y is stored as f32, but must be i8 where scale is given"),
        (RmsNorm { residual: Some(&short), ..norm }, "rms_norm: residual has shape [63], but x has [3, 64]"),
        (RmsNorm { weight: Some(&other), ..norm }, "rms_norm: weight belongs to another dispatcher"),
        (
            RmsNorm { y: &x, ..norm },
            "rms_norm: y is written, but shares its buffer with x; give it a buffer of its own",
        ),
    ];
    let mut recorder = gpu.record().expect("a recorder");
    for (op, want) in told {
        assert_eq!(recorder.run(op).expect_err("an error").to_string(), want);
    }
    assert_eq!(recorder.dispatches(), 0);
    recorder.submit().expect("nothing to do is fine");
    assert_eq!(read(&y), vec![7.5; 192]);
    // The recorder and the dispatcher go on.
    gpu.run(norm).expect("run");
    assert!(close(&read(&y), &rms(&counting(192), 64)));
}

#[test]
fn rows_that_cannot_be_quantised_are_told_or_spoil_no_others() {
    let gpu = gpu();
    let zeros = |shape: &[usize], elem| gpu.zeros(shape, elem).expect("a tensor");
    let (x, q) = (gpu.upload(&counting(15), [3, 5], Elem::F32).expect("x"), zeros(&[3, 5], Elem::I8));
    let (scale, zero, u8s) = (zeros(&[3], Elem::F32), zeros(&[3], Elem::I32), zeros(&[3, 5], Elem::U8));
    let (two, none) = (zeros(&[2], Elem::F32), zeros(&[3, 0], Elem::F32));
    let op = QuantizeRows::new(&x, &q, &scale);
    let told = [
        (QuantizeRows { bits: 1, ..op }, "bits = 1, but it must be from 2 to 8"),
        (QuantizeRows { bits: 9, ..op }, "bits = 9, but it must be from 2 to 8"),
        (QuantizeRows { floor: -1.0, ..op }, "floor = -1, but it must be a number of at least 0"),
        (QuantizeRows { floor: f32::NAN, ..op }, "floor = NaN, but it must be a number of at least 0"),
        (QuantizeRows { x: &q, ..op }, "x is stored as i8, but must be f32, f16 or bf16"),
        (QuantizeRows { x: &none, ..op }, "x of shape [3, 0] has rows of no numbers"),
        (QuantizeRows { q: &u8s, ..op }, "q is stored as u8, but must be i8 where there is no zero"),
        (QuantizeRows { zero: Some(&zero), ..op }, "q is stored as i8, but must be u8 where zero is given"),
        (QuantizeRows { q: &u8s, zero: Some(&scale), ..op }, "zero is stored as f32, but must be i32"),
        (QuantizeRows { scale: &two, ..op }, "scale has shape [2], but there are 3 rows"),
        (QuantizeRows { scale: &zero, ..op }, "scale is stored as i32, but must be f32"),
    ];
    for (op, want) in told {
        assert_eq!(gpu.run(op).expect_err("an error").to_string(), format!("quantize_rows: {want}"));
    }
    let no_rows = QuantizeRows::new(&x, &q, &scale);
    let (x0, q0, scale0) = (zeros(&[0, 5], Elem::F32), zeros(&[0, 5], Elem::I8), zeros(&[0], Elem::F32));
    gpu.run(QuantizeRows { x: &x0, q: &q0, scale: &scale0, ..no_rows }).expect("nothing to do is fine");

    // Rows of 5 codes share their words.
    for bad in [f32::NAN, f32::INFINITY] {
        let mut values = counting(15);
        values[7] = bad;
        x.write(&values).expect("written");
        for op in [op, QuantizeRows { q: &u8s, zero: Some(&zero), ..op }] {
            for plan in gpu.plans(op).expect("plans") {
                let mut recorder = gpu.record().expect("a recorder");
                recorder.run_plan(op, &plan.name).expect("recorded");
                recorder.submit().expect("submitted");
                let (codes, scales) = (read(op.q), read(&scale));
                let most = if op.zero.is_some() { 255.0 } else { 127.0 };
                for (row, largest) in [(0, 5.0), (2, 15.0)] {
                    let x = &values[row * 5..row * 5 + 5];
                    assert!(close(&scales[row..=row], &[largest / most]), "{}: {scales:?}", plan.name);
                    let want: Vec<f32> = x.iter().map(|v| (v / largest * most).round_ties_even()).collect();
                    assert_eq!(codes[row * 5..row * 5 + 5], want, "{} with {bad}", plan.name);
                }
                assert!(!scales[1].is_finite(), "{} with {bad}: {scales:?}", plan.name);
            }
        }
    }
}

#[test]
fn limits_are_named_with_both_numbers() {
    let gpu = gpu();
    let error = gpu.zeros([1 << 30, 1 << 20], Elem::F32).map(drop).expect_err("too large");
    assert!(matches!(error, Error::Limit { limit: "buffer_bytes", need: 4_503_599_627_370_496, .. }), "{error}");
    let small = gpu.restricted(|caps| caps.storage_binding_bytes = 4096);
    let (x, y) = (small.zeros([1, 2000], Elem::F32).expect("x"), small.zeros([1, 2000], Elem::F32).expect("y"));
    let error = small.run(RmsNorm::new(&x, &y)).expect_err("a row is wider than a binding");
    assert_eq!(error.to_string(), "rms_norm: needs 8000 of storage_binding_bytes, but there are 4096");
    assert!(small.upload(&[1.0; 3], [2], Elem::F32).is_err());
    assert!(small.zeros([usize::MAX, 3], Elem::F32).is_err());
}

#[test]
fn rows_wider_than_a_binding_are_split_and_long_grids_folded() {
    let gpu = gpu();
    let values = counting(700 * 100);
    let want = rms(&values, 100);
    let (x, y) = (gpu.upload(&values, [700, 100], Elem::F32).expect("x"), untouched(&gpu, [700, 100]));
    gpu.run(RmsNorm::new(&x, &y)).expect("run");
    assert!(close(&read(&y), &want));
    // 10 rows a binding; 3 workgroups a dimension.
    let small = gpu.restricted(|caps| (caps.storage_binding_bytes, caps.workgroups) = (4400, 3));
    let (x, y) = (small.upload(&values, [700, 100], Elem::F32).expect("x"), untouched(&small, [700, 100]));
    for plan in small.plans(RmsNorm::new(&x, &y)).expect("plans") {
        assert_eq!(plan.steps.len(), 70, "{plan}");
        y.write(&vec![7.5; 70_000]).expect("written");
        let mut recorder = small.record().expect("a recorder");
        recorder.run_plan(RmsNorm::new(&x, &y), &plan.name).expect("recorded");
        recorder.submit().expect("submitted");
        assert!(close(&read(&y), &want), "{plan}");
    }
    let folded = gpu.restricted(|caps| caps.workgroups = 14);
    let (x, y) = (folded.upload(&values, [700, 100], Elem::F32).expect("x"), untouched(&folded, [700, 100]));
    for plan in folded.plans(RmsNorm::new(&x, &y)).expect("plans") {
        let mut recorder = folded.record().expect("a recorder");
        recorder.run_plan(RmsNorm::new(&x, &y), &plan.name).expect("recorded");
        recorder.submit().expect("submitted");
        assert!(close(&read(&y), &want), "{plan}");
    }
    assert!(folded.plans(RmsNorm::new(&x, &y)).expect("plans")[0].steps[0].grid[1] > 1);
}

/// Rows of a part know their channel, their group and their token, though none of these begins anew with a part.
#[test]
fn rows_of_a_part_know_where_they_are() {
    let gpu = gpu();
    // 10 rows of 100 a binding, of which 3 groups, or 35 tokens of a head, go round.
    let small = gpu.restricted(|caps| caps.storage_binding_bytes = 4400);
    let tensor = |gpu: &Dispatcher, shape: &[usize], step: f32| {
        let values: Vec<f32> = counting(shape.iter().product()).iter().map(|v| (v * step).sin() + 1.5).collect();
        gpu.upload(&values, shape, Elem::F32).expect("a tensor")
    };
    let all = |gpu: &Dispatcher| {
        let (x, y) = (tensor(gpu, &[20, 12, 25], 0.37), gpu.zeros([20, 12, 25], Elem::F32).expect("y"));
        let (twelve, three) = (tensor(gpu, &[12], 0.9), tensor(gpu, &[3], 0.7));
        let group = GroupNorm { weight: Some(&twelve), bias: Some(&twelve), ..GroupNorm::new(&x, &y, 3) };
        let channel = BatchChannelNorm {
            x: &x,
            bn_mean: &twelve,
            bn_var: &twelve,
            bn_weight: &twelve,
            bn_bias: &twelve,
            weight: Some(&three),
            bias: Some(&three),
            y: &y,
            groups: 3,
            bn_eps: 1e-5,
            eps: 1e-5,
        };
        let (heads, turned) = (tensor(gpu, &[1, 2, 35, 100], 0.37), gpu.zeros([1, 2, 35, 100], Elem::F32).expect("y"));
        let (cos, sin) = (tensor(gpu, &[35, 20], 0.21), tensor(gpu, &[35, 20], 0.43));
        let rope = Rope { rotary_dim: Some(40), ..Rope::new(&heads, &cos, &sin, &turned) };
        [every_plan(gpu, group, &y), every_plan(gpu, channel, &y), every_plan(gpu, rope, &turned)]
    };
    for (of_whole, of_parts) in all(&gpu).iter().zip(all(&small)) {
        assert!(of_parts.len() > 1 && of_parts.iter().all(|(_, steps)| *steps >= 6));
        assert!(of_parts.iter().all(|(y, _)| close(y, &of_whole[0].0)));
    }
}

/// What each plan of an op writes, and by how many steps.
fn every_plan(gpu: &Dispatcher, op: impl Op + Copy, y: &Tensor) -> Vec<(Vec<f32>, usize)> {
    let of = |plan: &gristmill::Plan| {
        y.write(&vec![7.5; y.elements()]).expect("written");
        let mut recorder = gpu.record().expect("a recorder");
        recorder.run_plan(op, &plan.name).expect("recorded");
        recorder.submit().expect("submitted");
        (read(y), plan.steps.len())
    };
    gpu.plans(op).expect("plans").iter().map(of).collect()
}

#[test]
fn tensors_are_written_read_and_viewed_at_any_offset() {
    let gpu = gpu();
    for elem in [Elem::F32, Elem::F16, Elem::Bf16] {
        let t = gpu.upload(&counting(37), [37], elem).expect("a tensor");
        for start in 0..5 {
            let view = t.view(start, [3, 5]).expect("a view");
            assert_eq!(read(&view), counting(37)[start..start + 15].to_vec());
        }
        assert!(t.view(30, [8]).is_err());
        assert!(t.reshape([6, 6]).is_err());
        t.write(&[1.0; 37]).expect("written");
        assert_eq!(read(&t), vec![1.0; 37]);
        assert!(t.write(&[1.0]).is_err());
    }
    let odd = gpu.upload(&counting(8), [8], Elem::F16).expect("a tensor");
    let error = odd.view(1, [3]).expect("a view").write(&[0.0; 3]).expect_err("half a word");
    assert!(error.to_string().contains("whole 4-byte words"), "{error}");
    assert_eq!(read(&odd), counting(8));
    let none = gpu.zeros([0, 4], Elem::F32).expect("an empty tensor");
    assert_eq!(read(&none), Vec::<f32>::new());
    let words = gpu.upload_bytes(&[1, 2, 3, 4, 0, 0, 0, 128], [2], Elem::U32).expect("words");
    assert_eq!(block_on(words.read_words()), Ok(vec![0x0403_0201, 0x8000_0000]));
}

#[test]
fn a_tensor_of_a_file_is_stored_as_it_is_there() {
    let gpu = gpu();
    let header = r#"{"a":{"dtype":"BF16","shape":[2,2],"data_offsets":[0,8]},"b":{"dtype":"I16","shape":[2],"data_offsets":[8,12]}}"#;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.extend(Elem::Bf16.encode(&[1.0, -2.0, 0.5, 3.0]));
    file.extend([1, 0, 2, 0]);
    let checkpoint = Checkpoint::from_bytes(file).expect("a checkpoint");
    let plain = |name: &str| checkpoint.tensor(name).expect("there");
    let a = gpu.upload_tensor(&plain("a")).expect("on the device");
    assert_eq!((a.elem(), a.shape().dims()), (Elem::Bf16, &[2, 2][..]));
    assert_eq!(read(&a), [1.0, -2.0, 0.5, 3.0]);
    let error = gpu.upload_tensor(&plain("b")).expect_err("no tensor is of i16").to_string();
    assert!(error.contains("i16"), "{error}");
}

#[test]
fn what_is_shared_may_cross_threads() {
    fn is<T: Send + Sync>() {}
    is::<Dispatcher>();
    is::<Tensor>();
    is::<gristmill::Weight>();
    is::<gristmill::Recording>();
    is::<gristmill::KvCache>();
    is::<gristmill::AdapterSet>();
    is::<Checkpoint<'static>>();
}

/// A device of the caller's, made with what kernels like, is seen as one of our own is.
#[test]
fn a_device_of_the_callers_is_seen_as_our_own_is() {
    let own = gpu();
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    let adapter = adapters.into_iter().find(|a| a.get_info() == *own.info()).expect("the same adapter");
    let descriptor = Dispatcher::device_descriptor(&adapter);
    let (device, queue) = block_on(adapter.request_device(&descriptor)).expect("a device");
    let adopted = block_on(Dispatcher::adopt(&adapter, device, queue)).expect("a dispatcher");
    // Ours may have been narrowed by `GRISTMILL_CAPS`.
    let narrowed = std::env::var("GRISTMILL_CAPS").is_ok_and(|caps| caps == "baseline");
    let seen = if narrowed { adopted.caps().narrowed() } else { adopted.caps().clone() };
    assert_eq!(&seen, own.caps());
}

/// The environment is a process's: this runs again in one of its own for each.
#[test]
#[allow(clippy::print_stdout, reason = "what the other process reads")]
fn the_environment_forces_plans() {
    const ASKED: &str = "GRISTMILL_TEST_FORCES";
    if std::env::var_os(ASKED).is_some() {
        let gpu = gpu();
        let (x, y) = (gpu.upload(&counting(64), [1, 64], Elem::F32).expect("x"), untouched(&gpu, [1, 64]));
        let told = |told: Result<()>| println!("said: {}", told.map_or_else(|e| e.to_string(), |()| "done".into()));
        told(gpu.run(RmsNorm::new(&x, &y)));
        told(gpu.run(L2Norm::new(&x, &y)));
        return;
    }
    let no_plan = |op: &str| format!("{op}: no plan is named \"quick\" here");
    let malformed = |op: &str| format!("{op}: GRISTMILL_PLAN = quick, but it must be op=plan[,op=plan]");
    for (forced, want) in [
        ("", ["done".to_owned(), "done".to_owned()]),
        ("rms_norm=naive,", ["done".to_owned(), "done".to_owned()]),
        ("rms_norm=quick", [no_plan("rms_norm"), "done".to_owned()]),
        ("rms_norm=naive,l2_norm=quick", ["done".to_owned(), no_plan("l2_norm")]),
        ("rms_norm=naive,quick", [malformed("rms_norm"), malformed("l2_norm")]),
    ] {
        let child = std::process::Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "the_environment_forces_plans", "--nocapture"])
            .envs([("GRISTMILL_PLAN", forced), (ASKED, "1")])
            .output()
            .expect("a process");
        let text = String::from_utf8_lossy(&child.stdout).into_owned();
        let said: Vec<&str> = text.lines().filter_map(|line| line.split_once("said: ")).map(|(_, said)| said).collect();
        assert_eq!(said.len(), 2, "{forced}: {text}");
        assert!(said.iter().zip(&want).all(|(said, want)| said.starts_with(want.as_str())), "{forced}: {said:?}");
    }
}

#[test]
fn plans_are_chosen_by_name_and_warmed() {
    let gpu = gpu();
    let (x, y) = (gpu.upload(&counting(64), [1, 64], Elem::F32).expect("x"), untouched(&gpu, [1, 64]));
    let plans = gpu.plans(RmsNorm::new(&x, &y)).expect("plans");
    block_on(gpu.warm(&plans)).expect("warm");
    let warm = gpu.holdings().pipelines;
    for plan in &plans {
        let mut recorder = gpu.record().expect("a recorder");
        recorder.run_plan(RmsNorm::new(&x, &y), &plan.name).expect("recorded");
        recorder.submit().expect("submitted");
    }
    assert_eq!((gpu.holdings().pipelines, warm), (warm, plans.len()));
    let error = gpu.record().expect("a recorder").run_plan(L2Norm::new(&x, &y), "quick").expect_err("no such plan");
    let told = error.to_string();
    assert!(
        told.starts_with("l2_norm: no plan is named \"quick\" here; there are ") && told.contains("row/"),
        "{told}"
    );
}

#[test]
fn an_adapter_that_is_not_there_is_told() {
    let request =
        |name: &str| block_on(Dispatcher::request_with(Request { adapter: Some(name.into()), baseline: false }));
    let error = request("no such card").map(drop).expect_err("none");
    assert!(error.to_string().contains("none is named \"no such card\"; there are"), "{error}");
    assert!(matches!(request("none").map(drop), Err(Error::NoAdapter { .. })));
}

#[test]
fn baseline_caps_are_the_least() {
    let gpu = block_on(Dispatcher::request_with(Request { adapter: None, baseline: true })).expect("a device");
    let caps = gpu.caps();
    assert!(!caps.f16 && caps.subgroups.is_none() && caps.matrix.is_empty());
    assert_eq!((caps.storage_buffers, caps.workgroup_bytes, caps.invocations), (8, 16 << 10, 256));
}

#[test]
fn copies_for_timing_are_as_many_as_what_is_moved_asks_for() {
    let gpu = gpu();
    let mut cases = cases::all().into_iter();
    // Of whose table of angles a token reads a row.
    let case =
        cases.find(|c| c.op == "rope" && c.real && c.unmoved_bytes(c.storages[0]) > 100 * c.bytes(c.storages[0]));
    let case = case.expect("a token that is turned");
    let storage = case.storages[0];
    let (moved, unmoved) = (case.bytes(storage), case.unmoved_bytes(storage));
    let prepared = Prepared::new(&gpu, &case, storage).expect("it runs");
    let copies = |rotate_bytes, copies_bytes| {
        let effort = Effort { rotate_bytes, copies_bytes, ..Effort::bench() };
        prepared.copies(&effort, unmoved).expect("copies").len()
    };
    // Each operand begins at a multiple of 256 bytes.
    assert!((5..=8).contains(&copies(8 * moved, 1 << 30)), "of {moved} bytes beside {unmoved}");
    assert_eq!((copies(1, 1 << 30), copies(100 * moved, 3 * (moved + unmoved) + 4096)), (1, 3));
}

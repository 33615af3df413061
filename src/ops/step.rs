//! Putting a step together: fillings and bindings from operands; what follows from caps alone, whatever the op.

use crate::caps::{Caps, DeviceKind};
use crate::error::{Error, Result};
use crate::plan::{Access, BIND_ALIGN_BYTES, Bind, Const, PipelineKey, Plan, Source, Step, fold};
use crate::tensor::{Elem, Layout};

/// An operand as a step sees it: its place among the op's operands, how it is stored, and which part of it is reached.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub operand: usize,
    pub layout: Layout,
    pub start: u64,
    pub elements: u64,
}

impl Part {
    /// The whole operand.
    pub fn whole(operand: usize, layout: Layout) -> Self {
        Self { operand, layout, start: 0, elements: layout.elements }
    }

    fn bind(&self, binding: u32, access: Access) -> (Bind, u32) {
        let (offset_bytes, size_bytes, head) = self.layout.bind(self.start, self.elements);
        (Bind { binding, source: Source::Operand(self.operand), access, offset_bytes, size_bytes }, head)
    }
}

/// How a step reads and writes its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loads {
    /// All rows begin at multiples of four elements, so that four go at once.
    pub quads: bool,
    /// f16 through native f16, not through words.
    pub native_f16: bool,
}

/// A step in the making.
pub(crate) struct Builder {
    loads: Loads,
    key: PipelineKey,
    binds: Vec<Bind>,
}

impl Builder {
    pub fn new(kernel: &'static str, loads: Loads) -> Self {
        Self { loads, key: PipelineKey { kernel, fillings: Vec::new(), consts: Vec::new() }, binds: Vec::new() }
    }

    /// Whether the step reads f16 as such.
    pub fn native_f16(&self) -> bool {
        self.loads.native_f16
    }

    /// Fills a slot with a file that has no binding of an operand.
    pub fn fill(&mut self, slot: &'static str, filling: &'static str) {
        self.key.fillings.push((slot, filling));
    }

    pub fn set(&mut self, name: &'static str, value: Const) {
        self.key.consts.push((name, value));
    }

    /// Fills a read slot; an absent operand by `absent`. Gives the operand's first element in its binding.
    pub fn read(&mut self, slot: &'static str, binding: u32, part: Option<Part>, absent: &'static str) -> u32 {
        let loads = self.loads;
        self.read_as(slot, binding, part, absent, loads)
    }

    /// As [`Builder::read`], with loads of its own.
    pub fn read_as(
        &mut self,
        slot: &'static str,
        binding: u32,
        part: Option<Part>,
        absent: &'static str,
        loads: Loads,
    ) -> u32 {
        let Some(part) = part else {
            self.fill(slot, absent);
            return 0;
        };
        self.fill(slot, read_filling(part.layout.elem, loads));
        self.bind(binding, part, Access::Read)
    }

    /// Fills a write slot; an absent output takes `slot/write/none`.
    pub fn write(&mut self, slot: &'static str, binding: u32, part: Option<Part>) -> u32 {
        let Some(part) = part else {
            self.fill(slot, "slot/write/none");
            return 0;
        };
        self.write_as(slot, binding, part, self.loads)
    }

    /// Binds an operand that a filling or the kernel itself declares.
    pub fn bind(&mut self, binding: u32, part: Part, access: Access) -> u32 {
        let (bind, head) = part.bind(binding, access);
        self.binds.push(bind);
        head
    }

    /// As [`Builder::write`] of an output that is there, with loads of its own.
    pub fn write_as(&mut self, slot: &'static str, binding: u32, part: Part, loads: Loads) -> u32 {
        self.fill(slot, write_filling(part.layout.elem, loads));
        self.bind(binding, part, Access::Write)
    }

    /// Binds what has been worked out before.
    pub fn bind_range(&mut self, bind: Bind) {
        self.binds.push(bind);
    }

    /// Binds a scratch buffer of the plan.
    pub fn scratch(&mut self, binding: u32, number: usize, size_bytes: u64, access: Access) {
        self.binds.push(Bind { binding, source: Source::Scratch(number), access, offset_bytes: 0, size_bytes });
    }

    pub fn step(self, params: &impl bytemuck::Pod, grid: [u32; 3]) -> Step {
        let params = bytemuck::bytes_of(params).to_vec();
        Step { key: self.key, binds: self.binds, params, grid, groups: None, indirect: None }
    }
}

/// How sums are taken and f16 is read: the part of a plan that follows from caps alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Means {
    /// The size up to which lanes shuffle, where subgroups are used.
    pub subgroup: Option<u32>,
    pub native_f16: bool,
}

impl Means {
    pub const BASELINE: Self = Self { subgroup: None, native_f16: false };

    /// What the caps allow, best first. The last is the baseline's.
    pub fn all(caps: &Caps, f16: bool) -> Vec<Self> {
        let subgroup = caps.subgroups.map(|s| s.min).filter(|s| *s >= 4 && s.is_power_of_two());
        let native: &[bool] = if caps.f16 && f16 { &[true, false] } else { &[false] };
        let mut sizes = vec![subgroup, None];
        sizes.dedup();
        sizes.into_iter().flat_map(|subgroup| native.iter().map(move |n| Self { subgroup, native_f16: *n })).collect()
    }

    /// As [`Means::all`], but that sums by the second best way are taken through words only.
    pub fn few(caps: &Caps, f16: bool) -> Vec<Self> {
        let mut all = Self::all(caps, f16);
        let best = all.first().and_then(|means| means.subgroup);
        all.retain(|means| !means.native_f16 || means.subgroup == best);
        all
    }

    /// What the caps allow where nothing is summed.
    pub fn without_sums(caps: &Caps, f16: bool) -> Vec<Self> {
        let mut all = Self::all(caps, f16);
        all.retain(|means| means.subgroup.is_none());
        all
    }

    /// Those of a processor that does better to read a row again than to keep it, if this is one: processors with vectors of 8,
    /// such as lavapipe's, keep a row in registers as GPUs do; SwiftShader keeps it in memory. F16 by words, which takes a
    /// processor less time.
    pub fn of_processor(caps: &Caps) -> Option<Self> {
        let again = caps.kind == DeviceKind::Cpu && caps.subgroups.is_none_or(|s| s.min < 8);
        again.then(|| Self::all(caps, false).first().copied().unwrap_or(Self::BASELINE))
    }

    pub fn name(self, kernel: &str) -> String {
        let reduce = if self.subgroup.is_some() { "subgroup" } else { "tree" };
        format!("{kernel}/{reduce}{}", self.f16())
    }

    pub fn f16(self) -> &'static str {
        if self.native_f16 { "/f16" } else { "" }
    }

    /// Fills the reduce slot.
    pub fn reduce(self, step: &mut Builder) {
        match self.subgroup {
            Some(size) => {
                step.fill("reduce", "slot/reduce/subgroup");
                step.set("SUBGROUP", Const::U32(size));
            }
            None => step.fill("reduce", "slot/reduce/tree"),
        }
    }
}

/// The bytes that one binding reaches, wherever in a buffer they lie: it begins up to one alignment before its first element. Kernels count
/// elements in 32 bits.
pub(crate) fn bindable_bytes(caps: &Caps) -> u64 {
    caps.storage_binding_bytes.saturating_sub(BIND_ALIGN_BYTES).min(i32::MAX as u64)
}

/// The rows that one dispatch takes, so that no binding passes the device's limit, in whole `unit`s.
pub(crate) fn rows_at_once(op: &'static str, caps: &Caps, rows: u64, unit: u64, row_bytes: u64) -> Result<u64> {
    let have = bindable_bytes(caps);
    let unit_bytes = unit * row_bytes;
    if unit_bytes > have {
        // What a device has says more than what can be used of it, where it is too little already.
        let has = Some(caps.storage_binding_bytes).filter(|has| unit_bytes > *has);
        let have = has.unwrap_or(have);
        return Err(Error::Limit { op, limit: "storage_binding_bytes", need: unit_bytes, have });
    }
    Ok((have / unit_bytes.max(1) * unit).min(rows))
}

/// Software devices may have f16, but take longer over it than over words. The last plan stays the baseline's.
pub(crate) fn words_first(caps: &Caps, plans: &mut [Plan]) {
    let words = plans.iter().position(|p| !p.name.ends_with("/f16"));
    if let Some(at) = words.filter(|at| caps.kind == DeviceKind::Cpu && at + 1 < plans.len()) {
        plans[..=at].rotate_right(1);
    }
}

/// A grid of so many workgroups.
pub(crate) fn grid(op: &'static str, caps: &Caps, groups: u64) -> Result<[u32; 3]> {
    let have = u64::from(caps.workgroups).pow(2);
    fold(groups, caps.workgroups).ok_or(Error::Limit { op, limit: "workgroups", need: groups, have })
}

/// The read filling of a storage type.
pub(crate) fn read_filling(elem: Elem, loads: Loads) -> &'static str {
    match (elem, loads.quads, loads.native_f16) {
        (Elem::F16, true, true) => "slot/read/f16",
        (Elem::F16, false, true) => "slot/read/f16_any",
        (Elem::F16, true, false) => "slot/read/f16_packed",
        (Elem::F16, false, false) => "slot/read/f16_packed_any",
        (Elem::Bf16, true, _) => "slot/read/bf16_packed",
        (Elem::Bf16, false, _) => "slot/read/bf16_packed_any",
        (Elem::I8, true, _) => "slot/read/i8",
        (Elem::I8, false, _) => "slot/read/i8_any",
        (_, true, _) => "slot/read/f32",
        (_, false, _) => "slot/read/f32_any",
    }
}

/// The write filling of a storage type.
pub(crate) fn write_filling(elem: Elem, loads: Loads) -> &'static str {
    match (elem, loads.quads, loads.native_f16) {
        (Elem::F16, true, true) => "slot/write/f16",
        (Elem::F16, false, true) => "slot/write/f16_any",
        (Elem::F16, true, false) => "slot/write/f16_packed",
        (Elem::F16, false, false) => "slot/write/f16_packed_any",
        (Elem::Bf16, true, _) => "slot/write/bf16_packed",
        (Elem::Bf16, false, _) => "slot/write/bf16_packed_any",
        (Elem::I8 | Elem::U8, true, _) => "slot/write/i8",
        (Elem::I8 | Elem::U8, false, _) => "slot/write/i8_any",
        (Elem::I32 | Elem::U32, _, _) => "slot/write/i32_any",
        (_, true, _) => "slot/write/f32",
        (_, false, _) => "slot/write/f32_any",
    }
}

//! Putting a step together: fillings and bindings from operands.

use crate::plan::{Access, Bind, Const, PipelineKey, Source, Step};
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
        self.fill(slot, write_filling(part.layout.elem, self.loads));
        self.bind(binding, part, Access::Write)
    }

    /// Binds an operand that a filling or the kernel itself declares.
    pub fn bind(&mut self, binding: u32, part: Part, access: Access) -> u32 {
        let (bind, head) = part.bind(binding, access);
        self.binds.push(bind);
        head
    }

    /// Binds a scratch buffer of the plan.
    pub fn scratch(&mut self, binding: u32, number: usize, size_bytes: u64, access: Access) {
        self.binds.push(Bind { binding, source: Source::Scratch(number), access, offset_bytes: 0, size_bytes });
    }

    pub fn step(self, params: &impl bytemuck::Pod, grid: [u32; 3]) -> Step {
        Step { key: self.key, binds: self.binds, params: bytemuck::bytes_of(params).to_vec(), grid }
    }
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
        (Elem::I32, _, _) => "slot/write/i32_any",
        (_, true, _) => "slot/write/f32",
        (_, false, _) => "slot/write/f32_any",
    }
}

//! Little operands: weights of a head, lengths, positions, block tables. A kernel reads all of them from one binding, as words.
//!
//! Where one is present, or all of them are views of one buffer in one storage, the buffer is bound as it is. Else a first step,
//! `little/gather`, puts them side by side into a scratch buffer. So an op may have twenty of them on a device that binds 8 buffers, and
//! who keeps them in one buffer pays nothing for it.

use crate::caps::Caps;
use crate::error::{Error, Result};
use crate::ops::params::params;
use crate::ops::step::{Builder, Loads, Part, grid};
use crate::plan::{Access, BIND_ALIGN_BYTES, Bind, Source, Step};
use crate::tensor::{Elem, Layout, Tensor};

/// Where an operand that is absent begins.
pub(crate) const ABSENT: u32 = u32::MAX;

/// The little operands of an op, neighbours in its list of operands: what a problem keeps of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Little {
    first: usize,
    parts: Vec<Option<Layout>>,
    /// They are views of one buffer.
    one_buffer: bool,
}

/// What a kernel binds, and where each operand begins in it, in numbers; [`ABSENT`] where it is not there.
#[derive(Clone, Debug)]
pub(crate) struct Words {
    filling: &'static str,
    bind: Option<Bind>,
    /// In the order of the operands.
    pub at: Vec<u32>,
}

params! {
    /// An operand of `little/gather`.
    GatherPart {
        /// The word at which it begins.
        to: u32,
        /// Its numbers.
        n: u32,
        /// Its first number in its binding.
        start: u32,
        /// Nothing.
        pad: u32,
    }
}

params! {
    /// The params of `little/gather`.
    GatherParams {
        /// An operand.
        p0: GatherPart,
        /// Another.
        p1: GatherPart,
        /// Another.
        p2: GatherPart,
        /// Another.
        p3: GatherPart,
        /// Another.
        p4: GatherPart,
        /// Another.
        p5: GatherPart,
        /// Another.
        p6: GatherPart,
        /// The grid's x.
        fold: u32,
        /// The first word of this dispatch.
        first: u32,
        /// The one after the last.
        end: u32,
        /// Nothing.
        pad: u32,
    }
}

/// As many as one step takes: with what it writes, they are the 8 storage buffers that every device binds.
const SLOTS: [&str; 7] = ["p0", "p1", "p2", "p3", "p4", "p5", "p6"];

fn filling(elem: Elem) -> &'static str {
    match elem {
        Elem::F16 => "slot/little/f16",
        Elem::Bf16 => "slot/little/bf16",
        // Ops take no bytes among little operands; see `gather`.
        Elem::F32 | Elem::I32 | Elem::U32 | Elem::U8 | Elem::I8 => "slot/little/words",
    }
}

impl Little {
    /// Those from operand `first` on. One of no elements is as absent.
    pub fn of(first: usize, tensors: &[Option<&Tensor>]) -> Self {
        let parts: Vec<_> = tensors.iter().map(|t| t.map(Tensor::layout).filter(|l| l.elements > 0)).collect();
        let mut ids =
            tensors.iter().flatten().filter(|t| t.elements() > 0).map(|t| t.allocation.as_ref().map(|a| a.id));
        let id = ids.next().flatten();
        let one_buffer = ids.all(|other| id.is_some() && other == id);
        Self { first, parts, one_buffer }
    }

    /// What a kernel binds; the steps that come before it, and their scratch.
    ///
    /// # Errors
    /// More words than a binding takes, or bytes.
    pub fn gather(
        &self,
        op: &'static str,
        caps: &Caps,
        steps: &mut Vec<Step>,
        scratch: &mut Vec<u64>,
    ) -> Result<Words> {
        let present = || self.parts.iter().enumerate().filter_map(|(i, l)| Some((i, (*l)?)));
        let Some((at, one)) = present().next() else {
            return Ok(Words { filling: "slot/little/none", bind: None, at: vec![ABSENT; self.parts.len()] });
        };
        if let Some((_, bytes)) = present().find(|(_, l)| l.elem.bytes() == 1) {
            let (have, want) = (bytes.elem.name(), "words, f16 or bf16");
            return Err(Error::Storage { op, operand: "a little operand", have, want });
        }
        let size = one.elem.bytes() as u64;
        let begin = present().map(|(_, l)| l.offset_bytes).min().unwrap_or(0);
        let end = present().map(|(_, l)| l.offset_bytes + l.elements * size).max().unwrap_or(0);
        let base = begin / BIND_ALIGN_BYTES * BIND_ALIGN_BYTES;
        let size_bytes = (end - base).next_multiple_of(4);
        let alike = present().all(|(_, l)| filling(l.elem) == filling(one.elem));
        if self.one_buffer && alike && size_bytes <= caps.storage_binding_bytes {
            let source = Source::Operand(self.first + at);
            let bind = Bind { binding: 0, source, access: Access::Read, offset_bytes: base, size_bytes };
            let at = |l: &Option<Layout>| l.map_or(ABSENT, |l| ((l.offset_bytes - base) / size) as u32);
            return Ok(Words { filling: filling(one.elem), bind: Some(bind), at: self.parts.iter().map(at).collect() });
        }
        let words: u64 = present().map(|(_, l)| l.elements).sum();
        if words * 4 > caps.storage_binding_bytes {
            let (need, have) = (words * 4, caps.storage_binding_bytes);
            return Err(Error::Limit { op, limit: "storage_binding_bytes", need, have });
        }
        let (number, mut at, mut first) = (scratch.len(), vec![ABSENT; self.parts.len()], 0u32);
        scratch.push(words * 4);
        for some in present().collect::<Vec<_>>().chunks(SLOTS.len()) {
            let mut step = Builder::new("little/gather", Loads { quads: false, native_f16: false });
            let mut params = GatherParams { first, end: first, ..Default::default() };
            for (i, slot) in SLOTS.into_iter().enumerate() {
                let Some((part, layout)) = some.get(i) else {
                    step.fill(slot, "slot/little/none");
                    continue;
                };
                step.fill(slot, filling(layout.elem));
                let start = step.bind(i as u32 + 1, Part::whole(self.first + part, *layout), Access::Read);
                at[*part] = params.end;
                let place = GatherPart { to: params.end, n: layout.elements as u32, start, pad: 0 };
                let places = [
                    &mut params.p0,
                    &mut params.p1,
                    &mut params.p2,
                    &mut params.p3,
                    &mut params.p4,
                    &mut params.p5,
                    &mut params.p6,
                ];
                if let Some(slot) = places.into_iter().nth(i) {
                    *slot = place;
                }
                params.end += layout.elements as u32;
            }
            step.scratch(SLOTS.len() as u32 + 1, number, words * 4, Access::Write);
            let grid = grid(op, caps, u64::from(params.end - first).div_ceil(64))?;
            params.fold = grid[0];
            first = params.end;
            steps.push(step.step(&params, grid));
        }
        let bind = Bind {
            binding: 0,
            source: Source::Scratch(number),
            access: Access::Read,
            offset_bytes: 0,
            size_bytes: words * 4,
        };
        Ok(Words { filling: "slot/little/words", bind: Some(bind), at })
    }
}

impl Words {
    /// Fills a slot of a kernel with them.
    pub fn bind(&self, step: &mut Builder, slot: &'static str, binding: u32) {
        step.fill(slot, self.filling);
        if let Some(bind) = self.bind {
            step.bind_range(Bind { binding, ..bind });
        }
    }
}

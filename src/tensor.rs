//! Tensors: a buffer, an offset, a shape, and how the elements are stored.

use std::sync::Arc;

use half::{bf16, f16};

use crate::dispatch::{Allocation, Dispatcher};
use crate::error::{Error, Result, shape_error};
use crate::formats::Dtype;
use crate::shape::{IntoShape, Shape};

/// How the elements of a tensor are stored. Arithmetic is f32 whatever the storage.
///
/// `F16` and `Bf16` lie two to a 32-bit word, the first in the low half. Whether a kernel reads F16
/// through native `f16` or through the packed words is the plan's choice; the bytes are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Elem {
    /// 32-bit IEEE float.
    F32,
    /// 16-bit IEEE float.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// 32-bit unsigned integer: indices, packed codes.
    U32,
    /// 32-bit signed integer.
    I32,
    /// 8-bit signed integer, four to a word.
    I8,
    /// 8-bit unsigned integer, four to a word.
    U8,
}

impl Elem {
    /// What holds numbers that are stored so in a file; `None` where nothing does.
    pub fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::Bf16 => Some(Self::Bf16),
            Dtype::I32 => Some(Self::I32),
            Dtype::U32 => Some(Self::U32),
            Dtype::I8 => Some(Self::I8),
            Dtype::U8 => Some(Self::U8),
            Dtype::I16 | Dtype::U16 => None,
        }
    }

    /// As written in messages and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::I8 => "i8",
            Self::U8 => "u8",
        }
    }

    /// The bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::U32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::I8 | Self::U8 => 1,
        }
    }

    /// True for the floating types.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::Bf16)
    }

    /// The value as this type would store it: rounded to nearest, ties to even; integers saturate.
    pub fn round(self, v: f64) -> f64 {
        match self {
            Self::F32 => f64::from(v as f32),
            Self::F16 => f64::from(f16::from_f32(to_odd(v))),
            Self::Bf16 => f64::from(bf16::from_f32(to_odd(v))),
            Self::U32 => f64::from(v.round_ties_even() as u32),
            Self::I32 => f64::from(v.round_ties_even() as i32),
            Self::I8 => f64::from(v.round_ties_even() as i8),
            Self::U8 => f64::from(v.round_ties_even() as u8),
        }
    }

    /// Half the distance between neighbours at magnitude 1: the relative error of one rounding. 0 for integers.
    pub fn unit_roundoff(self) -> f64 {
        match self {
            Self::F32 => 2f64.powi(-24),
            Self::F16 => 2f64.powi(-11),
            Self::Bf16 => 2f64.powi(-8),
            Self::U32 | Self::I32 | Self::I8 | Self::U8 => 0.0,
        }
    }

    /// The bytes of these values in this storage, rounded to nearest, ties to even; integers saturate.
    pub fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => bytemuck::cast_slice(values).to_vec(),
            Self::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
            Self::Bf16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
            Self::U32 => values.iter().flat_map(|v| (v.round_ties_even() as u32).to_le_bytes()).collect(),
            Self::I32 => values.iter().flat_map(|v| (v.round_ties_even() as i32).to_le_bytes()).collect(),
            Self::I8 => values.iter().flat_map(|v| (v.round_ties_even() as i8).to_le_bytes()).collect(),
            Self::U8 => values.iter().map(|v| v.round_ties_even() as u8).collect(),
        }
    }

    /// The values of bytes in this storage; a rest that is not a whole element is left out.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        let two = || bytes.chunks_exact(2).map(|c| [c[0], c[1]]);
        let four = || bytes.chunks_exact(4).map(|c| [c[0], c[1], c[2], c[3]]);
        match self {
            Self::F32 => four().map(f32::from_le_bytes).collect(),
            Self::F16 => two().map(|b| f16::from_le_bytes(b).to_f32()).collect(),
            Self::Bf16 => two().map(|b| bf16::from_le_bytes(b).to_f32()).collect(),
            Self::U32 => four().map(|b| u32::from_le_bytes(b) as f32).collect(),
            Self::I32 => four().map(|b| i32::from_le_bytes(b) as f32).collect(),
            Self::I8 => bytes.iter().map(|b| f32::from(*b as i8)).collect(),
            Self::U8 => bytes.iter().map(|b| f32::from(*b)).collect(),
        }
    }
}

/// The f32 towards zero, with its last bit set where it is not the number itself. To narrow that once more gives what one rounding
/// would have given, where a nearest f32 may lie on a tie that the number was beside. (`half` narrows an f64 after it has
/// dropped the lower word, or by way of the nearest f32, as the machine has it.)
fn to_odd(v: f64) -> f32 {
    let near = v as f32;
    if f64::from(near) == v || near.is_nan() {
        return near;
    }
    let further = f64::from(near).abs() > v.abs();
    f32::from_bits((near.to_bits() - u32::from(further)) | 1)
}

/// An array in a buffer of the device: row-major, contiguous.
///
/// Cloning shares the buffer. Made by [`Dispatcher::upload`], [`Dispatcher::zeros`] and
/// [`Dispatcher::wrap`]; [`Tensor::view`] gives a part of one. [`Tensor::outline`] has no buffer.
#[derive(Clone)]
pub struct Tensor {
    /// None for an outline.
    pub(crate) allocation: Option<Arc<Allocation>>,
    pub(crate) offset_bytes: u64,
    shape: Shape,
    elem: Elem,
}

impl Tensor {
    /// A tensor over part of an allocation; the caller has checked that it lies inside.
    pub(crate) fn over(allocation: Arc<Allocation>, offset_bytes: u64, shape: Shape, elem: Elem) -> Self {
        Self { allocation: Some(allocation), offset_bytes, shape, elem }
    }

    /// A tensor without memory, of no device: it stands in an op to ask for its problem and plans where there is no GPU.
    ///
    /// ```
    /// use gristmill::{Caps, Elem, Op as _, Problem as _, Tensor, ops::norm::RmsNorm};
    ///
    /// let (x, y) = (Tensor::outline([512, 4096], Elem::F16)?, Tensor::outline([512, 4096], Elem::F16)?);
    /// let plan = RmsNorm::new(&x, &y).problem()?.plan(&Caps::apple_m())?;
    /// assert_eq!(plan.name, "row/subgroup/f16");
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Shape::new`].
    pub fn outline(shape: impl IntoShape, elem: Elem) -> Result<Self> {
        Ok(Self { allocation: None, offset_bytes: 0, shape: shape.into_shape()?, elem })
    }

    /// The shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// How the elements are stored.
    pub fn elem(&self) -> Elem {
        self.elem
    }

    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.shape.elements()
    }

    /// The bytes of the elements.
    pub fn bytes(&self) -> u64 {
        (self.elements() * self.elem.bytes()) as u64
    }

    /// The buffer that holds the elements, from [`Tensor::offset_bytes`] on; an outline has none. Of a tensor that the dispatcher made it has
    /// usage `STORAGE`, `COPY_SRC`, `COPY_DST` and `INDIRECT`, and a size that is a multiple of 16 bytes.
    pub fn buffer(&self) -> Option<&wgpu::Buffer> {
        self.allocation.as_ref().map(|a| &a.buffer)
    }

    /// Where the first element lies in the buffer.
    pub fn offset_bytes(&self) -> u64 {
        self.offset_bytes
    }

    /// What an op's problem keeps of this tensor.
    pub(crate) fn layout(&self) -> Layout {
        Layout { elem: self.elem, offset_bytes: self.offset_bytes, elements: self.elements() as u64 }
    }

    /// The same elements in another shape.
    ///
    /// # Errors
    /// The shape has another number of elements.
    pub fn reshape(&self, shape: impl IntoShape) -> Result<Self> {
        let shape = shape.into_shape()?;
        if shape.elements() != self.elements() {
            return Err(shape_error!(
                "reshape",
                "{shape} has {} elements but the tensor of shape {} has {}",
                shape.elements(),
                self.shape,
                self.elements()
            ));
        }
        Ok(Self { shape, ..self.clone() })
    }

    /// Adjacent elements, from element `start` on, in a shape of their own. Any offset is possible; the
    /// quickest plans want it to be a multiple of four elements.
    ///
    /// # Errors
    /// The view reaches past the end.
    pub fn view(&self, start: usize, shape: impl IntoShape) -> Result<Self> {
        let shape = shape.into_shape()?;
        let end = start.checked_add(shape.elements()).filter(|end| *end <= self.elements());
        if end.is_none() {
            return Err(shape_error!(
                "view",
                "{} elements from {start} on reach past the tensor's {}",
                shape.elements(),
                self.elements()
            ));
        }
        let offset_bytes = self.offset_bytes + (start * self.elem.bytes()) as u64;
        Ok(Self { offset_bytes, shape, ..self.clone() })
    }

    /// Replaces the elements, rounding to the storage to nearest, ties to even. Takes effect before
    /// the next submission.
    ///
    /// # Errors
    /// Another number of values; a view whose first or last byte is not at a multiple of 4 bytes, where
    /// WebGPU cannot write; an outline; a lost device.
    pub fn write(&self, values: &[f32]) -> Result<()> {
        self.write_bytes(&self.elem.encode(values))
    }

    /// Replaces the elements by these bytes, as [`Tensor::write`].
    ///
    /// # Errors
    /// As [`Tensor::write`].
    pub fn write_bytes(&self, bytes: &[u8]) -> Result<()> {
        if bytes.len() as u64 != self.bytes() {
            return Err(shape_error!("write", "{} bytes given for a tensor of {}", bytes.len(), self.bytes()));
        }
        let allocation = self.memory("write")?;
        let to_end = self.offset_bytes + self.bytes() == allocation.used_bytes;
        if !self.offset_bytes.is_multiple_of(4) || !(bytes.len().is_multiple_of(4) || to_end) {
            return Err(shape_error!(
                "write",
                "a view of bytes {} to {}, where WebGPU writes whole 4-byte words only",
                self.offset_bytes,
                self.offset_bytes + self.bytes()
            ));
        }
        allocation.dispatcher().write(self, &allocation.buffer, bytes)
    }

    /// The values, widened to f32, through a staging buffer of their size. Waits for all that was submitted before: natively it blocks its thread
    /// until the device is done, and [`Tensor::read_later`] is for who cannot wait.
    ///
    /// # Errors
    /// An outline, a lost device, or an earlier fault of the device that has not been told yet.
    pub async fn read(&self) -> Result<Vec<f32>> {
        Ok(self.elem.decode(&self.read_bytes().await?))
    }

    /// The values of a `U32` or `I32` tensor, or the words of any other whose bytes make whole words.
    ///
    /// # Errors
    /// As [`Tensor::read`], and bytes that are not whole words.
    pub async fn read_words(&self) -> Result<Vec<u32>> {
        let bytes = self.read_bytes().await?;
        if bytes.len() % 4 != 0 {
            return Err(shape_error!("read_words", "{} bytes are not whole words", bytes.len()));
        }
        Ok(bytes.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect())
    }

    /// The bytes of the elements.
    ///
    /// # Errors
    /// As [`Tensor::read`].
    pub async fn read_bytes(&self) -> Result<Vec<u8>> {
        let allocation = self.memory("read")?;
        allocation.dispatcher().read(self, &allocation.buffer).await
    }

    /// The values, for who does not wait for them: a window that goes on drawing asks once a frame, of a model's logits say. What is submitted
    /// afterwards changes them no more. Where a browser runs us [`Tensor::read`] is what blocks nobody.
    ///
    /// # Errors
    /// As [`Tensor::read`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read_later(&self) -> Result<crate::dispatch::Reading> {
        let allocation = self.memory("read")?;
        crate::dispatch::Reading::of(allocation.dispatcher(), self, &allocation.buffer)
    }

    /// The dispatcher that this tensor belongs to; an outline belongs to none.
    pub fn dispatcher(&self) -> Option<Dispatcher> {
        self.allocation.as_ref().map(|a| a.dispatcher())
    }

    fn memory(&self, op: &'static str) -> Result<&Arc<Allocation>> {
        self.allocation.as_ref().ok_or_else(|| Error::Outline { op, operand: "the tensor".into() })
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({} {} at byte {})", self.elem.name(), self.shape, self.offset_bytes)
    }
}

/// What a problem keeps of a tensor: numbers only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    /// How the elements are stored.
    pub elem: Elem,
    /// Where the first element lies in its buffer.
    pub offset_bytes: u64,
    /// How many there are.
    pub elements: u64,
}

impl Layout {
    /// A tensor of its own buffer.
    pub fn dense(elem: Elem, elements: u64) -> Self {
        Self { elem, offset_bytes: 0, elements }
    }

    /// The binding that reaches elements `start .. start + elements`, and where the first of them is in it,
    /// in elements. Offsets of bindings are multiples of 256 bytes, so the element may stand up to that far in.
    pub(crate) fn bind(&self, start: u64, elements: u64) -> (u64, u64, u32) {
        let size = self.elem.bytes() as u64;
        let from = self.offset_bytes + start * size;
        let offset = from / crate::plan::BIND_ALIGN_BYTES * crate::plan::BIND_ALIGN_BYTES;
        let head = (from - offset) / size;
        let bytes = (from - offset + elements * size).next_multiple_of(4).max(4);
        (offset, bytes, head as u32)
    }
}

/// The tensors that a caller passes have the storage that an op wants.
pub(crate) fn want_float(op: &'static str, operand: &'static str, tensor: &Tensor) -> Result<()> {
    if tensor.elem().is_float() {
        Ok(())
    } else {
        Err(Error::Storage { op, operand, have: tensor.elem().name(), want: "f32, f16 or bf16" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip() {
        let values = [0.0, -1.5, 3.25, 127.0, -128.0];
        for elem in [Elem::F32, Elem::F16, Elem::Bf16] {
            assert_eq!(elem.decode(&elem.encode(&values)), values);
        }
        assert_eq!(Elem::I8.decode(&Elem::I8.encode(&[2.5, 3.5, 300.0, -300.0])), [2.0, 4.0, 127.0, -128.0]);
        assert_eq!(Elem::U8.decode(&Elem::U8.encode(&[2.5, 3.5, 300.0, -300.0])), [2.0, 4.0, 255.0, 0.0]);
    }

    #[test]
    fn rounding_sees_every_bit() {
        // Beside a tie by less than an f32 can tell, or than the upper word of an f64 can.
        for beside in [2f64.powi(-21), 2f64.powi(-40)] {
            assert_eq!(Elem::F16.round(1.0 + 2f64.powi(-11) + beside), 1.0 + 2f64.powi(-10));
            assert_eq!(Elem::F16.round(-1.0 - 2f64.powi(-11) - beside), -1.0 - 2f64.powi(-10));
            assert_eq!(Elem::F16.round(1.0 + 3.0 * 2f64.powi(-11) - beside), 1.0 + 2f64.powi(-10));
            assert_eq!(Elem::Bf16.round(1.0 + 2f64.powi(-8) + beside), 1.0 + 2f64.powi(-7));
        }
        assert_eq!(Elem::F16.round(1.0 + 2f64.powi(-11)), 1.0);
        assert_eq!((Elem::F16.round(1e9), Elem::Bf16.round(-1e300)), (f64::INFINITY, f64::NEG_INFINITY));
        assert_eq!((Elem::F16.round(1e-300), Elem::Bf16.round(0.0)), (0.0, 0.0));
        assert!(Elem::F16.round(f64::NAN).is_nan());
    }

    #[test]
    fn a_binding_begins_at_a_multiple_of_256_bytes() {
        let t = Layout { elem: Elem::F16, offset_bytes: 514, elements: 1000 };
        assert_eq!(t.bind(0, 10), (512, 24, 1));
        assert_eq!(t.bind(255, 4), (1024, 8, 0));
    }
}
